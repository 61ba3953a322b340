"""SoftMatch by hand: the truncated bell over two steps, and alignment that touches weights only."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.policies.softmatch import SoftMatch


def two_classes(*confidences: float) -> torch.Tensor:
    first = torch.tensor(confidences)
    return torch.stack([first, 1 - first], dim=1)


def state_of(mean: float, variance: float, mean_prediction: list[float]) -> dict[str, torch.Tensor]:
    parts = {"mean": mean, "variance": variance, "mean_prediction": mean_prediction}
    return {name: torch.tensor(value) for name, value in parts.items()}


def test_it_starts_with_mean_one_over_c_and_variance_one():
    torch.testing.assert_close(SoftMatch().init(5, 4), state_of(0.25, 1.0, [0.25] * 4))


def test_two_steps_worked_by_hand():
    policy = SoftMatch(momentum=0.5, uniform_alignment=False)
    # c = 0.55, 0.95: mean 0.75, unbiased variance 0.08; μ = 0.625, v = 0.54, 2v/n² = 0.27
    state, targets, weights = policy.update(policy.init(4, 2), two_classes(0.55, 0.95), torch.tensor([3, 0]))
    torch.testing.assert_close(state, state_of(0.625, 0.54, [0.625, 0.375]))
    assert targets.tolist() == [[1, 0], [1, 0]]
    assert weights.tolist() == pytest.approx([math.exp(-(0.075**2) / 0.27), 1])
    # c = 0.6 twice: variance 0; μ = 0.6125, v = 0.27, 2v/n² = 0.135
    state, _, weights = policy.update(state, two_classes(0.6, 0.6), torch.tensor([1, 2]))
    torch.testing.assert_close(state, state_of(0.6125, 0.27, [0.6125, 0.3875]))
    assert weights.tolist() == pytest.approx([math.exp(-(0.0125**2) / 0.135)] * 2)


def test_uniform_alignment_worked_by_hand_changes_weights_but_neither_labels_nor_the_running_figures():
    # p̃ = (0.625, 0.375); the second image's p·0.5/p̃ is (0.44, 0.6), normalized (0.4231, 0.5769): another argmax.
    batch = two_classes(0.95, 0.55)
    state, targets, weights = SoftMatch(momentum=0.5).update(SoftMatch().init(2, 2), batch, torch.arange(2))
    torch.testing.assert_close(state, state_of(0.625, 0.54, [0.625, 0.375]))
    assert targets.tolist() == [[1, 0], [1, 0]]
    assert weights.tolist() == pytest.approx([1, math.exp(-((0.625 - 0.6 / 1.04) ** 2) / 0.27)], rel=1e-5)


def test_with_n_doubled_the_exponent_is_four_times_as_large():
    batch = two_classes(0.55, 0.95)
    one, two = (
        SoftMatch(momentum=0.5, deviations=n, uniform_alignment=False).update(
            SoftMatch().init(2, 2), batch, torch.arange(2)
        )[2][0]
        for n in (1.5, 3.0)
    )
    assert two.log().item() == pytest.approx(4 * one.log().item(), rel=1e-4)


def test_zero_deviations_count_every_image_fully():
    _, _, weights = SoftMatch(deviations=0.0).update(SoftMatch().init(2, 2), two_classes(0.5, 0.99), torch.arange(2))
    assert weights.tolist() == [1, 1]


def test_a_single_image_moves_the_mean_and_leaves_the_variance():
    state, _, weights = SoftMatch(momentum=0.5).update(SoftMatch().init(2, 2), two_classes(0.7), torch.tensor([0]))
    torch.testing.assert_close(state, state_of(0.6, 1.0, [0.6, 0.4]))
    assert weights.isfinite().all()


def test_equal_confidences_count_fully_even_if_the_variance_is_zero():
    policy = SoftMatch(momentum=0.0, uniform_alignment=False)
    _, _, weights = policy.update(policy.init(3, 2), two_classes(0.7, 0.7, 0.7), torch.arange(3))
    assert weights.tolist() == pytest.approx([1, 1, 1], abs=0.01)


@given(confidences=st.lists(st.floats(0.5, 1, width=32), min_size=2, max_size=12), momentum=st.floats(0, 0.999))
@settings(deadline=None, max_examples=50)
def test_weights_rise_with_the_confidence_up_to_one_at_the_mean(confidences, momentum):
    policy = SoftMatch(momentum=momentum, uniform_alignment=False)
    batch = two_classes(*sorted(confidences))
    state, _, weights = policy.update(policy.init(12, 2), batch, torch.arange(len(batch)))
    assert (weights.diff() >= 0).all()
    assert (weights[batch.amax(dim=1) >= state["mean"]] == 1).all()
    assert ((weights >= 0) & (weights <= 1)).all()
