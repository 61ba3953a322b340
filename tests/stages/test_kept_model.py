"""Which model is kept: the validation images alone decide, and only a difference that they show counts."""

import numpy as np
import pytest
from scipy.stats import binomtest

from semisup.checks import comparison_warnings
from semisup.stages.evaluate import kept_model


def right(images: int, *wrong: int) -> np.ndarray:
    """Is each of so many images right? All but these."""
    values = np.ones(images, dtype=bool)
    values[list(wrong)] = False
    return values


@pytest.mark.parametrize(
    ("baseline_wrong", "student_wrong"), [((), ()), ((0,), (1, 2)), ((), tuple(range(5))), (tuple(range(30)), ())]
)
def test_the_student_is_kept_unless_the_baseline_is_shown_to_be_better(baseline_wrong, student_wrong):
    assert kept_model(right(100, *baseline_wrong), right(100, *student_wrong))["model"] == "student"


@pytest.mark.parametrize("errors", range(4, 10))
def test_the_border_is_the_exact_tests_five_percent(errors):
    kept = kept_model(right(50), right(50, *range(errors)))
    p_value = binomtest(0, errors).pvalue
    assert kept["mcnemar"]["p_value"] == pytest.approx(p_value)
    assert kept["model"] == ("baseline" if p_value < 0.05 else "student")


def test_the_figures_are_those_of_the_validation_images():
    kept = kept_model(right(40, 0), right(40, 0, 1, 2))
    assert (kept["images"], kept["baseline_validation_accuracy"], kept["student_validation_accuracy"]) == (
        40,
        39 / 40,
        37 / 40,
    )


def test_a_student_that_lost_is_told_of_in_one_line_with_both_figures():
    (line,) = comparison_warnings(kept_model(right(1000), right(1000, *range(31))))
    for part in ("1,000 validation images", "100.00%", "96.90%"):
        assert part in line
    assert "\n" not in line


def test_a_student_that_is_kept_is_no_news():
    assert comparison_warnings(kept_model(right(100, 0), right(100, 1, 2))) == []
