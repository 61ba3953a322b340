"""Image files that a JSON file of another tool gives classes: COCO, and FiftyOne's image classification."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semisup.config import DataConfig
from semisup.data.listing import Files, Listing
from semisup.data.own_images.containers.found import Found, SeveralClassesError, existing_root, label_text, role_in
from semisup.data.own_images.folders.roles import Given
from semisup.data.own_images.reading.decode import EXTENSIONS
from semisup.errors import UserError

COCO_KEYS = frozenset({"images", "annotations", "categories"})
FIFTYONE = "labels.json"


def list_coco(data: DataConfig) -> Listing:
    """Images of COCO files: one category each, or none, which makes it unlabeled.

    Raises:
        UserError: there is no such file, it cannot be read, or its images are nowhere to be found.
    """
    root = existing_root(data)
    base = root if root.is_dir() else root.parent
    found = Found.below(base)
    return _listing(
        found, base, [image for read in coco_files(root) for image in _coco(*read, base, found.passed_over)]
    )


def list_fiftyone(data: DataConfig) -> Listing:
    """Images of a FiftyOneImageClassificationDataset: `labels.json` and `data/`.

    Raises:
        UserError: it is none, or cannot be read.
    """
    root = existing_root(data)
    file = root / FIFTYONE if root.is_dir() else root
    said = _json(file)
    if not isinstance(said.get("labels"), dict):
        raise UserError(f"data.root: {file} has no 'labels'; name the folder of a FiftyOneImageClassificationDataset")
    found = Found.below(file.parent)
    return _listing(found, file.parent, list(_fiftyone(file, said, found.passed_over)))


def coco_files(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The root itself, or the COCO files in it, in its `annotations` and in its parts, with what they say.

    Raises:
        UserError: there are none.
    """
    files = [root] if root.is_file() else sorted([*root.glob("*.json"), *root.glob("*/*.json")])
    found = [(file, said) for file in files if (said := _json(file)).keys() >= COCO_KEYS]
    if not found:
        seen = f", but {', '.join(file.name for file in files[:3])} is none" if files else ""
        raise UserError(
            f"data.root={root} holds no COCO file (JSON with {', '.join(sorted(COCO_KEYS))}){seen}; name another folder"
        )
    return found


Image = tuple[str, str | None, Given]
"""(path below the base, class, role)."""


def _coco(file: Path, said: dict[str, Any], base: Path, passed_over: Counter[str]) -> Iterator[Image]:
    try:
        names = {category["id"]: str(category["name"]).strip() for category in said["categories"]}
        of_image: defaultdict[Any, set[str]] = defaultdict(set)
        for annotation in said["annotations"]:
            of_image[annotation["image_id"]].add(names[annotation["category_id"]])
        pictures = [(picture["id"], str(picture["file_name"])) for picture in said["images"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"data.root: {file} is no COCO file: {error!r} is missing; export it anew") from None
    role, words = role_in(file.relative_to(base).as_posix()), file.stem.removeprefix("instances_")
    places = (
        file.parent,
        base,
        *(base / name for name in ("images", "data", words, f"images/{words}")),
        file.parent / "data",
    )
    folder = next((place for place in places if pictures and (place / pictures[0][1]).is_file()), None)
    if pictures and folder is None:
        raise UserError(
            f"data.root: {pictures[0][1]!r} of {file} is neither beside it nor in images/, data/ or {words}/"
        )
    for picture, name in pictures:
        assert folder is not None, "there are pictures"
        classes = of_image[picture]
        if len(classes) > 1:
            passed_over["images of several categories"] += 1
        else:
            yield _below(base, folder / name, file), next(iter(classes), None), role


def _fiftyone(file: Path, said: dict[str, Any], passed_over: Counter[str]) -> Iterator[Image]:
    classes = said.get("classes") or []
    if not isinstance(classes, list):
        raise UserError(
            f"data.root: {file} has 'classes' of type {type(classes).__name__}; it has to be a list or null"
        )
    names = [str(name) for name in classes]
    folder = file.parent / "data"
    lying = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in EXTENSIONS
    }
    for name, given in said["labels"].items():
        value = given.get("label") if isinstance(given, dict) else given
        try:
            text = label_text(value, names)
        except SeveralClassesError:
            passed_over["images of several classes"] += 1
            continue
        except LookupError as error:
            raise UserError(f"data.root: {file}, image {name!r} has {error}; mend it") from None
        path = lying.pop(name, folder / name)
        yield _below(file.parent, path, file), text, ""
    for path in lying.values():
        yield _below(file.parent, path, file), None, "unlabeled"


def _below(base: Path, path: Path, file: Path) -> str:
    try:
        return path.resolve().relative_to(base.resolve()).as_posix()
    except ValueError:
        raise UserError(f"data.root: {path} of {file} lies outside {base}; name a root that holds all files") from None


def _json(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"data.root: {file} does not exist; name the folder or file of the export") from None
    except (OSError, ValueError) as error:
        raise UserError(f"data.root: {file} cannot be read: {error}; export it anew") from None
    return said if isinstance(said, dict) else {}


def _listing(found: Found, base: Path, images: list[Image]) -> Listing:
    for path, name, role in sorted(images, key=lambda image: image[0]):
        try:
            stat = (base / path).stat()
            size, changed = stat.st_size, stat.st_mtime_ns
        except OSError:
            size, changed = -1, 0
        found.add(path, name, role, size=size, changed=changed)
    return found.listing(Files(found.place, found.paths))
