"""The joint stage with every method, start and view: what it leaves, whom it trains on, how it begins."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.config.methods import METHODS as REGISTERED
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool
from semisup.errors import UserError
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.stages import joint
from semisup.stages.joint import unlabeled_part
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json
from tests.listening import Listener
from tests.variants import changed

SHORT: dict[str, Any] = {"epochs": 2, "budget": "5 steps", "ramp_start": 0, "ramp_end": 0, "unlabeled_batch_size": 24}
METHODS = REGISTERED.own
ONLINE = [method for method in METHODS if method not in {"threshold", "ups"}]
FILES = {"weights.safetensors", "model.json", "history.parquet", "training.json", "timings.json", "learning_curves.png"}
STRONG = {"reflect": True, "shift": 0.1, "randaugment": 2, "cutout": 0.3}
ALL_OPTIONS: dict[str, Any] = {
    "ema_decay": 0.9,
    "strong_augment": STRONG,
    "augment": {"shift": 0.1, "elastic": 0.3, "paste": 0.3},
    "policy": {
        "teacher": "ema",
        "view": "clean",
        "threshold": 0.5,
        "momentum": 0.9,
        "temperature": 0.5,
        "distribution_alignment": True,
        "ledger_share": 0.5,
    },
}


def of(config: PipelineConfig, method: str, **keys: Any) -> PipelineConfig:
    """The config with a short joint training by that method."""
    return changed(config, joint=SHORT | {"method": method} | keys)


def run(config: PipelineConfig, folders: dict[str, Path], out: Path, **inputs: Path) -> Path:
    """The joint stage's folder."""
    out.mkdir()
    given = {name: folders[name] for name in ("split", "pseudo_label", "baseline")}
    load_stage("joint")(config, given | inputs, out, Silence())
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "timings.json"
    }


class EnoughSeenError(Exception):
    """Ends a stage where training would begin."""


def seen_by_train(config: PipelineConfig, inputs: dict[str, Path], out: Path, monkeypatch: Any) -> dict[str, Any]:
    """What the joint stage hands to the training loop; `weights` are those of its model at the start."""
    seen: dict[str, Any] = {}

    def spy(model: torch.nn.Module, *arguments: Any, **options: Any) -> Any:
        seen.update(options, weights={name: value.clone() for name, value in model.state_dict().items()}, model=model)
        raise EnoughSeenError

    monkeypatch.setattr(joint, "train", spy)
    with pytest.raises(EnoughSeenError):
        joint.run(config, inputs, out, Silence())
    monkeypatch.undo()
    return seen


def plain_inputs(folders: dict[str, Path]) -> dict[str, Path]:
    return {name: folders[name] for name in ("split", "pseudo_label", "baseline")}


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, ALL_OPTIONS], ids=["plain", "all options"])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "ups"])
def test_a_training_by_each_method_spends_its_budget_and_leaves_its_files(
    method, options, tiny_config, stage_folders, tmp_path
):
    out = run(of(tiny_config, method, **options), stage_folders, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == FILES
    history = pd.read_parquet(out / "history.parquet")
    assert history["steps"].tolist() == [3, 5]
    assert history["mask_rate"].between(0, 1).all()
    if method in {"threshold", "online", "soft", "freematch"}:  # freematch begins with a threshold of 1/C
        assert (history["mask_rate"] > 0).all()
    if method in {"threshold", "online", "soft"}:
        assert (history["mask_rate"] == 1).all()
    with torch.inference_mode():
        assert load_model(out)(load_pool("digits").images[:5]).isfinite().all()


def test_the_methods_are_not_one_and_the_same(tiny_config, stage_folders, tmp_path):
    weights = set()
    for method in ("threshold", *ONLINE):
        out = run(of(tiny_config, method, policy={"threshold": 0.3}), stage_folders, tmp_path / method)
        weights.add(digests(out)["weights.safetensors"])
    # Of flexmatch little is left of fixmatch until some images were learned, so one of these may be another's twin.
    assert len(weights) >= len(ONLINE)


@pytest.mark.parametrize("method", ["threshold", "freematch"])
def test_the_same_config_gives_the_same_bytes_with_all_options_at_once(method, tiny_config, stage_folders, tmp_path):
    config = of(tiny_config, method, **ALL_OPTIONS)
    first, second = (run(config, stage_folders, tmp_path / name) for name in ("first", "second"))
    assert digests(first) == digests(second)


@pytest.mark.parametrize(
    ("method", "asked", "view"),
    [(method, None, "same") for method in ("online", "soft")]
    + [(method, None, "weak") for method in ("fixmatch", "flexmatch", "freematch", "softmatch", "adamatch")]
    + [("online", "clean", "clean"), ("soft", "weak", "weak"), ("fixmatch", "same", "same")],
)
def test_unless_asked_for_another_view_the_self_training_methods_look_at_the_students_and_the_others_at_a_weak_one(
    *, method, asked, view, tiny_config, stage_folders, tmp_path, monkeypatch
):
    config = of(tiny_config, method, policy={"view": asked}, strong_augment=STRONG)
    term = seen_by_train(config, plain_inputs(stage_folders), tmp_path, monkeypatch)["unlabeled"]
    assert (term.view, term.teacher) == (view, "self")
    assert term.augment == config.joint.strong_augment


# --- targets ----------------------------------------------------------------------------------------------------------


def part(config: PipelineConfig, folders: dict[str, Path]) -> tuple[Tensor, Any, pd.DataFrame, Split]:
    """Indices, policy, pseudo-label table and split."""
    pseudo_labels = pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")
    split = Split.read(folders["split"] / "split.parquet")
    indices, policy = unlabeled_part(config.joint, split, pseudo_labels, 10, torch.device("cpu"))
    return indices, policy, pseudo_labels, split


@pytest.mark.parametrize("method", ONLINE)
def test_the_online_methods_learn_from_every_unlabeled_image(method, tiny_config, stage_folders):
    indices, _, _, split = part(of(tiny_config, method), stage_folders)
    assert sorted(indices.tolist()) == sorted(split.indices("unlabeled").tolist())


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_targets_are_the_tables_word_and_the_teachers_in_their_shares_and_then_sharpened(
    share, temperature, tiny_config, stage_folders
):
    keys = {"ledger_share": share, "temperature": temperature}
    _, policy, pseudo_labels, _ = part(of(tiny_config, "soft", policy=keys), stage_folders)
    said = torch.rand(7, 10, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    rows = torch.tensor([5, 0, 17, 3, 99, 2, 1])
    _, targets, weights = policy.update(policy.init(len(pseudo_labels), 10), said, rows)
    chosen = pseudo_labels.iloc[rows.tolist()]
    prior = torch.empty(7, 10)
    for place, (label, confidence) in enumerate(zip(chosen["label"], chosen["confidence"], strict=True)):
        prior[place] = (1 - confidence) / 9
        prior[place, label] = confidence
    powers = (share * prior + (1 - share) * said) ** (1 / temperature)
    torch.testing.assert_close(targets, powers / powers.sum(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert weights.tolist() == [1.0] * 7


GIVEN = {str(name): 0.3 if name == 3 else 0.7 / 9 for name in range(10)}


@pytest.mark.parametrize("target", [True, "labeled", "uniform", "given", "estimated"])
def test_distribution_alignment_scales_by_the_shares_of_its_target_over_the_running_mean(
    target, tiny_config, stage_folders, tmp_path, monkeypatch
):
    more = {"shares": GIVEN} if target == "given" else {}
    aligned = target if target is True else {"target": target} | more
    config = of(tiny_config, "soft", policy={"distribution_alignment": aligned, "momentum": 0.9})
    split = Split.read(stage_folders["split"] / "split.parquet")
    policy = seen_by_train(config, plain_inputs(stage_folders), tmp_path, monkeypatch)["unlabeled"].policy
    said = torch.rand(7, 10, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    state, targets, _ = policy.update(policy.init(100, 10), said, torch.arange(7))
    labeled = torch.bincount(split.labels("labeled"), minlength=10) / len(split.labels("labeled"))
    expected = {"uniform": torch.full((10,), 0.1), "given": torch.tensor(list(GIVEN.values()))}.get(target, labeled)
    if target == "estimated":
        expected = state["class_shares"]
        truth = torch.bincount(load_pool("digits").labels[split.indices("unlabeled")], minlength=10).double()
        assert (expected - truth / truth.sum()).abs().sum() / 2 < 0.25  # of a network of some steps
        assert (expected - labeled).abs().max() > 1e-3
    scaled = said * expected / said.mean(dim=0)
    torch.testing.assert_close(targets, scaled / scaled.sum(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)


def test_shares_that_the_pool_does_not_have_are_told_with_the_estimate_and_kept_beside_the_training(
    tiny_config, stage_folders, tmp_path
):
    log = Listener()
    given = {str(name): 0.91 if name == 3 else 0.01 for name in range(10)}
    alignment = {"target": "given", "shares": given}
    config = of(tiny_config, "soft", policy={"distribution_alignment": alignment, "momentum": 0.5})
    (tmp_path / "out").mkdir()
    load_stage("joint")(config, plain_inputs(stage_folders), tmp_path / "out", log)
    (warning,) = [line for line in log.warnings if "distribution_alignment" in line]
    for part_ in ("aims at the given shares", "class '3' has 91.0% of them", "target: estimated"):
        assert part_ in warning
    found = read_json(tmp_path / "out" / "training.json")["alignment"]
    assert found["target"] == "given"
    assert found["shares"] == pytest.approx(list(given.values()))
    assert found["low"][3] <= found["estimate"][3] <= found["high"][3] < 0.5
    assert sum(found["estimate"]) == pytest.approx(1)


def test_shares_of_other_classes_are_refused_with_the_names_of_these(tiny_config, stage_folders, tmp_path):
    alignment = {"target": "given", "shares": {"cat": 0.5, "dog": 0.5}}
    config = of(tiny_config, "soft", policy={"distribution_alignment": alignment})
    with pytest.raises(UserError, match=r"distribution_alignment.shares: it has no class '0'; .* of 0, 1, 2"):
        run(config, stage_folders, tmp_path / "out")


# --- the start --------------------------------------------------------------------------------------------------------


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_model(folder).state_dict()


@pytest.mark.parametrize("teacher", ["baseline", "joint"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_student_that_starts_with_its_teachers_weights_has_exactly_these(
    *, teacher, channels_last, tiny_config, stage_folders, tmp_path, monkeypatch
):
    config = changed(of(tiny_config, "threshold", start="teacher"), runtime={"channels_last": channels_last})
    inputs = plain_inputs(stage_folders) | {"teacher": stage_folders[teacher]}
    seen = seen_by_train(config, inputs, tmp_path, monkeypatch)
    expected = weights_of(stage_folders[teacher])
    assert seen["weights"].keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in seen["weights"].items())


def test_a_fresh_student_has_nothing_of_its_teacher(tiny_config, stage_folders, tmp_path, monkeypatch):
    seen = seen_by_train(of(tiny_config, "threshold"), plain_inputs(stage_folders), tmp_path, monkeypatch)
    teacher = weights_of(stage_folders["baseline"])
    matrices = [name for name, value in teacher.items() if value.ndim >= 2 and name.endswith("weight")]
    assert matrices
    assert not any(torch.equal(seen["weights"][name], teacher[name]) for name in matrices)


def test_a_student_that_starts_with_its_teachers_weights_is_as_good_before_it_has_learned(
    tiny_config, stage_folders, tmp_path
):
    keys = {"start": "teacher", "epochs": 1, "budget": "1 step", "optimizer": {"lr": 1e-9}}
    config = of(tiny_config, "threshold", **keys)
    out = run(config, stage_folders, tmp_path / "out", teacher=stage_folders["baseline"])
    baseline = weights_of(stage_folders["baseline"])
    for name, value in weights_of(out).items():
        if "running" not in name and value.is_floating_point():  # batch norm has seen one batch
            torch.testing.assert_close(value, baseline[name], atol=1e-6, rtol=0)


# --- memory format ----------------------------------------------------------------------------------------------------


def test_channels_last_is_another_layout_of_the_same_network(tiny_config, stage_folders, tmp_path, monkeypatch):
    usual = of(tiny_config, "threshold", epochs=1, budget="3 steps")
    config = changed(usual, runtime={"channels_last": True})
    model = seen_by_train(config, plain_inputs(stage_folders), tmp_path, monkeypatch)["model"]
    filters = [value for value in model.parameters() if value.ndim == 4 and min(value.shape[1:]) > 1]
    assert filters
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in filters)
    first, second = (run(each, stage_folders, tmp_path / name) for each, name in ((usual, "a"), (config, "b")))
    for name in ("train_loss", "validation_loss"):
        ours, theirs = (pd.read_parquet(folder / "history.parquet")[name].tolist() for folder in (first, second))
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert read_json(first / "model.json") == read_json(second / "model.json")
    assert weights_of(first).keys() == weights_of(second).keys()


class Crash(BaseException):
    """What ends a stage in the middle, in place of a signal."""


class Crashing(Silence):
    """A log that raises when it hears of an epoch."""

    def metrics(self, values: Any, step: int | None = None) -> None:
        if step == 2:
            raise Crash


@pytest.mark.parametrize("start", ["fresh", "baseline"])
def test_a_student_in_channels_last_that_crashed_and_is_run_again_leaves_the_same_bytes(
    start, tiny_config, stage_folders, tmp_path
):
    config = changed(of(tiny_config, "freematch", start=start, **ALL_OPTIONS), runtime={"channels_last": True})
    inputs = {"teacher": stage_folders["baseline"]} if start == "baseline" else {}
    expected = run(config, stage_folders, tmp_path / "expected", **inputs)
    out = tmp_path / "out"
    out.mkdir()
    stage = load_stage("joint", tmp_path / "checkpoints")
    with pytest.raises(Crash):
        stage(config, plain_inputs(stage_folders) | inputs, out, Crashing())
    stage(config, plain_inputs(stage_folders) | inputs, out, Silence())
    assert digests(out) == digests(expected)


@pytest.mark.parametrize(("key", "value"), [("width", 2.0), ("dropout", 0.3), ("deskew", True)])
def test_a_teacher_built_otherwise_cannot_hand_its_weights_on(key, value, tiny_config, stage_folders, tmp_path):
    config = changed(tiny_config, joint={"start": "baseline"}, model={key: value})
    with pytest.raises(UserError, match=rf"joint.start='baseline', but model.{key} is {value!r}"):
        run(config, stage_folders, tmp_path / "out", teacher=stage_folders["baseline"])
