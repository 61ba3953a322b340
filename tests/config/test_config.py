"""Configs: defaults < YAML < --set, and every mistake answered in one line that names the field and its value."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from semisup.config import (
    AlignmentConfig,
    AugmentConfig,
    DataConfig,
    JointConfig,
    LabelSmoothingConfig,
    PipelineConfig,
    describe_keys,
    flatten,
    keys,
    resolve_data_root,
)
from semisup.config.files import FORMS, load_config, load_kind, to_yaml, validate
from semisup.config.listing import sections_in
from semisup.config.methods import METHODS
from semisup.config.regression import RegressionConfig
from semisup.errors import RenamedKeyWarning, UserError
from tests.mistakes import user_mistake

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture
def load(tmp_path):
    """Loads a config from the text of a file that is called usual.yaml."""

    def load_text(text: str, *overrides: str) -> PipelineConfig:
        path = tmp_path / "usual.yaml"
        path.write_text(text or "{}", encoding="utf-8")
        return load_config(path, overrides)

    return load_text


@pytest.fixture
def complaint(load):
    """The one line that a bad config is answered with."""

    def complain(text: str, *overrides: str) -> str:
        with user_mistake() as error:
            load(text, *overrides)
        return str(error.value)

    return complain


# --- layers -------------------------------------------------------------------------------------------------------


def test_a_file_that_says_it_sets_nothing_is_the_defaults_under_the_files_name(load):
    assert load("{}") == PipelineConfig(name="usual")


@pytest.mark.parametrize("text", ["\n", "# only a comment\n", "---\n"])
def test_a_file_without_a_key_is_no_run_on_the_digits_that_nobody_asked_for(complaint, text):
    said = complaint(text)
    for part in ("usual.yaml", "holds no key", "write {} for the defaults, which are a run on the digits", "init"):
        assert part in said


@pytest.mark.parametrize(
    ("override", "form"),
    [
        ("seed=x", "seed='x': must be a whole number, such as 3"),
        ("rounds=1.5", "rounds=1.5: must be a whole number"),
        ("joint.alpha_final=abc", "must be a number, such as 0.5"),
        ("promote.enabled=maybe", "must be true or false"),
        ("model.weights=3", "must be text"),
        ("data.root=[1]", "must be a path, such as data/photos"),
        ("data.size=[1, 2, 3]", "data.size=[1, 2, 3]: must be a list of two whole numbers, [height, width]"),
        ("data.range=[1]", "data.range=[1]: must be a list of two numbers, [black, white], such as [0, 4095]"),
        ("data.range=abc", "data.range='abc': must be a list of two numbers"),
        ("data.range=[a, 3]", "data.range=['a', 3]: must be a list of two numbers"),
        ("baseline.optimizer.betas=3", "must be a list of two numbers, such as [0.9, 0.999]"),
        ("joint.schedule.milestones=[a]", "must be a list of whole numbers"),
        ("joint.policy.options=3", "must be a section of keys"),
    ],
)
def test_a_value_of_another_type_is_told_what_form_is_expected(complaint, override, form):
    said = complaint("{}", override)
    assert form in said
    assert "valid" not in said
    assert "pathlib" not in said


@pytest.mark.parametrize("kind", [PipelineConfig, RegressionConfig])
def test_every_key_that_holds_a_list_or_a_mapping_says_its_form(kind):
    def lists(section, prefix=""):
        for name, field in section.model_fields.items():
            origin = get_origin(field.annotation)
            inner = [origin, *map(get_origin, get_args(field.annotation))]
            if any(isinstance(each, type) and issubclass(each, tuple | list | Mapping) for each in inner):
                yield prefix + name
            for deeper in sections_in(field.annotation):
                yield from lists(deeper, f"{prefix}{name}.")

    keys = list(lists(kind))
    assert keys
    for key in keys:
        assert any(key == end or key.endswith(f".{end}") for end in FORMS), key


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("joint.method=fixmtch", "did you mean 'fixmatch'?"),
        ("runtime.device=CPU", "did you mean 'cpu'?"),
        ("runtime.device=gpu", "runtime.device='gpu': must be 'auto', 'cpu' or 'cuda'"),
        ("data.channels=rbg", "data.channels='rbg': must be 'rgb', 'gray' or a whole number from 1 to 16"),
        ("data.channels=99", "data.channels=99: must be 'rgb', 'gray' or a whole number from 1 to 16"),
    ],
)
def test_of_a_name_that_there_is_not_the_nearest_is_told_and_no_word_that_only_looks_alike(complaint, override, said):
    assert complaint("{}", override).endswith(said)


@pytest.mark.parametrize("override", ["data.name=foldr", "data=photos"])
def test_of_a_wrong_data_set_no_rule_is_told_that_the_digits_would_break(complaint, override):
    said = complaint("recipe: graph\nmodel: {name: efficientnet_lite0, mirror: true}", override)
    assert said.startswith(f"--set: {override.replace('=', chr(61) + chr(39))}'")
    assert "mirror" not in said


def test_of_a_wrong_recipe_nothing_is_said_of_keys_that_it_would_have_set(complaint):
    joined = "model.name=efficientnet_lite0+efficientnet_lite2"
    said = complaint("{}", "recipe=grpah", joined)
    assert said == "--set: recipe='grpah': must be 'steps', 'graph' or 'auto'; did you mean 'graph'?"
    assert "joint.alpha_final='abc'" in complaint("{}", "recipe=grpah", "joint.alpha_final=abc")


@pytest.mark.parametrize(
    "text", ["model: {name: efficientnet_lite0+efficientnet_lite9}", "model: {train: head, name: small_cn}"]
)
def test_of_a_network_that_there_is_not_no_rule_between_keys_is_said(load, text):
    assert load(text)  # what builds the network names those that are near


def test_set_beats_yaml_and_yaml_beats_the_defaults(load):
    text = "seed: 1\njoint:\n  epochs: 7\n  alpha_final: 0.25\n"
    config = load(text, "joint.alpha_final=0.5", "split.labeled_per_class=3")
    assert config.seed == 1
    assert (config.joint.epochs, config.joint.alpha_final) == (7, 0.5)
    assert config.split.labeled_per_class == 3
    assert config.baseline == PipelineConfig().baseline


def test_a_key_works_by_its_name_of_before_and_the_new_one_is_told_in_a_line(load, tmp_path):
    source = tmp_path / "usual.yaml"
    for text, overrides, where in (
        ("data: {answers: a.csv}", (), str(source)),
        ("{}", ("data.answers=a.csv",), "--set"),
        ("data: {answers: b.csv}", ("data.annotations=a.csv",), str(source)),
        ("data: {annotations: b.csv}", ("data.answers=a.csv",), "--set"),
    ):
        with pytest.warns(RenamedKeyWarning) as told:
            config = load(text, *overrides)
        assert config.data.annotations == Path("a.csv")
        assert [str(each.message) for each in told] == [
            f"{where}: data.answers is called data.annotations now; rename it"
        ]


def test_a_stored_config_with_a_key_of_before_is_read_without_a_word():
    assert PipelineConfig.model_validate({"data": {"answers": "a.csv"}}).data.annotations == Path("a.csv")


def test_a_key_under_both_of_its_names_is_unknown_under_the_old_one(complaint):
    said = complaint("data: {answers: a.csv, annotations: b.csv}")
    assert "unknown key 'data.answers'; did you mean 'data.annotations'?" in said


def test_the_last_of_two_overrides_wins(load):
    assert load("", "seed=1", "seed=2").seed == 2


def test_a_name_in_the_file_beats_the_files_name(load):
    assert load("name: mine").name == "mine"


@pytest.mark.parametrize("text", ["1e-4", "0.0001", "1.0e-4", "1E-04"])
def test_numbers_in_the_ways_people_write_them_are_numbers(load, text):
    assert load("", f"baseline.optimizer.lr={text}").baseline.optimizer.lr == 1e-4
    assert load(f"baseline: {{optimizer: {{lr: {text}}}}}").baseline.optimizer.lr == 1e-4


def test_set_takes_every_kind_of_value(load):
    config = load(
        "",
        "data.root=/some/folder",
        "data.download=true",
        "model.dropout=null",
        "baseline.schedule.milestones=[10, 20]",
        "joint.augment={rotation: 5, shift: 0.1}",
        "joint.method=online",
        " joint.epochs = 9",
    )
    assert config.data == DataConfig(root=Path("/some/folder"), download=True)
    assert config.model.dropout is None
    assert config.baseline.schedule.milestones == (10, 20)
    assert (config.joint.augment.rotation, config.joint.augment.shift) == (5, 0.1)
    assert (config.joint.method, config.joint.epochs) == ("online", 9)


def test_set_on_one_stage_leaves_the_other_although_the_file_gave_both_one_anchor(load):
    text = "baseline:\n  augment: &augment {rotation: 12}\njoint:\n  augment: *augment\n"
    config = load(text, "joint.augment.rotation=3")
    assert (config.baseline.augment.rotation, config.joint.augment.rotation) == (12, 3)


def test_set_reaches_into_a_section_that_the_file_leaves_empty(load):
    assert load("joint:\n", "joint.epochs=9").joint.epochs == 9


# --- reading and writing --------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**31 - 1),
    alpha=st.just(0.0) | st.floats(1e-6, 1e3),
    dropout=st.none() | st.floats(0, 0.9),
    root=st.none() | st.sampled_from([Path("data"), Path("/a folder/ü: #1")]),
)
@settings(deadline=None, max_examples=30)
def test_a_config_written_as_yaml_is_read_back_equal(tmp_path_factory, seed, alpha, dropout, root):
    config = validate(
        {
            "seed": seed,
            "data": {"root": root},
            "model": {"dropout": dropout},
            "joint": {"alpha_final": alpha, "epochs": 7},
            "baseline": {"schedule": {"name": "step", "milestones": [1, 2]}, "optimizer": {"betas": [0.5, 0.7]}},
        },
        source="test",
    )
    path = tmp_path_factory.mktemp("round_trip") / "other_name.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config


def test_ready_made_configs_exist():
    assert "digits" in [path.stem for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_ready_made_config_loads_and_says_in_its_first_line_what_it_is(path):
    kind = RegressionConfig if path.stem == "diabetes" else PipelineConfig
    assert load_kind(kind, path).name == path.stem
    first_line = path.read_text(encoding="utf-8").splitlines()[0]
    assert first_line.startswith("# ")
    assert len(first_line) > 10


def test_a_config_cannot_be_changed():
    config = PipelineConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 5
    with pytest.raises(ValidationError, match="frozen"):
        config.joint.augment.shift = 0.1


# --- keys ---------------------------------------------------------------------------------------------------------


CERTIFIED = {f"pseudo_label.threshold.{key}" for key in ("target_precision", "confidence", "fdr", "fallback")}
"""Keys of the section that may stand in the place of a number."""
ALIGNED = {
    f"{section}.distribution_alignment.{key}"
    for section in ("pseudo_label", "joint.policy")
    for key in AlignmentConfig.model_fields
}
"""Keys of the sections that may stand in the place of `true`."""
STRONG = {f"joint.strong_augment.{key}" for key in AugmentConfig.model_fields}
"""Keys of the section that may be left out."""
FREE = {"joint.policy.options", "data.options"}
"""Keys that hold keys of others."""


def test_keys_holds_every_leaf_and_the_sections_above_it():
    leaves = set(flatten(PipelineConfig())) | STRONG
    sections = {leaf.rsplit(".", depth)[0] for leaf in leaves for depth in range(1, leaf.count(".") + 1)}
    assert set(keys()) == leaves | sections | CERTIFIED | ALIGNED | FREE
    assert len(list(keys())) == len(set(keys()))


@pytest.mark.parametrize(
    "key",
    [
        "seed",
        "data.name",
        "data.root",
        "data.download",
        "split.labeled_per_class",
        "split.validation_per_class",
        "baseline.epochs",
        "rounds",
        "pseudo_label.teacher",
        "pseudo_label.threshold",
        "joint.epochs",
        "joint.alpha_final",
        "joint.augment.horizontal_flip",
        "promote.enabled",
        "promote.model",
    ],
)
def test_keys_that_others_rely_on_are_there(key):
    assert key in set(keys())


def test_described_are_the_leaves_each_with_its_default_and_hardly_one_without_a_meaning():
    described = {key: (default, meaning) for key, default, meaning in describe_keys()}
    assert set(described) == set(flatten(PipelineConfig())) | STRONG | CERTIFIED | ALIGNED | FREE
    assert described["pseudo_label.threshold"][0] == "0.95"
    assert described["data.root"][0] == "unset"
    speak_for_themselves = {"optimizer.name", "schedule.name", "schedule.gamma"}
    silent = {key.partition(".")[2] for key, (_, meaning) in described.items() if not meaning}
    assert silent <= speak_for_themselves
    assert not any("\n" in meaning for _, meaning in described.values())


def test_flatten_gives_plain_values_under_dotted_keys():
    flat = flatten(validate({"data": {"root": "/x"}, "joint": {"schedule": {"milestones": [2, 3]}}}, "test"))
    assert flat["data.root"] == "/x"
    assert flat["joint.schedule.milestones"] == [2, 3]
    assert flat["seed"] == 0


# --- the data root --------------------------------------------------------------------------------------------


def test_the_data_root_of_the_config_beats_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("SEMISUP_DATA_ROOT", "/from/environment")
    assert resolve_data_root(DataConfig(root=Path("/from/config"))) == Path("/from/config")
    assert resolve_data_root(DataConfig()) == Path("/from/environment")


@pytest.mark.parametrize("value", [None, ""])
def test_without_either_there_is_no_data_root(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("SEMISUP_DATA_ROOT", raising=False)
    else:
        monkeypatch.setenv("SEMISUP_DATA_ROOT", value)
    assert resolve_data_root(DataConfig()) is None


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("pseudo_label.treshold", "pseudo_label.threshold"),
        ("joint.alpha_finale", "joint.alpha_final"),
        ("sed", "seed"),
        ("basline", "baseline"),
        ("threshold", "pseudo_label.threshold"),
        ("baseline.optimiser.lr", "baseline.optimizer"),
        ("joint.labelled_per_class", "split.labeled_per_class"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_right_one(complaint, key, nearest):
    message = complaint("", f"{key}=1")
    assert "unknown key" in message
    assert nearest in message


def test_a_key_unlike_any_other_is_answered_with_where_to_find_them(complaint):
    assert "unknown key 'zzzzqqq'; `semisup configs --keys`" in complaint("zzzzqqq: 1")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        # a wrong type
        ("joint.epochs=many", ["joint.epochs='many'", "whole number"]),
        ("joint.epochs=1.5", ["joint.epochs=1.5", "whole number"]),
        ("joint.epochs=", ["joint.epochs has no value", "whole number"]),
        ("split.labeled_per_class=", ["split.labeled_per_class has no value", "'all'"]),
        ("joint.epochs=[3]", ["joint.epochs=[3]", "whole number"]),
        ("baseline.optimizer.lr=fast", ["baseline.optimizer.lr='fast'", "number"]),
        ("data.download=perhaps", ["data.download='perhaps'", "true or false"]),
        ("data.root=5", ["data.root=5", "path"]),
        ("name=7", ["name=7", "must be text"]),
        ("runtime.dask=scheduler", ["runtime.dask is 'scheduler'", "tcp://host:8786"]),
        # out of range
        ("seed=-1", ["seed=-1", "greater than or equal to 0"]),
        ("seed=2147483648", ["seed=2147483648", "less than 2147483648"]),
        ("joint.epochs=0", ["joint.epochs=0", "greater than or equal to 1"]),
        ("pseudo_label.threshold=95", ["pseudo_label.threshold=95", "a number in [0, 1]"]),
        ("joint.alpha_final=-1", ["joint.alpha_final=-1", "greater than or equal to 0"]),
        ("joint.alpha_final=.inf", ["joint.alpha_final=inf", "finite"]),
        ("joint.alpha_final=.nan", ["joint.alpha_final=nan", "finite"]),
        ("baseline.optimizer.lr=0", ["baseline.optimizer.lr=0", "greater than or equal to 0.000000000001"]),
        (
            "baseline.optimizer.betas=[0.9, 1.0]",
            ["baseline.optimizer.betas=[0.9, 1.0]: 1.0 must be less than"],
        ),
        ("data.size=[0, 64]", ["data.size=[0, 64]: 0 must be greater than or equal to 1"]),
        ("data.size=0", ["data.size=0: must be greater than or equal to 1"]),
        ("data.size=[64, x]", ["data.size=[64, 'x']: must be a list of two whole numbers"]),
        ("baseline.schedule={name: step, milestones: [0]}", ["baseline.schedule.milestones=[0]: 0 must be greater"]),
        ("baseline.label_smoothing.epsilon=1", ["baseline.label_smoothing.epsilon=1", "less than or equal to 0.9"]),
        ("rounds=0", ["rounds=0", "greater than or equal to 1"]),
        ("rounds=101", ["rounds=101", "less than or equal to 100"]),
        ("split.labeled_per_class=0", ["split.labeled_per_class=0", "whole number from 1 on, or 'all'"]),
        # not among the choices
        ("data.name=mnst", ["data.name='mnst'", "'mnist'"]),
        ("joint.method=magic", ["joint.method='magic'", "'threshold', 'confidence', 'ups', 'online'"]),
        (
            "pseudo_label.teacher=student",
            ["pseudo_label.teacher='student'", "'baseline', 'champion', 'ensemble' or 'graph'"],
        ),
        ("name=two words", ["name='two words'"]),
        ("promote.model=a/b", ["promote.model='a/b'"]),
        ("promote.model=''", ["promote.model=''"]),
        # a section that is given one value
        ("joint=3", ["joint=3", "section"]),
        ("joint.augment=none", ["joint.augment='none'", "section"]),
        ("joint=[1]", ["joint=[1]", "section"]),
        # rules between fields
        ("joint.ramp_start=5", ["joint.ramp_start=5", "ramp_end=0"]),
        ("joint.ramp_end=101", ["joint.ramp_end=101", "epochs=100"]),
        ("baseline.schedule.milestones=[50, 100]", ["baseline.schedule.milestones", "100", "epochs=100"]),
        ("joint.augment.horizontal_flip=true", ["joint.augment.horizontal_flip=true", "'digits'"]),
    ],
)
def test_a_wrong_value_is_answered_with_its_field_and_itself(complaint, override, parts):
    message = complaint("", override)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("stage", ["baseline", "joint"])
@pytest.mark.parametrize("amount", ["5 apples", "0s", "1.5 steps", "''"])
def test_a_budget_that_is_none_is_answered_with_ones_that_are(complaint, stage, amount):
    message = complaint("", f"{stage}.budget={amount}")
    assert f"{stage}.budget is wrong: budget {amount.strip(chr(39))!r} is not understood" in message
    assert "'2000 steps', '60s' or '5 min'" in message


MOVES = "augment: {shift: 0.1}"
CALIBRATED = "calibrate: {method: temperature}\nsplit: {calibration_images: 50}\n"
MIRRORED = "{views: 2, augment: {horizontal_flip: true}}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        # budget, averages and views of the trainings
        ("joint: {budget: 99 steps}", ["joint.budget='99 steps'", "epochs=100", "at least one step for each epoch"]),
        ("baseline: {epochs: 7, budget: 6 steps}", ["baseline.budget='6 steps'", "epochs=7"]),
        ("joint: {method: soft, policy: {teacher: ema}}", ["joint.policy.teacher='ema'", "ema_decay=0", "0.99"]),
        (
            "joint: {method: freematch, mixup_pseudo_labels: true, mixup: {alpha: 0.5}}",
            ["joint.mixup_pseudo_labels=true", "method='freematch'", "use false"],
        ),
        (
            "pseudo_label: {uncertainty: {passes: 5}}\n"
            "joint: {method: ups, mixup_pseudo_labels: true, mixup: {alpha: 0.5}}",
            ["joint.mixup_pseudo_labels=true", "method='ups'", "use false"],
        ),
        (
            "joint: {strong_augment: {horizontal_flip: true}}",
            ["joint.strong_augment.horizontal_flip=true", "'digits'", "use false"],
        ),
        # test-time views
        ("evaluate: {test_time: {views: 3}}", ["evaluate.test_time.views=3", "augment.shift", "views=1"]),
        ("pseudo_label: {test_time: {views: 2}}", ["pseudo_label.test_time.views=2", "augment.shift", "views=1"]),
        (f"evaluate: {{test_time: {MIRRORED}}}", ["evaluate.test_time.augment.horizontal_flip=true", "use false"]),
        (
            f"pseudo_label: {{test_time: {MIRRORED}}}",
            ["pseudo_label.test_time.augment.horizontal_flip=true", "use false"],
        ),
        (
            f"pseudo_label: {{teacher: ensemble, test_time: {{views: 2, {MOVES}}}}}",
            ["pseudo_label.test_time.views=2", "an ensemble", "views: 1", "teacher: baseline"],
        ),
        # calibration certifies what is labeled
        (
            CALIBRATED + "pseudo_label: {distribution_alignment: true}",
            ["pseudo_label.distribution_alignment is on", "use false", "no calibration"],
        ),
        # uncertainty
        ("pseudo_label: {uncertainty: {passes: 1}}", ["pseudo_label.uncertainty.passes=1", "at least 2", "0 for none"]),
        (
            "joint: {method: ups}",
            ["joint.method='ups'", "pseudo_label.uncertainty.passes=0", "use for example 10"],
        ),
        (
            "pseudo_label: {teacher: ensemble, uncertainty: {passes: 4}}",
            ["pseudo_label.uncertainty.passes=4", "pseudo_label.teacher='ensemble'", "use one of them"],
        ),
        (
            f"pseudo_label: {{test_time: {{views: 3, {MOVES}}}, uncertainty: {{passes: 4}}}}",
            ["pseudo_label.uncertainty.passes=4", "pseudo_label.test_time.views=3", "use one of them"],
        ),
        (
            CALIBRATED + "pseudo_label: {uncertainty: {passes: 4}}",
            ["pseudo_label.uncertainty.passes=4", "a calibration", "use one of them"],
        ),
        # class shares
        (
            "joint: {policy: {distribution_alignment: {target: given}}}",
            ["joint.policy.distribution_alignment.shares is empty", "target: given, shares: {cat: 0.3, dog: 0.7}"],
        ),
        (
            "pseudo_label: {distribution_alignment: {shares: {cat: 1}}}",
            ["pseudo_label.distribution_alignment.shares is set, but target='labeled'"],
        ),
        (
            "joint: {policy: {distribution_alignment: {target: given, shares: {0: 0.5, 1: 0.4}}}}",
            ["shares have the sum 0.9", "use shares of sum 1"],
        ),
        (
            "{recipe: graph, model: {name: efficientnet_lite0}, "
            "pseudo_label: {distribution_alignment: {target: estimated}}}",
            ["pseudo_label.distribution_alignment.target='estimated'", "no validation image", "for example 5"],
        ),
        # whose weights a student starts with
        (
            "joint: {start: teacher}\npseudo_label: {teacher: ensemble}",
            ["joint.start='teacher'", "pseudo_label.teacher='ensemble'", "joint.start: fresh", "teacher: baseline"],
        ),
        (
            "joint: {start: teacher}\npseudo_label: {teacher: champion}",
            ["joint.start='teacher'", "pseudo_label.teacher='champion'", "joint.start: fresh", "teacher: baseline"],
        ),
    ],
)
def test_keys_that_do_not_go_together_are_answered_with_both_and_the_way_out(complaint, text, parts):
    message = complaint(text)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "joint: {budget: 100 steps}",
        "baseline: {epochs: 7, budget: 7 steps}",
        "joint: {budget: 0.1s}",  # whatever that is good for
        "joint: {budget: 5 min wall, early_stopping: {keep: last}}",
        "baseline: {augment: {elastic: 0.7, paste: 0.4, reflect: true, randaugment: 2}}",
        "joint: {method: soft, ema_decay: 0.9, policy: {teacher: ema, view: clean, temperature: 0.5}}",
        "joint: {method: freematch, mixup_pseudo_labels: true}",  # without mixup it mixes nothing
        "joint: {method: freematch, mixup: {alpha: 0.5}}",  # of the labeled images alone
        "joint: {method: flexmatch, mixup_pseudo_labels: true, mixup: {alpha: 0.5}}",
        "joint: {method: softmatch, policy: {distribution_alignment: true, ledger_share: 0.5}}",
        "joint: {method: fixmatch, strong_augment: {randaugment: 2, cutout: 0.5}}",
        "data: {name: cifar10}\njoint: {method: fixmatch, strong_augment: {horizontal_flip: true}}",
        f"evaluate: {{test_time: {{views: 3, {MOVES}}}}}",
        f"pseudo_label: {{test_time: {{views: 3, {MOVES}}}}}\n" + CALIBRATED,
        f"evaluate: {{test_time: {{views: 3, {MOVES}}}}}\npseudo_label: {{teacher: ensemble}}",
        "pseudo_label: {teacher: ensemble, distribution_alignment: true}",
        "pseudo_label: {threshold: 0.7, uncertainty: {passes: 10}}\njoint: {method: ups}",
        "pseudo_label: {uncertainty: {passes: 2}}\njoint: {method: threshold}",
        "pseudo_label: {teacher: champion, uncertainty: {passes: 2}}",
        "pseudo_label: {share_per_round: 0.2, threshold: 0}\nrounds: 5",
        "joint: {start: teacher}\nrounds: 3",
        "runtime: {channels_last: true, compile: true, dask: 'tcp://scheduler.example:8786'}",
    ],
)
def test_keys_that_go_together_do(load, text):
    config = load(text)
    assert validate(config.model_dump(mode="json"), source="test") == config


def test_every_method_of_joint_training_goes_with_the_defaults_apart_from_ups_which_needs_passes(load):
    assert len(METHODS.own) == 10
    assert {*METHODS.own} == {*JointConfig.model_json_schema()["properties"]["method"]["enum"]}
    for method in METHODS.own:
        passes = "pseudo_label.uncertainty.passes=10" if method == "ups" else "seed=0"
        assert load("", f"joint.method={method}", passes).joint.method == method


def test_set_reaches_into_a_section_that_may_be_left_out(load):
    config = load("joint: {strong_augment: }", "joint.strong_augment.cutout=0.5")
    assert config.joint.strong_augment == AugmentConfig(cutout=0.5)
    assert load("", "joint.strong_augment.cutout=0.5").joint.strong_augment == AugmentConfig(cutout=0.5)


@pytest.mark.parametrize("override", ["seed=true", "joint.epochs=yes"])
def test_a_truth_value_is_no_number(complaint, override):
    assert override.split("=")[0] in complaint("", override)


@pytest.mark.parametrize("name", ["digits", "mnist", "kmnist", "svhn"])
@pytest.mark.parametrize("stage", ["baseline", "joint"])
def test_images_of_digits_and_letters_are_never_mirrored(complaint, name, stage):
    message = complaint(f"data: {{name: {name}}}", f"{stage}.augment.horizontal_flip=true")
    assert f"{stage}.augment.horizontal_flip=true" in message


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_images_of_things_may_be_mirrored(load, name):
    config = load(f"data: {{name: {name}}}", "baseline.augment.horizontal_flip=true")
    assert config.baseline.augment.horizontal_flip


@pytest.mark.parametrize("override", ["joint.ramp_end=100", "joint.ramp_start=0", "baseline.schedule.milestones=[99]"])
def test_the_largest_legal_value_of_a_rule_between_fields_is_legal(load, override):
    load("", override)


def test_all_mistakes_are_told_at_once(complaint):
    message = complaint(
        "rounds: 0\nmodl: {}\n", "seed=-1", "joint.epochs=0", "joint.ramp_start=5", "joint.optimizer.lr=x"
    )
    parts = ("rounds=0: must", "unknown key 'modl'", "seed=-1: must", "joint.epochs=0: must", "joint.optimizer.lr='x'")
    assert all(message.count(part) == 1 for part in parts)
    assert message.count("--set: ") == 1
    assert "joint.ramp_start=5 is after ramp_end=0" in message  # a rule between keys, asked without the wrong ones
    assert "\n" not in message


def test_a_rule_about_a_wrong_key_is_not_asked(complaint):
    assert "ramp_end" not in complaint("joint: {epochs: many, ramp_end: 150}")


def test_of_many_mistakes_the_first_ten_are_told_and_the_others_counted(complaint):
    message = complaint("", *(f"joint.mistake_{number}=1" for number in range(13)))
    assert message.count("unknown key") == 10
    assert message.endswith("; and 3 more")


@pytest.mark.parametrize("override", ["seed.x=1", "joint.epochs.x=1", "seed=x", "joint={epochs: 0}"])
def test_a_mistake_on_the_command_line_is_not_the_files(complaint, override):
    message = complaint("", override)
    assert message.startswith("--set: ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("seed: [1", "line 1"),
        ("seed: 1\n\tname: x", "line 2"),
        ("seed: 1\nseed: 2", "'seed' is given twice"),
        ("joint:\n  epochs: 1\n  epochs: 2", "line 3: key 'epochs' is given twice"),
        ("seed: \x01", "not valid YAML"),
        ("seed: !!python/object:os.system 1", "line 1"),
        ("seed: 1\n---\nseed: 2", "line 2"),
        ("seed: *nowhere", "line 1"),
        ("seed: 2024-13-45", "not valid YAML"),
        ("[a, b]: 1", "not valid YAML"),
        ("joint: {{a: 1}: 2}", "not valid YAML"),
    ],
)
def test_broken_yaml_is_answered_with_what_is_wrong_and_where(complaint, text, part):
    message = complaint(text)
    assert "usual.yaml" in message
    assert part in message


@pytest.mark.parametrize(("text", "kind"), [("- 1\n- 2", "list"), ("just words", "str"), ("5", "int")])
def test_a_file_that_is_no_mapping_is_answered_with_what_it_is(complaint, text, kind):
    message = complaint(text)
    assert "usual.yaml" in message
    assert f"holds a {kind}" in message


def test_keys_that_are_no_strings_are_refused(complaint):
    assert "keys must be strings" in complaint("1: 2")


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("joint.epochs", "not of the form key=value"),
        ("=5", "not of the form key=value"),
        (" =5", "not of the form key=value"),
        ("", "not of the form key=value"),
        ("joint.epochs=[1", "not valid YAML"),
        ("joint.augment={shift: 0, shift: 0.1}", "given twice"),
        ("joint.augment={[shift]: 0}", "not valid YAML"),
        ("seed.deeper=1", "seed is a value, not a section"),
    ],
)
def test_a_bad_override_is_quoted_and_explained(complaint, override, part):
    message = complaint("seed: 1", override)
    assert repr(override) in message
    assert part in message


@pytest.mark.parametrize("pattern", ["{patient}", "{patient}/…", "*/{scene}/…", "{video}_"])
def test_a_pattern_with_braces_is_answered_with_what_to_type(pattern, complaint, tmp_path):
    message = complaint("data: {name: folder}", f"data.group={pattern}")
    asked = shlex.split(message[message.rindex("--set ") :])
    assert asked[0] == "--set"
    path = tmp_path / "mended.yaml"
    path.write_text("data: {name: folder}")
    assert load_config(path, [asked[1]]).data.group == pattern


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml' does not exist"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        load_config(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with user_mistake(match=r"picture\.yaml' is no text"):
        load_config(tmp_path / "picture.yaml")


def test_an_error_in_plain_values_names_their_source():
    with pytest.raises(UserError, match=r"^flow parameters: seed=-1"):
        validate({"seed": -1}, source="flow parameters")


# --- what a perfect fit ends with -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "spread", "highest"), [(0.1, "all", 0.91), (0.1, "others", 0.9), (0.0, "all", 1), (0.0, "others", 1)]
)
def test_the_highest_target_of_ten_smoothed_classes(epsilon, spread, highest):
    smoothing = LabelSmoothingConfig(epsilon=epsilon, spread=spread)
    assert smoothing.highest_target(10) == pytest.approx(highest)


def test_views_at_test_time_hold_nothing_of_other_images(complaint):
    message = complaint("", "evaluate.test_time={views: 3, augment: {shift: 0.1, paste: 0.4}}")
    for part in ("augment.paste=0.4", "use 0 in test_time"):
        assert part in message


def test_a_budget_without_a_unit_is_told_what_to_write(complaint):
    message = complaint("", "joint.budget=60")
    for part in ("joint.budget", "'60'", "'60s'"):
        assert part in message


# --- bounds -----------------------------------------------------------------------------------------------------------


def numbers_in(schema: dict, section: dict, at: str) -> Iterator[tuple[str, dict]]:
    """(dotted key, its JSON schema) of every number that a section may hold, in lists and among alternatives too."""
    for name, field in section.get("properties", {}).items():
        yield from numbers_of(schema, field, f"{at}{name}")


def numbers_of(schema: dict, field: dict, key: str) -> Iterator[tuple[str, dict]]:
    if "$ref" in field:
        yield from numbers_in(schema, schema["$defs"][field["$ref"].rpartition("/")[2]], f"{key}.")
    elif field.get("type") in {"integer", "number"}:
        yield key, field
    inner = [*field.get("anyOf", []), *field.get("oneOf", []), *field.get("prefixItems", [])]
    for part in inner + ([field["items"]] if isinstance(field.get("items"), dict) else []):
        yield from numbers_of(schema, part, key)


ASKED_OF_THE_DATA = {
    "split.labeled_per_class",
    "split.validation_per_class",
    "split.calibration_images",
    "split.train_rows",
    "split.validation_rows",
    "joint.ramp_start",
    "joint.ramp_end",
}
"""How many there may be, the data set or another key says."""


@pytest.mark.parametrize("kind", [PipelineConfig, RegressionConfig])
def test_every_number_of_a_config_has_two_ends(kind):
    schema = kind.model_json_schema()
    for key, field in numbers_in(schema, schema, ""):
        assert {"minimum", "exclusiveMinimum"} & set(field), key
        ends = {"maximum", "exclusiveMaximum"} & set(field)
        if ends or key in ASKED_OF_THE_DATA:
            continue
        *sections, leaf = key.split(".")  # a number that is 0 or within bounds: JSON's schema cannot say it
        values: dict = {}
        at = values
        for section in sections:
            at = at.setdefault(section, {})
        for absurd in (1e300, 1e-300):
            at[leaf] = absurd
            with pytest.raises(ValidationError, match="use 0 for none, or a number from"):
                kind.model_validate(values)


@pytest.mark.parametrize(
    "override",
    [
        "runtime.threads=100000",
        "joint.unlabeled_batch_size=1000000000000000000000000000000",
        "evaluate.test_time.views=100000",
        "baseline.optimizer.lr=1e-320",
        "model.width=1e-6",
        "model.dropout=0.999",
        "joint.budget=0.0001s",
        "joint.early_stopping.min_delta=1e300",
        "name=.",
        "name=..",
        "promote.model=..",
        "tracking.experiment=' '",
        'data.cache="a\\0b"',
        "runtime.state=" + "a" * 5000,
    ],
)
def test_what_is_impossible_is_refused_in_a_short_line(tmp_path, override):
    (tmp_path / "my.yaml").write_text("seed: 1\n")
    with user_mistake() as caught:
        load_config(tmp_path / "my.yaml", [override])
    assert override.partition("=")[0] in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_control_character_is_named_with_its_key(complaint):
    assert r"data.cache holds the control character '\n'" in complaint("", 'data.cache="a\\nb"')
