"""What people write for "no label", in arrays of every type."""

import numpy as np
import pandas as pd
import pytest

from semisup.api.labels import read_labels
from semisup.errors import UserError


@pytest.mark.parametrize(
    "labels",
    [
        np.array([7, -1, 5, -1]),
        np.array([7, -1, 5, -1], dtype=np.int8),
        np.array([7.0, np.nan, 5.0, np.nan]),
        [7, None, 5, None],
        np.array([7, -1, 5, None], dtype=object),
        pd.Series([7, pd.NA, 5, pd.NA], dtype="Int64"),
        pd.Series([7, None, 5, None]),
    ],
    ids=["integers", "int8", "floats", "list with None", "object integers", "pandas Int64", "pandas float"],
)
def test_numbers_without_a_label_are_minus_one_or_nothing(labels):
    found = read_labels(labels)
    assert found.codes.tolist() == [1, -1, 0, -1]
    assert found.classes.tolist() == [5, 7]


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["dog", "", "cat", ""]),
        np.array(["dog", None, "cat", ""], dtype=object),
        np.array(["dog", -1, "cat", np.nan], dtype=object),
        pd.Series(["dog", pd.NA, "cat", None], dtype="string"),
        pd.Series(["dog", None, "cat", None], dtype="category"),
    ],
    ids=["text", "object", "object with -1 and NaN", "pandas string", "pandas category"],
)
def test_text_without_a_label_is_empty_or_nothing(labels):
    found = read_labels(labels)
    assert found.codes.tolist() == [1, -1, 0, -1]
    assert found.classes.tolist() == ["cat", "dog"]


@pytest.mark.parametrize("kind", [object, "U3"])
def test_the_text_minus_one_is_a_class_and_said_to_be_one(kind):
    with pytest.warns(UserWarning, match=r'the text "-1" is a class here.*None or ""'):
        found = read_labels(np.array(["cat", "-1", ""], dtype=kind))
    assert found.classes.tolist() == ["-1", "cat"]
    assert found.codes.tolist() == [1, 0, -1]


def test_minus_one_among_floats_is_a_class_and_said_to_be_one():
    with pytest.warns(UserWarning, match="the number -1.0 is a class here"):
        assert read_labels(np.array([1.0, -1.0])).classes.tolist() == [-1.0, 1.0]


def test_minus_one_as_a_class_among_gaps_was_meant():
    assert read_labels(np.array([1.0, -1.0, np.nan])).codes.tolist() == [1, 0, -1]


def test_truth_values_all_have_a_label():
    found = read_labels(np.array([True, False]))
    assert found.codes.tolist() == [1, 0]
    assert found.classes.dtype == bool


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([-1, -1], "none of 2 rows has a label"),
        ([np.nan, np.inf, 1.0], "infinity"),
        ([0.1, 0.25, np.nan], "continuous"),
        (np.array(["a", 1, None], dtype=object), "types int and str"),
    ],
)
def test_what_is_no_class_is_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        read_labels(labels)


def test_a_mistake_in_labels_is_a_users():
    with pytest.raises(UserError):
        read_labels([-1])


def test_whole_numbers_with_gaps_stay_whole_and_minus_one_is_no_label():
    labels = read_labels(pd.Series([3, None, -1, 5], dtype="Int64"))
    assert labels.classes.tolist() == [3, 5]
    assert labels.codes.tolist() == [0, -1, -1, 1]


def test_truth_values_with_gaps_stay_truth_values():
    assert read_labels(np.array([True, None, False], dtype=object)).classes.tolist() == [False, True]
