"""Which model is kept: the one whose expected accuracy is higher, given the images and what was believed before."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from semisup.checks.warnings import comparison_warnings
from semisup.config import PipelineConfig
from semisup.evaluation.keeping import PRIOR_LOST, PRIOR_WON, believe, better_model, judges_in_words

ACCEPTING, WEIGHING = (
    PipelineConfig.model_validate({"joint": {"method": m}}).joint for m in ("threshold", "confidence")
)
"""Students that learn from accepted labels, and those that weigh every label of the table."""


def right(images: int, *wrong: int) -> np.ndarray:
    """Is each of so many images right? All but these."""
    values = np.ones(images, dtype=bool)
    values[list(wrong)] = False
    return values


def test_the_belief_is_the_posterior_of_a_share_of_coin_flips():
    difference = np.array([1] * 12 + [-1] * 5 + [0] * 83, dtype=float)
    grid = np.linspace(0, 1, 100_001)
    density = beta.pdf(grid, PRIOR_WON, PRIOR_LOST) * binom.pmf(12, 17, grid)
    share = float((grid * density).sum() / density.sum())
    assert believe(difference).expected_difference == pytest.approx(0.17 * (2 * share - 1), abs=1e-5)


def test_without_any_difference_the_prior_decides():
    assert better_model(right(50), right(50))["model"] == "student"


def test_a_student_that_is_clearly_worse_is_not_kept_and_one_that_is_clearly_better_is():
    assert better_model(right(100, *range(34)), right(100, *range(46)))["model"] == "baseline"
    assert better_model(right(100, *range(46)), right(100, *range(34)))["model"] == "student"


def test_one_image_among_a_hundred_says_nothing_against_what_was_believed():
    assert better_model(right(100), right(100, 0))["model"] == "student"


def test_more_images_of_the_same_kind_move_the_belief_towards_what_they_say():
    said = [believe(np.tile([-1.0] + [0.0] * 9, times)).expected_difference for times in (1, 10, 100, 1000)]
    assert said == sorted(said, reverse=True)
    assert said[-1] == pytest.approx(-0.1, abs=0.005)


def test_where_the_prior_is_true_keeping_beats_always_keeping_either():
    """The sign of the expected difference is the Bayes decision: no fixed choice has a higher mean accuracy."""
    rng = np.random.default_rng(0)
    gains: dict[str, list[float]] = {"kept": [], "student": []}
    for _ in range(4000):
        share = rng.beta(PRIOR_WON, PRIOR_LOST)
        discordant = int(rng.integers(1, 60))
        won = rng.binomial(discordant, share)
        difference = np.array([1.0] * won + [-1.0] * (discordant - won) + [0.0] * 100)
        true_gain = 2 * share - 1
        gains["student"].append(true_gain)
        gains["kept"].append(true_gain if believe(difference).expected_difference >= 0 else 0.0)
    assert np.mean(gains["kept"]) > np.mean(gains["student"]) > 0


def test_the_figures_are_those_of_the_images():
    kept = better_model(right(40, 0), right(40, 0, 1, 2))
    assert (kept["images"], kept["baseline_validation_accuracy"], kept["student_validation_accuracy"]) == (
        40,
        39 / 40,
        37 / 40,
    )


def test_a_student_that_lost_is_told_of_in_one_line_with_both_figures():
    (line,) = comparison_warnings(better_model(right(1000), right(1000, *range(31))), ACCEPTING)
    for part in ("1,000 validation images", "100.0%", "96.9%"):
        assert part in line
    assert "\n" not in line


def test_a_student_that_is_kept_is_no_news():
    assert comparison_warnings(better_model(right(100, 0), right(100, 1, 2)), ACCEPTING) == []


@pytest.mark.parametrize(("wrong", "said"), [(31, "did harm"), (4, "did not help")])
def test_harm_is_said_only_where_the_paired_test_shows_it(wrong, said):
    """2 · ½^n is below 5 % from six images on that one model alone has right."""
    (line,) = comparison_warnings(better_model(right(1000), right(1000, *range(wrong))), ACCEPTING)
    assert f"these pseudo-labels {said}: " in line


def test_to_accept_fewer_labels_is_advised_only_where_that_matters():
    kept = better_model(right(1000), right(1000, *range(31)))
    lines = [comparison_warnings(kept, joint)[0] for joint in (ACCEPTING, WEIGHING)]
    assert ["accept fewer of its labels" in line for line in lines] == [True, False]


def test_it_is_said_who_judged():
    assert judges_in_words(better_model(right(40), right(40))) == "40 validation images"
    held_out = better_model(right(40), right(40), "held-out labels")
    assert judges_in_words(held_out) == "40 labeled images, each held out in turn"
    assert judges_in_words(held_out | {"repetitions": 3}) == "40 labeled images, each held out 3 times"
