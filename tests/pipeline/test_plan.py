"""The plan: which steps a config makes, in an order in which each finds what it reads."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import pytest

from semisup.config import PipelineConfig
from semisup.config.methods import METHODS
from semisup.config.regression import RegressionConfig
from semisup.pipeline.plan import CHAMPION, KEPT, Step, inputs_of, kept_step, plan
from semisup.pipeline.specs import SPECS, STAGES, StageSpec

VARIANTS = [
    pytest.param(rounds, teacher, enabled, champion, id=f"{rounds}-{teacher}-{enabled=}-{champion=}")
    for rounds, teacher, enabled, champion in product((1, 3), ("baseline", "champion"), (True, False), (True, False))
]


def without_added(steps: Iterable[Step]) -> list[Step]:
    """The steps but those of stages that somebody has added behind one of them: the laws here are of the rest."""
    return [step for step in steps if step.spec.follows is None or step.stage in {"choose", "promote"}]


def plan_of(rounds: int = 1, teacher: str = "baseline", enabled: bool = True, champion: bool = False) -> list[Step]:
    values = {"rounds": rounds, "pseudo_label": {"teacher": teacher}, "promote": {"enabled": enabled}}
    return without_added(plan(PipelineConfig.model_validate(values), champion=champion))


def upstream_of(steps: list[Step]) -> dict[str, dict[str, str]]:
    return {step.name: dict(step.upstream) for step in steps}


@pytest.mark.parametrize(("rounds", "teacher", "enabled", "champion"), VARIANTS)
def test_every_step_has_a_name_of_its_own_and_reads_only_earlier_ones(rounds, teacher, enabled, champion):
    known = {CHAMPION}  # left by an earlier pipeline, or by none
    for step in plan_of(rounds, teacher, enabled, champion):
        known |= {KEPT} if "keep" in known else set()
        assert step.name not in known
        assert step.stage in STAGES
        assert step.name.partition("-")[0] == step.stage
        assert set(step.upstream.values()) <= known
        known.add(step.name)


@pytest.mark.parametrize(("rounds", "teacher", "enabled", "champion"), VARIANTS)
def test_every_stage_is_there_once_or_once_a_round(rounds, teacher, enabled, champion):
    stages = [step.stage for step in plan_of(rounds, teacher, enabled, champion)]
    once_a_round = dict.fromkeys(("pseudo_label", "joint"), rounds)
    expected = (
        dict.fromkeys(("split", "baseline", "keep", "labels", "evaluate"), 1)
        | once_a_round
        | ({"promote": 1} if enabled else {})
    )
    assert {stage: stages.count(stage) for stage in set(stages)} == expected


def test_one_round_is_the_stages_in_their_order():
    steps = plan_of()
    assert all(step.name == step.stage for step in steps)
    names = ["split", "baseline", "pseudo_label", "joint", "keep", "labels", "evaluate", "promote"]
    assert [step.name for step in steps] == names
    assert upstream_of(steps) == {
        "split": {},
        "baseline": {"split": "split"},
        "pseudo_label": {"split": "split", "teacher": "baseline"},
        "joint": {"split": "split", "pseudo_label": "pseudo_label"},
        "keep": {"split": "split", "baseline": "baseline", "joint": "joint"},
        "labels": {"split": "split", "kept": KEPT},
        "evaluate": {name: name for name in names[:-2]},
        "promote": {"evaluate": "evaluate", CHAMPION: CHAMPION},
    }


def test_each_student_is_the_teacher_of_the_next_round_and_the_last_one_is_evaluated():
    upstream = upstream_of(plan_of(rounds=3))
    assert upstream["pseudo_label-2"] == {"split": "split", "teacher": "joint", "previous": "pseudo_label"}
    assert upstream["pseudo_label-3"] == {"split": "split", "teacher": "joint-2", "previous": "pseudo_label-2"}
    assert upstream["joint-3"] == {"split": "split", "pseudo_label": "pseudo_label-3"}
    last = {"split": "split", "baseline": "baseline", "joint": "joint-3"}
    assert upstream["keep"] == last
    assert upstream["evaluate"] == last | {"pseudo_label": "pseudo_label-3", "keep": "keep", "labels": "labels"}


@pytest.mark.parametrize(
    ("teacher", "champion", "expected"),
    [
        ("baseline", False, "baseline"),
        ("baseline", True, "baseline"),
        ("champion", False, "baseline"),
        ("champion", True, CHAMPION),
    ],
)
def test_a_champion_teaches_where_it_is_asked_for_and_there_is_one_and_in_the_first_round_only(
    teacher, champion, expected
):
    upstream = upstream_of(plan_of(2, teacher, champion=champion))
    assert upstream["pseudo_label"]["teacher"] == expected
    assert upstream["pseudo_label-2"]["teacher"] == "joint"


@pytest.mark.parametrize("teacher", ["baseline", "champion"])
def test_a_new_model_is_judged_against_the_champion_that_there_is(teacher):
    assert upstream_of(plan_of(1, teacher, champion=True))["promote"] == {"evaluate": "evaluate", CHAMPION: CHAMPION}


def test_the_first_steps_are_the_same_for_any_number_of_rounds():
    # So that a pipeline given one more round finds all earlier ones in the store.
    two, three = plan_of(rounds=2), plan_of(rounds=3)
    before_keeping = [step.name for step in two].index("keep")
    assert two[:before_keeping] == three[:before_keeping]
    for stage in ("split", "baseline", "pseudo_label", "joint"):
        assert "rounds" not in SPECS[stage].sections


def test_every_stage_says_which_sections_it_looks_at_and_they_exist():
    kinds = {"regression_fit": RegressionConfig, "regression_evaluate": RegressionConfig}
    assert set(SPECS) == {*STAGES, *kinds}
    for stage, sections in ((name, spec.sections) for name, spec in SPECS.items()):
        assert set(sections) <= set(kinds.get(stage, PipelineConfig).model_fields)


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_student_that_starts_with_its_teachers_weights_has_that_teacher_among_its_inputs(calibrated):
    values = {"calibrate": {"method": "temperature"}, "split": {"calibration_images": 50}} if calibrated else {}
    fresh = PipelineConfig.model_validate({"rounds": 3, **values})
    started = PipelineConfig.model_validate({"rounds": 3, "joint": {"start": "teacher"}, **values})
    upstream, usual = upstream_of(list(plan(started))), upstream_of(list(plan(fresh)))
    teachers = {"joint": "baseline", "joint-2": "joint", "joint-3": "joint-2"}
    for student, teacher in teachers.items():
        assert upstream[student] == usual[student] | {"teacher": teacher}
        assert upstream[student]["teacher"] == upstream[student.replace("joint", "pseudo_label")]["teacher"]
    assert {name: inputs for name, inputs in upstream.items() if name not in teachers} == {
        name: inputs for name, inputs in usual.items() if name not in teachers
    }


# --- students that label at every step -------------------------------------------------------------------------------


def plan_of_method(method: str, **values: object) -> list[Step]:
    joint = {"method": method, **values.pop("joint", {})}  # type: ignore[dict-item]
    return without_added(plan(PipelineConfig.model_validate({"joint": joint, **values})))


@pytest.mark.parametrize("method", [name for name in METHODS.own if METHODS[name].learns_from == "images"])
def test_for_a_method_that_labels_at_every_step_the_only_pass_is_that_of_the_model_that_is_kept(method):
    steps = plan_of_method(method)
    assert [step.name for step in steps] == ["split", "baseline", "joint", "keep", "labels", "evaluate", "promote"]
    assert upstream_of(steps)["joint"] == {"split": "split"}
    assert "pseudo_label" not in upstream_of(steps)["evaluate"]


@pytest.mark.parametrize("method", [name for name in METHODS.own if METHODS[name].learns_from != "images"])
def test_a_method_that_learns_from_the_table_has_one_before_its_training(method):
    passes = {"pseudo_label": {"uncertainty": {"passes": 2}}} if METHODS[method].learns_negatives else {}
    names = [step.name for step in plan_of_method(method, **passes)]
    assert names.index("pseudo_label") < names.index("joint") < names.index("labels")


def test_a_share_of_the_table_in_the_targets_needs_the_table():
    steps = plan_of_method("fixmatch", joint={"policy": {"ledger_share": 0.5}}, rounds=2)
    assert upstream_of(steps)["joint-2"] == {"split": "split", "pseudo_label": "pseudo_label-2"}


def test_a_student_that_starts_with_its_teachers_weights_reads_no_share_of_a_table():
    shared = {"start": "baseline", "policy": {"ledger_share": 0.5}}
    upstream = upstream_of(plan_of_method("fixmatch", joint=shared, rounds=2))
    assert upstream["joint"] == {"split": "split", "teacher": "baseline"}
    assert upstream["joint-2"] == {"split": "split", "pseudo_label": "pseudo_label-2"}
    assert "pseudo_label" not in upstream_of(plan_of_method("fixmatch", joint=shared))


def test_rounds_that_would_take_nothing_from_the_one_before_are_not_run():
    assert plan_of_method("fixmatch", rounds=3) == plan_of_method("fixmatch")
    started = plan_of_method("fixmatch", rounds=3, joint={"start": "teacher"})
    assert [step.name for step in started if step.stage == "joint"] == ["joint", "joint-2", "joint-3"]
    assert upstream_of(started)["joint-3"] == {"split": "split", "teacher": "joint-2"}


def test_no_ensemble_is_trained_that_would_teach_nobody():
    teacher = {"pseudo_label": {"teacher": "ensemble"}}
    assert plan_of_method("online", **teacher) == plan_of_method("online")


def test_a_model_that_is_kept_is_calibrated_before_it_labels_whatever_the_method():
    calibrated = {"calibrate": {"method": "temperature"}, "split": {"calibration_images": 50}}
    names = [step.name for step in plan_of_method("freematch", **calibrated)]
    assert names[2:6] == ["joint", "keep", "calibrate-kept", "labels"]


@pytest.mark.parametrize(("model", "step"), [("baseline", "baseline"), ("student", "joint-2")])
def test_the_model_that_labels_in_the_end_is_the_one_that_keep_names(tmp_path, model, step):
    config = PipelineConfig.model_validate({"rounds": 2})
    folders = {name: tmp_path / name for name in ("split", "baseline", "joint", "joint-2", "keep")}
    folders["keep"].mkdir()
    (folders["keep"] / "kept.json").write_text(f'{{"model": "{model}"}}')
    labels = next(step for step in plan(config) if step.name == "labels")
    assert inputs_of(labels, config, folders) == {"split": folders["split"], "kept": folders[step]}
    assert kept_step(config, model) == step


# --- calibration and ensembles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [{"calibrate": {"method": "temperature"}}, {"pseudo_label": {"threshold": {"target_precision": 0.9}}}],
    ids=["temperature", "certified"],
)
def test_every_teacher_is_calibrated_before_it_labels_where_that_is_asked_for(asked):
    config = PipelineConfig.model_validate({"rounds": 2, "split": {"calibration_images": 50}, **asked})
    steps = list(plan(config))
    names, upstream = [step.name for step in steps], upstream_of(steps)
    compares = {"baseline": "baseline"} if "pseudo_label" in asked else {}  # only a certificate is about the pool
    assert upstream["calibrate"] == {"split": "split", "teacher": "baseline"} | compares
    assert upstream["calibrate-2"] == {"split": "split", "teacher": "joint"} | compares
    for suffix in ("", "-2"):
        assert upstream[f"pseudo_label{suffix}"]["calibrate"] == f"calibrate{suffix}"
        assert names.index(f"calibrate{suffix}") < names.index(f"pseudo_label{suffix}")
    assert upstream["calibrate-kept"] == {"split": "split", "kept": KEPT} | compares
    assert upstream["labels"]["calibrate"] == upstream["evaluate"]["calibrate"] == "calibrate-kept"


def test_an_ensemble_that_teaches_is_trained_in_the_first_round_and_calibrated_like_any_teacher():
    values = {"teacher": "ensemble", "threshold": {"target_precision": 0.9}}
    config = PipelineConfig.model_validate(
        {"rounds": 2, "pseudo_label": values, "ensemble": {"members": 3}, "split": {"calibration_images": 50}}
    )
    upstream = upstream_of(list(plan(config)))
    assert upstream["ensemble"] == {"split": "split"} | {f"member-{k}": f"member-{k}" for k in (1, 2, 3)}
    assert upstream["calibrate"]["teacher"] == upstream["pseudo_label"]["teacher"] == "ensemble"
    assert upstream["calibrate-2"]["teacher"] == upstream["pseudo_label-2"]["teacher"] == "joint"


@pytest.mark.parametrize(("method", "before"), [("bagging", {}), ("boosting", {"previous": "member-1"})])
def test_bagged_members_are_independent_and_boosted_ones_a_chain(method, before):
    config = PipelineConfig.model_validate(
        {"pseudo_label": {"teacher": "ensemble"}, "ensemble": {"method": method, "members": 2}}
    )
    members = [step for step in plan(config) if step.stage == "member"]
    assert [member.number for member in members] == [1, 2]
    assert upstream_of(members) == {"member-1": {"split": "split"}, "member-2": {"split": "split"} | before}


def test_the_baseline_looks_for_unknown_images_in_every_round_where_that_is_asked_for():
    asked = PipelineConfig.model_validate({"rounds": 2, "pseudo_label": {"unknown": {"false_alarms": 0.05}}})
    for name in ("pseudo_label", "pseudo_label-2"):
        assert upstream_of(list(plan(asked)))[name]["baseline"] == "baseline"
        assert "baseline" not in upstream_of(list(plan(PipelineConfig(rounds=2))))[name]


# --- stages whose spec says where they stand --------------------------------------------------------------------------


def test_a_stage_that_follows_a_step_stands_behind_it_and_reads_the_steps_of_its_inputs_names(monkeypatch):
    first, second = (
        StageSpec(name, "nowhere", sections=(), inputs=inputs, follows=follows)  # type: ignore[arg-type]
        for name, inputs, follows in (
            ("even_so", ("labels", "split"), "labels"),
            ("even_more", ("even_so", "kept"), "even_so"),
        )
    )
    never = replace(first, name="never", when=lambda config: config.seed == 1)
    monkeypatch.setattr("semisup.pipeline.plan.SPECS", SPECS | {spec.name: spec for spec in (second, never, first)})
    steps = list(plan(PipelineConfig()))
    around = [step.name for step in steps if step.name in {"labels", "evaluate"} or step.name.startswith("even_")]
    assert around == ["labels", "even_so", "even_more", "evaluate"]
    assert upstream_of(steps)["even_so"] == {"labels": "labels", "split": "split"}
    assert upstream_of(steps)["even_more"] == {"even_so": "even_so", "kept": KEPT}
    assert "never" in [step.name for step in plan(PipelineConfig(seed=1))]
