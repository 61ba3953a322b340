"""Which images there are, of which class, in which role: from folders or a manifest. No image is opened."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from semisup.data.datasets import UNLABELED
from semisup.data.listing import Listing
from semisup.data.own_images.folders.class_names import MOST_NAMED, class_names
from semisup.data.own_images.folders.keys import Keys
from semisup.data.own_images.folders.manifest import check_paths, given_roles, read_manifest
from semisup.data.own_images.folders.places import Base, base_of, placed, written_alike
from semisup.data.own_images.folders.roles import Given, role_of
from semisup.data.own_images.folders.tree import Tree, Walk
from semisup.data.own_images.remote.bucket import Bucket
from semisup.errors import UserError
from semisup.wording import counted


def list_images(root: Base | None, manifest: Base | None = None) -> Listing:
    """The files or objects of a data set of one's own, below a folder or a URL, or where a manifest says.

    Raises:
        UserError: no such folder or manifest, no images, roles or classes that :func:`class_names` or nobody can make
            sense of, or a manifest that lacks a column, names a file twice or one outside the root; a bucket that is
            not there, must not be read or does not answer.
    """
    if manifest is not None:
        return _from_manifest(manifest if isinstance(manifest, str) else manifest.expanduser(), root)
    if root is None:
        raise UserError("data.root is not set, nor is SEMISUP_DATA_ROOT; name the folder with your images")
    if isinstance(root, str):
        return list_tree(Keys(Bucket.at(root)))
    root = root.expanduser()
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise UserError(f"data.root={root} {state}; name the folder with your images")
    return list_tree(Walk(str(root)))


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


def class_places(walk: Tree) -> list[str]:
    """Where below a root the folders of classes lie that the split draws from; "" is the root itself.

    Raises:
        UserError: as in :func:`list_images`.
    """
    return [place for place, role in _places(walk) if role == ""]


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


def _from_manifest(file: Base, root: Base | None) -> Listing:
    field = f"data.manifest={file}"
    table = read_manifest(file, field)
    base = base_of(root, file)
    paths = written_alike(table["path"], base)
    check_paths(table, paths, base, field)
    roles = given_roles(table, field)
    names = class_names({label for label in table["label"] if label}, field)
    place = {name: position for position, name in enumerate(names)}
    order = sorted(range(len(paths)), key=paths.__getitem__)
    paths = [paths[row] for row in order]
    contents, (sizes, changed) = placed(paths, [row + 1 for row in order], base, field)
    if (sizes < 0).all():
        raise UserError(
            f"{field}: none of its {counted(len(paths), 'file')}, such as {paths[0]!r}, is in {base}; paths are "
            "relative to data.root or data.url, or to the table where both are unset"
        )
    return Listing(
        place=base if isinstance(base, str) else os.path.realpath(base),
        paths=paths,
        labels=np.array([place.get(table["label"].iloc[row], UNLABELED) for row in order], dtype=np.int64),
        roles=roles[order],
        sizes=sizes,
        changed=changed,
        class_names=names,
        contents=contents,
        notes=(),
    )
