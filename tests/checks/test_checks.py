"""Warnings: said when a legal config cannot work well, and silent otherwise."""

from typing import Any

import pytest
from scipy.stats import binomtest

from semisup.checks.warnings import config_warnings, final_label_warnings, pseudo_label_warnings, training_warnings
from semisup.config import JointConfig, PipelineConfig, PolicyConfig
from semisup.config.files import validate


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
    enough = {"split": {"validation_per_class": 100}}
    assert warnings_of(num_classes=2, **smoothed(0.2, 0.85), **enough) == []
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


def summary(
    accepted_per_class: list[int],
    threshold: float = 0.95,
    predicted: list[int] | None = None,
    labeled: list[int] | None = None,
) -> dict:
    return {
        "accepted": sum(accepted_per_class),
        "accepted_per_class": accepted_per_class,
        "threshold": threshold,
        "class_names": [f"class {number}" for number in range(len(accepted_per_class))],
        "predicted_per_class": predicted or [100] * len(accepted_per_class),
        "validation_per_class": labeled or [10] * len(accepted_per_class),
    }


ACCEPTING, WEIGHING = (
    PipelineConfig.model_validate({"joint": {"method": m}}).joint for m in ("threshold", "confidence")
)
"""Students that learn from accepted labels, and those that weigh every label of the table."""


def test_no_accepted_image_is_warned_of_with_the_threshold():
    (warning,) = pseudo_label_warnings(summary([0, 0, 0], threshold=0.99), ACCEPTING)
    assert "pseudo_label.threshold=0.99" in warning


@pytest.mark.parametrize("per_class", [[0, 7, 0], [1, 0, 0]])
def test_pseudo_labels_of_a_single_class_are_warned_of(per_class):
    (warning,) = pseudo_label_warnings(summary(per_class), ACCEPTING)
    assert "one class" in warning


@pytest.mark.parametrize("per_class", [[0, 7, 1], [5, 5, 5]])
def test_pseudo_labels_of_several_classes_are_not_warned_of(per_class):
    assert pseudo_label_warnings(summary(per_class), ACCEPTING) == []


@pytest.mark.parametrize("per_class", [[0, 7, 0], [0, 0, 0]])
def test_what_is_accepted_is_no_news_to_a_student_that_weighs_every_label(per_class):
    assert pseudo_label_warnings(summary(per_class, predicted=[40, 7, 3]), WEIGHING, drift=False) == []
    (warning,) = pseudo_label_warnings(summary(per_class, predicted=[0, 50, 0]), WEIGHING, drift=False)
    assert "all pseudo-labels are of one class" in warning


def test_rounds_of_a_method_without_a_teacher_are_a_warning():
    online = PipelineConfig.model_validate({"rounds": 2, "joint": {"method": "online"}})
    (warning,) = config_warnings(online, 10)
    assert "rounds=2" in warning
    assert config_warnings(PipelineConfig.model_validate({"rounds": 2}), 10) == []


@pytest.mark.parametrize(("threshold", "warned"), [(0.74, True), (0.72, False)])
def test_disturbed_labels_cap_the_confidence_as_smoothing_does(threshold, warned):
    """C = 10, 30 %: a label is kept with 0.73, so a perfect fit is no surer than that."""
    found = warnings_of(baseline={"disturb_label": 30}, pseudo_label={"threshold": threshold})
    assert len(found) == warned
    assert not warned or "baseline.disturb_label=30" in found[0]


@pytest.mark.parametrize("stage", ["baseline", "joint"])
def test_two_cures_for_one_imbalance_are_warned_of(stage):
    tail = {"labeled_per_class": 50, "imbalance_ratio": 10}
    (warning,) = warnings_of(split=tail, **{stage: {"sampling": "balanced", "class_weights": "complement"}})
    assert f"{stage}.sampling" in warning
    assert f"{stage}.class_weights='complement'" in warning
    assert (
        warnings_of(split=tail, **{stage: {"sampling": "balanced"}})
        == warnings_of(split=tail, **{stage: {"class_weights": "complement"}})
        == []
    )


@pytest.mark.parametrize(
    ("rounds", "share", "part"), [(2, 0.0, "takes nothing from the round before"), (1, 0.5, "from the second round on")]
)
def test_rounds_that_hand_nothing_on_are_warned_of(rounds, share, part):
    policy = {"teacher": "ema", "ledger_share": share}
    joint = {"method": "soft", "start": "baseline", "ema_decay": 0.9, "policy": policy}
    (warning,) = warnings_of(rounds=rounds, joint=joint)
    assert part in warning
    assert warnings_of(rounds=2, joint=joint | {"policy": policy | {"ledger_share": 0.5}}) == []


@pytest.mark.parametrize(("method", "warned"), [("fixmatch", 1), ("confidence", 0), ("threshold", 0)])
def test_who_labels_at_every_step_is_said_to_learn_from_unknown_images(method, warned):
    said = warnings_of(pseudo_label={"unknown": {"false_alarms": 0.05}}, joint={"method": method})
    assert len([line for line in said if "unknown images are not accepted in the end" in line]) == warned


def test_predictions_as_their_own_targets_are_warned_of():
    (warning,) = warnings_of(joint={"method": "soft"})
    assert "teaches nothing" in warning
    assert warnings_of(joint={"method": "soft", "policy": {"temperature": 0.5}}) == []


@pytest.mark.parametrize("teacher", ["ensemble", "champion"])
def test_a_teacher_that_nobody_asks_is_warned_of(teacher):
    (warning,) = warnings_of(joint={"method": "online"}, pseudo_label={"teacher": teacher})
    assert f"pseudo_label.teacher='{teacher}', but joint.method='online' asks no teacher" in warning
    assert warnings_of(joint={"method": "threshold"}, pseudo_label={"teacher": teacher}) == []


def test_a_certificate_and_a_temperature_are_of_use_with_every_method():
    certified = {"split": {"calibration_images": 500}, "pseudo_label": {"threshold": {"target_precision": 0.95}}}
    assert warnings_of(joint={"method": "online"}, calibrate={"method": "temperature"}, **certified) == []


def test_a_model_that_is_sure_of_nothing_is_warned_of_once_it_is_the_one_that_labels():
    (warning,) = final_label_warnings(summary([0, 0, 0], threshold=0.99))
    assert "`export` has nothing to write" in warning
    assert final_label_warnings(summary([3, 2, 1])) == []


@pytest.mark.parametrize("option", [{"top_share": 0.5}, {"share_per_round": 0.2}])
def test_what_decides_acceptance_is_warned_of_where_every_image_counts(option):
    joint = {"method": "soft", "policy": {"temperature": 0.5}}
    (warning,) = warnings_of(joint=joint, pseudo_label=option)
    assert f"pseudo_label.{next(iter(option))}=" in warning
    assert warnings_of(pseudo_label=option) == []


@pytest.mark.parametrize(
    "option", [{"distribution_alignment": True}, {"test_time": {"views": 3, "augment": {"shift": 0.1}}}]
)
def test_how_the_model_that_is_kept_is_asked_matters_whatever_the_method(option):
    assert warnings_of(joint={"method": "soft", "policy": {"temperature": 0.5}}, pseudo_label=option) == []


@pytest.mark.parametrize(
    ("option", "methods"),
    [
        ({"threshold": 0.8}, {"fixmatch", "flexmatch", "adamatch"}),
        ({"fairness_weight": 0.1}, {"freematch"}),
        ({"deviations": 3.0}, {"softmatch"}),
        ({"momentum": 0.9}, {"freematch", "softmatch", "adamatch"}),
    ],
)
def test_an_option_of_another_policy_is_warned_of(option, methods):
    for method in ("online", "soft", "fixmatch", "flexmatch", "freematch", "softmatch", "adamatch"):
        found = warnings_of(joint={"method": method, "policy": option, "strong_augment": {"randaugment": 2}})
        assert len(found) == (method not in methods)
        assert all(f"joint.policy.{next(iter(option))}=" in warning for warning in found)
    aligned = {"method": "soft", "policy": {"momentum": 0.9, "distribution_alignment": True}}
    assert warnings_of(joint=aligned) == []


@pytest.mark.parametrize("method", ["fixmatch", "flexmatch", "freematch", "softmatch", "adamatch"])
def test_two_views_that_are_alike_are_warned_of(method):
    (warning,) = warnings_of(joint={"method": method})
    assert "strong_augment" in warning
    assert warnings_of(joint={"method": method, "strong_augment": {"randaugment": 2}}) == []


def test_deskewing_what_has_no_strokes_is_warned_of():
    deskewed = {"name": "small_cnn", "deskew": True}
    (warning,) = warnings_of(model=deskewed, data={"name": "cifar10"})
    assert "model.deskew" in warning
    assert warnings_of(model=deskewed, data={"name": "mnist"}) == []


def test_a_policy_that_fixed_labels_do_not_ask_is_warned_of():
    (warning,) = warnings_of(joint={"policy": {"temperature": 0.5}})
    assert "joint.policy is set" in warning


def test_a_calibrated_or_certified_threshold_is_not_held_against_the_smoothed_targets():
    sections = smoothed(0.1, 0.99) | {"split": {"calibration_images": 500}}
    assert warnings_of(**sections | {"calibrate": {"method": "temperature"}}) == []
    assert warnings_of(**sections | {"pseudo_label": {"threshold": {"target_precision": 0.99}}}) == []


@pytest.mark.parametrize(
    ("per_class", "num_classes", "warned"), [(5, 10, True), (6, 10, False), (29, 2, True), (30, 2, False)]
)
def test_too_few_validation_images_for_a_difference_of_ten_points_are_warned_of(per_class, num_classes, warned):
    """With 6 discordant images, all one way, McNemar's exact test gives p = 0.031; with 5, 0.0625."""
    assert binomtest(0, 6).pvalue < 0.05 < binomtest(0, 5).pvalue
    found = warnings_of(num_classes=num_classes, split={"validation_per_class": per_class})
    assert len(found) == warned
    if warned:
        assert f"validation_per_class={per_class}" in found[0]
        assert f"{per_class * num_classes} validation images" in found[0]


def test_of_an_own_folder_both_ways_to_more_validation_images_are_named():
    """It may hold them, and then the key draws none."""
    config = validate({"data": {"name": "folder"}, "split": {"validation_per_class": 5}}, source="test")
    for images, words in ((12, "there are 12 validation images"), (1, "there is 1 validation image,")):
        (warning,) = config_warnings(config, 10, images)
        assert warning.startswith(words)
        assert "use more (raise split.validation_per_class, which is 5, or name more of your own)" in warning


# --- class shares that drift ------------------------------------------------------------------------------------------


def test_another_mix_of_classes_among_the_unlabeled_is_warned_of_with_the_class_that_differs_most():
    (warning,) = pseudo_label_warnings(summary([5, 5, 5], predicted=[600, 200, 200]), ACCEPTING)
    assert "class 0" in warning
    assert "60.0%" in warning
    assert "33.3%" in warning


@pytest.mark.parametrize(
    ("predicted", "labeled"),
    [([340, 330, 330], [10, 10, 10]), ([600, 300, 100], [60, 30, 10]), ([4, 3, 1], [2, 2, 2]), ([9, 9, 0], [5, 5, 0])],
)
def test_the_same_mix_or_one_that_chance_explains_is_not_warned_of(predicted, labeled):
    assert pseudo_label_warnings(summary([5, 5, 5], predicted=predicted, labeled=labeled), ACCEPTING) == []


# --- an unlabeled loss that is too small -----------------------------------------------------------------------------


def joint_of(method: str = "threshold", alpha_final: float = 1.0, **policy: Any) -> JointConfig:
    return JointConfig.model_validate({"method": method, "alpha_final": alpha_final, "policy": policy})


def test_an_unlabeled_loss_of_less_than_a_hundredth_of_the_gradient_is_warned_of():
    (warning,) = training_warnings({"unlabeled_share": 0.0004}, joint_of(alpha_final=1e-4))
    assert "joint.alpha_final=0.0001" in warning
    assert "less than 1% of the gradient" in warning


@pytest.mark.parametrize(
    ("training", "alpha"), [({"unlabeled_share": 0.01}, 0.1), ({}, 1.0), ({"unlabeled_share": 0}, 0)]
)
def test_an_unlabeled_loss_that_counts_or_is_not_there_is_not_warned_of(training, alpha):
    assert training_warnings(training, joint_of(alpha_final=alpha)) == []


@pytest.mark.parametrize("method", ["fixmatch", "flexmatch", "freematch", "adamatch"])
def test_a_method_that_left_no_image_out_is_online_under_another_name(method):
    (warning,) = training_warnings({"mask_rate": 1.0}, joint_of(method))
    assert "joint.method='online' does" in warning
    assert training_warnings({"mask_rate": 0.99}, joint_of(method)) == []
    assert training_warnings({"mask_rate": 1.0}, joint_of("softmatch")) == []


@pytest.mark.parametrize(
    ("method", "policy"),
    [("freematch", {}), ("softmatch", {}), ("adamatch", {}), ("soft", {"distribution_alignment": True})],
)
def test_a_running_mean_that_cannot_settle_is_warned_of_and_the_default_always_can(method, policy):
    for steps in (31, 300, 3_000, 300_000):
        assert training_warnings({"steps": steps}, joint_of(method, **policy)) == []
    (warning,) = training_warnings({"steps": 2_999}, joint_of(method, **policy, momentum=0.999))
    assert "joint.policy.momentum=0.999" in warning
    assert "remembers about 1,000 of them" in warning
    assert training_warnings({"steps": 3_001}, joint_of(method, **policy, momentum=0.999)) == []
    assert training_warnings({"steps": 10}, joint_of("online", momentum=0.999)) == []


@pytest.mark.parametrize(
    ("steps", "of_alignment", "memory"),
    [(5, True, 1), (500, True, 50), (50_000, True, 100), (500, False, 50), (5_000, False, 500), (10**6, False, 1000)],
)
def test_unset_the_memory_is_a_tenth_of_the_steps_within_the_bounds_of_the_papers(steps, of_alignment, memory):
    momentum = PolicyConfig().memory(steps, of_alignment=of_alignment)
    assert 1 / (1 - momentum) == pytest.approx(memory)
    assert PolicyConfig(momentum=0.5).memory(steps, of_alignment=of_alignment) == 0.5
    assert PolicyConfig().memory(None, of_alignment=of_alignment) == 0.99
