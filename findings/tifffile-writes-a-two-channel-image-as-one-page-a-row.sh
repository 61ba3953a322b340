#!/usr/bin/env bash
# tifffile takes the last axis for channels where it has 3 or 4 entries. An image of 32x32 with two channels (or five) last is written as 32 pages of 32 rows and 2 columns. tifffile reads it back by a
# description of its own; everybody else sees a stack, and Pillow opens a page 2 pixels wide. Channels first are written as one page a channel.
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
seen = {}
for shape in ((32, 32, 2), (32, 32, 3), (32, 32, 4), (32, 32, 5), (2, 32, 32)):
    tifffile.imwrite("cells.tif", np.zeros(shape, dtype="uint8"))
    with Image.open("cells.tif") as cells:
        seen[shape] = (tifffile.imread("cells.tif").shape, cells.mode, cells.size, cells.n_frames)
    print(f"written {shape}: tifffile reads {seen[shape][0]}; pillow {seen[shape][1]}, size {seen[shape][2]}, pages {seen[shape][3]}")
expected = {
    (32, 32, 2): ("L", (2, 32), 32),
    (32, 32, 3): ("RGB", (32, 32), 1),
    (32, 32, 4): ("RGBA", (32, 32), 1),
    (32, 32, 5): ("L", (5, 32), 32),
    (2, 32, 32): ("L", (32, 32), 2),
}
sys.exit("changed: other pages are written" if any(seen[shape] != (shape, *rest) for shape, rest in expected.items()) else 0)
PY
