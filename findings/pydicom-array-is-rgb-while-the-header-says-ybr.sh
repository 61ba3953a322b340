#!/usr/bin/env bash
# pixel_array turns the colours of a YBR file into RGB, and leaves the header's PhotometricInterpretation at YBR. A loader that goes by the header, as the standard tells it to, converts a second time: red becomes green.
# Only decompress() changes pixels and header together, and it refuses the file that is not compressed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "pydicom==3.0.2" "pillow==13.0.0" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import pydicom
from pydicom.data import get_testdata_file
from pydicom.pixels import convert_color_space, pixel_array

print(f"pydicom {pydicom.__version__}")
changed = False
for name in ("SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm"):  # pydicom's own examples: the first row is red
    path = get_testdata_file(name, download=False)
    data = pydicom.dcmread(path)
    pixels = data.pixel_array
    by_header = convert_color_space(pixels, data.PhotometricInterpretation, "RGB")
    first = {"stored": pixel_array(path, raw=True)[0, 0], "pixel_array": pixels[0, 0], "converted by the header": by_header[0, 0]}
    print(f"{name}, {data.PhotometricInterpretation}:", {key: value.tolist() for key, value in first.items()})
    red, green = first["pixel_array"].tolist(), first["converted by the header"].tolist()
    changed |= not data.PhotometricInterpretation.startswith("YBR_FULL") or red[0] < 250 or max(red[1:]) > 5 or green[1] < 250
sys.exit("changed: header and pixels agree" if changed else 0)
PY
