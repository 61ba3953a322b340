#!/usr/bin/env bash
# openvino.convert_model runs a torch network's forward pass several times to translate it: torch.jit.trace, with its own check that a second trace says the same. Who traces the network
# with check_trace=False and hands that over gets the same graph after one pass. With two photo networks that is half of the time before the first prediction.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
VIRTUAL_ENV=venv venv/bin/uv pip install --quiet --system-certs "openvino==2026.4.1" "torch==2.15.0" "numpy==2.4.6"
venv/bin/python - <<'PY'
import sys
import warnings

import numpy as np
import openvino as ov
import torch

warnings.simplefilter("ignore")


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.passes = 0
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())

    def forward(self, images):
        self.passes += 1
        return self.layers(images)


images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
network = Counting().eval()
graph = ov.convert_model(network, example_input=images)
whole = network.passes
network.passes = 0
traced = torch.jit.trace(network, images, strict=False, check_trace=False)
ours = ov.convert_model(traced, example_input=images)
once = network.passes
said = [ov.Core().compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images.numpy()])[0] for made in (graph, ours)]
print(f"openvino {ov.__version__}, torch {torch.__version__}")
print(f"convert_model(network): {whole} forward passes; traced without a check first: {once}; same answers: {np.array_equal(*said)}")
sys.exit(0 if whole >= 3 and once == 1 and np.array_equal(*said) else "changed: it is traced as often as it must be")
PY
