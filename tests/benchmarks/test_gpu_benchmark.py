"""The benchmark of a GPU, on a CPU: its sides do the same work, and without a GPU it has nothing to say."""

import math

import pytest
import torch
from torch import nn

from benchmarks.speed import gpu

SETTING = gpu.Setting(torch.device("cpu"), net="small_cnn", images=24, batch=8, steps=3, workers=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_nothing_is_measured():
    assert gpu.measure(quick=True) == []


@pytest.mark.parametrize(("side", "warm_up"), [("bare", 1), ("plain", 3), ("ours", 3), ("PIL", 1)])
def test_every_side_learns_from_as_many_images_after_its_warm_up(side, warm_up, monkeypatch):
    seen: list[int] = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if module.training:
            seen.append(len(inputs[0]))

    def watched(self: gpu.Setting) -> gpu.Classifier:
        model = plain(self)
        watched_part = model.backbone if side == "PIL" else model
        watched_part.register_forward_pre_hook(count)
        return model

    plain = gpu.Setting.model
    monkeypatch.setattr(gpu.Setting, "model", watched)
    seconds = gpu.sides(SETTING)[side]()
    assert seen == [8] * (warm_up + 3)
    assert seconds > 0


def test_a_ratio_is_of_one_turn():
    figures = gpu.ratios(SETTING, turns=1)
    assert [figure.turns for figure in figures] == [1, 1]
    assert all(math.isfinite(figure.median) for figure in figures)
