#!/usr/bin/env bash
# Datumaro knows an image by an id that may hold a folder, as CVAT's tasks do. Its "imagenet" format writes the class's folder and below it that of the id, and reads the two together as a class:
# the photograph summer/2 of the class cat comes back as one of a class cat/summer. Classes without images are gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "datumaro==1.13.12"
venv/bin/python - <<'PY'
import sys
from importlib.metadata import version

import datumaro
import numpy as np
from datumaro import Dataset, DatasetItem, Label

print("datumaro", version("datumaro"))
names = ["cat", "dog", "fish"]
items = [
    DatasetItem(path, media=datumaro.Image.from_numpy(np.zeros((8, 8, 3), "uint8")), annotations=[Label(names.index(name))])
    for path, name in (("1", "cat"), ("summer/2", "cat"), ("3", "dog"))
]
seen = {}
for kind in ("imagenet", "imagenet_txt"):
    Dataset.from_iterable(items, categories=names).export(kind, kind, save_media=True)
    back = Dataset.import_from(kind, kind)
    classes = [label.name for label in back.categories()[datumaro.AnnotationType.label]]
    seen[kind] = (classes, sorted((item.id, classes[item.annotations[0].label]) for item in back))
    print(f"{kind}: classes {seen[kind][0]}, images {seen[kind][1]}")
expected = {
    "imagenet": (["cat", "cat/summer", "dog"], [("cat/summer:2", "cat/summer"), ("cat:1", "cat"), ("dog:3", "dog")]),
    "imagenet_txt": (names, [("1", "cat"), ("3", "dog"), ("summer/2", "cat")]),
}
sys.exit("changed: other classes come back" if seen != expected else 0)
PY
