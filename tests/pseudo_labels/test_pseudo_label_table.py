"""The pseudo-label table: accepted exactly where confidence reaches the threshold, and examples worth a look."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.pseudo_labels.table import Selection, build_table, pick_examples

PROBABILITIES = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0], [0.875, 0.125]], dtype=np.float32)


def table_of(probabilities, threshold: float = 0.75, **options) -> pd.DataFrame:
    rows = len(probabilities)
    ids, indices = [f"train/{row:05d}" for row in range(rows)], np.arange(rows) + 100
    selection = Selection(threshold, options.pop("top_share", None), options.pop("max_disagreement", None))
    return build_table(ids, indices, probabilities, selection=selection, teacher="baseline:abc", **options)


def with_confidences(values) -> pd.DataFrame:
    """A pseudo-label table of two-class images with these confidences, each at least 0.5."""
    first = np.asarray(values, dtype=np.float32)
    return table_of(np.stack([first, 1 - first], axis=1))


def test_label_confidence_and_margin_are_those_of_the_largest_probability():
    pseudo_labels = table_of(np.array([[0.125, 0.625, 0.25], [0.5, 0.125, 0.375]], dtype=np.float32))
    assert pseudo_labels["label"].tolist() == [1, 0]
    assert pseudo_labels["confidence"].tolist() == [0.625, 0.5]
    assert pseudo_labels["margin"].tolist() == [0.375, 0.125]


def test_margin_of_a_tie_is_zero():
    assert table_of(PROBABILITIES)["margin"].tolist() == [0.5, 0.0, 1.0, 0.75]


def test_accepted_is_exactly_a_confidence_that_reaches_the_threshold():
    pseudo_labels = table_of(PROBABILITIES, threshold=0.75)
    assert pseudo_labels["accepted"].tolist() == [True, False, True, True]


def test_the_reason_is_empty_where_accepted_and_says_why_elsewhere():
    assert table_of(PROBABILITIES, threshold=0.75)["reason"].tolist() == ["", "below_threshold", "", ""]


def test_threshold_zero_accepts_every_image():
    assert table_of(PROBABILITIES, threshold=0.0)["accepted"].all()


def test_threshold_one_accepts_only_the_certain_ones():
    assert table_of(PROBABILITIES, threshold=1.0)["accepted"].tolist() == [False, False, True, False]


@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.95, 0.99])
def test_a_float32_confidence_of_exactly_the_threshold_is_accepted(threshold):
    row = np.array([[threshold, 1 - threshold]], dtype=np.float32)
    assert table_of(row, threshold=threshold)["accepted"].all()


@given(confidences=st.lists(st.floats(0.5, 1, width=32), min_size=1, max_size=30), threshold=st.floats(0, 1, width=32))
@settings(deadline=None, max_examples=50)
def test_coverage_falls_as_the_threshold_rises(confidences, threshold):
    first = np.array(confidences, dtype=np.float32)
    table = np.stack([first, 1 - first], axis=1)
    strict, lax = table_of(table, threshold)["accepted"], table_of(table, threshold / 2)["accepted"]
    assert (lax | ~strict).all()
    assert strict.tolist() == [confidence >= threshold for confidence in confidences]


def test_ids_indices_and_teacher_are_kept_in_the_order_of_the_images():
    pseudo_labels = table_of(PROBABILITIES)
    assert pseudo_labels["id"].tolist() == ["train/00000", "train/00001", "train/00002", "train/00003"]
    assert pseudo_labels["index"].tolist() == [100, 101, 102, 103]
    assert set(pseudo_labels["teacher"]) == {"baseline:abc"}


def test_a_table_of_no_images_has_all_columns():
    empty, full = table_of(np.empty((0, 10), dtype=np.float32)), table_of(PROBABILITIES)
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)


# --- rounds -------------------------------------------------------------------------------------------------------

YES_0, NO_0, YES_1, NO_1 = (0.875, 0.125), (0.625, 0.375), (0.125, 0.875), (0.375, 0.625)
"""Probabilities of an image that is labeled 0 or 1, and reaches the threshold of 0.75 or does not."""


def tables_of(*rounds: Sequence[tuple[float, float]]) -> list[pd.DataFrame]:
    """One pseudo-label table per round, each built on the one before."""
    tables: list[pd.DataFrame] = []
    for rows in rounds:
        previous = tables[-1] if tables else None
        tables.append(table_of(np.array(rows, dtype=np.float32), previous=previous))
    return tables


def nullable(values: pd.Series) -> list[int | None]:
    return [None if pd.isna(value) else int(value) for value in values]


def test_in_the_first_round_nothing_is_flipped_and_what_is_accepted_is_accepted_first():
    (pseudo_labels,) = tables_of([YES_0, NO_0, YES_1])
    assert pseudo_labels["round"].tolist() == [1, 1, 1]
    assert pseudo_labels["flipped"].tolist() == [False, False, False]
    assert nullable(pseudo_labels["accepted_round"]) == [1, None, 1]


def test_every_round_counts_one_up_and_keeps_the_round_of_the_first_acceptance():
    first, second, third = tables_of([YES_0, NO_0, NO_0, NO_0], [NO_0, YES_0, NO_0, NO_0], [YES_0, NO_0, YES_0, NO_0])
    assert [set(pseudo_labels["round"]) for pseudo_labels in (first, second, third)] == [{1}, {2}, {3}]
    assert nullable(second["accepted_round"]) == [1, 2, None, None]
    assert nullable(third["accepted_round"]) == [1, 2, 3, None]


def test_flipped_is_another_label_than_in_the_round_before_accepted_or_not():
    _, second, third = tables_of([YES_0, NO_0, YES_0, NO_0], [YES_1, NO_1, NO_0, YES_0], [YES_0, NO_1, NO_0, YES_0])
    assert second["flipped"].tolist() == [True, True, False, False]
    assert third["flipped"].tolist() == [True, False, False, False]


def test_the_round_before_is_matched_by_id_whatever_the_order_of_its_rows():
    (previous,) = tables_of([YES_0, NO_0, YES_1, NO_1])
    now = np.array([YES_0, YES_1, YES_0, NO_1], dtype=np.float32)
    shuffled = previous.iloc[[2, 0, 3, 1]]
    pd.testing.assert_frame_equal(table_of(now, previous=shuffled), table_of(now, previous=previous))
    assert table_of(now, previous=shuffled)["flipped"].tolist() == [False, True, True, False]


@pytest.mark.parametrize("rows", [[YES_0], [YES_0, YES_0, YES_0]])
def test_a_round_before_with_other_images_cannot_be(rows):
    (previous,) = tables_of(rows)
    with pytest.raises(AssertionError, match="other images"):
        table_of(np.array([YES_0, YES_0], dtype=np.float32), previous=previous)


def test_the_column_types_are_those_of_every_round_and_survive_parquet(tmp_path):
    for pseudo_labels in tables_of([NO_0, NO_0], [YES_0, NO_0], [YES_0, NO_0]):
        pseudo_labels.to_parquet(tmp_path / "table.parquet", index=False)
        back = pd.read_parquet(tmp_path / "table.parquet")
        pd.testing.assert_frame_equal(back, pseudo_labels)
        assert (str(back["accepted_round"].dtype), str(back["flipped"].dtype)) == ("Int64", "bool")


@given(
    rounds=st.lists(
        st.lists(st.sampled_from([YES_0, NO_0, YES_1, NO_1]), min_size=4, max_size=4), min_size=1, max_size=5
    )
)
@settings(deadline=None, max_examples=30)
def test_the_first_acceptance_is_null_exactly_where_no_round_accepted(rounds):
    for number, pseudo_labels in enumerate(tables_of(*rounds), start=1):
        expected = [
            next((r for r, rows in enumerate(rounds[:number], start=1) if rows[image] in (YES_0, YES_1)), None)
            for image in range(4)
        ]
        assert nullable(pseudo_labels["accepted_round"]) == expected


# --- examples -----------------------------------------------------------------------------------------------------

CONFIDENCES = np.linspace(0.5, 1.0, 51)  # 0.50, 0.51 … 1.00: row i has 0.5 + i/100


def picked(pseudo_labels: pd.DataFrame, per_group: int, threshold: float = 0.75, seed: int = 0) -> dict[str, list[int]]:
    rows, groups = pick_examples(pseudo_labels, threshold, per_group, seed)
    assert len(rows) == len(groups)
    return {
        name: [int(row) for row, group in zip(rows, groups, strict=True) if group == name]
        for name in ("accepted", "borderline", "rejected")
    }


def test_borderline_examples_are_those_nearest_the_threshold():
    assert sorted(picked(with_confidences(CONFIDENCES), per_group=5)["borderline"]) == [23, 24, 25, 26, 27]


def test_accepted_and_rejected_examples_are_what_they_are_called():
    pseudo_labels = with_confidences(CONFIDENCES)
    groups = picked(pseudo_labels, per_group=6)
    assert len(groups["accepted"]) == len(groups["rejected"]) == 6
    assert pseudo_labels["accepted"].to_numpy()[groups["accepted"]].all()
    assert not pseudo_labels["accepted"].to_numpy()[groups["rejected"]].any()


@given(
    confidences=st.lists(st.floats(0.5, 1, width=32), max_size=30),
    per_group=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=50)
def test_no_row_is_picked_twice_and_no_group_is_larger_than_asked(confidences, per_group, seed):
    rows, groups = pick_examples(with_confidences(confidences), 0.75, per_group, seed)
    assert len(set(rows.tolist())) == len(rows) <= len(confidences)
    assert set(rows.tolist()) <= set(range(len(confidences)))
    assert all(groups.count(name) <= per_group for name in groups)
    assert groups.count("borderline") == min(per_group, len(confidences))


def test_the_same_seed_picks_the_same_examples_and_another_seed_others():
    pseudo_labels = with_confidences(CONFIDENCES)
    assert picked(pseudo_labels, 6, seed=1) == picked(pseudo_labels, 6, seed=1)
    assert picked(pseudo_labels, 6, seed=1) != picked(pseudo_labels, 6, seed=2)


def test_groups_come_one_after_the_other():
    _, groups = pick_examples(with_confidences(CONFIDENCES), 0.75, 3, seed=0)
    assert groups == ["accepted"] * 3 + ["borderline"] * 3 + ["rejected"] * 3


@pytest.mark.parametrize(("confidences", "missing"), [([0.9] * 5, "rejected"), ([0.6] * 5, "accepted")])
def test_a_group_without_images_stays_empty(confidences, missing):
    groups = picked(with_confidences(confidences), per_group=2)
    assert groups[missing] == []
    assert len(groups["borderline"]) == 2


# --- class-balanced selection, disagreement -----------------------------------------------------------------------


@given(
    confidences=st.lists(st.tuples(st.booleans(), st.floats(0.5625, 1, width=32)), min_size=1, max_size=40),
    top_share=st.floats(0.01, 1),
)
@settings(deadline=None, max_examples=60)
def test_top_share_accepts_the_most_confident_of_each_predicted_class_by_sorting_each_alone(confidences, top_share):
    table = np.array([(c, 1 - c) if first else (1 - c, c) for first, c in confidences], dtype=np.float32)
    pseudo_labels = table_of(table, 0.0, top_share=top_share)
    for _, members in pseudo_labels.groupby("label"):
        kept = members["accepted"].sum()
        assert kept == math.ceil(top_share * len(members))
        rejected = members.loc[~members["accepted"], "confidence"].max()
        assert not rejected > members.loc[members["accepted"], "confidence"].min()


def test_a_rare_class_keeps_its_share_where_one_threshold_would_reject_all_of_it():
    frequent, rare = [(0.99, 0.01)] * 8, [(0.45, 0.55), (0.4, 0.6)]
    table = np.array(frequent + rare, dtype=np.float32)
    assert table_of(table, 0.9)["accepted"].tolist() == [True] * 8 + [False] * 2
    assert table_of(table, 0.0, top_share=0.5)["accepted"].tolist() == [True] * 4 + [False] * 5 + [True]


def test_every_test_must_be_passed_and_the_reason_names_the_first_failed_one():
    table = np.array([[0.95, 0.05], [0.94, 0.06], [0.93, 0.07], [0.6, 0.4]], dtype=np.float32)
    disagreement = np.array([0.3, 0.0, 0.1, 0.3], dtype=np.float32)
    pseudo_labels = table_of(table, 0.7, top_share=0.5, max_disagreement=0.2, disagreement=disagreement)
    assert pseudo_labels["reason"].tolist() == ["disagreement", "", "beyond_top_share", "below_threshold"]
    assert pseudo_labels["accepted"].tolist() == [False, True, False, False]
    assert pseudo_labels["disagreement"].tolist() == pytest.approx([0.3, 0.0, 0.1, 0.3])


def test_disagreement_at_the_limit_is_accepted_and_a_single_model_has_none():
    disagreement = np.array([0.1, 0.1, 0.1, 0.2], dtype=np.float32)
    pseudo_labels = table_of(PROBABILITIES, 0.0, max_disagreement=0.1, disagreement=disagreement)
    assert pseudo_labels["accepted"].tolist() == [True, True, True, False]
    assert table_of(PROBABILITIES)["disagreement"].isna().all()
    with pytest.raises(ValueError, match=r"max_disagreement=0\.1"):
        table_of(PROBABILITIES, 0.0, max_disagreement=0.1)


def test_raw_confidence_is_kept_beside_the_calibrated_one_and_decides_nothing():
    raw = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    with_raw, without = table_of(PROBABILITIES, raw_confidence=raw), table_of(PROBABILITIES)
    assert with_raw["raw_confidence"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert without["raw_confidence"].tolist() == without["confidence"].tolist()
    assert with_raw["accepted"].tolist() == without["accepted"].tolist()
