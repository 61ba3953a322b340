"""Targets: both smoothings by torch and the worked example, mixup by torchvision and the Beta distribution."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score
from torch.nn import functional as F
from torchvision.transforms import v2

from semisup.pseudo_labels.targets import Mixing, disturb, draw_mixing, one_hot, smooth, soft_accuracy
from semisup.training.losses import soft_cross_entropy

UNLABELED = -1
SPREADS = ["all", "others"]


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_labels(size: int, num_classes: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(num_classes, (size,), generator=torch.Generator().manual_seed(seed))


def test_one_hot_is_one_at_the_label_and_zero_elsewhere_in_float32():
    targets = one_hot(torch.tensor([2, 0]), 3)
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_one_hot_of_no_labels_is_empty_and_still_as_wide_as_the_classes():
    assert one_hot(torch.empty(0, dtype=torch.int64), 4).shape == (0, 4)


@pytest.mark.parametrize(("labels", "named"), [([0, UNLABELED, 2], -1), ([0, 3], 3), ([-7, 9], -7)])
def test_one_hot_refuses_a_label_outside_the_classes_and_names_it(labels, named):
    with pytest.raises(ValueError, match=rf"label {named} is outside \[0, 3\)"):
        one_hot(torch.tensor(labels), 3)


def test_smoothing_over_others_leaves_exactly_one_minus_epsilon_on_the_true_class():
    smoothed = smooth(one_hot(torch.tensor([0]), 3), 0.1, "others")
    torch.testing.assert_close(smoothed, torch.tensor([[0.9, 0.05, 0.05]]))


def test_smoothing_over_all_keeps_one_minus_epsilon_plus_its_share_on_the_true_class():
    smoothed = smooth(one_hot(torch.tensor([1]), 4), 0.2, "all")
    torch.testing.assert_close(smoothed, torch.tensor([[0.05, 0.85, 0.05, 0.05]]))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_smoothing_over_all_is_label_smoothing_of_torch(epsilon, num_classes):
    logits, labels = noise(16, num_classes), random_labels(16, num_classes)
    ours = soft_cross_entropy(logits, smooth(one_hot(labels, num_classes), epsilon, "all"))
    torchs = torch.nn.CrossEntropyLoss(label_smoothing=epsilon, reduction="none")(logits, labels)
    torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_smoothing_over_others_is_smoothing_over_all_with_an_epsilon_k_over_k_minus_one_times_as_large(num_classes):
    # all: 1 - e + e/K on the true class and e/K elsewhere; e = epsilon·K/(K-1) makes them 1 - epsilon, epsilon/(K-1).
    targets, epsilon = one_hot(random_labels(8, num_classes), num_classes), 0.09
    scaled = epsilon * num_classes / (num_classes - 1)
    torch.testing.assert_close(smooth(targets, epsilon, "others"), smooth(targets, scaled, "all"))


@given(
    probabilities=st.lists(st.floats(0.01, 1), min_size=2, max_size=12),
    epsilon=st.floats(0, 0.999),
    spread=st.sampled_from(SPREADS),
)
@settings(deadline=None, max_examples=50)
def test_smoothed_rows_still_sum_to_one_and_hold_no_negative_mass(probabilities, epsilon, spread):
    row = torch.tensor(probabilities) / sum(probabilities)
    smoothed = smooth(row[None], epsilon, spread)
    assert smoothed.sum().item() == pytest.approx(1, abs=1e-5)
    assert (smoothed >= 0).all()


@pytest.mark.parametrize("spread", SPREADS)
def test_smoothing_mixed_targets_is_mixing_smoothed_targets(spread):
    targets = one_hot(random_labels(10, 5), 5)
    mixing = Mixing(0.3, torch.arange(10).flip(0))
    torch.testing.assert_close(smooth(mixing(targets), 0.1, spread), mixing(smooth(targets, 0.1, spread)))


@pytest.mark.parametrize("spread", SPREADS)
def test_epsilon_zero_leaves_the_targets_as_they_are(spread):
    targets = one_hot(torch.tensor([0, 2]), 3)
    assert torch.equal(smooth(targets, 0.0, spread), targets)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, 1.5, math.nan])
def test_smoothing_refuses_an_epsilon_outside_zero_to_one_and_names_it(epsilon):
    with pytest.raises(ValueError, match=f"epsilon={epsilon}"):
        smooth(one_hot(torch.tensor([0]), 3), epsilon, "all")


def test_there_are_no_others_to_smooth_over_with_a_single_class():
    with pytest.raises(ValueError, match="at least 2 classes"):
        smooth(one_hot(torch.tensor([0]), 1), 0.1, "others")


def test_mixup_with_alpha_zero_changes_no_bit():
    mixing = draw_mixing(6, 0.0, np.random.default_rng(0))
    images = noise(6, 1, 4, 4)
    assert mixing.lam == 1.0
    assert torch.equal(mixing(images), images)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lambda_is_drawn_from_the_symmetric_beta_distribution(alpha):
    rng = np.random.default_rng(11)
    drawn = [draw_mixing(2, alpha, rng).lam for _ in range(2000)]
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 0.01


@given(batch_size=st.integers(0, 40), alpha=st.floats(0, 10), seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_a_drawn_mixing_has_a_permutation_for_partners_and_a_lambda_in_zero_to_one(batch_size, alpha, seed):
    mixing = draw_mixing(batch_size, alpha, np.random.default_rng(seed))
    assert sorted(mixing.partner.tolist()) == list(range(batch_size))
    assert 0 <= mixing.lam <= 1


def test_every_permutation_of_the_batch_is_drawn_equally_often():
    rng = np.random.default_rng(5)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(1200):
        partner = tuple(draw_mixing(3, 1.0, rng).partner.tolist())
        counts[partner] = counts.get(partner, 0) + 1
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_mixup_refuses_a_negative_alpha_and_names_it():
    with pytest.raises(ValueError, match=r"alpha=-0\.5"):
        draw_mixing(4, -0.5, np.random.default_rng(0))


def test_mixing_is_lambda_times_the_value_plus_the_rest_times_its_partner():
    mixing = Mixing(0.75, torch.tensor([1, 2, 0]))
    images = torch.tensor([100, 200, 0], dtype=torch.uint8).view(3, 1, 1, 1)
    targets = torch.eye(3)
    assert mixing(images).flatten().tolist() == [75 + 50, 150 + 0, 0 + 25]
    assert mixing(targets).tolist() == [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]


def test_mixing_keeps_fractions_of_uint8_images_and_does_not_wrap_around():
    mixed = Mixing(0.5, torch.tensor([1, 0]))(torch.tensor([255, 254], dtype=torch.uint8).view(2, 1, 1, 1))
    assert mixed.dtype == torch.float32
    assert mixed.flatten().tolist() == [254.5, 254.5]


def test_mixing_with_the_same_lambda_and_partners_is_mixup_of_torchvision():
    images, labels = noise(8, 3, 5, 5), random_labels(8, 4)
    lam, transform = 0.35, v2.MixUp(alpha=1.0, num_classes=4)
    transform.make_params = lambda flat_inputs: {"lam": lam}
    expected_images, expected_targets = transform(images, labels)
    mixing = Mixing(lam, torch.arange(8).roll(1))  # torchvision's partner is the image before
    torch.testing.assert_close(mixing(images), expected_images)
    torch.testing.assert_close(mixing(one_hot(labels, 4)), expected_targets)


def test_soft_accuracy_of_one_hot_targets_is_the_share_of_right_predictions():
    logits, labels = noise(50, 3), random_labels(50, 3)
    right = (logits.argmax(dim=1) == labels).float().mean().item()
    assert soft_accuracy(logits, one_hot(labels, 3)).item() == pytest.approx(right)


def test_soft_accuracy_under_mixup_weighs_the_hits_on_both_labels_with_lambda():
    labels, partner, lam = torch.tensor([0, 1, 2]), torch.tensor([1, 0, 2]), 0.7
    predicted = torch.tensor([0, 0, 1])  # right; right for the partner; wrong for both
    logits = F.one_hot(predicted, 3).float()
    targets = Mixing(lam, partner)(one_hot(labels, 3))
    assert soft_accuracy(logits, targets).item() == pytest.approx((lam + (1 - lam)) / 3)


def test_soft_accuracy_of_weighted_images_is_the_weighted_mean_of_scikit_learn():
    logits, labels, weights = noise(50, 3), random_labels(50, 3), noise(50).abs()
    expected = accuracy_score(labels, logits.argmax(dim=1), sample_weight=weights)
    assert soft_accuracy(logits, one_hot(labels, 3) * weights[:, None]).item() == pytest.approx(expected, rel=1e-5)


# --- DisturbLabel -----------------------------------------------------------------------------------------------------


def disturbed(labels: torch.Tensor, num_classes: int, rate: float, seed: int = 5) -> torch.Tensor:
    return disturb(labels, num_classes, rate, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("num_classes", "rate", "kept", "other"), [(10, 30, 0.73, 0.03), (3, 60, 0.6, 0.2)])
def test_disturbed_labels_follow_the_distribution_of_the_source(num_classes, rate, kept, other):
    """p_c = 1 − (C−1)/C · α/100 for the label, (1 − p_c)/(C−1) for every other: worked for C = 10, α = 30 %."""
    draws, true_class = 60_000, 2
    found = torch.bincount(disturbed(torch.full((draws,), true_class), num_classes, rate), minlength=num_classes)
    expected = np.full(num_classes, other * draws)
    expected[true_class] = kept * draws
    assert stats.chisquare(found.numpy(), expected).pvalue > 1e-3


def test_which_labels_are_disturbed_is_independent_of_the_labels():
    labels = random_labels(40_000, 4)
    changed = disturbed(labels, 4, 40) != labels
    table = [[int((changed & (labels == c)).sum()), int((~changed & (labels == c)).sum())] for c in range(4)]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_rate_zero_leaves_every_label_and_another_draw_gives_other_labels():
    labels, generator = random_labels(500, 5), torch.Generator().manual_seed(1)
    assert torch.equal(disturb(labels, 5, 0, generator), labels)
    first, second = disturb(labels, 5, 50, generator), disturb(labels, 5, 50, generator)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rate", [-1, 101])
def test_a_rate_that_is_no_percentage_is_refused(rate):
    with pytest.raises(ValueError, match=f"rate={rate}"):
        disturb(torch.tensor([0]), 2, rate, torch.Generator())
