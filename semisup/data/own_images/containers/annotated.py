"""Image files that a JSON file of another tool gives classes: COCO, and FiftyOne's image classification."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from semisup.config import DataConfig
from semisup.data.listing import Listing
from semisup.data.own_images.containers.found import SeveralClassesError, label_text, role_in
from semisup.data.own_images.containers.shelf import Said, Shelf, shelf_of
from semisup.data.own_images.folders.roles import Given
from semisup.errors import UserError

COCO_KEYS = frozenset({"images", "annotations", "categories"})
FIFTYONE = "labels.json"
Image = tuple[str, str | None, Given]
"""(path, class, role)."""


def list_coco(data: DataConfig) -> Listing:
    """Images of COCO files: one category each, or none, which makes it unlabeled.

    Raises:
        UserError: there is no such file, it cannot be read, or its images are nowhere to be found.
    """
    shelf = shelf_of(data)
    files = [shelf.named] if shelf.named else shelf.tables()
    said = zip(files, shelf.looked_into(files, "coco", _pictures), strict=True)
    found = [(file, pictures) for file, pictures in said if pictures is not None]
    if not found:
        seen = f", but {', '.join(PurePosixPath(file).name for file in files[:3])} is none" if files else ""
        raise UserError(
            f"{shelf.found.said} holds no COCO file (JSON with {', '.join(sorted(COCO_KEYS))}){seen}; name another "
            "folder"
        )
    return _listing(shelf, [image for file, pictures in found for image in _coco(shelf, file, pictures)])


def list_fiftyone(data: DataConfig) -> Listing:
    """Images of a FiftyOneImageClassificationDataset: `labels.json` and `data/`.

    Raises:
        UserError: it is none, or cannot be read.
    """
    shelf = shelf_of(data)
    file = shelf.named or FIFTYONE
    (said,) = shelf.looked_into([file], "fiftyone", _labels)
    return _listing(shelf, list(_fiftyone(shelf, file, said)))


def _pictures(said: dict[str, Any], where: str) -> Said:
    """[name, classes] of every image of a COCO file; None: it is none."""
    if not said.keys() >= COCO_KEYS:
        return None
    try:
        names = {category["id"]: str(category["name"]).strip() for category in said["categories"]}
        of_image: defaultdict[Any, set[str]] = defaultdict(set)
        for annotation in said["annotations"]:
            of_image[annotation["image_id"]].add(names[annotation["category_id"]])
        return [[str(picture["file_name"]), sorted(of_image[picture["id"]])] for picture in said["images"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{where} is no COCO file: {error!r} is missing; export it anew") from None


def _coco(shelf: Shelf, file: str, pictures: list[tuple[str, list[str]]]) -> Iterator[Image]:
    if not pictures:
        return
    beside, words = os.path.dirname(file), PurePosixPath(file).stem.removeprefix("instances_")
    beside_data = os.path.join(beside, "data")
    places = (beside, "", "images", "data", words, f"images/{words}", beside_data)
    first = pictures[0][0]
    folder = next((place for place in places if shelf.has(os.path.join(place, first))), None)
    if folder is None:
        raise UserError(f"{shelf.where(file)}: {first!r} is neither beside it nor in images/, data/ or {words}/")
    role = role_in(file)
    for name, classes in pictures:
        if len(classes) > 1:
            shelf.found.passed_over["images of several categories"] += 1
        else:
            yield _below(shelf, os.path.join(folder, name), file), next(iter(classes), None), role


def _labels(said: dict[str, Any], where: str) -> Said:
    """Name → class, null where it has none; and the names of images that have several."""
    if not isinstance(said.get("labels"), dict):
        raise UserError(f"{where} has no 'labels'; name the folder of a FiftyOneImageClassificationDataset")
    classes = said.get("classes") or []
    if not isinstance(classes, list):
        raise UserError(f"{where} has 'classes' of type {type(classes).__name__}; it has to be a list or null")
    names, labels, several = [str(name) for name in classes], dict[str, str | None](), list[str]()
    for name, given in said["labels"].items():
        try:
            labels[name] = label_text(given.get("label") if isinstance(given, dict) else given, names)
        except SeveralClassesError:
            several.append(name)
        except LookupError as error:
            raise UserError(f"{where}, image {name!r} has {error}; mend it") from None
    return {"labels": labels, "several": several}


def _fiftyone(shelf: Shelf, file: str, said: dict[str, Any]) -> Iterator[Image]:
    folder = os.path.join(os.path.dirname(file), "data")
    lying = {os.path.splitext(path.removeprefix(f"{folder}/"))[0]: path for path in shelf.images(folder)}
    for name in said["several"]:
        shelf.found.passed_over["images of several classes"] += 1
        lying.pop(name, None)
    for name, text in said["labels"].items():
        yield _below(shelf, lying.pop(name, f"{folder}/{name}"), file), text, ""
    for path in lying.values():
        yield _below(shelf, path, file), None, "unlabeled"


def _below(shelf: Shelf, path: str, file: str) -> str:
    if (short := shelf.below(path)) is None:
        raise UserError(
            f"{shelf.where(file)}: {path} lies outside {shelf.found.place}; name a root that holds all files"
        )
    return short


def _listing(shelf: Shelf, images: list[Image]) -> Listing:
    images = sorted(images, key=lambda image: image[0])
    sizes, changed = shelf.stamps([path for path, *_ in images])
    for (path, name, role), size, time in zip(images, sizes, changed, strict=True):
        shelf.found.add(path, name, role, size=int(size), changed=int(time))
    return shelf.found.listing(shelf.contents(shelf.found.paths))
