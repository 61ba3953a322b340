"""Which image files there are, of which class, in which role: from folders or a manifest. No file is opened."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semisup.data.datasets import UNLABELED
from semisup.data.listing import Files, Listing
from semisup.data.own_images.folders.class_names import MOST_NAMED, class_names
from semisup.data.own_images.folders.manifest import check_files, given_roles, read_manifest
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.reading.decode import EXTENSIONS, HEIF_EXTENSIONS
from semisup.errors import UserError

PERHAPS_IMAGES = EXTENSIONS | {""}
"""Extensions of files that are looked into."""
NEEDS_HEIF = "HEIC files, which are read after pip install 'semisup[heif]'"


def list_images(root: Path | None, manifest: Path | None = None) -> Listing:
    """The files of a data set of one's own.

    Raises:
        UserError: no such folder or manifest, no images, roles or classes that :func:`class_names` or nobody can make
            sense of, or a manifest that lacks a column, names a file twice or one outside the root.
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


def written_alike(paths: Iterable[str], base: Path) -> list[str]:
    """Paths that a person wrote, relative to the real `base`, with slashes and without detours."""
    inside = os.path.realpath(base)
    return [os.path.relpath(os.path.join(inside, path), inside).replace(os.sep, "/") for path in paths]


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
            elif os.path.splitext(entry.name)[1].lower() in HEIF_EXTENSIONS:
                self.passed_over[NEEDS_HEIF] += 1
            else:
                self.passed_over["files with other extensions"] += 1

    def _leads_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return os.path.exists(real) and os.path.commonpath([real, self.root]) == self.root


def _from_folders(root: Path) -> Listing:
    walk = Walk(os.path.realpath(root), Counter())
    found, classes, places = _Found(), set[str](), _places(root, walk)
    for place, role in places:
        start = os.path.join(root, place) if place else str(root)
        names: dict[str, str] = {}  # one text for all images of a class
        below, first = len(os.path.join(start, "")), len(found.paths)
        for entry in walk.files(start, (os.path.realpath(start),)):
            relative = entry.path[below:].replace(os.sep, "/")
            path = f"{place}/{relative}" if place else relative
            name = relative.partition("/")[0].strip()
            if not _is_text(path):
                walk.passed_over["files whose names are no UTF-8; rename them to have them used"] += 1
            elif role == "unlabeled":
                found.add(path, None, role)
            elif "/" not in relative:
                walk.passed_over[f"images in {place or root.name}/ itself, in no class's folder"] += 1
            elif not name:
                walk.passed_over["images in a folder whose name is blank"] += 1
            else:
                found.add(path, names.setdefault(name, name), role)
        if role == "":
            _check_no_roles_below(root, found.paths[first:], 2 if place else 1)
            classes |= {name for name in map(str.strip, _folders(start)) if name}
    return _listing(root, found, classes, walk.passed_over)


def _is_text(path: str) -> bool:
    """Tables and stores take no other names."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders(start: Path | str) -> list[str]:
    with os.scandir(start) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _places(root: Path, walk: Walk) -> list[tuple[str, Given]]:
    """Where images are looked for below a root, and in which role; "" is the root itself."""
    folders = _folders(root)
    if not folders:
        raise UserError(
            f"data.root={root} has no folders; put images into labeled/<class>/ and unlabeled/, or train/<class>/"
        )
    named = {name: role for name in folders if (role := role_of(name)) is not None}
    if not named:
        return [("", "")]
    others = [name for name in folders if name not in named]
    some = ", ".join(map(repr, others[:MOST_NAMED])) + (" …" if len(others) > MOST_NAMED else "")
    if others and "" not in named.values():
        raise UserError(
            f"data.root={root}: {', '.join(map(repr, named))} says a role, but {some} beside it says none; put the "
            "folders of classes into labeled/ or train/"
        )
    if others:
        walk.passed_over[f"folders that are named like no role: {some}"] += len(others)
    return list(named.items())


def _check_no_roles_below(root: Path, paths: Sequence[str], depth: int) -> None:
    """What lies in `cat/test/` shall not be learned from; the folder of a class is the one at `depth`."""
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        for part in folder.split("/")[depth:]:
            if role_of(part):
                raise UserError(
                    f"data.root={root}: {folder!r} has the name of a role, {part!r}, below that of a class; roles come "
                    f"first, as in {part}/<class>/: move the folder, or rename it"
                )


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
    notes = tuple(f"passed over {count:,} {what}" for what, count in sorted(passed_over.items()))
    if not found.paths:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise UserError(f"data.root={root} holds no image files{why}; put them into labeled/<class>/ or train/<class>/")
    names = class_names({name for name in found.names if name is not None} | classes, str(root))
    place: dict[str | None, int] = {name: position for position, name in enumerate(names)}
    order = np.array(sorted(range(len(found.paths)), key=found.paths.__getitem__))
    paths = [found.paths[row] for row in order]
    sizes, changed = _stamps(str(root), paths)
    inside = os.path.realpath(root)
    return Listing(
        root=root,
        paths=paths,
        labels=np.array([place.get(name, UNLABELED) for name in found.names], dtype=np.int64)[order],
        roles=np.array(found.roles, dtype=object)[order],
        sizes=sizes,
        changed=changed,
        class_names=names,
        contents=Files(inside, paths),
        notes=notes,
    )


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
    paths = written_alike(table["path"], base)
    check_files(table, paths, base, field)
    roles = given_roles(table, field)
    names = class_names({label for label in table["label"] if label}, field)
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
        contents=Files(inside, paths),
        notes=(),
    )


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
