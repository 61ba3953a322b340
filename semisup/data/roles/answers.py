"""Annotations of single images, kept in a table beside the data set, and laid over the roles that it draws."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
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

Kind = Literal["label", "discard"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OPEN_ROLES: tuple[Role, ...] = ("labeled", "unlabeled")
"""An image in any other role is held out: whatever is said about it, nothing is learned from it."""


@dataclass(frozen=True)
class Answer:
    """What a person says about an image."""

    content: str
    """What tells the image apart whatever it is called by: see :func:`semisup.data.roles.known_roles.content_of`."""
    path: str
    """What it was called by when it was looked at; for people."""
    answer: Kind
    """`label`: it is of the class `label`; `discard`: nothing shall be learned from it."""
    label: str
    """The class's name; "" where it is discarded."""
    role: Role
    """Without any answer, `labeled` or `unlabeled`: seats among the labeled images are counted without answers."""


@dataclass(frozen=True)
class Applied:
    """What answers came to, in images."""

    joined: int = 0
    """Unlabeled, and labeled now."""
    corrected: int = 0
    """Labeled, and with another label now."""
    confirmed: int = 0
    """Labeled, and with the same label."""
    discarded: int = 0
    held_out: int = 0
    """Of another role by now: the answer is not used."""
    missing: int = 0
    """Not in the data set any more."""


COLUMNS = tuple(field.name for field in fields(Answer))


def read_answers(file: Path | None) -> dict[str, Answer]:
    """Content → answer, of a file that :func:`write_answers` left; of None, nothing.

    Raises:
        UserError: it does not exist, or was changed by hand in a way that makes no sense.
    """
    if file is None:
        return {}
    field = f"data.answers={file}"
    try:
        table = read_csv(file, field, COLUMNS)
    except FileNotFoundError:
        raise UserError(f"{field} does not exist; `semisup review --import` writes it, or leave the key out") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        raise UserError(f"{field} cannot be read: {' '.join(str(error).split())}; mend it") from None
    if missing := [name for name in COLUMNS if name not in table]:
        raise UserError(f"{field} has no column {missing[0]!r}; `semisup review --import` writes such a file")
    answers: dict[str, Answer] = {}
    for line, values in enumerate(table[list(COLUMNS)].itertuples(index=False, name=None), start=2):
        answer = Answer(*values)
        if answer.answer not in KINDS or (answer.answer == "label") != bool(answer.label):
            raise UserError(f"{field}, line {line}: answer {answer.answer!r} with label {answer.label!r}; mend it")
        if answer.role not in OPEN_ROLES:
            raise UserError(f"{field}, line {line}: role {answer.role!r} is none of {', '.join(OPEN_ROLES)}; mend it")
        if answer.content in answers:
            raise UserError(f"{field}, line {line}: {answer.path!r} is answered twice; keep one of them")
        answers[answer.content] = answer
    return answers


def write_answers(answers: Iterable[Answer], file: Path) -> None:
    """A CSV table with a row for each, in the order of their contents; all of it or nothing.

    Raises:
        UserError: it cannot be written.
    """
    rows = sorted((vars(answer) for answer in answers), key=lambda row: row["content"])
    unfinished = aside(file)
    try:
        write_csv(pd.DataFrame(rows, columns=list(COLUMNS)), unfinished)
        unfinished.replace(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}; name another data.answers") from error
    finally:
        unfinished.unlink(missing_ok=True)


def answers_digest(answers: Mapping[str, Answer]) -> str:
    """SHA-256, in hex, of what can change a split; "" of no answers."""
    if not answers:
        return ""
    told = sorted((answer.content, answer.answer, answer.label, answer.role) for answer in answers.values())
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def before_answers(known: KnownRoles, answers: Mapping[str, Answer]) -> KnownRoles:
    """The roles in the split before as it was without answers: what joined the labeled images took no seat."""
    answered = column(answers)
    was, roles = known.roles_of(answered), np.array([answer.role for answer in answers.values()], dtype=object)
    seats = (was == "") | among(was, OPEN_ROLES)
    return known.updated(KnownRoles.of(answered[seats], roles[seats]))


def apply_answers(
    answers: Mapping[str, Answer],
    contents: Contents,
    labels: NDArray[np.int64],
    roles: NDArray[np.object_],
    class_names: Sequence[str],
) -> tuple[NDArray[np.int64], NDArray[np.object_], Applied]:
    """Labels (N,) and roles (N,) of pool images with these contents (N,), answers laid over them, and what they did.

    An answered image is labeled, whatever seats there are, or discarded: REMOVED. Only images that would be labeled
    or unlabeled are touched; what validates, calibrates or tests goes on to do so with the label that it had.

    Raises:
        UserError: an answer names no class of the data set; a class has no labeled image left, or nothing is
            unlabeled.
    """
    if not answers:
        return labels, roles, Applied()
    labels, roles = labels.copy(), roles.copy()
    place = {name: label for label, name in enumerate(class_names)}
    counts = dict.fromkeys((field.name for field in fields(Applied)), 0)
    answered = np.sort(column(answers))
    for row in np.flatnonzero(is_among(contents, answered)).tolist():
        answer = answers[contents[row].decode()]
        if answer.label and answer.label not in place:
            raise UserError(
                f"data.answers: {answer.path!r} is said to be {answer.label!r}, which is no class of the data set any "
                "more; answer it anew"
            )
        if roles[row] not in OPEN_ROLES:
            counts["held_out"] += 1
        elif answer.answer == "discard":
            roles[row] = REMOVED
            counts["discarded"] += 1
        else:
            label = place[answer.label]
            same = "confirmed" if labels[row] == label else "corrected"
            counts["joined" if roles[row] == "unlabeled" else same] += 1
            labels[row], roles[row] = label, "labeled"
    counts["missing"] = int((~is_among(answered, np.sort(contents))).sum())
    _check_what_remains(labels, roles, class_names)
    return labels, roles, Applied(**counts)


def _check_what_remains(labels: NDArray[np.int64], roles: NDArray[np.object_], class_names: Sequence[str]) -> None:
    there = np.unique(labels[roles == "labeled"])
    if len(lost := np.setdiff1d(np.arange(len(class_names)), there)):
        raise UserError(
            f"data.answers leave class {class_names[lost[0]]!r} no labeled image; label some of it, or raise "
            "split.labeled_per_class"
        )
    if not (roles == "unlabeled").any():
        raise UserError("data.answers leave no unlabeled image; there is nothing to pseudo-label")
