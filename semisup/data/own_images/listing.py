"""Which image files there are, of which class, in which role: from folders or a manifest. No file is opened."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.data.datasets import UNLABELED
from semisup.data.own_images.decode import EXTENSIONS
from semisup.errors import UserError

Given = Literal["", "unlabeled", "validation", "test"]
"""The role that a file has by its place; "" where the split decides."""
FOLDERS: dict[str, Given] = {
    "labeled": "",
    "labelled": "",
    "train": "",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
"""Name of a folder in the root, or a manifest's role → role."""

PERHAPS_IMAGES = EXTENSIONS | {""}
"""Extensions of files that are looked into."""


@dataclass(frozen=True, eq=False)
class Listing:
    """Image files below a root, in the order of their paths.

    Attributes:
        paths: relative to the root, with slashes.
        labels: int64 (N,), positions in `class_names`, or UNLABELED.
        roles: (N,) of `Given`.
        sizes: int64 (N,), in bytes; -1 where the file is not there.
        changed: int64 (N,), modification times in nanoseconds.
        notes: what was passed over, one line each.
    """

    root: Path
    paths: list[str]
    labels: NDArray[np.int64]
    roles: NDArray[np.object_]
    sizes: NDArray[np.int64]
    changed: NDArray[np.int64]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


def list_images(root: Path | None, manifest: Path | None = None) -> Listing:
    """The files of a data set of one's own.

    Raises:
        UserError: no such folder or manifest, no images, no classes, two classes whose names differ by case only, or a
            manifest that lacks a column, names a file twice or one outside the root.
    """
    if manifest is not None:
        return _from_manifest(manifest.expanduser(), root)
    if root is None:
        raise UserError("data.root is not set, nor is SEMISUP_DATA_ROOT; name the folder with your images")
    root = root.expanduser()
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise UserError(f"data.root={root} {state}; name the folder with your images")
    return _from_folders(root)


def base_folder(root: Path | None, manifest: Path | None) -> Path:
    """What all paths of a listing are relative to: its root, or the folder of its manifest."""
    if root is not None:
        return root.expanduser()
    assert manifest is not None, "a listing was made of one of them"
    return manifest.expanduser().parent


# --- folders ----------------------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """Goes through folders, and counts what it passes over."""

    root: str
    passed_over: Counter[str]

    def files(self, folder: str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
        """Image files below a folder, those of a folder sorted by name; hidden ones are left out."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except PermissionError:
            self.passed_over["folders that may not be read"] += 1
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not self._leads_inside(entry.path):
                self.passed_over["symbolic links that lead out of the root or nowhere"] += 1
            elif entry.is_dir():
                real = os.path.realpath(entry.path)
                if real in above:
                    self.passed_over["symbolic links that lead back to a folder above"] += 1
                else:
                    yield from self.files(entry.path, (*above, real))
            elif os.path.splitext(entry.name)[1].lower() in PERHAPS_IMAGES:
                yield entry
            else:
                self.passed_over["files with other extensions"] += 1

    def _leads_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return os.path.exists(real) and os.path.commonpath([real, self.root]) == self.root


def _from_folders(root: Path) -> Listing:
    walk = Walk(os.path.realpath(root), Counter())
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    named = [name for name in folders if name in FOLDERS]
    if not named:
        if not folders:
            raise UserError(
                f"data.root={root} has no folders; put images into labeled/<class>/ and unlabeled/, or train/<class>/"
            )
        places: list[tuple[str, Given]] = [("", "")]
    else:
        places = [(name, FOLDERS[name]) for name in named]
    found, classes = _Found(), set[str]()
    for place, role in places:
        start = os.path.join(root, place) if place else str(root)
        names: dict[str, str] = {}  # one text for all images of a class
        below = len(os.path.join(start, ""))
        for entry in walk.files(start, (os.path.realpath(start),)):
            relative = entry.path[below:].replace(os.sep, "/")
            path = f"{place}/{relative}" if place else relative
            if role == "unlabeled":
                found.add(path, None, role)
            elif "/" not in relative:
                walk.passed_over[f"images in {place or root.name}/ itself, in no class's folder"] += 1
            else:
                name = relative.partition("/")[0]
                found.add(path, names.setdefault(name, name), role)
        if role == "":
            classes |= {entry.name for entry in os.scandir(start) if entry.is_dir() and not entry.name.startswith(".")}
    return _listing(root, found, classes, walk.passed_over)


@dataclass
class _Found:
    """Files as columns: there may be a million, and a tuple for each would take 100 MB more."""

    paths: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """Classes."""
    roles: list[Given] = field(default_factory=list)

    def add(self, path: str, name: str | None, role: Given) -> None:
        """One more."""
        self.paths.append(path)
        self.names.append(name)
        self.roles.append(role)


def _listing(root: Path, found: _Found, classes: set[str], passed_over: Counter[str]) -> Listing:
    if not found.paths:
        raise UserError(f"data.root={root} holds no image files; put them into labeled/<class>/ or train/<class>/")
    names = _class_names({name for name in found.names if name is not None} | classes, str(root))
    place: dict[str | None, int] = {name: position for position, name in enumerate(names)}
    order = np.array(sorted(range(len(found.paths)), key=found.paths.__getitem__))
    paths = [found.paths[row] for row in order]
    sizes, changed = _stamps(str(root), paths)
    return Listing(
        root=root,
        paths=paths,
        labels=np.array([place.get(name, UNLABELED) for name in found.names], dtype=np.int64)[order],
        roles=np.array(found.roles, dtype=object)[order],
        sizes=sizes,
        changed=changed,
        class_names=names,
        notes=tuple(f"passed over {count:,} {what}" for what, count in sorted(passed_over.items())),
    )


def _class_names(names: set[str], where: str) -> tuple[str, ...]:
    """Sorted, and different from each other for people and file systems, too."""
    if not names:
        raise UserError(f"{where} has no labelled images; put some into labeled/<class>/ or train/<class>/")
    seen: dict[str, str] = {}
    for name in sorted(names):
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise UserError(
                f"{where}: classes {other!r} and {name!r} differ by case or in how accents are written only; "
                "rename one, or put their images together"
            )
    return tuple(sorted(names))


# --- manifests --------------------------------------------------------------------------------------------------------


def _from_manifest(file: Path, root: Path | None) -> Listing:
    field = f"data.manifest={file}"
    table = read_manifest(file, field)
    base = base_folder(root, file)
    inside = os.path.realpath(base)
    for path in table["path"]:
        real = os.path.realpath(os.path.join(inside, path))
        if os.path.commonpath([real, inside]) != inside:
            raise UserError(f"{field}: {path!r} lies outside data.root={base}; name a root that holds all files")
    paths = [os.path.relpath(os.path.join(inside, path), inside).replace(os.sep, "/") for path in table["path"]]
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UserError(f"{field} names {twice[0]!r} {Counter(paths)[twice[0]]} times; one row for each file")
    roles = _manifest_roles(table, field)
    names = _class_names({label for label in table["label"] if label}, field)
    place = {name: position for position, name in enumerate(names)}
    order = sorted(range(len(paths)), key=paths.__getitem__)
    paths = [paths[row] for row in order]
    sizes, changed = _stamps(inside, paths)
    return Listing(
        root=base,
        paths=paths,
        labels=np.array([place.get(table["label"].iloc[row], UNLABELED) for row in order], dtype=np.int64),
        roles=roles[order],
        sizes=sizes,
        changed=changed,
        class_names=names,
        notes=(),
    )


def read_manifest(file: Path, field: str, needed: Sequence[str] = ("path", "label")) -> pd.DataFrame:
    """Columns path, label and role as text, "" where there is nothing.

    Raises:
        UserError: it cannot be read, lacks a needed column, or has a row without a path, or none at all.
    """
    try:
        if file.suffix.lower() in {".parquet", ".pq"}:
            table = pd.read_parquet(file)
        else:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{field} does not exist; name a CSV or Parquet file") from None
    except (OSError, ValueError) as error:  # pandas', pyarrow's and Unicode's own are ValueErrors
        raise UserError(f"{field} cannot be read: {' '.join(str(error).split())}; mend it") from None
    for column in needed:
        if column not in table:
            raise UserError(f"{field} has no column {column!r}, only {', '.join(map(repr, table))}; name it so")
    table = table.assign(**{column: "" for column in ("label", "role") if column not in table})
    table = table[["path", "label", "role"]]
    if not len(table) or table["path"].isna().any() or (table["path"] == "").any():
        raise UserError(f"{field} has {'a row without a path' if len(table) else 'no rows'}; one row for each file")
    return table.astype(object).where(table.notna(), "").astype(str)


def _manifest_roles(table: pd.DataFrame, field: str) -> NDArray[np.object_]:
    roles = np.empty(len(table), dtype=object)
    for row, (path, label, role) in enumerate(table.itertuples(index=False, name=None)):
        if role and role not in FOLDERS:
            raise UserError(f"{field}: role {role!r} of {path!r} is none of {', '.join(FOLDERS)}")
        roles[row] = FOLDERS[role] if role else ""
        if not label and role and roles[row] != "unlabeled":
            raise UserError(f"{field}: {path!r} has role {role!r} but no label; give it one, or role unlabeled")
        if not label:
            roles[row] = "unlabeled"
    return roles


# --- files --------------------------------------------------------------------------------------------------------


def _stamps(root: str, paths: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sizes and times of change (N,), as in `Listing`, of files that may be gone."""
    sizes, changed = np.full(len(paths), -1), np.zeros(len(paths), dtype=np.int64)
    for row, path in enumerate(paths):
        try:
            stat = os.stat(os.path.join(root, path))
        except OSError:
            continue
        sizes[row], changed[row] = stat.st_size, stat.st_mtime_ns
    return sizes, changed
