#!/usr/bin/env bash
# A grey JPEG 2000 file of 12 bits opens in Pillow as 16 bits, every value 16 times as large; imagecodecs, like a DICOM reader, gives the numbers that were stored.
# PNG and TIFF of 16 bits with 12 used are left as they are, so the same picture differs by its format.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pillow==13.0.0" "imagecodecs==2026.3.6" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import imagecodecs
import numpy as np
import PIL
from PIL import Image

print(f"pillow {PIL.__version__}, imagecodecs {imagecodecs.__version__}")
stored = np.arange(64 * 64, dtype="uint16").reshape(64, 64)  # 0 to 4095
encoded = imagecodecs.jpeg2k_encode(stored, bitspersample=12, level=0, reversible=True)
with open("scan.jp2", "wb") as file:
    file.write(encoded)
Image.fromarray(stored).save("scan.png")
Image.fromarray(stored).save("scan.tif")
seen = {"imagecodecs, JPEG 2000": imagecodecs.jpeg2k_decode(encoded)}
for name in ("scan.jp2", "scan.png", "scan.tif"):
    seen[f"pillow, {name}"] = np.asarray(Image.open(name))
for name, array in seen.items():
    print(f"{name}: {array.dtype}, largest {array.max()}")
plain = [name for name, array in seen.items() if np.array_equal(array, stored)]
wide = np.array_equal(seen["pillow, scan.jp2"], stored * 16)
sys.exit(0 if wide and len(plain) == 3 else "changed: other values are read")
PY
