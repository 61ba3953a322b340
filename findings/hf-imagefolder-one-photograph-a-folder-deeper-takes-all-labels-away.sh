#!/usr/bin/env bash
# Class folders give imagefolder's labels as long as all images lie equally deep. One more photograph in a folder below a class, and the label column is gone for all images, without a warning.
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


for name in ("cat", "dog"):
    for number in range(50):
        picture(f"photos/{name}/{number}.png")
before = read("photos")
picture("photos/cat/last summer/1.png")
after = read("photos")
print("100 photographs in 2 class folders:", before)
print("one more in cat/last summer:", after)
right = before == (100, ["image", "label"], ["cat", "dog"]) and after == (101, ["image"], None)
sys.exit(0 if right else "changed: other images or columns are read")
PY
