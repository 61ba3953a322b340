#!/usr/bin/env bash
# A photograph with "turn me" (orientation 6) in its EXIF comes from Pillow as it is stored, if it is a JPEG, PNG, WebP or AVIF; as a TIFF it comes turned, with the tag removed.
# tifffile does not turn it: the two libraries differ in the shape of one file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pillow==13.0.0" "tifffile==2026.3.3" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print(f"pillow {PIL.__version__}, tifffile {tifffile.__version__}")
stored = np.zeros((20, 40, 3), dtype="uint8")
stored[:10, :20] = 255
seen = {}
for kind in ("jpg", "png", "webp", "avif", "tif"):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(f"photo.{kind}", exif=exif)
    with Image.open(f"photo.{kind}") as photo:
        seen[kind] = (np.asarray(photo).shape[:2], photo.getexif().get(0x0112))
    print(f"pillow, {kind}: shape and orientation {seen[kind]}")
by_tifffile = tifffile.imread("photo.tif").shape[:2]
print("tifffile, tif: shape", by_tifffile)
expected = {kind: ((20, 40), 6) for kind in ("jpg", "png", "webp", "avif")} | {"tif": ((40, 20), None)}
sys.exit(0 if seen == expected and by_tifffile == (20, 40) else "changed: other files are turned")
PY
