#!/usr/bin/env bash
# The class folder __background__ (the name that torchvision's own lists of classes give to background) does not exist for Hugging Face's imagefolder. Its loader passes over
# folders whose names begin with a dot or with two underscores, as it would over a cache: no warning, one class less, the others numbered anew.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "datasets==5.2.0" "pillow==13.0.0"
HF_HOME="$folder/home" HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import sys
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}")


def picture(path: str) -> None:
    """A small picture of one colour."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "teal").save(path)


def read(folder: str) -> tuple[int, list[str], list[str] | None]:
    """Images, columns and class names of an image folder."""
    table = datasets.load_dataset("imagefolder", data_dir=folder, split="train")
    label = table.features.get("label")
    return table.num_rows, sorted(table.column_names), label.names if label else None


for name in ("__background__", "_other", "cat", "dog"):
    for number in range(3):
        picture(f"photos/{name}/{number}.png")
seen = read("photos")
print("written: 12 images of 4 classes; read:", seen)
sys.exit("changed: other classes are read" if seen != (9, ["image", "label"], ["_other", "cat", "dog"]) else 0)
PY
