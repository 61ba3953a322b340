#!/usr/bin/env bash
# Importing torchvision.transforms.v2.functional, to resize or crop a tensor, loads torch's compiler (torch._dynamo and torch._inductor): over a thousand modules more than torch alone, though
# nothing is compiled. torch.nn.functional.interpolate with antialias=True gives the same pixels without any of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "torch==2.15.0" "torchvision==0.29.2" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import torch

before = set(sys.modules)
compiler = ("torch._dynamo", "torch._inductor")
images = torch.randint(0, 256, (2, 3, 288, 288), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
plain = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True)
alone = [name for name in compiler if name in sys.modules]

from torchvision.transforms.v2 import functional  # noqa: E402

loaded = [name for name in compiler if name in sys.modules]
same = torch.equal(functional.resize(images, [224, 224], antialias=True), plain)
print(f"torch {torch.__version__}: interpolate alone loads {alone or 'no compiler'}")
print(f"with torchvision.transforms.v2.functional: {loaded}, {len(set(sys.modules) - before):,} further modules")
print(f"the same pixels: {same}")
sys.exit(0 if not alone and len(loaded) == 2 and same else "changed: the compiler is not loaded, or pixels differ")
PY
