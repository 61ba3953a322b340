"""What tests of frozen networks share: random weights, stages run once, and what a frozen network was asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semisup.config import PipelineConfig
from semisup.networks.models import build_model


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A network's name → a file of random weights for it: the laws of these tests hold for any."""

    def of(name: str) -> Path:
        file = tmp_path_factory.mktemp("weights") / "w.pth"
        model = build_model(name, (3, 8, 8), 7, mean=[0.5] * 3, std=[0.5] * 3, seed=11)
        torch.save(model.backbone.state_dict(), file)
        return file

    return of


@pytest.fixture(scope="module")
def folders(config: PipelineConfig, stage_runner: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Step → the folder that it left, of the test file's own `config` run once; to be read only."""
    found: dict[str, Path] = stage_runner(config, tmp_path_factory.mktemp("stages"))
    return found


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass through the frozen part of a network took."""
    import semisup.stages.support.features as module

    images, gather = [], module.gather
    monkeypatch.setattr(module, "gather", lambda all_, rows: images.append(len(rows)) or gather(all_, rows))
    return images
