"""The classifier as a user meets it: in pipelines and searches, with groups and weights, and what it shows."""

import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import semisup as ss

STEPS = "40 steps"


def quick(policy=None, **options):
    """A network that trains for a moment."""
    return ss.PseudoLabelClassifier(policy, **{"width": 0.5, "budget": STEPS, "random_state": 0} | options)


@pytest.fixture(scope="module")
def on_vectors(digits):
    return ss.PseudoLabelClassifier(random_state=0).fit(digits.vectors, digits.partly)


@pytest.fixture(scope="module")
def on_images(digits):
    return quick(budget="150 steps").fit(digits.images, digits.partly)


@pytest.fixture(params=["on_vectors", "on_images"])
def fitted(request, digits):
    """(classifier, what it learned from)."""
    rows = digits.vectors if request.param == "on_vectors" else digits.images
    return request.getfixturevalue(request.param), rows


def test_pseudo_labels_are_of_the_rows_without_a_label(fitted, digits):
    classifier, _ = fitted
    table = classifier.pseudo_labels_
    assert table["row"].tolist() == np.flatnonzero(digits.partly == -1).tolist()
    assert (classifier.labeled_iter_[digits.partly != -1] == 0).all()
    assert (classifier.labeled_iter_[table["row"]] == table["round"]).all()
    assert (classifier.transduction_[table["row"]] == table["label"]).all()
    assert (classifier.transduction_[digits.partly != -1] == digits.partly[digits.partly != -1]).all()
    assert ((table["round"] == -1) | table["accepted"]).all()
    assert table["confidence"].between(1 / 4 - 1e-6, 1).all()


def test_it_learns_more_than_the_labels_say(fitted, digits):
    classifier, rows = fitted
    assert classifier.score(rows, digits.truth) > 0.85  # 208 of 240 rows have no label


def test_probabilities_are_such_and_predictions_their_largest(fitted):
    classifier, rows = fitted
    probabilities = classifier.predict_proba(rows)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (classifier.classes_[probabilities.argmax(axis=1)] == classifier.predict(rows)).all()


def test_the_same_seed_gives_the_same_bits_and_another_one_others(digits, on_images, one_thread):
    first, second = (quick().fit(digits.images, digits.partly).predict_proba(digits.images) for _ in range(2))
    other = quick(random_state=1).fit(digits.images, digits.partly).predict_proba(digits.images)
    assert (first == second).all()
    assert (first != other).any()


def test_layouts_of_images_are_the_same_to_it(digits, on_images, one_thread):
    gray = digits.images
    assert (on_images.predict(gray[:, None]) == on_images.predict(gray[..., None])).all()
    assert on_images.image_shape_ == (1, 8, 8)
    assert on_images.n_features_in_ == 64
    with pytest.raises(ss.UserError, match="but the model learned from"):
        on_images.predict(gray[:, :7])


def test_names_of_classes_change_names_alone(digits, on_vectors):
    names = np.array(["zero", "one", "two", "three"], dtype=object)
    text = np.where(digits.partly == -1, None, names[digits.partly])
    named = ss.PseudoLabelClassifier(random_state=0).fit(digits.vectors, text)
    assert named.classes_.tolist() == sorted(names)
    same = names[on_vectors.predict(digits.vectors)] == named.predict(digits.vectors)
    assert same.mean() > 0.98  # folds are dealt class by class, so that another order holds out other labels


def test_columns_of_a_table_have_names(digits):
    table = pd.DataFrame(digits.vectors, columns=[f"p{number}" for number in range(64)])
    classifier = ss.PseudoLabelClassifier(random_state=0).fit(table, digits.partly)
    assert classifier.feature_names_in_.tolist() == table.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(table.rename(columns={"p0": "other"}))


def test_it_works_in_a_pipeline_and_a_search(digits):
    pipeline = make_pipeline(MinMaxScaler(), quick(ss.FixMatch(0.9)))
    grid = {"pseudolabelclassifier__policy": [ss.FixMatch(0.5), ss.SelfTraining()]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(digits.vectors, digits.partly)
    assert search.best_params_["pseudolabelclassifier__policy"] in grid["pseudolabelclassifier__policy"]
    assert 0.5 < search.best_score_ <= 1  # of the labeled rows alone: they are an eighth of all


def test_a_score_asks_about_labeled_rows_alone(on_vectors, digits):
    known = digits.partly != -1
    expected = (on_vectors.predict(digits.vectors)[known] == digits.partly[known]).mean()
    assert on_vectors.score(digits.vectors, digits.partly) == expected


def test_a_score_counts_rows_by_their_weights(on_vectors, digits):
    wrong = on_vectors.predict(digits.vectors) != digits.truth
    weights = np.where(wrong, 3.0, 1.0)
    expected = (~wrong).sum() / weights.sum()
    assert on_vectors.score(digits.vectors, digits.truth, weights) == pytest.approx(expected)
    with pytest.raises(ss.UserError, match="sample_weight is 0 for every row with a label; give"):
        on_vectors.score(digits.vectors, digits.partly, digits.partly == -1)
    with pytest.raises(ValueError, match="sample_weight"):
        on_vectors.score(digits.vectors, digits.truth, [1.0])


def test_a_copy_is_unfitted_and_has_equal_parameters():
    classifier = quick(ss.Sharpened(ss.FreeMatch(momentum=0.9), temperature=0.5))
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    assert copy.set_params(policy=ss.SoftMatch()).policy == ss.SoftMatch()


@pytest.mark.parametrize(
    "policy",
    [
        ss.FixMatch(0.8),
        ss.FlexMatch(),
        ss.FreeMatch(momentum=0.9),
        ss.SoftMatch(momentum=0.9),
        ss.OnlineArgmax(),
        ss.SoftLabels(),
        ss.Sharpened(ss.SoftLabels(), temperature=0.5),
        ss.SelfTraining(threshold=0.5, rounds=2),
    ],
    ids=lambda policy: type(policy).__name__,
)
@pytest.mark.parametrize("kind", ["vectors", "images"])
def test_every_policy_trains_on_images_and_on_vectors(policy, kind, digits):
    rows = digits.images if kind == "images" else digits.vectors
    classifier = quick(policy, budget="30 steps").fit(rows, digits.partly)
    assert classifier.score(rows, digits.truth) > 0.5  # of four classes
    assert classifier.termination_condition_ in {"budget", "no_change"}
    stages = {record["stage"] for record in classifier.history_}
    assert "teacher" in stages
    assert len(stages) > 1
    assert sum(record["steps"] for record in classifier.history_ if record["epoch"] == 1) > 0
    last = {record["stage"]: record["steps"] for record in classifier.history_}
    assert sum(last.values()) <= 30


def test_accepted_are_those_that_the_policy_weighs(digits):
    threshold = 0.9
    classifier = quick(ss.FixMatch(threshold)).fit(digits.images, digits.partly)
    table = classifier.pseudo_labels_
    assert (table["accepted"] == (table["confidence"] >= np.float32(threshold))).all()
    unlabeled = digits.images[table["row"]]
    assert np.allclose(classifier.predict_proba(unlabeled).max(axis=1), table["confidence"], atol=1e-6)


def test_no_row_of_a_group_that_validates_is_learned_from(digits):
    """What a validation group says is turned upside down: if it were learned from, the weights would change."""
    groups = np.arange(len(digits.truth)) // 3
    first = quick(validation_fraction=0.3).fit(digits.images, digits.partly, groups=groups)
    assert first.n_validation_ > 0
    assert first.n_validation_ == sum(_held(digits, groups, first))
    mixed = digits.images.copy()
    mixed[_rows_held(digits, groups, first)] = 255 - mixed[_rows_held(digits, groups, first)]
    settings = {"early_stopping": {"keep": "last"}}  # else the validation rows may choose another epoch
    one, other = (
        quick(validation_fraction=0.3, settings=settings).fit(images, digits.partly, groups=groups).predict_proba(mixed)
        for images in (digits.images, mixed)
    )
    assert (one == other).all()


def _rows_held(digits, groups, classifier):
    """Which rows validate, or share a group with one that does, as the fit drew them."""
    import torch
    from sklearn.utils import check_random_state

    from semisup.api.inputs import Given
    from semisup.api.learning.training import held_out

    seed = int(check_random_state(classifier.random_state).randint(2**31 - 1))
    codes = torch.from_numpy(digits.partly)
    given = Given(torch.zeros(len(codes), 1), codes, 4, torch.ones(len(codes)), groups, seed)
    return held_out(given, classifier.validation_fraction)


def _held(digits, groups, classifier):
    return (digits.partly != -1) & _rows_held(digits, groups, classifier)


def test_a_row_of_weight_zero_is_as_if_it_were_not_there(digits, one_thread):
    weights = np.ones(len(digits.truth))
    weights[5:25] = 0
    there = weights > 0
    for rows in (digits.vectors, digits.images):
        make = ss.PseudoLabelClassifier(random_state=0) if rows.ndim == 2 else quick()
        weighted = clone(make).fit(rows, digits.partly, sample_weight=weights)
        without = clone(make).fit(rows[there], digits.partly[there])
        assert np.allclose(weighted.predict_proba(rows), without.predict_proba(rows), atol=1e-6)
        assert len(weighted.pseudo_labels_) == (digits.partly == -1).sum()
        left_out = ~there[weighted.pseudo_labels_["row"]]
        assert not weighted.pseudo_labels_["accepted"][left_out].any()


def test_a_class_of_weight_zero_leaves_validation_to_the_others(digits):
    weights = np.where(digits.partly == 3, 0.0, 1.0)
    classifier = quick(validation_fraction=0.25).fit(digits.images, digits.partly, sample_weight=weights)
    assert classifier.n_validation_ == 6  # a quarter of eight labels in three classes
    assert classifier.classes_.tolist() == [0, 1, 2, 3]


def test_weights_say_whose_label_counts():
    vectors, labels = np.array([[0.0], [0.0], [0.0], [5.0]]), ["a", "b", "a", "b"]
    believed = ss.PseudoLabelClassifier(random_state=0).fit(vectors, labels, sample_weight=[1, 9, 1, 1])
    assert ss.PseudoLabelClassifier(random_state=0).fit(vectors, labels).predict([[0.0]]) == ["a"]
    assert believed.predict([[0.0]]) == ["b"]


def test_a_fit_forgets_the_one_before(digits):
    classifier = quick().fit(digits.images, digits.partly)
    classifier.set_params(budget=None, width=1.0).fit(digits.vectors, digits.partly)
    assert not hasattr(classifier, "image_shape_")
    assert classifier.predict(digits.vectors).shape == (240,)


@pytest.mark.parametrize("way", ["a mistake", "an interrupt"])
def test_a_fit_that_fails_leaves_the_one_before(way, digits):
    def interrupt(_):
        raise KeyboardInterrupt

    table = pd.DataFrame(digits.vectors).add_prefix("p")
    classifier = quick(ss.SelfTraining()).fit(table, digits.partly)
    before, said = vars(classifier).copy(), classifier.predict_proba(table)
    if way == "a mistake":
        classifier.set_params(settings={"epochs": 0})
        with pytest.raises(ss.UserError):
            classifier.fit(digits.images, digits.partly)
        classifier.set_params(settings=None)
    else:
        classifier.set_params(progress=interrupt)
        with pytest.raises(KeyboardInterrupt):
            classifier.fit(digits.images, digits.partly)
        classifier.set_params(progress="auto")
    assert vars(classifier).keys() == before.keys()
    assert all(vars(classifier)[name] is value for name, value in before.items())
    assert (classifier.predict_proba(table) == said).all()


def test_a_first_fit_that_fails_leaves_it_unfitted(digits):
    classifier = quick(settings={"epochs": 0})
    fresh = vars(classifier).copy()
    with pytest.raises(ss.UserError):
        classifier.fit(digits.images, digits.partly)
    assert vars(classifier) == fresh


def test_what_has_no_effect_is_said():
    vectors, labels = np.arange(4.0)[:, None], [0, -1, -1, 1]
    with pytest.warns(UserWarning, match="budget='60s' has no effect: LabelGraph solves without a network"):
        ss.PseudoLabelClassifier(budget="60s").fit(vectors, labels)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": "fixmatch"}, "is no policy"),
        ({"policy": ss.FixMatch}, r"is a class; write FixMatch\(\)"),
        ({"policy": ss.LabelGraph()}, "needs feature vectors"),
        ({"budget": "60"}, "budget: budget '60' is not understood"),
        ({"settings": {"epochs": 0}}, "settings: epochs=0"),
        ({"settings": {"epoch": 5}}, "unknown key 'epoch'"),
        ({"settings": {"method": "online"}}, r"settings\['method'\] is no setting here"),
        ({"settings": {"policy": {"threshold": 0.5}}}, "is said by the policy itself"),
        ({"settings": ["batch_size"]}, r"settings=\['batch_size'\] is no dict"),
        ({"settings": {"policy": 3}}, r"settings\['policy'\]=3 is no dict"),
        ({"settings": {"policy": {1: 2, "a": 3}}}, r"settings\['policy'\]\[1\]"),
        ({"settings": {"epochs": [1]}}, r"settings: epochs=\[1\]"),
        ({"policy": ss.FixMatch(7)}, "FixMatch: threshold=7"),
        ({"policy": ss.FreeMatch(momentum="0.9")}, "FreeMatch: momentum='0.9' is no number"),
        ({"policy": ss.Sharpened(ss.FixMatch(), temperature=0)}, "Sharpened: temperature=0"),
        ({"policy": ss.Sharpened(3, temperature=0.5)}, "policy=3 is no policy"),
        ({"network": "smal_cnn"}, "^network='smal_cnn' is not a known model; did you mean small_cnn"),
        ({"network": "nowhere:net"}, "^network='nowhere:net' is not a known model"),
        ({"network": "resnet18_small", "dropout": 0.5}, "^width=0.5 and dropout=0.5, but network='resnet18_small' has"),
        ({"network": "torchvision:alexnet", "width": 1}, "^network='torchvision:alexnet' does not take images of 8×8"),
        ({"width": True}, "width=True is outside"),
        ({"device": "meta"}, "device='meta' cannot be used here"),
        ({"validation_fraction": 2}, "validation_fraction=2 is outside"),
        ({"device": "abacus"}, "is no device"),
        ({"progress": "loud"}, "use 'auto', a function"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_mistake_is_one_line_with_a_way_out(options, said, digits):
    with pytest.raises(ValueError, match=said) as caught:
        quick(**options).fit(digits.images, digits.partly)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"threshold": 2}, {"rounds": 0}, {"rounds": 1.5}, {"weights": "none"}])
def test_a_policy_that_cannot_be_is_refused_when_it_is_made(options):
    with pytest.raises(ss.UserError, match=str(next(iter(options.values())))):
        ss.SelfTraining(**options)


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.words = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_it_shows_what_came_out(fitted, digits):
    page = _Text()
    page.feed(fitted[0]._repr_html_())
    assert page.open == []
    words = " ".join(page.words)
    assert f"{(digits.partly == -1).sum()}" in words
    assert "4: 0, 1, 2, 3" in words
    assert "not fitted" in clone(fitted[0])._repr_html_()
    assert fitted[0]._repr_mimebundle_()["text/html"] == fitted[0]._repr_html_()


def test_names_of_classes_are_no_markup():
    names = ["<b>", "</table>", "", ""]
    shown = ss.PseudoLabelClassifier(random_state=0).fit(np.arange(4.0)[:, None], names)._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown


def test_a_function_is_told_every_epoch(digits):
    told = []
    classifier = quick(progress=told.append).fit(digits.images, digits.partly)
    assert told == classifier.history_
    assert {"stage", "epoch", "train_loss"} <= set(told[0])
    assert "validation_accuracy" not in told[0]  # eight labels a class are too few to hold any out
    judged = quick(validation_fraction=0.25).fit(digits.images, digits.partly)
    assert judged.n_validation_ == 8
    assert all(0 <= record["validation_accuracy"] <= 1 for record in judged.history_)


def test_outside_of_a_notebook_it_says_nothing(digits, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(digits.images, digits.partly)
    assert capfd.readouterr() == ("", "")
