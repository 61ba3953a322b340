"""Annotations over the roles of a split: what they may change, and that they change nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.data.roles.answers import (
    Answer,
    Applied,
    answers_digest,
    apply_answers,
    before_answers,
    read_answers,
    write_answers,
)
from semisup.data.roles.known_roles import KnownRoles, contents_of
from semisup.data.roles.split import REMOVED
from semisup.errors import UserError

NAMES = ["cat", "dog"]
POOL = [
    ("a", 0, "labeled"),
    ("b", 1, "labeled"),
    ("c", 1, "labeled"),
    ("d", 0, "unlabeled"),
    ("e", 1, "unlabeled"),
    ("f", 1, "unlabeled"),
    ("g", 0, "validation"),
    ("h", 1, "calibration"),
]
NAMES_OF_POOL = [content for content, _, _ in POOL]
CONTENTS = contents_of(NAMES_OF_POOL)
LABELS = np.array([label for _, label, _ in POOL])
POOL_ROLES = np.array([role for _, _, role in POOL], dtype=object)


def answer(content, label="", role="unlabeled"):
    return Answer(content, f"{content}.png", "label" if label else "discard", label, role)


def of(*answers):
    return {each.content: each for each in answers}


def test_an_answered_image_joins_is_corrected_confirmed_or_left_out_and_the_others_stay():
    said = of(answer("d", "dog"), answer("b", "cat"), answer("a", "cat"), answer("e"), answer("z", "cat"))
    labels, roles, applied = apply_answers(said, CONTENTS, LABELS, POOL_ROLES, NAMES)
    assert dict(zip(NAMES_OF_POOL, roles, strict=True)) == {
        "a": "labeled", "b": "labeled", "c": "labeled", "d": "labeled", "e": REMOVED, "f": "unlabeled",
        "g": "validation", "h": "calibration",
    }  # fmt: skip
    assert [NAMES[label] for label in labels[:4]] == ["cat", "cat", "dog", "dog"]
    assert applied == Applied(joined=1, corrected=1, confirmed=1, discarded=1, held_out=0, missing=1)
    assert POOL_ROLES[3] == "unlabeled"  # what was handed in is as it was


@given(st.dictionaries(st.sampled_from(NAMES_OF_POOL), st.sampled_from(["cat", "dog", ""])))
@settings(max_examples=200, deadline=None)
def test_no_answer_changes_a_role_or_a_label_of_what_is_held_out(said):
    try:
        labels, roles, _ = apply_answers(
            of(*(answer(content, label) for content, label in said.items())),
            CONTENTS,
            LABELS,
            POOL_ROLES,
            NAMES,
        )
    except UserError:
        return  # a class without labels, or nothing unlabeled
    for row, role in enumerate(POOL_ROLES):
        if role in {"validation", "calibration"}:
            assert roles[row] == role
            assert labels[row] == LABELS[row]
        else:
            assert roles[row] in {"labeled", "unlabeled", REMOVED}
        if NAMES_OF_POOL[row] not in said:
            assert (roles[row], labels[row]) == (role, LABELS[row])


def test_answers_that_leave_a_class_no_label_or_nothing_unlabeled_are_refused():
    with pytest.raises(UserError, match="class 'cat' no labeled image"):
        apply_answers(of(answer("a", "dog")), CONTENTS, LABELS, POOL_ROLES, NAMES)
    with pytest.raises(UserError, match="no unlabeled image"):
        apply_answers(of(*(answer(content, "dog") for content in "def")), CONTENTS, LABELS, POOL_ROLES, NAMES)


def test_an_answer_of_a_class_that_is_gone_is_named():
    with pytest.raises(UserError, match=r"'d.png' is said to be 'bird'"):
        apply_answers(of(answer("d", "bird")), CONTENTS, LABELS, POOL_ROLES, NAMES)


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"), min_size=1, max_size=8)


@given(st.dictionaries(texts, st.tuples(texts, st.sampled_from(["labeled", "unlabeled"])), max_size=5))
@settings(max_examples=100, deadline=None)
def test_answers_read_back_are_those_that_were_written_whatever_they_are_called(tmp_path_factory, said):
    file = tmp_path_factory.mktemp("answers") / "answers.csv"
    answers = of(*(Answer(content, content, "label", label, role) for content, (label, role) in said.items()))
    write_answers(answers.values(), file)
    assert read_answers(file) == answers


def test_the_digest_tells_answers_apart_but_neither_their_order_nor_their_paths():
    one, two = answer("d", "dog"), answer("e", "cat")
    assert answers_digest({}) == ""
    assert answers_digest(of(one, two)) == answers_digest(of(two, one))
    renamed = Answer("d", "moved/d.png", "label", "dog", "unlabeled")
    assert answers_digest(of(one)) == answers_digest(of(renamed))
    others = [of(one), of(two), of(one, two), of(answer("d", "cat")), of(answer("d"))]
    assert len({answers_digest(answers) for answers in others}) == len(others)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("content,path\nd,d", "no column 'answer'"),
        ("content,path,answer,label,role\nd,d,maybe,cat,unlabeled", "line 2: answer 'maybe'"),
        ("content,path,answer,label,role\nd,d,label,,unlabeled", "line 2: answer 'label' with label ''"),
        ("content,path,answer,label,role\nd,d,discard,cat,unlabeled", "line 2: answer 'discard'"),
        ("content,path,answer,label,role\nd,d,label,cat,test", "line 2: role 'test'"),
        ("content,path,answer,label,role\nd,d,label,cat,labeled\nd,d,label,dog,labeled", "line 3: 'd' is answered"),
        ("", "cannot be read"),
        (None, "does not exist"),
    ],
)
def test_a_file_of_answers_that_makes_no_sense_is_told_in_one_line(tmp_path, text, why):
    file = tmp_path / "answers.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=why) as raised:
        read_answers(file)
    assert "\n" not in str(raised.value)


def test_a_whole_id_in_place_of_a_content_is_an_image_that_is_missing():
    said = of(answer("unlabeled/ñ.png@d", "dog"), answer("e", "dog"))
    _, roles, applied = apply_answers(said, CONTENTS, LABELS, POOL_ROLES, NAMES)
    assert (roles[3], roles[4]) == ("unlabeled", "labeled")
    assert applied == Applied(joined=1, missing=1)
    before = before_answers(KnownRoles.of(CONTENTS, POOL_ROLES), said)
    assert before.roles_of(CONTENTS).tolist() == POOL_ROLES.tolist()


def test_the_seats_of_the_split_before_are_counted_without_answers():
    roles = {"joined": "labeled", "corrected": "labeled", "held": "validation", "other": "unlabeled"}
    known = KnownRoles.of(contents_of(list(roles)), np.array(list(roles.values()), dtype=object))
    said = of(answer("joined", "cat"), answer("corrected", "dog", role="labeled"), answer("held", "cat"), answer("new"))
    before = before_answers(known, said)
    assert {content.decode(): role for content, role in zip(before.contents, before.roles, strict=True)} == {
        "joined": "unlabeled", "corrected": "labeled", "held": "validation", "other": "unlabeled", "new": "unlabeled",
    }  # fmt: skip
