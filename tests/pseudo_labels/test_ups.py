"""UPS: Monte Carlo dropout against its exact law, selection by hand, and negative learning that stays finite."""

import math

import pytest
import torch
from torch import nn

from semisup.data.rows import images_at_once
from semisup.pseudo_labels.policies.ups import UncertaintyLabels, log_complement
from semisup.pseudo_labels.uncertainty import mc_dropout, select

# --- Monte Carlo dropout ------------------------------------------------------------------------------------------


def coin_model() -> nn.Module:
    """Logits (0, x): of an input 1 either x = 0 or, as dropout doubles what it keeps, x = 2."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0], [1.0]]))
        model[1].bias.zero_()
    return model


def small_model(dropout: float = 0.3) -> nn.Module:
    torch.default_generator.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Linear(8, 3))


def inputs(size: int) -> torch.Tensor:
    return torch.randn(size, 4, generator=torch.Generator().manual_seed(1))


def test_mean_and_deviation_are_those_of_the_passes_with_and_without_the_unit():
    passes, size = 10, 1000
    low, high = 0.5, 1 / (1 + math.exp(-2))
    mean, std = mc_dropout(coin_model(), torch.ones(size, 1), passes, batch_size=64, seed=3)
    kept = (mean[:, 1].double() - low) / (high - low) * passes  # how many of the passes kept the unit
    torch.testing.assert_close(kept, kept.round(), atol=1e-4, rtol=0)
    share = kept.round() / passes
    variance = passes / (passes - 1) * share * (1 - share) * (high - low) ** 2
    torch.testing.assert_close(std[:, 1].double(), variance.sqrt(), atol=1e-6, rtol=0)
    assert abs(float(share.mean()) - 0.5) < 5 * 0.5 / math.sqrt(passes * size)
    assert mean.dtype == std.dtype == torch.float32
    assert mean.shape == std.shape == (size, 2)
    torch.testing.assert_close(mean.sum(dim=1), torch.ones(size))


def test_the_same_seed_gives_the_same_figures_and_another_seed_others():
    model, images = small_model(), inputs(20)
    mean, std = mc_dropout(model, images, 5, 8, seed=3)
    torch.default_generator.manual_seed(99)
    again, std_again = mc_dropout(model, images, 5, 8, seed=3)
    other, _ = mc_dropout(model, images, 5, 8, seed=4)
    assert mean.tolist() == again.tolist()
    assert std.tolist() == std_again.tolist()
    assert mean.tolist() != other.tolist()


def test_without_a_batch_size_a_batch_is_as_large_as_a_cpu_takes_it():
    model, images = small_model(), inputs(300)
    mean, std = mc_dropout(model, images, 3, None, seed=3)
    expected = mc_dropout(model, images, 3, images_at_once(images, torch.device("cpu")), seed=3)
    assert (mean.tolist(), std.tolist()) == tuple(figures.tolist() for figures in expected)


def test_the_global_generator_is_left_as_it_was():
    before = torch.default_generator.get_state()
    model = coin_model()
    torch.default_generator.set_state(before)
    mc_dropout(model, torch.ones(3, 1), 4, 2, seed=3)
    assert torch.equal(torch.default_generator.get_state(), before)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_in_eval_mode_and_every_mode_is_put_back(training):
    model = small_model().train(training)
    model[3].train(not training)
    buffers = {name: value.clone() for name, value in model[1].state_dict().items()}
    alone, _ = mc_dropout(model, inputs(1), 4, 1, seed=3)  # in training mode batch norm refuses a single image
    assert alone.isfinite().all()
    assert [module.training for module in model] == [training, training, training, not training]
    assert all(torch.equal(value, buffers[name]) for name, value in model[1].state_dict().items())


def test_modes_and_generator_are_put_back_after_an_error_too():
    model = small_model().train()
    before = torch.default_generator.get_state()
    with pytest.raises(RuntimeError, match="shapes"):
        mc_dropout(model, torch.ones(2, 5), 4, 2, seed=3)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.default_generator.get_state(), before)


@pytest.mark.parametrize("model", [nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0))])
def test_a_model_without_active_dropout_is_refused(model):
    with pytest.raises(ValueError, match="no active dropout layer"):
        mc_dropout(model, inputs(2), 5, 2, seed=3)


def test_a_single_pass_has_no_deviation():
    with pytest.raises(ValueError, match="passes=1"):
        mc_dropout(small_model(), inputs(2), 1, 2, seed=3)


# --- selection ----------------------------------------------------------------------------------------------------


def test_positive_labels_are_confident_and_certain_and_negative_classes_improbable_and_certain():
    mean = torch.tensor([[0.75, 0.21, 0.04], [0.8, 0.16, 0.04], [0.6, 0.36, 0.04], [0.04, 0.6, 0.36]])
    std = torch.tensor([[0.04, 0.04, 0.001], [0.06, 0.06, 0.001], [0.01, 0.01, 0.004], [0.006, 0.01, 0.01]])
    accepted, labels, negative = select(mean, std)
    assert accepted.tolist() == [True, False, False, False]
    assert labels.tolist() == [0, 0, 0, 1]
    # The first image has a label already; class 0 of the last is too uncertain.
    assert negative.tolist() == [[False] * 3, [False, False, True], [False, False, True], [False] * 3]


def test_the_limits_themselves_are_within():
    accepted, _, _ = select(torch.tensor([[0.7, 0.3]]), torch.tensor([[0.05, 0.05]]))
    assert accepted.tolist() == [True]
    _, _, negative = select(torch.tensor([[0.6, 0.35, 0.05]]), torch.tensor([[0.1, 0.1, 0.005]]))
    assert negative.tolist() == [[False, False, True]]


def test_the_most_probable_class_is_never_negative_however_many_classes_there_are():
    accepted, labels, negative = select(torch.full((2, 40), 1 / 40), torch.zeros(2, 40))
    assert not accepted.any()
    assert negative.sum(dim=1).tolist() == [39, 39]
    assert not negative.gather(1, labels[:, None]).any()


def test_limits_of_zero_and_one_accept_all_or_none():
    mean, std = torch.tensor([[0.6, 0.4]]), torch.tensor([[0.2, 0.2]])
    assert select(mean, std, positive_confidence=0.0, positive_uncertainty=1.0)[0].all()
    assert not select(mean, std, positive_confidence=1.0, positive_uncertainty=1.0)[0].any()


def test_no_images_give_an_empty_selection():
    accepted, labels, negative = select(torch.empty(0, 3), torch.empty(0, 3))
    assert accepted.shape == labels.shape == (0,)
    assert negative.shape == (0, 3)


# --- the policy ---------------------------------------------------------------------------------------------------

NEGATIVE = torch.tensor([[False, True, True], [False, False, False], [False, False, True]])
POLICY = UncertaintyLabels(torch.tensor([0, 1, 0]), torch.tensor([False, True, False]), NEGATIVE)


def test_targets_and_weights_are_looked_up_by_index_without_predictions():
    state = POLICY.init(3, 3)
    for _ in range(2):
        state, targets, weights = POLICY.update(state, torch.empty(2, 3), torch.tensor([1, 2]))
        assert targets.tolist() == [[0, 1, 0], [1, 0, 0]]
        assert weights.tolist() == [1, 0]
    assert not POLICY.uses_predictions


def test_negative_learning_worked_by_hand_is_a_mean_over_classes_and_then_over_images_with_any():
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]]).log()
    loss = POLICY.extra_loss(POLICY.init(3, 3), logits, torch.ones(3), torch.tensor([2, 1, 0]))
    assert loss is not None
    of_image_2, of_image_0 = -math.log(0.8), -(math.log(0.8) + math.log(0.9)) / 2
    assert loss.item() == pytest.approx((of_image_2 + of_image_0) / 2)


@pytest.mark.parametrize("indices", [[1, 1], []])
def test_without_negative_classes_the_term_and_its_gradient_are_zero(indices):
    logits = torch.zeros(len(indices), 3, requires_grad=True)
    chosen = torch.tensor(indices, dtype=torch.int64)
    loss = POLICY.extra_loss(POLICY.init(3, 3), logits, torch.ones(len(indices)), chosen)
    assert loss is not None
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_gradients_of_the_negative_term_are_those_of_finite_differences():
    logits = torch.tensor(
        [[0.3, 1.0, -0.5], [0.0, 0.2, 0.1], [0.4, -1.0, 2.0]], dtype=torch.float64, requires_grad=True
    )
    state = POLICY.init(3, 3)
    assert torch.autograd.gradcheck(lambda x: POLICY.extra_loss(state, x, torch.ones(3), torch.arange(3)), (logits,))


def test_a_student_certain_of_a_negative_class_has_a_finite_loss_and_gradient():
    # log(1 - f) of a class that leads by 200 is -200: in float32 f itself is 1.
    logits = torch.tensor([[-300.0, 0.0, -200.0]], requires_grad=True)
    loss = POLICY.extra_loss(POLICY.init(3, 3), logits, torch.ones(1), torch.tensor([0]))
    assert loss is not None
    loss.backward()
    assert loss.item() == pytest.approx((200 + 0) / 2)
    # d/dz of -log(1 - f_1) is (σ' of the lead): 1 on the class itself, -1 on the runner-up; over two negative classes.
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0, 0.5, -0.5], abs=1e-6)


def test_log_complement_is_the_log_of_the_sum_of_the_others():
    logits = 5 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probabilities = logits.softmax(dim=1)
    others = [[sum(row[:k] + row[k + 1 :]) for k in range(6)] for row in probabilities.tolist()]
    torch.testing.assert_close(log_complement(logits), torch.tensor(others, dtype=torch.float64).log())


def test_with_a_single_class_there_is_no_negative_one_and_nothing_to_unlearn():
    policy = UncertaintyLabels(torch.tensor([0]), torch.tensor([True]), torch.tensor([[False]]))
    logits = torch.tensor([[3.0]], requires_grad=True)
    loss = policy.extra_loss(policy.init(1, 1), logits, torch.ones(1), torch.tensor([0]))
    assert loss is not None
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0]]


@pytest.mark.parametrize(
    ("labels", "accepted", "negative", "named"),
    [
        ([0], [True, True], [[False] * 3] * 2, r"\(1, 2, 2\) labels, accepted and negative for 2 images"),
        ([0, 3], [True, True], [[False] * 3] * 2, "label 3 is outside"),
        ([0, 1], [True, True], [[False] * 2] * 2, r"shape \(2, 2\); 3 classes"),
        ([0, 1], [True, True], [[False] * 3, [True] * 3], "no class left"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, accepted, negative, named):
    with pytest.raises(ValueError, match=named):
        UncertaintyLabels(torch.tensor(labels), torch.tensor(accepted), torch.tensor(negative)).init(2, 3)
