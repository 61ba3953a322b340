"""Warnings: said when a legal config cannot work well, and silent otherwise."""

import pytest

from semisup.checks import config_warnings, pseudo_label_warnings
from semisup.config import PipelineConfig
from semisup.config_files import validate


def warnings_of(num_classes: int = 10, **sections) -> list[str]:
    return config_warnings(validate(sections, source="test"), num_classes)


def smoothed(epsilon: float, threshold: float, spread: str = "all", method: str = "threshold") -> dict:
    return {
        "baseline": {"label_smoothing": {"epsilon": epsilon, "spread": spread}},
        "pseudo_label": {"threshold": threshold},
        "joint": {"method": method},
    }


def test_the_defaults_are_worth_no_warning():
    assert config_warnings(PipelineConfig(), 10) == []


@pytest.mark.parametrize(
    ("epsilon", "spread", "threshold"),
    [(0.1, "all", 0.95), (0.1, "all", 0.92), (0.1, "others", 0.905), (0.5, "others", 0.6)],
)
def test_a_threshold_that_label_smoothing_can_never_reach_is_warned_of(epsilon, spread, threshold):
    (warning,) = warnings_of(**smoothed(epsilon, threshold, spread))
    assert f"pseudo_label.threshold={threshold}" in warning
    assert f"baseline.label_smoothing.epsilon={epsilon}" in warning
    assert "\n" not in warning


@pytest.mark.parametrize(
    ("epsilon", "spread", "threshold"),
    [(0.1, "all", 0.905), (0.1, "others", 0.89), (0.0, "all", 1.0), (0, "all", 0.99)],
)
def test_a_threshold_within_reach_is_not_warned_of(epsilon, spread, threshold):
    assert warnings_of(**smoothed(epsilon, threshold, spread)) == []


def test_the_reach_of_smoothing_over_all_depends_on_the_number_of_classes():
    # 1 - 0.2 + 0.2/2 = 0.9 with two classes, 0.82 with ten.
    assert warnings_of(num_classes=2, **smoothed(0.2, 0.85)) == []
    assert len(warnings_of(num_classes=10, **smoothed(0.2, 0.85))) == 1


def test_the_online_method_has_no_threshold_to_reach():
    assert warnings_of(**smoothed(0.1, 0.99, method="online")) == []


def test_smoothing_of_the_student_alone_leaves_the_threshold_within_reach():
    assert warnings_of(joint={"label_smoothing": {"epsilon": 0.3}}, pseudo_label={"threshold": 0.99}) == []


def test_pseudo_labels_without_weight_are_warned_of():
    (warning,) = warnings_of(joint={"alpha_final": 0})
    assert "joint.alpha_final=0" in warning


def test_every_reason_gets_a_line_of_its_own():
    sections = smoothed(0.1, 0.99)
    sections["joint"]["alpha_final"] = 0
    assert len(warnings_of(**sections)) == 2


def summary(accepted_per_class: list[int], threshold: float = 0.95) -> dict:
    return {"accepted": sum(accepted_per_class), "accepted_per_class": accepted_per_class, "threshold": threshold}


def test_no_accepted_image_is_warned_of_with_the_threshold():
    (warning,) = pseudo_label_warnings(summary([0, 0, 0], threshold=0.99))
    assert "pseudo_label.threshold=0.99" in warning


@pytest.mark.parametrize("per_class", [[0, 7, 0], [1, 0, 0]])
def test_pseudo_labels_of_a_single_class_are_warned_of(per_class):
    (warning,) = pseudo_label_warnings(summary(per_class))
    assert "one class" in warning


@pytest.mark.parametrize("per_class", [[0, 7, 1], [5, 5, 5]])
def test_pseudo_labels_of_several_classes_are_not_warned_of(per_class):
    assert pseudo_label_warnings(summary(per_class)) == []


def test_rounds_of_a_method_without_a_teacher_are_a_warning():
    online = PipelineConfig.model_validate({"rounds": 2, "joint": {"method": "online"}})
    (warning,) = config_warnings(online, 10)
    assert "rounds=2" in warning
    assert config_warnings(PipelineConfig.model_validate({"rounds": 2}), 10) == []
