"""Modifiers by hand, nested in both orders, and transparent to what the wrapped policy wants and adds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.modifiers import Aligned, Blended, Modifier, Sharpened
from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.pseudo_labels.policies.flexmatch import FlexMatch
from semisup.pseudo_labels.policies.freematch import FreeMatch
from semisup.pseudo_labels.policies.soft import SoftLabels
from semisup.pseudo_labels.policies.threshold import FixedLabels

SHARES = torch.tensor([0.3, 0.7])
BATCH = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
UNLABELED = -1


def targets_of(policy: Modifier, probabilities: torch.Tensor, num_unlabeled: int = 2) -> torch.Tensor:
    state = policy.init(num_unlabeled, probabilities.shape[1])
    return policy.update(state, probabilities, torch.arange(len(probabilities)))[1]


# --- alignment ----------------------------------------------------------------------------------------------------


def test_alignment_over_two_steps_worked_by_hand():
    policy = Aligned(SoftLabels(), SHARES, momentum=0.5)
    # p̃ = (0.7, 0.3), the first batch's own; π/p̃ = (3/7, 7/3): rows (12/35, 7/15) and (9/35, 14/15) before they are
    # normalized
    state, targets, _ = policy.update(policy.init(2, 2), BATCH, torch.arange(2))
    expected = torch.tensor([[36 / 85, 49 / 85], [27 / 125, 98 / 125]])
    torch.testing.assert_close(targets, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(state["mean_prediction"], torch.tensor([0.7, 0.3]))
    # Adam's correction: p̃ = (¼ (0.7, 0.3) + ½ (0.4, 0.6)) / ¾ = (0.5, 0.5); π/p̃ = (0.6, 1.4)
    state, targets, _ = policy.update(state, torch.tensor([[0.4, 0.6]]), torch.arange(1))
    torch.testing.assert_close(state["mean_prediction"], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(targets, torch.tensor([[2 / 9, 7 / 9]]), atol=1e-5, rtol=0)


@given(momentum=st.floats(0, 0.999), count=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_running_mean_is_the_weighted_mean_of_the_batches_that_there_were_and_of_nothing_else(
    momentum, count, seed
):
    batches = torch.rand(count, 3, 4, generator=torch.Generator().manual_seed(seed)).softmax(dim=2)
    policy = Aligned(SoftLabels(), torch.full((4,), 0.25), momentum)
    state = policy.init(3, 4)
    for batch in batches:
        state, _, _ = policy.update(state, batch, torch.arange(3))
    weights = np.float64(momentum) ** np.arange(count)[::-1]
    expected = (weights[:, None] * batches.mean(dim=1).double().numpy()).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(state["mean_prediction"].numpy(), expected, atol=1e-4)


def test_predictions_that_have_the_right_shares_already_are_left_alone():
    policy = Aligned(SoftLabels(), torch.tensor([0.7, 0.3]), momentum=0.0)
    torch.testing.assert_close(targets_of(policy, BATCH), BATCH, atol=1e-5, rtol=0)


def test_aligned_confidences_decide_about_acceptance():
    policy = Aligned(FixMatch(0.65), SHARES, momentum=0.5)
    _, targets, weights = policy.update(policy.init(2, 2), BATCH, torch.arange(2))
    assert targets.tolist() == [[0, 1], [0, 1]]
    assert weights.tolist() == [0, 1]  # 0.58 and 0.78


def test_alignment_stays_finite_where_a_class_has_no_share_and_no_prediction():
    policy = Aligned(SoftLabels(), torch.tensor([1.0, 0.0]), momentum=0.0)
    for certain in (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])):
        torch.testing.assert_close(targets_of(policy, certain).sum(dim=1), torch.ones(1))


@pytest.mark.parametrize("shares", [[0.5, 0.6], [1.5, -0.5]])
def test_class_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="are no shares"):
        Aligned(SoftLabels(), torch.tensor(shares)).init(2, 2)


def test_class_shares_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\); one for each of 3 classes"):
        Aligned(SoftLabels(), SHARES).init(2, 3)


# --- sharpening ---------------------------------------------------------------------------------------------------


def test_sharpening_with_half_a_degree_squares_and_normalizes():
    rows = torch.tensor([[0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    expected = torch.tensor([[36 / 46, 9 / 46, 1 / 46], [0, 0, 1]])
    torch.testing.assert_close(targets_of(Sharpened(SoftLabels(), 0.5), rows), expected)


def test_a_temperature_of_one_changes_nothing():
    torch.testing.assert_close(targets_of(Sharpened(SoftLabels(), 1.0), BATCH), BATCH)


def test_a_temperature_near_zero_gives_the_argmax():
    torch.testing.assert_close(targets_of(Sharpened(SoftLabels(), 1e-3), BATCH), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature}"):
        Sharpened(SoftLabels(), temperature).init(2, 2)


# --- blending -----------------------------------------------------------------------------------------------------


def blended(share: float, labels: list[int] = [0, 1], confidence: list[float] = [1.0, 0.8]) -> Blended:  # noqa: B006
    return Blended(SoftLabels(), torch.tensor(labels), torch.tensor(confidence), share)


def test_blending_worked_by_hand_looks_the_prior_up_by_index():
    # The prior of image 1 is (0.1, 0.8, 0.1), that of image 0 (1, 0, 0).
    policy = blended(0.25)
    rows = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    _, targets, _ = policy.update(policy.init(2, 3), rows, torch.tensor([1, 0]))
    torch.testing.assert_close(targets, torch.tensor([[0.4, 0.425, 0.175], [0.25, 0.75, 0.0]]))


def test_a_share_of_zero_is_the_prediction_and_of_one_the_prior():
    torch.testing.assert_close(targets_of(blended(0.0), BATCH), BATCH)
    torch.testing.assert_close(targets_of(blended(1.0), BATCH), torch.tensor([[1.0, 0.0], [0.2, 0.8]]))


def test_a_single_class_has_all_of_the_prior():
    torch.testing.assert_close(targets_of(blended(0.5, [0, 0]), torch.ones(2, 1)), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (blended(1.5), "share=1.5"),
        (blended(0.5, [0]), "1 labels and 2 confidences for 2 images"),
        (blended(0.5, [0, 1, 1], [1.0, 1.0, 1.0]), "3 labels and 3 confidences for 2 images"),
        (blended(0.5, [0, 2]), "label 2 is outside"),
        (blended(0.5, [UNLABELED, 1]), "label -1 is outside"),
        (blended(0.5, confidence=[0.5, 1.1]), "confidence is outside"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(policy, named):
    with pytest.raises(ValueError, match=named):
        policy.init(2, 2)


# --- nesting ------------------------------------------------------------------------------------------------------


def test_the_outer_modifier_acts_first():
    squared = BATCH.square() / BATCH.square().sum(dim=1, keepdim=True)
    prior = torch.tensor([[1.0, 0.0], [0.2, 0.8]])
    outer_sharp = Sharpened(Blended(SoftLabels(), torch.tensor([0, 1]), torch.tensor([1.0, 0.8]), 0.5), 0.5)
    torch.testing.assert_close(targets_of(outer_sharp, BATCH), (squared + prior) / 2)
    outer_blend = Blended(Sharpened(SoftLabels(), 0.5), torch.tensor([0, 1]), torch.tensor([1.0, 0.8]), 0.5)
    mixed = ((BATCH + prior) / 2).square()
    torch.testing.assert_close(targets_of(outer_blend, BATCH), mixed / mixed.sum(dim=1, keepdim=True))


def test_two_alignments_keep_running_means_of_their_own():
    nested = Aligned(Aligned(SoftLabels(), SHARES, momentum=0.9), SHARES.flip(0), momentum=0.5)
    outer, inner = Aligned(SoftLabels(), SHARES.flip(0), momentum=0.5), Aligned(SoftLabels(), SHARES, momentum=0.9)
    state, outer_state, inner_state = nested.init(2, 2), outer.init(2, 2), inner.init(2, 2)
    assert len(state) == len(outer_state) + len(inner_state)
    for batch in (BATCH, BATCH.flip(1)):
        state, targets, _ = nested.update(state, batch, torch.arange(2))
        outer_state, between, _ = outer.update(outer_state, batch, torch.arange(2))
        inner_state, expected, _ = inner.update(inner_state, between, torch.arange(2))
        assert targets.tolist() == expected.tolist()


def test_the_wrapped_policy_remembers_under_a_name_of_its_own():
    policy = Sharpened(Aligned(FlexMatch(0.6), SHARES, momentum=0.5), 1.0)
    state, _, _ = policy.update(policy.init(3, 2), BATCH, torch.tensor([2, 0]))
    assert set(state) == {
        "inner.class_shares",
        "inner.mean_prediction",
        "inner.batches",
        "inner.inner.remembered",
    }
    assert state["inner.inner.remembered"].tolist() == [1, UNLABELED, UNLABELED]


def test_the_extra_loss_is_that_of_the_wrapped_policy_on_its_own_state():
    plain, wrapped = FreeMatch(), Sharpened(Aligned(FreeMatch(), SHARES), 1.0)
    logits, weights = torch.tensor([[2.0, 0.0], [-1.0, 1.0]]), torch.ones(2)
    state = wrapped.update(wrapped.init(2, 2), BATCH, torch.arange(2))[0]
    inner = {name.removeprefix("inner.inner."): state[name] for name in state if name.startswith("inner.inner.")}
    ours = wrapped.extra_loss(state, logits, weights, torch.arange(2))
    theirs = plain.extra_loss(inner, logits, weights, torch.arange(2))
    assert ours is not None
    assert theirs is not None
    assert ours.item() == theirs.item() != 0
    assert Sharpened(FixMatch(), 1.0).extra_loss({}, logits, weights, torch.arange(2)) is None


def test_a_modifier_asks_for_predictions_if_the_wrapped_policy_does():
    assert Sharpened(FixMatch(), 0.5).uses_predictions
    assert not Sharpened(Aligned(FixedLabels(torch.tensor([0])), SHARES), 0.5).uses_predictions


@given(
    seed=st.integers(0, 10_000),
    num_classes=st.integers(1, 5),
    temperature=st.floats(0.01, 100),
    share=st.floats(0, 1),
)
@settings(deadline=None, max_examples=50)
def test_every_modifier_leaves_rows_that_sum_to_one_with_none_negative(seed, num_classes, temperature, share):
    generator = torch.Generator().manual_seed(seed)
    probabilities = (10 * torch.randn(4, num_classes, generator=generator)).softmax(dim=1)
    labels, confidence = torch.randint(num_classes, (4,), generator=generator), torch.rand(4, generator=generator)
    shares = torch.rand(num_classes, generator=generator).softmax(dim=0)
    soft = SoftLabels()
    for policy in (Aligned(soft, shares), Sharpened(soft, temperature), Blended(soft, labels, confidence, share)):
        targets = targets_of(policy, probabilities, 4)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
        assert (targets >= 0).all()


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.1, 10))
@settings(deadline=None, max_examples=30)
def test_sharpening_keeps_the_order_of_the_classes(seed, temperature):
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    sharpened = targets_of(Sharpened(SoftLabels(), temperature), rows, 5)
    assert sharpened.argsort(dim=1).tolist() == rows.argsort(dim=1).tolist()
