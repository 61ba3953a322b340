"""What the machine and the images cannot do is said in one line, before anything starts."""

import pytest

from semisup.config import PipelineConfig
from semisup.config.files import validate
from semisup.errors import UserError
from semisup.stages.preflight import feasible
from semisup.stages.preflight.check import check
from tests.mistakes import user_mistake

CPU = {"runtime": {"device": "cpu"}}


def digits(**sections) -> PipelineConfig:
    return validate(CPU | sections, source="test")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"split": {"calibration_images": 1096}, "calibrate": {"method": "temperature"}},
            "split.calibration_images=1096 leaves 1 of 1,097 images unlabeled",
        ),
        (
            {
                "split": {"calibration_images": 1087},
                "calibrate": {"method": "temperature"},
                "pseudo_label": {"unknown": {"false_alarms": 0.05}},
            },
            "pseudo_label.unknown.false_alarms=0.05, but 10 unlabeled images are too few",
        ),
        (
            {"joint": {"batch_size": 65_536}},
            "joint.batch_size=65536, but there are 100 labeled images; use at most 1024",
        ),
        ({"baseline": {"batch_size": 1_025}}, "baseline.batch_size=1025"),
        ({"joint": {"unlabeled_batch_size": 65_536}}, "1,097 unlabeled images; use at most 10970"),
        (
            {"joint": {"label_smoothing": {"epsilon": 0.9, "spread": "others"}}},
            "joint.label_smoothing.epsilon=0.9, spread over the other 9 classes",
        ),
    ],
)
def test_what_the_images_cannot_do_is_refused_with_the_way_out(sections, said):
    with user_mistake() as caught:
        check(digits(**sections))
    assert said in str(caught.value)
    assert "use " in str(caught.value)


def test_the_largest_batch_that_is_allowed_is():
    assert check(digits(joint={"batch_size": 1_024, "unlabeled_batch_size": 10_970})).warnings == []


@pytest.mark.parametrize("memory", [10_000, 3_000_000])
def test_a_network_or_a_step_that_memory_cannot_hold_is_refused(monkeypatch, memory):
    """small_cnn has 65,434 weights: four copies of float32 take 1.05 MB, a step of 1,024 images more than 3 MB."""
    monkeypatch.setattr(feasible, "_memory", lambda config: memory)
    with pytest.raises(
        UserError, match=r"model\.width=1: small_cnn" if memory < 1_000_000 else "a step with 1,120 images"
    ):
        check(digits(joint={"batch_size": 1_024}))


def test_an_unusually_wide_network_is_measured_before_it_takes_memory(monkeypatch):
    built = []
    monkeypatch.setattr(feasible, "_memory", lambda config: 10_000)
    monkeypatch.setattr("semisup.stages.preflight.check.network", lambda *args, **options: built.append(args))
    with pytest.raises(UserError, match=r"model\.width=16"):
        check(digits(model={"width": 16}))
    assert built == []


def test_more_processes_than_processors_are_refused(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    wide = {"batch_size": 64}
    with pytest.raises(UserError, match="more than this machine has processors; use at most 6"):
        check(digits(baseline=wide, joint=wide, runtime={"device": "cpu", "processes": 7}))
    check(digits(baseline=wide, joint=wide, runtime={"device": "cpu", "processes": 6}))
