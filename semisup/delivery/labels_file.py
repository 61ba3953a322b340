"""The annotations in a file that a person hands in, checked row by row against the data set that they are about."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from semisup.data.roles.annotations import BEFORE, COLUMN, KINDS, OPEN_ROLES, Annotation, with_column
from semisup.data.roles.known_roles import content_of
from semisup.data.roles.split import Role, Split
from semisup.data.tables import no_column, read_csv
from semisup.errors import UserError, did_you_mean
from semisup.wording import counted

CONTROL = "label"
"""What Label Studio calls the choice of ours, and the column of its CSV export."""
ANNOTATION = "annotation_id"
"""A column that Label Studio's CSV exports have, and no table of ours."""
AUDIT = "audit"
"""A column of the table that the page of an audit saves."""
NEW = "new"
"""Said of an image that is of a class that the data set does not have yet."""
NONE = "none"
"""Said of an image that is of none of the classes. Nothing shall be learned from it, as of one that nobody can tell."""
MOST_NAMED = 12
"""Classes, in an error."""


class Row(NamedTuple):
    """What stands in one place of a file, as it stands there."""

    where: str
    key: str
    """An image's id or, where there is none, its path."""
    kind: str
    label: str
    audit: str = ""
    """Which audit it belongs to; "" where to none."""


def read_labels(file: Path) -> list[Row]:
    """The rows of a CSV table that the labeling page saves, or of Label Studio's JSON export.

    A table has the columns id or path, label, and perhaps annotation ("label" or "discard"; `answer` in tables of
    before); so has Label Studio's CSV. Of its tasks every annotation is a row; those that were skipped or submitted
    without a class are passed over.

    Raises:
        UserError: it cannot be read, lacks a column, holds nothing, or an annotation names several classes.
    """
    try:
        rows = _labelstudio(file) if file.suffix.lower() == ".json" else _table(file)
    except FileNotFoundError:
        raise UserError(f"--import {file} does not exist; name the CSV file that the page saved") from None
    except UserError:
        raise
    except pd.errors.EmptyDataError:
        raise UserError(f"--import {file} is empty; name the CSV file that the page saved") from None
    except (OSError, ValueError, RecursionError) as error:  # pandas', JSON's and Unicode's are ValueErrors
        raise UserError(f"--import {file} cannot be read: {' '.join(str(error).split())}; mend it") from None
    if not rows:
        raise UserError(f"--import {file} holds no annotations; label some images first")
    return rows


def _table(file: Path) -> list[Row]:
    field = f"--import {file}"
    table = with_column(read_csv(file, field, ("id", "path", "label", COLUMN, BEFORE, AUDIT)))
    key = next((name for name in ("id", "path") if name in table), None)
    if key is None or "label" not in table:
        raise no_column("'label'" if key else "'id' or 'path'", list(map(str, table)), field)
    labelstudios = ANNOTATION in table
    kinds = table[COLUMN] if COLUMN in table and not labelstudios else ["label"] * len(table)
    audits = table[AUDIT] if AUDIT in table else [""] * len(table)
    found = zip(table[key], kinds, table["label"], audits, strict=True)
    rows = [
        Row(f"{file}, row {number}", name, kind.strip(), label.strip(), audit.strip())
        for number, (name, kind, label, audit) in enumerate(found, 1)
    ]
    if not labelstudios:
        return rows
    return [row._replace(label=_one_class(_chosen(row.label), row.where, row.key)) for row in rows if row.label]


def _chosen(cell: str) -> list[str]:
    """The classes in a cell of Label Studio's CSV: one stands there as text, several as JSON."""
    try:
        return [str(name) for name in json.loads(cell)["choices"]]
    except (ValueError, TypeError, KeyError):
        return [cell]


def _one_class(classes: Sequence[str], where: str, key: str) -> str:
    """The only class, without blanks around it.

    Raises:
        UserError: there are several.
    """
    if len(classes) > 1:
        raise UserError(
            f"{where}: image {key!r} has {counted(len(classes), 'class')}, {', '.join(map(repr, classes))}; choose one"
        )
    return "".join(classes).strip()


def _labelstudio(file: Path) -> list[Row]:
    tasks = json.loads(file.read_text(encoding="utf-8-sig"))
    found = []
    for number, task in enumerate(tasks if isinstance(tasks, list) else [tasks], 1):
        where = f"{file}, task {number}"
        try:
            done = [one["result"] for one in task.get("annotations", []) if not one.get("was_cancelled")]
            choices = [[_choice(result) for result in results if result["type"] == "choices"] for results in done]
            found.append((where, str(task["data"]["id"]), choices))
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{where}: it is no task of ours with choices; export the project as JSON or CSV") from None
    control = _control([choice.control for _, _, done in found for chosen in done for choice in chosen], file)
    rows = []
    for where, key, done in found:
        for chosen in done:
            classes = [name for choice in chosen if choice.control in {control, ""} for name in choice.classes]
            if classes:
                rows.append(Row(where, key, "label", _one_class(classes, where, key)))
    return rows


class _Choice(NamedTuple):
    """What a person chose in one control of the interface, whose name may be "" in files of other tools."""

    control: str
    classes: Sequence[str]


def _choice(result: Mapping[str, Any]) -> _Choice:
    return _Choice(result.get("from_name", ""), result["value"]["choices"])


def _control(names: Sequence[str], file: Path) -> str:
    """Which control holds the class: ours, whatever others there are, or the only one."""
    different = sorted(set(names) - {""})
    if CONTROL in different or not different:
        return CONTROL
    if len(different) > 1:
        raise UserError(
            f"--import {file}: choices are called {', '.join(map(repr, different))}, none of them {CONTROL!r}; give "
            "that name to the one that holds the class"
        )
    return different[0]


class NewClasses(NamedTuple):
    """What the rows of a file say of classes that the data set does not have, and what is left."""

    ordinary: list[Row]
    """Rows about classes that there are."""
    paths: dict[str, list[str]]
    """Name of a new class → paths of its images."""
    settled: int
    """Rows about images that were copied into the folder of their class before."""


def without_new(
    rows: Sequence[Row], known: "Known", class_names: Sequence[str], classes: Mapping[str, str]
) -> NewClasses:
    """Rows about new classes apart from all others.

    `classes` are those that images have by themselves, content → name. A class that there is by now is no new one.

    Raises:
        UserError: as :func:`check_rows`, of rows about new classes; and where another row says otherwise of an image.
    """
    ordinary, paths, settled = list[Row](), dict[str, list[str]](), 0
    said: dict[str, Row] = {}
    for each in rows:
        row = each._replace(label=" ".join(each.label.split())) if each.kind == NEW else each
        found = known.find(row.key)
        if row.kind == NEW and found and row.label and classes.get(found[0]) == row.label:
            settled += 1
        elif row.kind != NEW or row.label in class_names:
            ordinary.append(row._replace(kind="label") if row.kind == NEW else row)
        else:
            annotation = _checked(row._replace(kind="label"), known, [row.label])
            if (before := said.get(annotation.content)) is None:
                paths.setdefault(row.label, []).append(annotation.path)
            elif before.label != row.label:
                raise _twice(row, before.label, row.label)
            said[annotation.content] = row
    for row in ordinary:
        found = known.find(row.key)
        if found and (new := said.get(found[0])):
            raise _twice(row, new.label, row.label)
    return NewClasses(ordinary, paths, settled)


def _twice(row: Row, *said: str) -> UserError:
    first, second = (repr(label) if label else "discard" for label in said)
    return UserError(f"{row.where}: image {row.key!r} is annotated twice, {first} and {second}; keep one of them")


@dataclass(frozen=True)
class Known:
    """The images that annotations can be about."""

    images: Mapping[str, tuple[str, str]]
    """Id, content or path → (content, path)."""
    roles: Mapping[str, Role]
    """Content → role without any annotation."""

    def find(self, key: str) -> tuple[str, str] | None:
        """(content, path) of the image that a row names; None: there is none.

        An id ends with the hash of the file, so that an image keeps its annotations when it gets another name.
        """
        return self.images.get(key) or self.images.get(content_of(key))

    @classmethod
    def of(cls, ids: Sequence[str], test_ids: Sequence[str], split: Split, *, own: bool) -> "Known":
        """Of the pool's images and the test images; `own` ids are paths and contents, see `data.name: folder`."""
        everything = [*ids, *test_ids]
        images: dict[str, tuple[str, str]] = {}
        for name in everything:
            content = content_of(name)
            path = name.rpartition("@")[0] if own else name
            images |= {name: (content, path), path: (content, path)}
        for content, path in list(images.values()):
            images.setdefault(content, (content, path))
        return cls(images, dict(zip(map(content_of, split.table["id"]), split.table["role"], strict=True)))


def check_rows(rows: Sequence[Row], known: Known, class_names: Sequence[str]) -> dict[str, Annotation]:
    """Content → annotation.

    Raises:
        UserError: a row is about no image of the data set, or one that is held out; it names no class; it has no label;
            or another row says otherwise of the same image.
    """
    annotations: dict[str, Annotation] = {}
    for row in rows:
        annotation = _checked(row, known, class_names)
        before = annotations.setdefault(annotation.content, annotation)
        if (before.kind, before.label) != (annotation.kind, annotation.label):
            raise _twice(row, before.label, annotation.label)
    return annotations


def _checked(row: Row, known: Known, class_names: Sequence[str]) -> Annotation:
    found = known.find(row.key)
    if found is None:
        raise UserError(f"{row.where}: image {row.key!r} is not in the data set; import it with the config of its run")
    content, path = found
    role = known.roles.get(content)
    if role not in OPEN_ROLES:
        what = f"a {role} image" if role else "left out of the split"
        raise UserError(f"{row.where}: image {row.key!r} is {what}, which nothing is learned from; delete the row")
    match row.kind:
        case "discard" | "none":  # the value of NONE
            return Annotation(content, path, "discard", "", role)
        case "label" if not row.label:
            raise UserError(f"{row.where}: image {row.key!r} has no label; give it one, or delete the row")
        case "label" if row.label in class_names:
            return Annotation(content, path, "label", row.label, role)
        case "label":
            some = ", ".join(class_names[:MOST_NAMED]) + (" …" if len(class_names) > MOST_NAMED else "")
            hint = did_you_mean(row.label, class_names, f"there are {some}")
            raise UserError(f"{row.where}: label {row.label!r} is no class of the data set; {hint}")
        case _:
            raise UserError(
                f"{row.where}: annotation {row.kind!r} is none of {', '.join([*KINDS, NEW, NONE])}; mend it"
            )


def merged(
    old: Mapping[str, Annotation], new: Mapping[str, Annotation]
) -> tuple[dict[str, Annotation], dict[str, int]]:
    """All annotations, the newer of two about an image; and how many of the new file are new, changed or the same."""
    counts = {"new": 0, "changed": 0, "same": 0}
    for content, annotation in new.items():
        before: Any = old.get(content)
        same = before and (before.kind, before.label) == (annotation.kind, annotation.label)
        counts["new" if before is None else "same" if same else "changed"] += 1
    return {**old, **new}, counts
