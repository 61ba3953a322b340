"""Roles by content: what is known stays, whatever comes, goes, moves or is asked for."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from semisup.data.datasets import UNLABELED
from semisup.data.roles.changes import changes_between
from semisup.data.roles.growing import draw_by_content, read_memory, write_memory
from semisup.data.roles.known_roles import KnownRoles, column, contents_of, is_among
from semisup.data.roles.split import PRECEDENCE, REMOVED, Split
from semisup.errors import UserError

NAMES = ("cat", "dog")


def draw(labels, contents=None, *, labeled=2, validation=1, calibration=0, seed=0, fixed=None, before=None):
    labels = np.asarray(labels, dtype=np.int64)
    return draw_by_content(
        labels,
        NAMES,
        contents_of([f"{number:012x}" for number in range(len(labels))] if contents is None else contents),
        labeled_per_class=None if labeled is None else [labeled] * len(NAMES),
        validation_per_class=validation,
        calibration_images=calibration,
        seed=seed,
        given=np.full(len(labels), "", dtype=object) if fixed is None else fixed,
        before=before if isinstance(before, KnownRoles) else known_as(before or {}),
    )


def known_as(roles) -> KnownRoles:
    """Content → role, as columns."""
    return KnownRoles.of(column(roles), np.array(list(roles.values()), dtype=object))


@given(
    labeled=st.integers(1, 4) | st.none(),
    validation=st.integers(1, 3),
    calibration=st.integers(0, 4),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=50)
def test_the_first_draw_has_exactly_the_counts_asked_for(labeled, validation, calibration, seed):
    labels = np.r_[np.tile([0, 1], 12), [UNLABELED] * 5]
    roles = draw(labels, labeled=labeled, validation=validation, calibration=calibration, seed=seed)
    for label in (0, 1):
        counts = Counter(roles[labels == label])
        assert counts["validation"] == validation
        if labeled is not None:
            assert counts["labeled"] == labeled
    assert Counter(roles)["calibration"] == calibration
    assert set(roles[labels == UNLABELED]) == {"unlabeled"}
    if labeled is None:
        assert "unlabeled" not in set(roles[labels != UNLABELED])


def test_order_and_names_of_files_do_not_matter():
    rng = np.random.default_rng(0)
    labels, contents = rng.integers(0, 2, 60), [f"{n:012x}" for n in rng.permutation(60)]
    roles = dict(zip(contents, draw(labels, contents, labeled=5, validation=3, calibration=6), strict=True))
    order = rng.permutation(60)
    again = draw(labels[order], [contents[row] for row in order], labeled=5, validation=3, calibration=6)
    assert dict(zip([contents[row] for row in order], again, strict=True)) == roles


def test_the_draw_is_fair_over_seeds():
    labels = np.zeros(20, dtype=np.int64)
    counts = np.zeros(20)
    for seed in range(600):
        counts += np.r_[draw(np.r_[labels, [1] * 6], labeled=1, validation=5, seed=seed)][:20] == "validation"
    # Binomial(600, 1/4): mean 150, standard deviation 10.6; four of them are passed once in 800 such tests.
    assert (abs(counts - 150) < 43).all()


# --- a folder over time -----------------------------------------------------------------------------------------------


class Folder:
    """What lies there: content → (label, role that its place gives it), and what all splits so far have said."""

    def __init__(self) -> None:
        self.images: dict[str, tuple[int, str]] = {}
        self.made = 0
        self.held_out: dict[str, str] = {}

    def add(self, label: int, given: str) -> None:
        self.images[f"{self.made:012x}"] = (label if given != "unlabeled" else UNLABELED, given)
        self.made += 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "vanish", "return", "label", "hide", "relabel"]),
        st.integers(0, 10**6),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=6,
)
asked = st.tuples(st.integers(1, 4) | st.none(), st.integers(1, 4), st.integers(0, 5))


@given(history=st.lists(st.tuples(steps, asked), min_size=2, max_size=6), seed=st.integers(0, 3))
@settings(deadline=None, max_examples=150)
def test_no_image_ever_passes_from_test_validation_or_calibration_into_training(history, seed, tmp_path_factory):
    folder, gone, before, memory = Folder(), {}, tmp_path_factory.mktemp("history"), None
    for number in range(60):
        folder.add(number % 2, "unlabeled" if number % 3 == 0 else "")
    for number, (changes, counts) in enumerate(history):
        for what, which, count in changes:
            change(folder, gone, what, which, count)
        split = split_of(folder, counts, seed, read_memory(memory) if memory else KnownRoles.none())
        if split is None:
            continue
        now = dict(zip([name.partition("@")[2] for name in split.table["id"]], split.table["role"], strict=True))
        trained = {content for content, role in now.items() if role in ("labeled", "unlabeled")}
        assert not trained & folder.held_out.keys()
        folder.held_out |= {content: role for content, role in now.items() if role in PRECEDENCE}
        out = before / str(number)
        out.mkdir()
        split.write(out / "split.parquet")
        if memory:
            write_memory(read_memory(memory), split, out)
        memory = out


def change(folder: Folder, gone: dict, what: str, which: int, count: int) -> None:
    """Something that people do to a folder, `count` times."""
    for number in range(count):
        names = sorted(folder.images)
        name = names[(which + 7 * number) % len(names)] if names else ""
        match what:
            case "add":
                folder.add((which + number) % 2, "unlabeled" if (which + number) % 3 == 0 else "")
            case "vanish" if len(names) > 20:
                gone[name] = folder.images.pop(name)
            case "return" if gone:
                back = sorted(gone)[which % len(gone)]
                folder.images[back] = gone.pop(back)
            case "label":
                folder.images[name] = (which % 2, "")
            case "hide":
                folder.images[name] = (UNLABELED, "unlabeled")
            case "relabel" if folder.images[name][0] != UNLABELED:
                folder.images[name] = (1 - folder.images[name][0], "")


def split_of(folder: Folder, counts: tuple, seed: int, before: KnownRoles) -> Split | None:
    """The pool is drawn; of those that have a label and no known role, one content in eight is a test image."""
    names = list(folder.images)
    in_test = [name for name in names if folder.images[name][1] == "" and int(name, 16) % 8 == 0]
    pool = [name for name in names if name not in in_test]
    labels = np.array([folder.images[name][0] for name in pool], dtype=np.int64)
    fixed = np.array([folder.images[name][1] for name in pool], dtype=object)
    try:
        wanted = dict(zip(("labeled", "validation", "calibration"), counts, strict=True))
        roles = draw(labels, pool, **wanted, seed=seed, fixed=fixed, before=before)
    except UserError:  # too few are left for what is asked for
        return None
    return Split.build([f"p@{name}" for name in pool], labels, roles, [f"t@{name}" for name in in_test])


def test_new_images_change_no_known_role_and_take_only_the_seats_that_nobody_has():
    labels = np.tile([0, 1], 20)
    first = draw(labels, labeled=4, validation=3, calibration=5)
    contents = [f"{number:012x}" for number in range(100)]
    known = dict(zip(contents[:40], first, strict=True))
    more = np.r_[labels, np.tile([0, 1], 20), [UNLABELED] * 20]
    fixed = np.array([""] * 80 + ["unlabeled"] * 20, dtype=object)
    grown = draw(more, contents, labeled=4, validation=3, calibration=5, fixed=fixed, before=known)
    assert (grown[:40] == first).all()
    assert set(grown[40:]) == {"unlabeled"}
    # The same without the roles of before is another draw.
    assert (draw(more, contents, labeled=4, validation=3, calibration=5, fixed=fixed)[:40] != first).any()


def test_with_all_labels_new_labeled_images_and_newly_labeled_ones_are_learned_from():
    labels = np.r_[np.tile([0, 1], 10), [UNLABELED] * 10]
    contents = [f"{number:012x}" for number in range(40)]
    fixed = np.array([""] * 20 + ["unlabeled"] * 10, dtype=object)
    first = draw(labels, contents[:30], labeled=None, validation=2, fixed=fixed)
    known = dict(zip(contents[:30], first, strict=True))
    now = np.r_[np.tile([0, 1], 10), [0] * 5, [UNLABELED] * 5, [1] * 10]
    fixed = np.array([""] * 25 + ["unlabeled"] * 5 + [""] * 10, dtype=object)
    grown = draw(now, contents, labeled=None, validation=2, fixed=fixed, before=known)
    assert (grown[:20] == first[:20]).all()
    assert set(grown[20:25]) == set(grown[30:]) == {"labeled"}
    assert set(grown[25:30]) == {"unlabeled"}


def test_a_seat_that_falls_vacant_is_filled_from_those_who_have_no_role_to_lose():
    labels = np.tile([0, 1], 20)
    contents = [f"{number:012x}" for number in range(40)]
    first = draw(labels, contents, labeled=4, validation=3)
    kept = np.flatnonzero(~((first == "validation") & (labels == 0)))
    known = dict(zip(contents, first, strict=True))
    after = draw(labels[kept], [contents[row] for row in kept], labeled=4, validation=3, before=known)
    assert Counter(after[labels[kept] == 0])["validation"] == 3
    moved = first[kept] != after
    assert set(first[kept][moved]) == {"unlabeled"}


def test_what_validated_goes_on_to_do_so_where_fewer_are_asked_for():
    labels = np.tile([0, 1], 20)
    contents = [f"{number:012x}" for number in range(40)]
    known = dict(zip(contents, draw(labels, validation=5, calibration=6), strict=True))
    after = draw(labels, validation=1, calibration=0, before=known)
    assert Counter(after)["validation"] == 10
    assert Counter(after)["calibration"] == 6


@pytest.mark.parametrize("role", ["test", "validation", "calibration"])
def test_a_held_out_image_that_lies_among_the_unlabeled_is_used_for_nothing(role):
    labels = np.r_[np.tile([0, 1], 10), [UNLABELED] * 3]
    fixed = np.array([""] * 20 + ["unlabeled"] * 3, dtype=object)
    roles = draw(labels, fixed=fixed, before={f"{21:012x}": role})
    assert roles[21] == REMOVED
    assert (roles == REMOVED).sum() == 1


# --- what is known, as columns ----------------------------------------------------------------------------------------

contents = st.sampled_from(["a", "b", "ab", "abc", "é", "éa", "0"])
known_roles = st.dictionaries(contents, st.sampled_from(["labeled", "unlabeled", *PRECEDENCE]), max_size=8)


@given(known_roles, known_roles, st.lists(contents, max_size=8))
@settings(deadline=None, max_examples=300)
def test_columns_answer_as_a_dict_would(first, later, asked):
    known, texts = known_as(first).updated(known_as(later)), contents_of([f"a@b/{name}@{name}" for name in asked])
    both = {**first, **later}
    assert known.roles_of(texts).tolist() == [both.get(name, "") for name in asked]
    assert known.have(texts).tolist() == [name in both for name in asked]
    assert {content.decode(): role for content, role in zip(known.contents, known.roles, strict=True)} == both
    assert len(known.only(known.in_roles(PRECEDENCE))) == sum(role in PRECEDENCE for role in both.values())
    assert is_among(texts, np.sort(column(first))).tolist() == [name in first for name in asked]


@given(st.lists(st.tuples(contents, st.sampled_from(["labeled", "unlabeled", *PRECEDENCE]))))
@example([("a", "unlabeled"), ("a", "labeled"), ("b", "labeled"), ("b", "calibration"), ("b", "unlabeled")])
@settings(deadline=None)
def test_of_equal_files_the_role_counts_that_the_others_must_not_know(rows):
    names, roles = zip(*rows, strict=True) if rows else ((), ())
    known = KnownRoles.of(column(names), np.array(roles, dtype=object))
    order = [*PRECEDENCE, "labeled", "unlabeled"]
    expected = {name: min((role for other, role in rows if other == name), key=order.index) for name in names}
    assert {content.decode(): role for content, role in zip(known.contents, known.roles, strict=True)} == expected


def test_contents_are_the_same_whatever_part_of_many_ids_they_come_from(monkeypatch):
    ids = [f"folder {number}/@{number}.png@{number:x}" for number in range(50)]
    whole = contents_of(ids)
    monkeypatch.setattr("semisup.data.roles.known_roles.AT_A_TIME", 7)
    assert contents_of(ids).tolist() == whole.tolist() == [f"{number:x}".encode() for number in range(50)]
    assert contents_of(pd.Series(ids).array).tolist() == whole.tolist()


# --- what is told -----------------------------------------------------------------------------------------------------


def table(**roles: str) -> Split:
    """An image for each name, its content the name."""
    pool = {name: role for name, role in roles.items() if role != "test"}
    labels = np.array([UNLABELED if role == "unlabeled" else 0 for role in pool.values()])
    test = [f"x/{name}@{name}" for name, role in roles.items() if role == "test"]
    return Split.build([f"x/{name}@{name}" for name in pool], labels, np.array([*pool.values()], dtype=object), test)


def test_changes_are_counted_by_content():
    before = table(a="labeled", b="unlabeled", c="unlabeled", d="validation", e="test", f="unlabeled")
    now = table(a="labeled", b="labeled", c="unlabeled", g="unlabeled", h="test", r="unlabeled")
    present = contents_of([f"y/{name}@{name}" for name in "abcdghr"])
    changes = changes_between(before, now, present, (["cat"], ["cat", "owl"]), without_role=["z/r@r"])
    assert changes is not None
    assert changes.added == {"test": 1, "unlabeled": 1}
    assert changes.vanished == {"test": 1, "unlabeled": 1}
    assert changes.newly_labeled == {"labeled": 1}
    assert changes.held_back == {"validation": 1}
    assert (changes.new_classes, changes.vanished_classes) == (["owl"], [])
    for words in ("2 images (1 test, 1 unlabeled)", "vanished", "another seed or name", "owl"):
        assert any(words in line for line in changes.warnings())
    assert all(line in changes.markdown() for line in (*changes.warnings(), *changes.notes()))


def test_nothing_changed_is_nothing_told():
    split = table(a="labeled", b="unlabeled")
    changes = changes_between(split, split, contents_of(split.table["id"].array), (["cat"], ["cat"]))
    assert changes is not None
    assert not changes.any
    assert not [*changes.warnings(), *changes.notes()]


def test_of_a_folder_with_none_of_the_images_of_before_no_changes_are_told():
    before, now = table(a="labeled", b="unlabeled"), table(c="labeled", d="unlabeled")
    assert changes_between(before, now, contents_of(["x/c@c", "x/d@d"]), (["cat"], ["cat"])) is None
    assert changes_between(before, now, contents_of(["y/a@a", "x/d@d"]), (["cat"], ["cat"])) is not None


def test_one_image_is_an_image():
    before, now = table(a="labeled", b="unlabeled", c="unlabeled"), table(a="labeled", b="unlabeled")
    changes = changes_between(before, now, contents_of(["x/a@a", "x/b@b"]), (["cat"], ["cat"]))
    assert changes is not None
    assert any(line.startswith("1 image (1 unlabeled)") for line in changes.warnings())
