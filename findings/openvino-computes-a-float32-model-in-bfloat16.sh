#!/usr/bin/env bash
# On a processor that multiplies in bfloat16, OpenVINO compiles a float32 model to bfloat16 without being asked. Inputs and outputs stay float32, so nothing shows it, but classes of images
# and what passes a threshold of confidence change. INFERENCE_PRECISION_HINT f32 is the way out. Where the processor cannot, there is nothing to see, and the script says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "openvino==2026.4.1" "scikit-learn==1.9.1" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys

import numpy as np
import openvino as ov
import sklearn
from openvino import opset13 as ops
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

core = ov.Core()
print(f"openvino {ov.__version__}, scikit-learn {sklearn.__version__}, {core.get_property('CPU', 'FULL_DEVICE_NAME')}")
if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
    print("this processor does not compute in bfloat16: nothing to see here")
    sys.exit(0)
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32")
fitted = LogisticRegression(max_iter=1000).fit(images[:100], labels[:100])
model_input = ops.parameter([-1, 64], np.float32)
logits = ops.add(
    ops.matmul(model_input, ops.constant(fitted.coef_.T.astype("float32")), False, False),
    ops.constant(fitted.intercept_.astype("float32")),
)
model = ov.Model([ops.softmax(logits, 1)], [model_input])
exact = fitted.predict_proba(images.astype("float64"))
seen = {}
for name, options in (("as it comes", {}), ("f32", {"INFERENCE_PRECISION_HINT": "f32"})):
    probabilities = core.compile_model(model, "CPU", options)([images])[0]
    other = int((probabilities.argmax(1) != exact.argmax(1)).sum())
    accepted = int(((probabilities.max(1) >= 0.8) != (exact.max(1) >= 0.8)).sum())
    seen[name] = (abs(probabilities - exact).max(), other, accepted)
    print(f"{name}: {probabilities.dtype}, off by {seen[name][0]:.1g}; of 1,797 images {other} have another class,")
    print(f"    and of {accepted} it is another answer whether they reach 0.8")
sys.exit(0 if seen["as it comes"][0] > 1e-3 and seen["f32"][0] < 1e-5 else "changed: it computes in float32")
PY
