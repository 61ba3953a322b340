"""Which source of images a folder, a file or a bucket is for, told by looking at names."""

import json
import os
from collections import Counter
from itertools import islice
from pathlib import Path

from semisup.data.own_images.containers.annotated import COCO_KEYS, FIFTYONE
from semisup.data.own_images.containers.arrays import ARRAYS
from semisup.data.own_images.containers.parquet import PARQUET
from semisup.data.own_images.containers.tars import TARS
from semisup.data.own_images.reading.decode import EXTENSIONS
from semisup.data.own_images.remote.bucket import Bucket

CONTAINERS = {"webdataset": TARS, "parquet": PARQUET, "arrays": ARRAYS}
LOOKED_AT = 10_000
"""Files, that decide what lies in a folder."""
MOST_JSON = 50_000_000
"""Bytes of a JSON file that is looked into."""
MOST_LOOKED_INTO = 10
"""JSON files, where there are many."""


def recognize(root: Path) -> str:
    """What `data.name` has to be for this folder or file; "folder" where it holds none of the other kinds."""
    if not root.is_dir():
        kinds = Counter([root.suffix.lower()])
        if kinds.keys() == {".json"}:
            return _of_json(root) or "folder"
    else:
        if (root / FIFTYONE).is_file() and _of_json(root / FIFTYONE) == "fiftyone":
            return "fiftyone"
        if any(
            _of_json(file) == "coco"
            for file in sorted([*root.glob("*.json"), *root.glob("*/*.json")])[:MOST_LOOKED_INTO]
        ):
            return "coco"
        files = (name for _, _, names in os.walk(root) for name in names if not name.startswith("."))
        kinds = Counter(Path(name).suffix.lower() for name in islice(files, LOOKED_AT))
    return _of_kinds(kinds)


def recognize_url(url: str) -> str:
    """What `data.name` has to be for a bucket, or what lies below a prefix in it.

    Raises:
        UserError: it is not there, must not be read, or does not answer.
    """
    bucket = Bucket.at(url)
    objects = bucket.objects()
    tables = [of for of in objects if of.path.endswith(".json") and of.path.count("/") <= 1 and of.size <= MOST_JSON]
    first = [of for of in tables if of.path == FIFTYONE or len(objects) == 1]
    if first and (kind := _of_content(bucket.read(first[0].key))) is not None:
        return kind
    if any(_of_content(bucket.read(of.key)) == "coco" for of in tables[:MOST_LOOKED_INTO]):
        return "coco"
    return _of_kinds(Counter(Path(of.path).suffix.lower() for of in objects))


def _of_kinds(kinds: Counter[str]) -> str:
    images = sum(kinds[extension] for extension in EXTENSIONS)
    for name, extensions in CONTAINERS.items():
        if not images and any(kinds[extension] for extension in extensions):
            return name
    return "folder"


def _of_json(file: Path) -> str | None:
    try:
        return _of_content(file.read_bytes()) if file.stat().st_size <= MOST_JSON else None
    except OSError:
        return None


def _of_content(content: bytes) -> str | None:
    """The source whose JSON this is; None: it is another's, or none."""
    try:
        said = json.loads(content)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    if said.keys() >= COCO_KEYS:
        return "coco"
    return "fiftyone" if isinstance(said.get("labels"), dict) and "classes" in said else None
