"""The plan: which steps a config makes, in an order in which each finds what it reads."""

from itertools import product

import pytest

from semisup.config import PipelineConfig
from semisup.config.regression import RegressionConfig
from semisup.pipeline.plan import CHAMPION, Step, plan
from semisup.pipeline.specs import SPECS, STAGES

VARIANTS = [
    pytest.param(rounds, teacher, enabled, champion, id=f"{rounds}-{teacher}-{enabled=}-{champion=}")
    for rounds, teacher, enabled, champion in product((1, 3), ("baseline", "champion"), (True, False), (True, False))
]


def plan_of(rounds: int = 1, teacher: str = "baseline", enabled: bool = True, champion: bool = False) -> list[Step]:
    values = {"rounds": rounds, "pseudo_label": {"teacher": teacher}, "promote": {"enabled": enabled}}
    return list(plan(PipelineConfig.model_validate(values), champion=champion))


def upstream_of(steps: list[Step]) -> dict[str, dict[str, str]]:
    return {step.name: dict(step.upstream) for step in steps}


@pytest.mark.parametrize(("rounds", "teacher", "enabled", "champion"), VARIANTS)
def test_every_step_has_a_name_of_its_own_and_reads_only_earlier_ones(rounds, teacher, enabled, champion):
    known = {CHAMPION}  # left by an earlier pipeline, or by none
    for step in plan_of(rounds, teacher, enabled, champion):
        assert step.name not in known
        assert step.stage in STAGES
        assert step.name.partition("-")[0] == step.stage
        assert set(step.upstream.values()) <= known
        known.add(step.name)


@pytest.mark.parametrize(("rounds", "teacher", "enabled", "champion"), VARIANTS)
def test_every_stage_is_there_once_or_once_a_round(rounds, teacher, enabled, champion):
    stages = [step.stage for step in plan_of(rounds, teacher, enabled, champion)]
    once_a_round = dict.fromkeys(("pseudo_label", "joint"), rounds)
    expected = dict.fromkeys(("split", "baseline", "evaluate"), 1) | once_a_round | ({"promote": 1} if enabled else {})
    assert {stage: stages.count(stage) for stage in set(stages)} == expected


def test_one_round_is_the_stages_in_their_order():
    steps = plan_of()
    assert all(step.name == step.stage for step in steps)
    assert [step.name for step in steps] == ["split", "baseline", "pseudo_label", "joint", "evaluate", "promote"]
    assert upstream_of(steps) == {
        "split": {},
        "baseline": {"split": "split"},
        "pseudo_label": {"split": "split", "teacher": "baseline"},
        "joint": {"split": "split", "pseudo_label": "pseudo_label"},
        "evaluate": {"split": "split", "baseline": "baseline", "pseudo_label": "pseudo_label", "joint": "joint"},
        "promote": {"evaluate": "evaluate", CHAMPION: CHAMPION},
    }


def test_each_student_is_the_teacher_of_the_next_round_and_the_last_one_is_evaluated():
    upstream = upstream_of(plan_of(rounds=3))
    assert upstream["pseudo_label-2"] == {"split": "split", "teacher": "joint", "previous": "pseudo_label"}
    assert upstream["pseudo_label-3"] == {"split": "split", "teacher": "joint-2", "previous": "pseudo_label-2"}
    assert upstream["joint-3"] == {"split": "split", "pseudo_label": "pseudo_label-3"}
    last = {"pseudo_label": "pseudo_label-3", "joint": "joint-3"}
    assert upstream["evaluate"] == {"split": "split", "baseline": "baseline"} | last


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
    before_evaluate = [step.name for step in two].index("evaluate")
    assert two[:before_evaluate] == three[:before_evaluate]
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
    assert upstream["calibrate"] == {"split": "split", "teacher": "baseline", "baseline": "baseline"}
    assert upstream["calibrate-2"] == {"split": "split", "teacher": "joint", "baseline": "baseline"}
    for suffix in ("", "-2"):
        assert upstream[f"pseudo_label{suffix}"]["calibrate"] == f"calibrate{suffix}"
        assert names.index(f"calibrate{suffix}") < names.index(f"pseudo_label{suffix}")
    assert upstream["evaluate"]["calibrate"] == "calibrate-2"


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
