"""The audit of accepted labels: its interval holds at every stop, on pools of every kind."""

import numpy as np
import pytest
from scipy.stats import betabinom, binom, hypergeom

from semisup.open_world.audit import LEVEL, PRIOR_RIGHT, PRIOR_WRONG, audited, interval, most_wrong


def counts_that_stay(right, wrong, accepted):
    """By trying every number of right labels: posterior against prior, as the paper has it."""
    counts = np.arange(accepted + 1)
    prior = betabinom.pmf(counts, accepted, PRIOR_RIGHT, PRIOR_WRONG)
    likelihood = hypergeom.pmf(right, accepted, counts, right + wrong)
    posterior = prior * likelihood / (prior * likelihood).sum()
    return counts[posterior >= (1 - LEVEL) * prior]


@pytest.mark.parametrize(("right", "wrong"), [(1, 0), (0, 1), (7, 0), (9, 3), (2, 8), (30, 0), (15, 15)])
@pytest.mark.parametrize("accepted", [30, 83, 400])
def test_the_interval_is_where_prior_over_posterior_is_below_its_bound(right, wrong, accepted):
    expected = counts_that_stay(right, wrong, accepted)
    low, high = interval(right, wrong, accepted)
    assert (round(low * accepted), round(high * accepted)) == (expected.min(), expected.max())


@pytest.mark.slow
def test_in_500_pools_under_shift_the_truth_is_inside_at_every_stop_as_often_as_stated():
    rng, missed, pools = np.random.default_rng(0), 0, 500
    for _ in range(pools):
        accepted = int(rng.integers(60, 5000))
        shift = rng.choice([0.01, 0.04, 0.1, 0.2, 0.35, 0.6])  # wrong labels: from none to those of the worst pools
        wrong = rng.random(accepted) < shift
        sample = wrong[rng.permutation(accepted)[:120]]
        truth, errors = 1 - wrong.mean(), np.cumsum(sample)
        for seen in (*range(1, 12), *range(12, len(sample) + 1, 9), len(sample)):
            low, high = interval(seen - int(errors[seen - 1]), int(errors[seen - 1]), accepted)
            if not low - 1e-12 <= truth <= high + 1e-12:
                missed += 1
                break
    assert missed <= 0.05 * pools  # not one pool more than stated


def test_stopping_as_soon_as_the_target_is_proven_is_wrong_no_more_often_than_stated():
    rng, false, pools = np.random.default_rng(1), 0, 400
    allowed = np.array(most_wrong(0.95, 2000, 200))
    for _ in range(pools):
        wrong = rng.permutation(2000) < 101  # 94.95 % are right: just not enough
        errors = np.cumsum(np.concatenate([[0], wrong[rng.permutation(2000)[:200]]]))
        false += bool((errors <= allowed).any())
    assert false <= binom.ppf(0.999, pools, 0.05)


def test_whoever_looks_at_all_labels_knows_their_precision():
    assert interval(47, 3, 50) == (0.94, 0.94)
    assert interval(0, 0, 50) == (0.0, 1.0)


def test_what_nobody_can_tell_counts_against_both_ends():
    found = audited(90, 4, 6, 1000)
    assert found.low == interval(90, 10, 1000)[0]
    assert found.high == interval(96, 4, 1000)[1]
    assert (found.looked_at, found.precision) == (100, 90 / 94)
    assert audited(0, 0, 3, 10).precision is None


def test_the_wrong_ones_that_are_allowed_are_the_most_that_prove_the_target():
    for seen, allowed in enumerate(most_wrong(0.9, 700, 60)):
        if allowed >= 0:
            assert interval(seen - allowed, allowed, 700)[0] >= 0.9
        if allowed < seen:
            assert interval(seen - allowed - 1, allowed + 1, 700)[0] < 0.9


def test_with_labels_that_are_mostly_right_fewer_are_looked_at_than_a_plain_sample_of_200():
    rng, stops = np.random.default_rng(2), []
    allowed = np.array(most_wrong(0.95, 5000, 200))
    for _ in range(200):
        errors = np.cumsum(np.concatenate([[0], rng.random(200) < 0.005]))
        proven = np.flatnonzero(errors <= allowed)
        stops.append(proven[0] if len(proven) else 200)
    assert np.mean(stops) < 0.6 * 200


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="of 5 labels"):
        audited(4, 2, 0, 5)
