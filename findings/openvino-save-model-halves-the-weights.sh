#!/usr/bin/env bash
# openvino.save_model writes the weights of a float32 model as float16 unless told not to: numbers above 65,504 are cut off there, those below 3e-8 become 0, and predictions of the file are not those of the model. The file says nothing of it, and computing in
# float32 does not bring them back. openvino.serialize, which looks like the same function, keeps float32.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "openvino==2026.4.1" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import numpy as np
import openvino as ov
from openvino import opset13 as ops

print("openvino", ov.__version__)
rng = np.random.default_rng(0)
weights = rng.normal(scale=0.1, size=(256, 10)).astype("float32")
weights[:2, 0] = 1e-8, 70_000
images = rng.normal(size=(2_000, 256)).astype("float32")
images[:, :2] = 0, 1e-6
model_input = ops.parameter([-1, 256], np.float32)
model = ov.Model([ops.softmax(ops.matmul(model_input, ops.constant(weights), False, False), 1)], [model_input])
core = ov.Core()


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights and probabilities of a file, computed in float32."""
    loaded = core.read_model(path)
    constant = next(node for node in loaded.get_ordered_ops() if node.get_type_name() == "Constant")
    return np.asarray(constant.data), core.compile_model(loaded, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images])[0]


ov.save_model(model, "saved.xml")
ov.save_model(model, "whole.xml", compress_to_fp16=False)
ov.serialize(model, "serialized.xml")
logits = images.astype("float64") @ weights
exact = np.exp(logits - logits.max(axis=1, keepdims=True))
exact /= exact.sum(axis=1, keepdims=True)
seen = {}
for name in ("saved", "whole", "serialized"):
    kept, probabilities = read(f"{name}.xml")
    seen[name] = (str(kept.dtype), float(kept[0, 0]), float(kept[1, 0]), float(abs(probabilities - exact).max()))
    print(f"{name}: {seen[name][0]}, 1e-8 is {seen[name][1]:.3g}, 70,000 is {seen[name][2]:,.0f}, probabilities off by {seen[name][3]:.1g}")
halved = seen["saved"][:3] == ("float16", 0.0, 65504.0) and seen["saved"][3] > 1e-4
whole = all(seen[name][0] == "float32" and seen[name][3] < 1e-5 for name in ("whole", "serialized"))
sys.exit(0 if halved and whole else "changed: weights are kept otherwise")
PY
