"""FreeMatch by hand: running thresholds over two steps, and the fairness term with its limit cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.policies.freematch import FreeMatch

NO_INDICES = torch.empty(0, dtype=torch.int64)


def state_of(threshold: float, mean_prediction: list[float], histogram: list[float]) -> dict[str, torch.Tensor]:
    return {
        "threshold": torch.tensor(threshold),
        "mean_prediction": torch.tensor(mean_prediction),
        "histogram": torch.tensor(histogram),
    }


def logits_of(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log().requires_grad_()


def test_the_running_means_start_at_one_over_the_number_of_classes():
    torch.testing.assert_close(FreeMatch().init(7, 4), state_of(0.25, [0.25] * 4, [0.25] * 4))


def test_two_steps_worked_by_hand():
    policy = FreeMatch(momentum=0.5)
    # mean c = 2.2/3, mean p = (0.6, 0.4), shares of the argmax (2/3, 1/3); thresholds 0.6167 and 0.6167 · 9/11 = 0.5045
    batch = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    state, targets, weights = policy.update(policy.init(9, 2), batch, torch.tensor([4, 0, 7]))
    torch.testing.assert_close(state, state_of((0.5 + 2.2 / 3) / 2, [0.55, 0.45], [7 / 12, 5 / 12]))
    assert targets.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert weights.tolist() == [1, 0, 1]
    # mean c = 0.55, mean p = (0.53, 0.47), shares (1/2, 1/2); thresholds 0.5833 and 0.5833 · 46/54 = 0.4969
    state, _, weights = policy.update(state, torch.tensor([[0.58, 0.42], [0.48, 0.52]]), torch.tensor([0, 1]))
    torch.testing.assert_close(state, state_of(7 / 12, [0.54, 0.46], [13 / 24, 11 / 24]))
    assert weights.tolist() == [0, 1]


def test_the_batch_enters_the_threshold_before_its_own_weights_are_taken():
    policy = FreeMatch(momentum=0.0)  # so the threshold is the batch's own mean confidence, 0.75
    _, _, weights = policy.update(policy.init(2, 2), torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.arange(2))
    assert weights.tolist() == [1, 0]


def test_fairness_worked_by_hand():
    # N(p̃/h̃) = N(0.8, 1.6) = (1/3, 2/3). Selected: p̄ = (0.6, 0.4), h̄ = (1/2, 1/2), N(1.2, 0.8) = (0.6, 0.4).
    logits = logits_of([[0.8, 0.2], [0.4, 0.6], [0.01, 0.99]])
    state = state_of(0.5, [0.6, 0.4], [0.75, 0.25])
    loss = FreeMatch(fairness_weight=0.01).extra_loss(state, logits, torch.tensor([1.0, 1.0, 0.0]), torch.arange(3))
    assert loss is not None
    assert loss.item() == pytest.approx(0.01 * (math.log(0.6) / 3 + 2 * math.log(0.4) / 3), rel=1e-6)


def test_a_class_that_no_selected_image_is_predicted_as_counts_zero():
    # Argmaxes 0 and 1 only: p̄ = (0.5, 0.3, 0.2), h̄ = (1/2, 1/2, 0), N(1, 0.6, 0) = (5/8, 3/8, 0).
    logits = logits_of([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]])
    state = state_of(0.5, [0.2, 0.3, 0.5], [0.2, 0.3, 0.5])
    loss = FreeMatch(fairness_weight=1.0).extra_loss(state, logits, torch.ones(2), torch.arange(2))
    assert loss is not None
    assert loss.item() == pytest.approx((math.log(5 / 8) + math.log(3 / 8)) / 3, rel=1e-6)


@pytest.mark.parametrize("rows", [[[0.8, 0.2], [0.4, 0.6]], []])
def test_without_selected_images_the_fairness_term_and_its_gradient_are_zero(rows):
    logits = torch.tensor(rows).reshape(-1, 2).requires_grad_()
    loss = FreeMatch().extra_loss(FreeMatch().init(2, 2), logits, torch.zeros(len(rows)), torch.arange(len(rows)))
    assert loss is not None
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0]] * len(rows)


def test_with_one_class_the_fairness_term_is_zero():
    logits = torch.ones(3, 1, requires_grad=True)
    loss = FreeMatch().extra_loss(FreeMatch().init(3, 1), logits, torch.ones(3), torch.arange(3))
    assert loss is not None
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_fairness_weight_of_zero_is_no_term():
    assert FreeMatch(fairness_weight=0).extra_loss({}, torch.ones(2, 2), torch.ones(2), torch.arange(2)) is None


def test_gradients_of_the_fairness_term_are_those_of_finite_differences():
    logits = logits_of([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.7, 0.2], [0.9, 0.05, 0.05]])
    state = {name: value.double() for name, value in state_of(0.5, [0.2, 0.5, 0.3], [0.1, 0.6, 0.3]).items()}
    policy, weights = FreeMatch(fairness_weight=1.0), torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert torch.autograd.gradcheck(lambda x: policy.extra_loss(state, x, weights, torch.arange(4)), (logits,))
    loss = policy.extra_loss(state, logits, weights, torch.arange(4))
    assert loss is not None
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[:3].abs().sum(dim=1) > 0).all()
    assert (logits.grad[3] == 0).all()


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6), num_classes=st.integers(2, 5))
@settings(deadline=None, max_examples=50)
def test_the_fairness_term_is_the_papers_formula_written_as_loops(seed, size, num_classes):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(size, num_classes, generator=generator)
    weights = (torch.rand(size, generator=generator) < 0.7).float()
    mean, histogram = (torch.rand(2, num_classes, generator=generator) + 0.1).softmax(dim=1)
    state = state_of(0.5, mean.tolist(), histogram.tolist())

    chosen = [row.softmax(dim=0).tolist() for row, weight in zip(logits, weights, strict=True) if weight]
    winners = [row.index(max(row)) for row in chosen]
    ratios = []
    for label in range(num_classes):
        share = winners.count(label) / max(len(chosen), 1)
        ratios.append(sum(row[label] for row in chosen) / len(chosen) / share if share else 0.0)
    expected = [m / h for m, h in zip(mean.tolist(), histogram.tolist(), strict=True)]
    terms = [
        wanted / sum(expected) * math.log(ratio / sum(ratios))
        for wanted, ratio in zip(expected, ratios, strict=True)
        if ratio
    ]
    loss = FreeMatch(fairness_weight=0.5).extra_loss(state, logits, weights, torch.arange(size))
    assert loss is not None
    assert loss.item() == pytest.approx(0.5 * sum(terms), rel=1e-4, abs=1e-6)
