"""Whatever a class is called, its figures have a name that MLflow takes, and one of their own."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from semisup.tracking.run import LONGEST_KEY, points

ODD = ["../../evil", "a//b", "shoes/", "/", "..", ".", "a#b?c", "_2f_", "a_2f/", "a/2f_", "", " ", "x" * 300, "=1"]
names = st.text() | st.text(alphabet="_2f/. a#", max_size=8) | st.sampled_from(ODD)


def key(name: str) -> str:
    (point,) = points({f"labeled_per_class.{name}": 1.0})
    return point.key


@given(names)
def test_mlflow_takes_the_name_of_a_figure_of_any_class(name):
    _validate_metric_name(key(name))
    assert len(key(name)) <= LONGEST_KEY
    assert "/" not in key(name)


@given(names, names)
@example("a_2f/", "a/2f_")
@example("/", "_2f_")
@example("x" * 300, "x" * 301)
def test_different_classes_have_figures_of_different_names(first, second):
    assert (key(first) == key(second)) == (first == second)


@given(names)
def test_the_class_can_be_told_from_the_name_of_its_figure(name):
    spelt = key(name).partition(".")[2]
    if len(key(name)) < LONGEST_KEY:
        assert re.sub("_([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), spelt) == name


@pytest.mark.parametrize("name", ["train_loss", "top_2_accuracy", "drift.confidence", "rejected.below_threshold"])
def test_figures_of_our_own_are_called_as_they_are(name):
    assert points({name: 1.0})[0].key == name
