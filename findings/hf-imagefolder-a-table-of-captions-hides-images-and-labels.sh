#!/usr/bin/env bash
# A metadata.csv with captions for some images of a folder with class folders takes two things away without a warning: every image that it does not name, and the labels of all.
# drop_labels=False brings back neither.
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
    for number in range(3):
        picture(f"photos/{name}/{number}.png")
before = read("photos")
Path("photos/metadata.csv").write_text("file_name,caption\ncat/0.png,on a chair\ndog/0.png,in the garden\n")
after = read("photos")
kept = datasets.load_dataset("imagefolder", data_dir="photos", split="train", drop_labels=False)
print("6 photographs in 2 class folders:", before)
print("with captions of 2 of them:", after)
print("the same with drop_labels=False:", kept.num_rows, sorted(kept.column_names))
right = before == (6, ["image", "label"], ["cat", "dog"]) and after == (2, ["caption", "image"], None)
right = right and kept.num_rows == 2 and "label" not in kept.column_names
sys.exit(0 if right else "changed: other images or columns are read")
PY
