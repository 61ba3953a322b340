"""Annotations of single images, kept in a table beside the data set, and laid over the roles that it draws."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.data.roles.known_roles import Contents, KnownRoles, column, is_among
from semisup.data.roles.split import REMOVED, Role, among
from semisup.data.tables import read_csv, write_csv
from semisup.errors import UserError
from semisup.system.own_files import aside

COLUMN, BEFORE = "annotation", "answer"
"""The column of a table that holds a kind, and what it was called in tables of before."""
Kind = Literal["label", "discard"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OPEN_ROLES: tuple[Role, ...] = ("labeled", "unlabeled")
"""An image in any other role is held out: whatever is said about it, nothing is learned from it."""


@dataclass(frozen=True)
class Annotation:
    """What a person says about an image."""

    content: str
    """What tells the image apart whatever it is called by: see :func:`semisup.data.roles.known_roles.content_of`."""
    path: str
    """What it was called by when it was looked at; for people."""
    kind: Kind
    """`label`: it is of the class `label`; `discard`: nothing shall be learned from it."""
    label: str
    """The class's name; "" where it is discarded."""
    role: Role
    """Without any annotation, `labeled` or `unlabeled`: seats among the labeled images are counted without them."""


@dataclass(frozen=True)
class Applied:
    """What annotations came to, in images."""

    joined: int = 0
    """Unlabeled, and labeled now."""
    corrected: int = 0
    """Labeled, and with another label now."""
    confirmed: int = 0
    """Labeled, and with the same label."""
    discarded: int = 0
    held_out: int = 0
    """Of another role by now: the annotation is not used."""
    missing: int = 0
    """Not in the data set any more."""


COLUMNS = ("content", "path", COLUMN, "label", "role")
"""Of a table, one for each field of an annotation."""


def read_annotations(file: Path | None) -> dict[str, Annotation]:
    """Content → annotation, of a file that :func:`write_annotations` left; of None, nothing.

    Raises:
        UserError: it does not exist, or was changed by hand in a way that makes no sense.
    """
    if file is None:
        return {}
    field = f"data.annotations={file}"
    try:
        table = with_column(read_csv(file, field, COLUMNS))
    except FileNotFoundError:
        raise UserError(f"{field} does not exist; `semisup review --import` writes it, or leave the key out") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        raise UserError(f"{field} cannot be read: {' '.join(str(error).split())}; mend it") from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise UserError(f"{field} has no column {missing[0]!r}; `semisup review --import` writes such a file")
    annotations: dict[str, Annotation] = {}
    for line, values in enumerate(table[list(COLUMNS)].itertuples(index=False, name=None), start=2):
        annotation = Annotation(*values)
        if annotation.kind not in KINDS or (annotation.kind == "label") != bool(annotation.label):
            said = f"annotation {annotation.kind!r} with label {annotation.label!r}"
            raise UserError(f"{field}, line {line}: {said}; mend it")
        if annotation.role not in OPEN_ROLES:
            said = f"role {annotation.role!r} is none of {', '.join(OPEN_ROLES)}"
            raise UserError(f"{field}, line {line}: {said}; mend it")
        if annotation.content in annotations:
            raise UserError(f"{field}, line {line}: {annotation.path!r} is annotated twice; keep one of them")
        annotations[annotation.content] = annotation
    return annotations


def with_column(table: pd.DataFrame) -> pd.DataFrame:
    """A table of annotations in which their column, if there is one, has the name of today."""
    return table if COLUMN in table else table.rename(columns={BEFORE: COLUMN})


def write_annotations(annotations: Iterable[Annotation], file: Path) -> None:
    """A CSV table with a row for each, in the order of their contents; all of it or nothing.

    Raises:
        UserError: it cannot be written.
    """
    rows = [astuple(annotation) for annotation in sorted(annotations, key=lambda each: each.content)]
    unfinished = aside(file)
    try:
        write_csv(pd.DataFrame(rows, columns=list(COLUMNS)), unfinished)
        unfinished.replace(file)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{file} cannot be written: {reason}; name another data.annotations") from error
    finally:
        unfinished.unlink(missing_ok=True)


def annotations_digest(annotations: Mapping[str, Annotation]) -> str:
    """SHA-256, in hex, of what can change a split; "" of no annotations."""
    if not annotations:
        return ""
    told = sorted((each.content, each.kind, each.label, each.role) for each in annotations.values())
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def before_annotations(known: KnownRoles, annotations: Mapping[str, Annotation]) -> KnownRoles:
    """The roles in the split before as it was without annotations: what joined the labeled images took no seat."""
    annotated = column(annotations)
    was, roles = known.roles_of(annotated), np.array([each.role for each in annotations.values()], dtype=object)
    seats = (was == "") | among(was, OPEN_ROLES)
    return known.updated(KnownRoles.of(annotated[seats], roles[seats]))


def apply_annotations(
    annotations: Mapping[str, Annotation],
    contents: Contents,
    labels: NDArray[np.int64],
    roles: NDArray[np.object_],
    class_names: Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.object_], Applied]:
    """Labels (N,) and roles (N,) of pool images with these contents (N,) after the annotations, and what these did.

    An annotated image is labeled, whatever seats there are, or discarded: REMOVED. Only images that would be labeled
    or unlabeled are touched; what validates, calibrates or tests goes on to do so with the label that it had.

    Raises:
        UserError: an annotation names no class of the data set; a class has no labeled image left, or nothing is
            unlabeled.
    """
    if not annotations:
        return labels, roles, Applied()
    labels, roles = labels.copy(), roles.copy()
    place = {name: label for label, name in enumerate(class_names)}
    counts = dict.fromkeys((field.name for field in fields(Applied)), 0)
    annotated = np.sort(column(annotations))
    for row in np.flatnonzero(is_among(contents, annotated)).tolist():
        annotation = annotations[contents[row].decode()]
        if annotation.label and annotation.label not in place:
            raise UserError(
                f"data.annotations: {annotation.path!r} is said to be {annotation.label!r}, which is no class of the "
                "data set any more; annotate it anew"
            )
        if roles[row] not in OPEN_ROLES:
            counts["held_out"] += 1
        elif annotation.kind == "discard":
            roles[row] = REMOVED
            counts["discarded"] += 1
        else:
            label = place[annotation.label]
            same = "confirmed" if labels[row] == label else "corrected"
            counts["joined" if roles[row] == "unlabeled" else same] += 1
            labels[row], roles[row] = label, "labeled"
    counts["missing"] = int((~is_among(annotated, np.sort(contents))).sum())
    _check_what_remains(labels, roles, class_names)
    return labels, roles, Applied(**counts)


def _check_what_remains(labels: NDArray[np.int64], roles: NDArray[np.object_], class_names: Sequence[str]) -> None:
    there = np.unique(labels[roles == "labeled"])
    if len(lost := np.setdiff1d(np.arange(len(class_names)), there)):
        raise UserError(
            f"data.annotations leave class {class_names[lost[0]]!r} no labeled image; label some of it, or raise "
            "split.labeled_per_class"
        )
    if not (roles == "unlabeled").any():
        raise UserError("data.annotations leave no unlabeled image; there is nothing to pseudo-label")
