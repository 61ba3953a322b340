"""Bootstrap samples, SAMME against scikit-learn's, and how members' answers become one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from semisup.evaluation.ensembles import (
    LEAST_ERROR,
    LEAST_PROBABILITY,
    Ensemble,
    bootstrap,
    combine,
    disagreement,
    predict_members,
    predict_with_disagreement,
    samme_update,
    samme_weight,
    weighted_error,
)
from semisup.system.randomness import numpy_generator


def some_probabilities(members: int = 5, images: int = 40, classes: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(members, images, classes, generator=generator)).softmax(dim=2)


# --- bootstrap --------------------------------------------------------------------------------------------------------


def test_the_share_of_distinct_images_in_a_sample_is_one_minus_one_over_e():
    """Within five standard deviations of the exact mean, which differs from the limit by less."""
    n = 10_000
    missed, both_missed = (1 - 1 / n) ** n, (1 - 2 / n) ** n
    variance = n * missed + n * (n - 1) * both_missed - (n * missed) ** 2
    distinct = len(np.unique(bootstrap(n, np.random.default_rng(0))))
    assert abs(distinct - n * (1 - missed)) < 5 * math.sqrt(variance)
    assert abs(distinct / n - (1 - 1 / math.e)) < 5 * math.sqrt(variance) / n + 1 / n


def test_a_sample_is_as_large_as_what_it_is_drawn_from_and_lies_within_it():
    drawn = bootstrap(1000, np.random.default_rng(0))
    assert drawn.shape == (1000,)
    assert set(drawn.tolist()) <= set(range(1000))
    assert bootstrap(1, np.random.default_rng(0)).tolist() == [0]


def test_the_samples_of_two_members_are_independent():
    """How often each image is drawn in one tells nothing of the other: a correlation within its own noise."""
    n = 10_000
    samples = [bootstrap(n, numpy_generator(0, f"member {k} bootstrap")) for k in (1, 2)]
    counts = [np.bincount(sample, minlength=n) for sample in samples]
    assert abs(np.corrcoef(*counts)[0, 1]) < 5 / math.sqrt(n)


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(ValueError, match="n=0"):
        bootstrap(0, np.random.default_rng(0))


# --- SAMME ------------------------------------------------------------------------------------------------------------


def test_a_members_weight_worked_out_by_hand():
    assert samme_weight(0.2, 10) == pytest.approx(math.log(36))  # log(0.8/0.2) + log(9)
    assert samme_weight(0.25, 2) == pytest.approx(math.log(3))  # two classes: AdaBoost's own
    assert samme_weight(0.75, 5) == pytest.approx(math.log(4 / 3))  # wrong more often than not, and better than chance


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_a_member_that_guesses_or_does_worse_has_no_weight_and_a_better_one_has(num_classes):
    chance = 1 - 1 / num_classes
    assert samme_weight(chance, num_classes) == 0
    assert samme_weight(1.0, num_classes) == 0
    assert 0 < samme_weight(chance - 1e-6, num_classes) < 1e-4


def test_a_member_without_an_error_weighs_as_much_as_one_with_the_least_error_that_counts():
    assert samme_weight(0.0, 10) == samme_weight(LEAST_ERROR, 10) == pytest.approx(math.log(9999) + math.log(9))


wrongs = st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda wrong: any(wrong) and not all(wrong))


@given(wrongs, st.integers(2, 20), st.integers(0, 2**32))
def test_after_an_update_the_member_is_no_better_than_guessing(wrong, num_classes, seed):
    """SAMME's point: the wrong images hold (C - 1)/C of the new weight, whatever they held before."""
    weights = np.random.default_rng(seed).uniform(0.1, 10, len(wrong))
    error = weighted_error(weights, np.array(wrong))
    if LEAST_ERROR < error < 1 - 1 / num_classes:
        updated = samme_update(weights, np.array(wrong), samme_weight(error, num_classes))
        assert updated.mean() == pytest.approx(1)
        assert weighted_error(updated, np.array(wrong)) == pytest.approx(1 - 1 / num_classes)


@given(st.lists(st.integers(0, 8), min_size=2, max_size=20), st.floats(0.01, 10), st.integers(0, 2**32))
def test_shares_of_wrong_views_are_samme_on_the_views_themselves(wrong_views, member_weight, seed):
    """Every view is an image with an eighth of the weight: raised one by one, then summed."""
    weights = np.random.default_rng(seed).uniform(0.1, 10, len(wrong_views))
    views = np.array([[view < wrong for view in range(8)] for wrong in wrong_views])
    raised = (weights[:, None] / 8) * np.exp(member_weight * views)
    expected = raised.sum(axis=1) / raised.sum() * len(weights)
    np.testing.assert_allclose(samme_update(weights, np.array(wrong_views) / 8, member_weight), expected, rtol=1e-9)


def test_a_member_without_an_error_leaves_the_weights_and_one_without_a_weight_resets_them():
    weights = np.array([0.5, 1.5, 1.0])
    np.testing.assert_allclose(samme_update(weights, np.zeros(3), samme_weight(0, 10)), weights)
    np.testing.assert_array_equal(samme_update(weights, np.ones(3), 0.0), np.ones(3))


def test_boosting_is_scikit_learns_at_every_stage():
    """Its stumps' errors, weights and predictions, from weights that are ours from the first stage on."""
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:600], labels[:600]
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=12, random_state=0)
    theirs.fit(images, labels)
    weights, votes = np.ones(len(labels)), []
    for number, stump in enumerate(theirs.estimators_):
        ours = DecisionTreeClassifier(max_depth=2, random_state=stump.random_state)
        predicted = ours.fit(images, labels, sample_weight=weights / len(labels)).predict(images)
        np.testing.assert_array_equal(predicted, stump.predict(images))
        error = weighted_error(weights, predicted != labels)
        votes.append(samme_weight(error, 10))
        assert error == pytest.approx(theirs.estimator_errors_[number])
        assert votes[-1] == pytest.approx(theirs.estimator_weights_[number])
        weights = samme_update(weights, predicted != labels, votes[-1])
    probabilities = np.stack([np.eye(10)[stump.predict(images)] for stump in theirs.estimators_])
    combined = combine(torch.from_numpy(probabilities), "vote", torch.tensor(votes))
    np.testing.assert_array_equal(combined.argmax(dim=1).numpy(), theirs.predict(images))


@pytest.mark.parametrize(
    ("weights", "wrong", "said"),
    [
        ([1.0, 1.0], [True], "shape"),
        ([-1.0, 2.0], [True, False], "negative"),
        ([0.0, 0.0], [True, False], "all are 0"),
        ([1.0, 1.0], [0.5, 1.5], "outside"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, wrong, said):
    with pytest.raises(ValueError, match=said):
        samme_update(np.array(weights), np.array(wrong), 1.0)
    with pytest.raises(ValueError, match=said):
        weighted_error(np.array(weights), np.array(wrong))


def test_an_error_that_is_no_share_and_a_single_class_are_refused():
    with pytest.raises(ValueError, match=r"error=1\.5"):
        samme_weight(1.5, 10)
    with pytest.raises(ValueError, match="num_classes=1"):
        samme_weight(0.1, 1)


# --- members' answers -------------------------------------------------------------------------------------------------


def test_mean_and_vote_worked_out_by_hand():
    probabilities = torch.tensor([[[0.6, 0.4, 0.0]], [[0.1, 0.3, 0.6]], [[0.5, 0.1, 0.4]]])
    torch.testing.assert_close(combine(probabilities, "mean"), torch.tensor([[0.4, 0.8 / 3, 1 / 3]]))
    torch.testing.assert_close(combine(probabilities, "vote"), torch.tensor([[2 / 3, 0.0, 1 / 3]]))
    weights = torch.tensor([1.0, 3.0, 1.0])
    torch.testing.assert_close(combine(probabilities, "vote", weights), torch.tensor([[0.4, 0.0, 0.6]]))
    torch.testing.assert_close(combine(probabilities, "mean", weights), torch.tensor([[1.4, 1.4, 2.2]]) / 5)


@pytest.mark.parametrize("method", ["mean", "vote"])
def test_the_order_of_members_and_the_scale_of_weights_change_nothing_and_rows_sum_to_one(method):
    probabilities, weights = some_probabilities(), torch.tensor([1.0, 2.0, 0.0, 0.5, 4.0])
    combined = combine(probabilities, method, weights)
    torch.testing.assert_close(combined.sum(dim=1), torch.ones(40))
    torch.testing.assert_close(combine(probabilities.flip(0), method, 7 * weights.flip(0)), combined)
    torch.testing.assert_close(combine(probabilities[[0, 1, 3, 4]], method, weights[[0, 1, 3, 4]]), combined)


@pytest.mark.parametrize("method", ["mean", "vote"])
def test_members_that_agree_are_followed(method):
    member = some_probabilities(members=1)
    combined = combine(member.repeat(3, 1, 1), method)
    assert torch.equal(combined.argmax(dim=1), member[0].argmax(dim=1))
    if method == "mean":
        torch.testing.assert_close(combined, member[0])


def test_the_mean_is_never_worse_in_log_loss_than_its_members_on_average():
    """Jensen's inequality: the logarithm is concave."""
    probabilities, labels = some_probabilities(classes=3), torch.arange(40) % 3
    picked = torch.arange(40), labels
    of_mean = -combine(probabilities, "mean")[picked].log().mean()
    assert of_mean < torch.stack([-member[picked].log().mean() for member in probabilities]).mean()


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [2.0, -1.0]])
def test_votes_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match="weights="):
        combine(some_probabilities(members=2), "vote", torch.tensor(weights))
    with pytest.raises(ValueError, match="weights="):
        Ensemble([nn.Identity(), nn.Identity()], "vote", weights)


def test_disagreement_is_numpys_standard_deviation_and_nothing_where_all_agree():
    probabilities, labels = some_probabilities(), torch.arange(40) % 4
    expected = np.stack([member[np.arange(40), labels.numpy()] for member in probabilities.numpy()]).std(axis=0)
    np.testing.assert_allclose(disagreement(probabilities, labels).numpy(), expected, rtol=1e-5)
    assert (disagreement(probabilities[:1].repeat(4, 1, 1), labels) < 1e-6).all()
    assert disagreement(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0])) == 0.5  # as far as can be


# --- as one model -----------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Answers with logits that its images hold, scaled by its own factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * images.float()


def an_ensemble(method="mean", weights=(1.0, 2.0, 0.0)) -> Ensemble:
    return Ensemble([Fixed(0.5), Fixed(2.0), Fixed(-1.0)], method, weights).eval()


@pytest.mark.parametrize("method", ["mean", "vote"])
def test_softmax_of_an_ensembles_answer_is_the_combination_and_all_of_it_is_finite(method):
    images = torch.randint(0, 9, (30, 4), generator=torch.Generator().manual_seed(0))
    model = an_ensemble(method)
    answer = model(images)
    assert answer.isfinite().all()
    expected = combine(torch.stack([member(images).softmax(dim=1) for member in model.members]), method, model.weights)
    torch.testing.assert_close(answer.softmax(dim=1), expected, atol=10 * LEAST_PROBABILITY, rtol=1e-5)


def test_a_prediction_is_that_of_the_model_whatever_the_batches_and_progress_reaches_the_end():
    images = torch.randint(0, 9, (25, 4), generator=torch.Generator().manual_seed(0))
    model, told = an_ensemble(), []
    logarithms, apart = predict_with_disagreement(model, images, 4, lambda done, total: told.append((done, total)))
    torch.testing.assert_close(logarithms, model(images).detach())
    assert told == [(min(4 * k, 25), 25) for k in range(1, 8)]
    members = predict_members(model, images, 7)
    torch.testing.assert_close(members, model.member_probabilities(images).detach())
    # The third has no vote, so its doubts do not count either.
    torch.testing.assert_close(apart, disagreement(members[:2], logarithms.argmax(dim=1)))


def test_the_votes_are_not_among_the_saved_weights_and_members_keep_their_own():
    assert set(an_ensemble().state_dict()) == {f"members.{k}.factor" for k in range(3)}
