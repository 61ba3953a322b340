"""What holds for every policy: explicit state that can be saved and is never changed, valid targets and weights."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.modifiers import Aligned, Blended, Sharpened
from semisup.pseudo_labels.policies.adamatch import AdaMatch
from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.pseudo_labels.policies.flexmatch import FlexMatch
from semisup.pseudo_labels.policies.freematch import FreeMatch
from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.pseudo_labels.policies.soft import SoftLabels
from semisup.pseudo_labels.policies.softmatch import SoftMatch
from semisup.pseudo_labels.policies.threshold import FixedLabels
from semisup.pseudo_labels.policies.ups import UncertaintyLabels

IMAGES = 8


def policies(num_classes: int) -> list[Policy]:
    """One of each for eight images, all of which are of class 0 where labels are given."""
    labels, confidence = torch.zeros(IMAGES, dtype=torch.int64), torch.linspace(0.5, 1, IMAGES)
    shares = torch.arange(1.0, num_classes + 1) / sum(range(1, num_classes + 1))
    negative = torch.zeros(IMAGES, num_classes, dtype=torch.bool)
    negative[::3, 1:] = True
    nested = Aligned(Blended(Sharpened(FlexMatch(0.6), 0.5), labels, confidence, 0.3), shares, momentum=0.9)
    return [
        OnlineArgmax(),
        FixedLabels(labels),
        SoftLabels(),
        FixMatch(0.7),
        FlexMatch(0.7),
        FreeMatch(momentum=0.9),
        SoftMatch(momentum=0.9),
        SoftMatch(momentum=0.9, uniform_alignment=False),
        UncertaintyLabels(labels, confidence > 0.7, negative),
        Aligned(FreeMatch(momentum=0.9), shares, momentum=0.9),
        Sharpened(SoftMatch(), 0.5),
        AdaMatch(0.7, momentum=0.9),
        nested,
    ]


EVERY = pytest.mark.parametrize("policy", policies(3), ids=lambda policy: type(policy).__name__)


def batch(seed: int, size: int = 5, num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """(probabilities (size, num_classes), distinct indices (size,))."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = (2 * torch.randn(size, num_classes, generator=generator)).softmax(dim=1)
    return probabilities, torch.randperm(IMAGES, generator=generator)[:size]


@EVERY
def test_a_state_that_was_saved_and_loaded_continues_with_the_same_bits(policy):
    state = policy.init(IMAGES, 3)
    for seed in range(3):
        state, _, _ = policy.update(state, *batch(seed))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    for seed in range(3, 6):
        probabilities, indices = batch(seed)
        state, targets, weights = policy.update(state, probabilities, indices)
        loaded, same_targets, same_weights = policy.update(loaded, probabilities, indices)
        assert torch.equal(targets, same_targets)
        assert torch.equal(weights, same_weights)
        assert set(state) == set(loaded)
        assert all(torch.equal(value, loaded[name]) for name, value in state.items())


@EVERY
def test_an_older_state_and_the_inputs_are_never_changed(policy):
    older = policy.init(IMAGES, 3)
    probabilities, indices = batch(1)
    kept = copy.deepcopy((older, probabilities, indices))
    newer, targets, weights = policy.update(older, probabilities, indices)
    middle = copy.deepcopy(newer)
    policy.extra_loss(newer, torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), weights, indices)
    policy.update(newer, *batch(2))
    torch.testing.assert_close((older, probabilities, indices), kept, rtol=0, atol=0)
    torch.testing.assert_close(newer, middle, rtol=0, atol=0)
    again, same_targets, same_weights = policy.update(older, probabilities, indices)
    torch.testing.assert_close((again, same_targets, same_weights), (middle, targets, weights), rtol=0, atol=0)


@EVERY
def test_the_names_and_shapes_of_a_state_never_change(policy):
    state = policy.init(IMAGES, 3)
    newer, _, _ = policy.update(state, *batch(1))
    assert {name: (value.shape, value.dtype) for name, value in newer.items()} == {
        name: (value.shape, value.dtype) for name, value in state.items()
    }


@EVERY
def test_an_empty_batch_has_no_targets_and_changes_nothing(policy):
    state, _, _ = policy.update(policy.init(IMAGES, 3), *batch(1))
    newer, targets, weights = policy.update(state, *batch(1, size=0))
    assert targets.shape == (0, 3)
    assert weights.shape == (0,)
    torch.testing.assert_close(newer, state, rtol=0, atol=0)


@pytest.mark.parametrize("policy", policies(1), ids=lambda policy: type(policy).__name__)
def test_a_single_class_is_every_images_target(policy):
    state = policy.init(IMAGES, 1)
    for seed in range(3):
        state, targets, weights = policy.update(state, *batch(seed, num_classes=1))
        assert targets.tolist() == [[1]] * 5
        assert ((weights >= 0) & (weights <= 1)).all()


@pytest.mark.parametrize("policy", [FreeMatch(), SoftMatch()], ids=lambda policy: type(policy).__name__)
def test_a_single_class_always_counts_fully_however_long_the_means_run(policy):
    state = policy.init(2, 1)
    for _ in range(50):
        state, _, weights = policy.update(state, torch.ones(2, 1), torch.arange(2))
        assert weights.tolist() == [1, 1]


@EVERY
@given(seed=st.integers(0, 10_000), size=st.integers(1, IMAGES), steps=st.integers(1, 3))
@settings(deadline=None, max_examples=15)
def test_targets_sum_to_one_and_weights_lie_between_zero_and_one(policy, seed, size, steps):
    state = policy.init(IMAGES, 3)
    for step in range(steps):
        state, targets, weights = policy.update(state, *batch(seed + step, size))
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(size))
    assert (targets >= 0).all()
    assert ((weights >= 0) & (weights <= 1)).all()
    assert targets.dtype == weights.dtype == torch.float32


@EVERY
@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=15)
def test_the_order_within_a_batch_does_not_matter(policy, seed):
    probabilities, indices = batch(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    state, _, _ = policy.update(policy.init(IMAGES, 3), *batch(seed + 1))
    straight = policy.update(state, probabilities, indices)
    shuffled = policy.update(state, probabilities[order], indices[order])
    torch.testing.assert_close(shuffled, (straight[0], straight[1][order], straight[2][order]))


@EVERY
def test_an_extra_loss_is_a_finite_scalar_whose_gradient_reaches_the_logits(policy):
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    probabilities, indices = batch(1)
    state, _, weights = policy.update(policy.init(IMAGES, 3), probabilities, indices)
    loss = policy.extra_loss(state, logits, weights, indices)
    if loss is None:
        return
    assert loss.shape == ()
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


@EVERY
@pytest.mark.gpu
def test_on_a_gpu_the_state_follows_the_probabilities_and_the_results_are_those_of_the_cpu(policy):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if isinstance(policy, FixedLabels):
        pytest.skip("fixed labels stay where they were given")
    state, theirs = policy.init(IMAGES, 3), policy.init(IMAGES, 3)
    for seed in range(3):
        probabilities, indices = batch(seed)
        state, targets, weights = policy.update(state, probabilities, indices)
        theirs, gpu_targets, gpu_weights = policy.update(theirs, probabilities.cuda(), indices.cuda())
        assert all(value.is_cuda for value in theirs.values())
        moved = ({name: value.cpu() for name, value in theirs.items()}, gpu_targets.cpu(), gpu_weights.cpu())
        torch.testing.assert_close(moved, (state, targets, weights))
