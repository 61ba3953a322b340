"""Training with a compiled forward pass: the same training, up to rounding."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semisup.config import TrainConfig
from semisup.networks.models import build_model
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.stages.support.models.saved import load_model
from semisup.training.checkpoints import Checkpoints
from semisup.training.loop import Examples, TrainingResult, UnlabeledTerm, train
from tests.conftest import PROJECT
from tests.variants import changed

COMPILES = shutil.which("g++") is not None and Path(sysconfig.get_path("include"), "Python.h").exists()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not COMPILES, reason="torch compiles with g++ and Python's headers, which are not installed"),
]
CLASSES, EPOCHS = 3, 3
generator = torch.Generator().manual_seed(0)
LABELED = Examples(
    torch.randint(0, 256, (12, 1, 8, 8), generator=generator, dtype=torch.uint8), torch.arange(12) % CLASSES
)


class CutError(Exception):
    """Ends a training where a crash would."""


class Always(Checkpoints):
    """Checkpoints that are always due: their clock stands still."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, lambda warning: None, clock=lambda: 0.0)


def fit(*, compiles: bool, checkpoints: Checkpoints | None = None, cut_after: int = 99) -> TrainingResult:
    """Joint training with dropout, mixup and an average of weights."""
    model: nn.Module = build_model(
        "small_cnn", (1, 8, 8), CLASSES, mean=[0.5], std=[0.3], width=0.5, dropout=0.3, seed=0
    )
    options = {"epochs": EPOCHS, "batch_size": 6, "mixup": {"alpha": 0.5}, "ema_decay": 0.5}
    unlabeled = UnlabeledTerm(LABELED.images, OnlineArgmax(), 6, 1.0, 0, 0, mix=True, smooth=False)

    def on_epoch(record: dict[str, float]) -> None:
        if record["epoch"] > cut_after:
            raise CutError

    result = train(
        model,
        TrainConfig.model_validate(options),
        LABELED,
        LABELED,
        num_classes=CLASSES,
        steps_per_epoch=2,
        seed=0,
        unlabeled=unlabeled,
        checkpoints=checkpoints,
        on_epoch=on_epoch,
        compiles=compiles,
    )
    assert result.weights.keys() == model.state_dict().keys()
    return result


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-4, rtol=1e-3, msg=lambda text, name=name: name + text)


@pytest.fixture(scope="module")
def plain() -> Iterator[TrainingResult]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield fit(compiles=False)
    torch.set_num_threads(before)


def test_a_compiled_training_is_the_same_one_up_to_rounding(plain):
    compiled = fit(compiles=True)
    assert_close(compiled.weights, plain.weights)
    for ours, record in zip(compiled.history, plain.history, strict=True):
        assert ours["train_loss"] == pytest.approx(record["train_loss"], abs=1e-4)


@pytest.mark.parametrize("first", [True, False])
def test_either_goes_on_from_the_others_checkpoint(first, plain, tmp_path):
    with suppress(CutError):
        fit(compiles=first, checkpoints=Always(tmp_path), cut_after=2)
    assert_close(fit(compiles=not first, checkpoints=Always(tmp_path)).weights, plain.weights)


def test_a_compiled_training_that_was_cut_off_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    with suppress(CutError):
        fit(compiles=True, checkpoints=Always(tmp_path), cut_after=2)
    resumed, undisturbed = fit(compiles=True, checkpoints=Always(tmp_path)), fit(compiles=True)
    assert all(torch.equal(value, undisturbed.weights[name]) for name, value in resumed.weights.items())


@pytest.mark.parametrize("processes", [1, 2])
def test_the_key_compiles_a_stages_training_and_its_model_is_read_as_any_other(
    processes, tiny_config, stage_folders, tmp_path
):
    config = changed(tiny_config, runtime={"compile": True, "processes": processes})
    load_stage("baseline")(config, {"split": stage_folders["split"]}, tmp_path, Silence())
    ours, theirs = load_model(tmp_path).state_dict(), load_model(stage_folders["baseline"]).state_dict()
    assert ours.keys() == theirs.keys()
    differences = [(value - theirs[name]).abs().max().item() for name, value in ours.items()]
    assert 0 < max(differences) < 0.05  # other roundings, through 50 steps; an unplugged key would leave the same bits


def test_a_machine_without_a_compiler_is_told_so_in_one_line(tmp_path):
    script = (
        "from tests.training.optimization.test_compilation import fit\n"
        "from semisup.errors import UserError\n"
        "try:\n    fit(compiles=True)\n"
        "except UserError as error:\n    print('said:', error)\n"
    )
    nothing = {"CXX": str(tmp_path / "nothing"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | nothing,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = outcome.stdout.splitlines()
    assert line.startswith("said: runtime.compile=true, but torch cannot compile")
    assert "leave the key out" in line
