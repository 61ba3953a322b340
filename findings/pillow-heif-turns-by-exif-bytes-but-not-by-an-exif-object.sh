#!/usr/bin/env bash
# Pillow's own formats take EXIF as bytes or as an Exif object. pillow-heif turns a photograph on its side as its EXIF says if the EXIF is bytes; of an Exif object it keeps all but the turn,
# so that the HEIC file opens lying on its side, with an orientation of 1 that no exif_transpose can mend.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pillow==13.0.0" "pillow-heif==1.8.1"
venv/bin/python - <<'PY'
import sys

import PIL
import pillow_heif
from PIL import Image, ImageOps

print(f"pillow {PIL.__version__}, pillow-heif {pillow_heif.__version__}")
pillow_heif.register_heif_opener()
photo = Image.new("RGB", (128, 64), "teal")
seen = {}
for kind in ("heic", "jpg"):
    for name in ("object", "bytes"):
        exif = Image.Exif()
        exif[0x0112] = 6
        photo.save(f"photo.{kind}", exif=exif if name == "object" else exif.tobytes())
        with Image.open(f"photo.{kind}") as opened:
            seen[kind, name] = ImageOps.exif_transpose(opened).size
        print(f"{kind}, EXIF as {name}: upright size {seen[kind, name]}")
upright, lying = (64, 128), (128, 64)
expected = {("heic", "object"): lying, ("heic", "bytes"): upright, ("jpg", "object"): upright, ("jpg", "bytes"): upright}
sys.exit("changed: other photographs are turned" if seen != expected else 0)
PY
