"""The split: one role per image, exact counts per class, and labels that nobody but their role's owner can see."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semisup.data.datasets import UNLABELED
from semisup.data.roles.split import Split, draw_roles, long_tail
from semisup.errors import UserError

NAMES = ("cat", "dog", "owl")


def roles_of(labels, *, labeled=2, validation=1, calibration=0, seed=0, names=NAMES):
    return draw_roles(
        np.asarray(labels, dtype=np.int64),
        names,
        labeled_per_class=[labeled] * len(names) if isinstance(labeled, int) else labeled,
        validation_per_class=validation,
        calibration_images=calibration,
        rng=np.random.default_rng(seed),
    )


def split_of(seed: int = 0) -> tuple[Split, np.ndarray]:
    """A split of 30 pool images of three classes in mixed order, with 4 test images; and the true labels."""
    labels = np.tile(np.arange(3), 10)
    roles = roles_of(labels, labeled=2, validation=3, seed=seed)
    pool_ids, test_ids = [f"train/{i:05d}" for i in range(30)], [f"test/{i:05d}" for i in range(4)]
    return Split.build(pool_ids, labels, roles, test_ids), labels


@given(
    surplus=st.lists(st.integers(0, 9), min_size=2, max_size=6).filter(any),
    labeled=st.integers(1, 5),
    validation=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=60)
def test_every_class_gets_exactly_the_counts_asked_for_and_the_rest_is_unlabeled(surplus, labeled, validation, seed):
    sizes = [labeled + validation + extra for extra in surplus]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    names = [f"class {label}" for label in range(len(sizes))]
    roles = roles_of(labels, labeled=labeled, validation=validation, seed=seed, names=names)
    for label, extra in enumerate(surplus):
        expected = Counter(labeled=labeled, validation=validation, unlabeled=extra)
        assert Counter(roles[labels == label].tolist()) == expected


def test_same_seed_gives_the_same_split_and_another_seed_another():
    labels = np.tile(np.arange(3), 20)
    assert roles_of(labels, seed=4).tolist() == roles_of(labels, seed=4).tolist()
    assert roles_of(labels, seed=4).tolist() != roles_of(labels, seed=5).tolist()


def test_picks_are_a_random_draw_and_not_the_first_images_of_a_class():
    labels = np.zeros(10, dtype=np.int64)
    drawn = Counter(
        index
        for seed in range(300)
        for index in np.flatnonzero(roles_of(labels, labeled=1, seed=seed, names=("cat",)) == "labeled").tolist()
    )
    # 300 draws over 10 images: 30 each, with a standard deviation of 5.2.
    assert all(10 <= drawn[index] <= 50 for index in range(10))


def test_images_without_a_known_label_stay_unlabeled():
    labels = np.array([0] * 4 + [1] * 4 + [2] * 4 + [UNLABELED] * 5)
    assert set(roles_of(labels)[labels == UNLABELED]) == {"unlabeled"}


def test_a_class_with_too_few_images_is_named_with_its_count_and_the_fields_to_change():
    labels = [0] * 9 + [1] * 2 + [2] * 9
    with pytest.raises(UserError) as error:
        roles_of(labels, labeled=2, validation=1)
    message = str(error.value)
    for part in ("split.labeled_per_class=2", "split.validation_per_class=1", "'dog'", "only 2 images", "3 labels"):
        assert part in message
    assert "\n" not in message


def test_a_class_without_any_image_is_named():
    with pytest.raises(UserError, match=r"'owl'.* only 0 images"):
        roles_of([0] * 5 + [1] * 5)


def test_a_split_that_leaves_nothing_unlabeled_is_refused():
    with pytest.raises(UserError, match=r"take all 9 images; leave some unlabeled"):
        roles_of(np.repeat(np.arange(3), 3), labeled=2, validation=1)


# --- the table ----------------------------------------------------------------------------------------------------


def test_roles_are_disjoint_and_complete():
    split, _ = split_of()
    ids = {role: set(split.ids(role)) for role in ("labeled", "validation", "unlabeled", "test")}
    assert {role: len(members) for role, members in ids.items()} == {
        "labeled": 6,
        "validation": 9,
        "unlabeled": 15,
        "test": 4,
    }
    assert set.union(*ids.values()) == {f"train/{i:05d}" for i in range(30)} | {f"test/{i:05d}" for i in range(4)}
    assert sum(map(len, ids.values())) == 34


def test_indices_are_rows_of_the_pool_and_for_test_rows_of_the_test_images():
    split, _ = split_of()
    for role in ("labeled", "validation", "unlabeled"):
        assert [f"train/{i:05d}" for i in split.indices(role).tolist()] == split.ids(role)
    assert split.indices("test").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("role", ["labeled", "validation"])
def test_labels_are_the_true_ones_in_the_order_of_the_indices(role):
    split, truth = split_of()
    assert split.labels(role).tolist() == truth[split.indices(role).numpy()].tolist()


@pytest.mark.parametrize("role", ["unlabeled", "test"])
def test_labels_of_unlabeled_and_test_images_are_not_in_the_table_and_not_given(role):
    split, _ = split_of()
    assert set(split.table.loc[split.table["role"] == role, "label"]) == {UNLABELED}
    with pytest.raises(AssertionError, match=f"labels of {role} images are hidden"):
        split.labels(role)


@pytest.mark.parametrize("role", ["unlabeled", "test"])
def test_a_table_that_exposes_a_hidden_label_is_refused(role):
    table = split_of()[0].table.copy()
    table.loc[table.index[table["role"] == role][0], "label"] = 1
    with pytest.raises(AssertionError, match="hidden label"):
        Split(table)


@pytest.mark.parametrize("role", ["labeled", "validation"])
def test_a_table_that_lacks_a_label_it_needs_is_refused(role):
    table = split_of()[0].table.copy()
    table.loc[table.index[table["role"] == role][0], "label"] = UNLABELED
    with pytest.raises(AssertionError, match="known one is not"):
        Split(table)


def test_a_table_with_one_image_in_two_roles_is_refused():
    table = split_of()[0].table
    with pytest.raises(AssertionError, match="two roles"):
        Split(pd.concat([table, table.iloc[:1].assign(role="unlabeled", label=UNLABELED)]))


@pytest.mark.parametrize("at_a_time", [1, 2, 3, 2**16])
def test_two_equal_ids_are_found_wherever_a_part_of_them_ends(monkeypatch, at_a_time):
    monkeypatch.setattr("semisup.data.roles.split.AT_A_TIME", at_a_time)
    labels = np.tile(np.arange(3), 4)
    for twice in range(12):
        ids = [f"train/{number:05d}" for number in range(12)]
        Split.build(ids, labels, roles_of(labels), test_ids=["test/0"])
        ids[twice] = ids[twice - 1]
        with pytest.raises(AssertionError, match="two roles"):
            Split.build(ids, labels, roles_of(labels), test_ids=["test/0"])


def test_an_image_that_is_in_the_pool_and_in_the_test_split_is_refused():
    labels = np.tile(np.arange(3), 4)
    ids = [f"train/{i:05d}" for i in range(12)]
    with pytest.raises(AssertionError, match="two roles"):
        Split.build(ids, labels, roles_of(labels), test_ids=[ids[0]])


def test_an_unknown_role_is_refused():
    table = split_of()[0].table.copy()
    table.loc[table.index[table["role"] == "unlabeled"][0], "role"] = "calibrate"
    with pytest.raises(AssertionError, match="role is unknown"):
        Split(table)


def test_a_split_is_read_back_as_it_was_written(tmp_path):
    split, _ = split_of()
    split.write(tmp_path / "split.parquet")
    read = Split.read(tmp_path / "split.parquet")
    pd.testing.assert_frame_equal(read.table, split.table, check_dtype=False)
    for role in ("labeled", "validation"):
        assert read.labels(role).equal(split.labels(role))
    for role in ("labeled", "validation", "unlabeled", "test"):
        assert read.indices(role).equal(split.indices(role))
        assert read.ids(role) == split.ids(role) == list(split.id_column(role))


def test_a_split_that_was_tampered_with_on_disk_is_refused(tmp_path):
    split, truth = split_of()
    exposed = split.table.copy()
    exposed.loc[:29, "label"] = truth
    exposed.to_parquet(tmp_path / "split.parquet", index=False)
    with pytest.raises(AssertionError, match="hidden label"):
        Split.read(tmp_path / "split.parquet")


# --- long tails and the calibration sample ------------------------------------------------------------------------


def test_a_long_tail_falls_by_the_same_factor_from_class_to_class_down_to_the_ratio():
    assert long_tail(100, 100, 3) == [100, 10, 1]
    counts = long_tail(5000, 50, 10)
    assert counts[0] / counts[-1] == 50
    factors = [after / before for before, after in itertools.pairwise(counts)]
    assert factors == pytest.approx([50 ** (-1 / 9)] * 9, rel=0.01)


def test_ratio_one_or_a_single_class_is_balanced():
    assert long_tail(7, 1, 4) == [7] * 4
    assert long_tail(7, 30, 1) == [7]


def test_a_tail_without_an_image_is_refused_with_the_way_out():
    with pytest.raises(UserError) as error:
        long_tail(10, 100, 5)
    assert str(error.value).startswith("split.imbalance_ratio=100 leaves the last class no labeled image")
    assert "below 20" in str(error.value)
    assert min(long_tail(10, 19.9, 5)) == 1


def test_labeled_images_follow_the_tail_and_validation_stays_balanced():
    labels = np.tile(np.arange(3), 20)
    roles = roles_of(labels, labeled=[9, 3, 1], validation=2)
    assert [int(((roles == "labeled") & (labels == c)).sum()) for c in range(3)] == [9, 3, 1]
    assert [int(((roles == "validation") & (labels == c)).sum()) for c in range(3)] == [2, 2, 2]


def test_the_calibration_images_are_a_fair_sample_of_what_the_picks_leave():
    """Of 900 images of one class and 100 of another, each is as likely to be drawn: hypergeometric counts."""
    labels = np.repeat([0, 1], [900, 100])
    counts = [
        int(((roles_of(labels, names=("a", "b"), calibration=50, seed=seed) == "calibration") & (labels == 1)).sum())
        for seed in range(200)
    ]
    left, rare = 1000 - 6, 100 - 3
    law = stats.hypergeom(left, rare, 50)
    deviation = (np.mean(counts) - law.mean()) / (law.std() / np.sqrt(200))
    assert abs(deviation) < 4
    assert np.var(counts) == pytest.approx(law.var(), rel=0.5)


def test_calibration_leaves_the_other_picks_as_they_are():
    labels = np.tile(np.arange(3), 20)
    without, with_calibration = roles_of(labels), roles_of(labels, calibration=10)
    assert (with_calibration == "calibration").sum() == 10
    for role in ("labeled", "validation"):
        assert ((without == role) == (with_calibration == role)).all()


def test_calibration_that_takes_all_that_is_left_is_refused():
    with pytest.raises(UserError, match=r"split\.calibration_images=51 takes all 51 images.*at most 50"):
        roles_of(np.tile(np.arange(3), 20), calibration=51)


def test_calibration_labels_are_in_the_table_and_unlabeled_ones_are_not():
    labels = np.tile(np.arange(3), 10)
    split = Split.build([str(i) for i in range(30)], labels, roles_of(labels, calibration=6), ["t"])
    assert split.labels("calibration").tolist() == labels[split.indices("calibration").numpy()].tolist()
    assert len(split.ids("calibration")) == 6


def test_all_labels_means_every_label_that_validation_and_calibration_leave():
    labels = np.array([0] * 10 + [1] * 20 + [UNLABELED] * 30)
    roles = roles_of(labels, labeled=None, validation=3, calibration=4, names=NAMES[:2])
    assert Counter(roles) == {"validation": 6, "calibration": 4, "labeled": 20, "unlabeled": 30}
    assert set(roles[labels == UNLABELED]) == {"unlabeled"}


def test_only_images_with_a_label_calibrate():
    labels = np.array([0] * 20 + [1] * 20 + [UNLABELED] * 200)
    roles = roles_of(labels, labeled=2, validation=1, calibration=30, names=NAMES[:2])
    assert (labels[roles == "calibration"] != UNLABELED).all()
