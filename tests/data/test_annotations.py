"""Annotations over the roles of a split: what they may change, and that they change nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.data.roles.annotations import (
    Annotation,
    Applied,
    annotations_digest,
    apply_annotations,
    before_annotations,
    read_annotations,
    write_annotations,
)
from semisup.data.roles.known_roles import KnownRoles, contents_of
from semisup.data.roles.split import REMOVED
from semisup.errors import UserError
from tests.mistakes import user_mistake

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


def annotation(content, label="", role="unlabeled"):
    return Annotation(content, f"{content}.png", "label" if label else "discard", label, role)


def of(*annotations):
    return {each.content: each for each in annotations}


def test_an_annotated_image_joins_is_corrected_confirmed_or_left_out_and_the_others_stay():
    said = of(
        annotation("d", "dog"), annotation("b", "cat"), annotation("a", "cat"), annotation("e"), annotation("z", "cat")
    )
    labels, roles, applied = apply_annotations(said, CONTENTS, LABELS, POOL_ROLES, NAMES)
    assert dict(zip(NAMES_OF_POOL, roles, strict=True)) == {
        "a": "labeled", "b": "labeled", "c": "labeled", "d": "labeled", "e": REMOVED, "f": "unlabeled",
        "g": "validation", "h": "calibration",
    }  # fmt: skip
    assert [NAMES[label] for label in labels[:4]] == ["cat", "cat", "dog", "dog"]
    assert applied == Applied(joined=1, corrected=1, confirmed=1, discarded=1, held_out=0, missing=1)
    assert POOL_ROLES[3] == "unlabeled"  # what was handed in is as it was


@given(st.dictionaries(st.sampled_from(NAMES_OF_POOL), st.sampled_from(["cat", "dog", ""])))
@settings(max_examples=200, deadline=None)
def test_no_annotation_changes_a_role_or_a_label_of_what_is_held_out(said):
    try:
        labels, roles, _ = apply_annotations(
            of(*(annotation(content, label) for content, label in said.items())),
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


def test_annotations_that_leave_a_class_no_label_or_nothing_unlabeled_are_refused():
    with pytest.raises(UserError, match="class 'cat' no labeled image"):
        apply_annotations(of(annotation("a", "dog")), CONTENTS, LABELS, POOL_ROLES, NAMES)
    with pytest.raises(UserError, match="no unlabeled image"):
        apply_annotations(of(*(annotation(content, "dog") for content in "def")), CONTENTS, LABELS, POOL_ROLES, NAMES)


def test_an_annotation_of_a_class_that_is_gone_is_named():
    with pytest.raises(UserError, match=r"'d.png' is said to be 'bird'"):
        apply_annotations(of(annotation("d", "bird")), CONTENTS, LABELS, POOL_ROLES, NAMES)


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00\r"), min_size=1, max_size=8)


@given(st.dictionaries(texts, st.tuples(texts, st.sampled_from(["labeled", "unlabeled"])), max_size=5))
@settings(max_examples=100, deadline=None)
def test_annotations_read_back_are_those_that_were_written_whatever_they_are_called(tmp_path_factory, said):
    file = tmp_path_factory.mktemp("annotations") / "annotations.csv"
    annotations = of(*(Annotation(content, content, "label", label, role) for content, (label, role) in said.items()))
    write_annotations(annotations.values(), file)
    assert read_annotations(file) == annotations


def test_the_digest_tells_annotations_apart_but_neither_their_order_nor_their_paths():
    one, two = annotation("d", "dog"), annotation("e", "cat")
    assert annotations_digest({}) == ""
    assert annotations_digest(of(one, two)) == annotations_digest(of(two, one))
    renamed = Annotation("d", "moved/d.png", "label", "dog", "unlabeled")
    assert annotations_digest(of(one)) == annotations_digest(of(renamed))
    others = [of(one), of(two), of(one, two), of(annotation("d", "cat")), of(annotation("d"))]
    assert len({annotations_digest(annotations) for annotations in others}) == len(others)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("content,path\nd,d", "no column 'annotation'"),
        ("content,path,annotation,label,role\nd,d,maybe,cat,unlabeled", "line 2: annotation 'maybe'"),
        ("content,path,annotation,label,role\nd,d,label,,unlabeled", "line 2: annotation 'label' with label ''"),
        ("content,path,annotation,label,role\nd,d,discard,cat,unlabeled", "line 2: annotation 'discard'"),
        ("content,path,annotation,label,role\nd,d,label,cat,test", "line 2: role 'test'"),
        (
            "content,path,annotation,label,role\nd,d,label,cat,labeled\nd,d,label,dog,labeled",
            "line 3: 'd' is annotated",
        ),
        ("", "cannot be read"),
        (None, "does not exist"),
    ],
)
def test_a_file_of_annotations_that_makes_no_sense_is_told_in_one_line(tmp_path, text, why):
    file = tmp_path / "annotations.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with user_mistake(match=why):
        read_annotations(file)


def test_a_table_of_before_is_read_by_the_name_that_its_column_had(tmp_path):
    row = annotation("d", "dog")
    write_annotations([row], tmp_path / "now.csv")
    text = (tmp_path / "now.csv").read_text(encoding="utf-8")
    (tmp_path / "before.csv").write_text(text.replace("annotation", "answer", 1), encoding="utf-8")
    assert text.splitlines()[0] == "content,path,annotation,label,role"
    assert read_annotations(tmp_path / "before.csv") == {"d": row}


def test_a_whole_id_in_place_of_a_content_is_an_image_that_is_missing():
    said = of(annotation("unlabeled/ñ.png@d", "dog"), annotation("e", "dog"))
    _, roles, applied = apply_annotations(said, CONTENTS, LABELS, POOL_ROLES, NAMES)
    assert (roles[3], roles[4]) == ("unlabeled", "labeled")
    assert applied == Applied(joined=1, missing=1)
    before = before_annotations(KnownRoles.of(CONTENTS, POOL_ROLES), said)
    assert before.roles_of(CONTENTS).tolist() == POOL_ROLES.tolist()


def test_the_seats_of_the_split_before_are_counted_without_annotations():
    roles = {"joined": "labeled", "corrected": "labeled", "held": "validation", "other": "unlabeled"}
    known = KnownRoles.of(contents_of(list(roles)), np.array(list(roles.values()), dtype=object))
    said = of(
        annotation("joined", "cat"),
        annotation("corrected", "dog", role="labeled"),
        annotation("held", "cat"),
        annotation("new"),
    )
    before = before_annotations(known, said)
    assert {content.decode(): role for content, role in zip(before.contents, before.roles, strict=True)} == {
        "joined": "unlabeled", "corrected": "labeled", "held": "validation", "other": "unlabeled", "new": "unlabeled",
    }  # fmt: skip
