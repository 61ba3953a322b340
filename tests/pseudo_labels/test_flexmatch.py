"""FlexMatch by hand: thresholds from what was remembered before the batch, warm-up, and what is remembered."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.policies.flexmatch import FlexMatch

UNLABELED = -1


def remembered(counts: list[int], total: int) -> dict[str, torch.Tensor]:
    """A state in which counts[k] of `total` images remember class k."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return {"remembered": torch.tensor(labels + [UNLABELED] * (total - len(labels)))}


def weights_of(policy: FlexMatch, state: dict[str, torch.Tensor], rows: list[list[float]]) -> list[float]:
    return policy.update(state, torch.tensor(rows), torch.arange(len(rows)))[2].tolist()


def test_at_first_nothing_is_remembered_and_every_image_counts():
    policy = FlexMatch()
    state = policy.init(4, 3)
    assert state["remembered"].tolist() == [UNLABELED] * 4
    assert weights_of(policy, state, [[0.4, 0.3, 0.3], [0.0, 1.0, 0.0]]) == [1, 1]


def test_thresholds_are_the_convex_map_of_the_classes_learned():
    # σ = (4, 3, 0), 2 of 9 images without a label: β = (1, 3/4, 0), β/(2 - β) = (1, 0.6, 0), thresholds 0.9, 0.54, 0.
    rows = [[0.91, 0.05, 0.04], [0.89, 0.06, 0.05], [0.22, 0.55, 0.23], [0.23, 0.53, 0.24], [0.33, 0.33, 0.34]]
    assert weights_of(FlexMatch(0.9), remembered([4, 3, 0], 9), rows) == [1, 0, 1, 0, 1]


def test_in_the_warm_up_the_images_without_a_label_lower_all_thresholds():
    # σ = (4, 3, 0), 5 of 12 without a label: β = (0.8, 0.6, 0), thresholds 0.9 · (2/3, 3/7, 0) = (0.6, 0.386, 0).
    rows = [[0.61, 0.2, 0.19], [0.59, 0.21, 0.2], [0.3, 0.4, 0.3], [0.31, 0.38, 0.31], [0.33, 0.33, 0.34]]
    assert weights_of(FlexMatch(0.9), remembered([4, 3, 0], 12), rows) == [1, 0, 1, 0, 1]


def test_only_images_above_the_full_threshold_are_remembered_and_they_change_the_next_step():
    policy, state = FlexMatch(0.9), remembered([], 4)
    sure_of_0, sure_of_1, unsure = [0.95, 0.05], [0.05, 0.95], [0.8, 0.2]

    state, targets, weights = policy.update(state, torch.tensor([sure_of_0, unsure]), torch.tensor([2, 0]))
    assert weights.tolist() == [1, 1]
    assert targets.tolist() == [[1, 0], [1, 0]]
    assert state["remembered"].tolist() == [UNLABELED, UNLABELED, 0, UNLABELED]

    # Before this batch one image is remembered: β = (1/3, 0), thresholds 0.18 and 0; it itself counts only later.
    state, _, weights = policy.update(state, torch.tensor([sure_of_0, sure_of_0, unsure]), torch.tensor([0, 1, 3]))
    assert weights.tolist() == [1, 1, 1]
    assert state["remembered"].tolist() == [0, 0, 0, UNLABELED]

    # Three of class 0, one without a label: β = (1, 0), thresholds 0.9 and 0.
    state, _, weights = policy.update(state, torch.tensor([unsure, [0.4, 0.6], sure_of_1]), torch.tensor([0, 1, 2]))
    assert weights.tolist() == [0, 1, 1]
    assert state["remembered"].tolist() == [0, 0, 1, UNLABELED]


def test_an_image_keeps_its_label_when_it_is_no_longer_sure():
    state, _, _ = FlexMatch(0.9).update(remembered([1], 2), torch.tensor([[0.3, 0.7]]), torch.tensor([0]))
    assert state["remembered"].tolist() == [0, UNLABELED]


def test_of_an_image_drawn_twice_the_last_sure_view_is_remembered():
    rows = torch.tensor([[0.99, 0.01], [0.02, 0.98], [0.6, 0.4]])
    state, _, _ = FlexMatch(0.9).update(remembered([], 3), rows, torch.tensor([1, 1, 1]))
    assert state["remembered"].tolist() == [UNLABELED, 1, UNLABELED]


def test_once_all_images_are_of_one_class_it_needs_the_full_threshold():
    at = float(torch.tensor(0.95))
    rows = [[at, 1 - at], [0.94, 0.06], [0.4, 0.6]]
    assert weights_of(FlexMatch(0.95), remembered([5], 5), rows) == [1, 0, 1]


def test_threshold_zero_counts_and_remembers_every_image():
    state, _, weights = FlexMatch(0.0).update(
        remembered([], 2), torch.tensor([[0.5, 0.5], [0.4, 0.6]]), torch.arange(2)
    )
    assert weights.tolist() == [1, 1]
    assert state["remembered"].tolist() == [0, 1]


def test_above_threshold_one_nothing_can_be_and_nothing_is_remembered():
    state, _, weights = FlexMatch(1.0).update(
        remembered([], 2), torch.tensor([[1.0, 0.0], [0.4, 0.6]]), torch.arange(2)
    )
    assert weights.tolist() == [1, 1]
    assert state["remembered"].tolist() == [UNLABELED, UNLABELED]


@given(
    labels=st.lists(st.integers(UNLABELED, 2), min_size=1, max_size=12),
    threshold=st.floats(0, 1, width=32),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=100)
def test_weights_and_memory_are_the_papers_formulas_written_as_loops(labels, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(len(labels), 3, generator=generator)).softmax(dim=1)
    indices = torch.randperm(len(labels), generator=generator)
    state, _, weights = FlexMatch(threshold).update({"remembered": torch.tensor(labels)}, probabilities, indices)

    learned = [labels.count(label) for label in range(3)]
    most = max(*learned, len(labels) - sum(learned))
    expected = list(labels)
    for row, index, weight in zip(probabilities.tolist(), indices.tolist(), weights.tolist(), strict=True):
        confidence, label = max(row), row.index(max(row))
        beta = learned[label] / most
        limit = threshold * beta / (2 - beta)
        assert weight == (confidence >= limit) or confidence == pytest.approx(limit, abs=1e-6)
        if confidence > threshold:
            expected[index] = label
    assert state["remembered"].tolist() == expected
