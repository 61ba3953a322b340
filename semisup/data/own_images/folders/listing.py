"""Which image files there are, of which class, in which role: from folders or a manifest. No file is opened."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semisup.data.datasets import UNLABELED
from semisup.data.listing import Files, Listing
from semisup.data.own_images.folders.class_names import MOST_NAMED, class_names
from semisup.data.own_images.folders.manifest import check_files, given_roles, read_manifest
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.folders.tree import Tree, Walk, stamps_below
from semisup.errors import UserError


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
    return list_tree(Walk(str(root)))


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


def list_tree(walk: Tree) -> Listing:
    """The images of folders that are called as roles and classes.

    Raises:
        UserError: as in :func:`list_images`.
    """
    found, classes, places = _Found(), set[str](), _places(walk)
    for place, role in places:
        names: dict[str, str] = {}  # one text for all images of a class
        first = len(found.paths)
        for relative in walk.images(place):
            path = f"{place}/{relative}" if place else relative
            name = relative.partition("/")[0].strip()
            if not _is_text(path):
                walk.passed_over["files whose names are no UTF-8; rename them to have them used"] += 1
            elif role == "unlabeled":
                found.add(path, None, role)
            elif "/" not in relative:
                walk.passed_over[f"images in {place or walk.name}/ itself, in no class's folder"] += 1
            elif not name:
                walk.passed_over["images in a folder whose name is blank"] += 1
            else:
                found.add(path, names.setdefault(name, name), role)
        if role == "":
            _check_no_roles_below(walk, found.paths[first:], 2 if place else 1)
            classes |= {name for name in map(str.strip, walk.folders(place)) if name}
    return _listing(walk, found, classes)


def _is_text(path: str) -> bool:
    """Tables and stores take no other names."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _places(walk: Tree) -> list[tuple[str, Given]]:
    """Where images are looked for below a root, and in which role; "" is the root itself."""
    folders = walk.folders("")
    if not folders:
        raise UserError(
            f"{walk.said} has no folders; put images into labeled/<class>/ and unlabeled/, or train/<class>/"
        )
    named = {name: role for name in folders if (role := role_of(name)) is not None}
    if not named:
        return [("", "")]
    others = [name for name in folders if name not in named]
    some = ", ".join(map(repr, others[:MOST_NAMED])) + (" …" if len(others) > MOST_NAMED else "")
    if others and "" not in named.values():
        raise UserError(
            f"{walk.said}: {', '.join(map(repr, named))} says a role, but {some} beside it says none; put the "
            "folders of classes into labeled/ or train/"
        )
    if others:
        walk.passed_over[f"folders that are named like no role: {some}"] += len(others)
    return list(named.items())


def _check_no_roles_below(walk: Tree, paths: Sequence[str], depth: int) -> None:
    """What lies in `cat/test/` shall not be learned from; the folder of a class is the one at `depth`."""
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        for part in folder.split("/")[depth:]:
            if role_of(part):
                raise UserError(
                    f"{walk.said}: {folder!r} has the name of a role, {part!r}, below that of a class; roles come "
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


def _listing(walk: Tree, found: _Found, classes: set[str]) -> Listing:
    notes = tuple(f"passed over {count:,} {what}" for what, count in sorted(walk.passed_over.items()))
    if not found.paths:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise UserError(f"{walk.said} holds no image files{why}; put them into labeled/<class>/ or train/<class>/")
    names = class_names({name for name in found.names if name is not None} | classes, walk.said)
    place: dict[str | None, int] = {name: position for position, name in enumerate(names)}
    order = np.array(sorted(range(len(found.paths)), key=found.paths.__getitem__))
    paths = [found.paths[row] for row in order]
    sizes, changed = walk.stamps(paths)
    return Listing(
        place=walk.place,
        paths=paths,
        labels=np.array([place.get(name, UNLABELED) for name in found.names], dtype=np.int64)[order],
        roles=np.array(found.roles, dtype=object)[order],
        sizes=sizes,
        changed=changed,
        class_names=names,
        contents=walk.contents(paths),
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
    sizes, changed = stamps_below(inside, paths)
    return Listing(
        place=inside,
        paths=paths,
        labels=np.array([place.get(table["label"].iloc[row], UNLABELED) for row in order], dtype=np.int64),
        roles=roles[order],
        sizes=sizes,
        changed=changed,
        class_names=names,
        contents=Files(inside, paths),
        notes=(),
    )
