#!/usr/bin/env bash
# Saving as AVIF removes the orientation from the Exif object that the caller handed over (the file itself has it). A loop that saves one photograph in several formats
# with one Exif object loses the turn in every format after AVIF; JPEG, PNG, WebP and TIFF leave the object alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pillow==13.0.0"
venv/bin/python - <<'PY'
import sys

import PIL
from PIL import Image

print(f"pillow {PIL.__version__}")
photo = Image.new("RGB", (40, 20), "teal")
seen = {}
for kind in ("jpg", "png", "webp", "tif", "avif"):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(f"photo.{kind}", exif=exif)
    seen[kind] = exif.get(0x0112)
    print(f"after saving as {kind}: the caller's orientation is {seen[kind]}")
    in_a_row = exif
photo.save("after.jpg", exif=in_a_row)
orientation = Image.open("after.jpg").getexif().get(0x0112)
print("a JPEG saved with it after the AVIF: orientation", orientation)
expected = {"jpg": 6, "png": 6, "webp": 6, "tif": 6, "avif": None}
sys.exit(0 if seen == expected and orientation is None else "changed: the Exif object is left alone, or others touch it")
PY
