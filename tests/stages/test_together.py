"""Training stages in several processes, begun and heard of as the pipeline does it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import safetensors.torch
import torch
import yaml

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.stages.preflight import check as preflight
from semisup.stages.support.together import MODULE, WORK, run_together
from tests.conftest import TINY, process_as_it_was
from tests.waiting import LONG, wait_until

STAGES = ("baseline", "joint")
CLOSE = 1e-5
SGD = {"optimizer": {"name": "sgd", "lr": 0.02}}
"""Adam divides small gradients by small numbers, and makes much of how floating point rounds them. So do, in time, the
flat grounds of digits, all of whose pixels cross a rectifier's zero at once: the student learns for a moment only."""
ENDLESS = {"epochs": 10**5, "early_stopping": {"patience": 10**5}}


def config_of(processes: int, changes: Mapping[str, Any] = {}) -> PipelineConfig:
    sections: dict[str, Any] = TINY | {"runtime": {"device": "cpu", "threads": processes, "processes": processes}}
    quick = {"epochs": 3, "ramp_start": 0, "ramp_end": 1}
    for section, values in ({"baseline": SGD, "joint": SGD | quick} | changes).items():
        sections[section] = {**sections.get(section, {}), **values}
    return PipelineConfig.model_validate(sections)


class Ear(Silence):
    """Keeps what it is told, and does something when the first epoch is over."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.then, self.infos, self.figures, self.last = then, [], {}, (0, 0)

    def info(self, message: str) -> None:
        self.infos.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.figures |= {(name, step): value for name, value in values.items()}

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.last = (done, total)
        if done >= 2:
            self.then()


def workers(pid: int | None = None) -> list[psutil.Process]:
    """The processes that train for this one, or for another."""
    return [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE and WORK in process.cmdline()
    ]


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end; they are killed, for nothing else would end them."""
    _, alive = psutil.wait_procs(processes, timeout=LONG)
    for process in alive:
        process.kill()
    return alive


def train(
    processes: int, stage: Any, stage_folders: dict[str, Path], out: Path, *, log: Ear | None = None, **changes: Any
) -> Path:
    """Run a stage upon the split and the pseudo-labels of the tiny pipeline; its folder."""
    inputs = {name: stage_folders[name] for name in ("split", "pseudo_label")}
    checkpoints = changes.pop("checkpoints", None)
    out.mkdir(parents=True, exist_ok=True)
    load_stage(stage, checkpoints)(config_of(processes, changes), inputs, out, log or Ear())
    return out


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=CLOSE, rtol=CLOSE)


@pytest.fixture(scope="module")
def alone(stage_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage → what one process left."""
    with process_as_it_was():
        return {stage: train(1, stage, stage_folders, tmp_path_factory.mktemp(stage)) for stage in STAGES}


@pytest.fixture(scope="module")
def together(stage_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Ear]]:
    """Stage → (what two processes left, what they said)."""
    results = {}
    with process_as_it_was():
        for stage in STAGES:
            log = Ear()
            results[stage] = train(2, stage, stage_folders, tmp_path_factory.mktemp(stage), log=log), log
    return results


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_leave_what_one_leaves(stage, together, alone):
    out = together[stage][0]
    assert {path.name for path in out.iterdir()} == {path.name for path in alone[stage].iterdir()}
    assert_close(weights_in(out), weights_in(alone[stage]))
    histories = [pd.read_parquet(folder / "history.parquet") for folder in (out, alone[stage])]
    pd.testing.assert_frame_equal(*histories, atol=CLOSE)


@pytest.mark.parametrize("stage", STAGES)
def test_everything_that_the_first_process_says_is_heard_once(stage, together):
    out, log = together[stage]
    history = pd.read_parquet(out / "history.parquet")
    for row in history.to_dict("records"):
        assert log.figures[("train_loss", row["epoch"])] == pytest.approx(row["train_loss"])
    assert log.last == (history["epoch"].max(), config_of(2).model_dump()[stage]["epochs"])
    assert sum("kept epoch" in line for line in log.infos) == 1


def test_two_processes_share_the_pass_over_unlabeled_images(stage_folders, tmp_path):
    inputs = {"split": stage_folders["split"], "teacher": stage_folders["baseline"]}
    load_stage("pseudo_label")(config_of(2), inputs, tmp_path, Silence())
    files = {path.name for path in stage_folders["pseudo_label"].iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == files
    ours, theirs = (
        pd.read_parquet(folder / "pseudo_labels.parquet") for folder in (tmp_path, stage_folders["pseudo_label"])
    )
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_mistake_in_the_processes_is_the_one_line_that_it_is_in_one(stage_folders, tmp_path):
    far = {"optimizer": {"name": "sgd", "lr": 1e3, "momentum": 0.0}}
    with pytest.raises(UserError, match=r"^baseline\.optimizer\.lr=1000\.0: the loss is .* training diverged"):
        train(2, "baseline", stage_folders, tmp_path, baseline=far)


@pytest.mark.slow
def test_a_killed_process_ends_the_stage_in_one_line_and_another_number_of_processes_goes_on(
    alone, stage_folders, tmp_path
):
    victims: list[psutil.Process] = []

    def kill() -> None:
        if not victims:  # news of further epochs may come in the same moment
            victims.append(workers()[-1])
            victims[0].kill()

    checkpoints, log = tmp_path / "checkpoints", Ear()
    with pytest.raises(UserError, match=r"runtime.processes=2: process \d was killed \(SIGKILL\)"):
        train(2, "baseline", stage_folders, tmp_path / "killed", log=Ear(then=kill), checkpoints=checkpoints)
    assert not workers()
    out = train(1, "baseline", stage_folders, tmp_path / "out", log=log, checkpoints=checkpoints)
    assert log.infos[0].startswith("resumed after epoch")
    assert_close(weights_in(out), weights_in(alone["baseline"]))


@pytest.mark.slow
def test_processes_end_with_an_interrupted_stage(stage_folders, tmp_path):
    seen: list[psutil.Process] = []

    def interrupt() -> None:
        seen.extend(workers())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(2, "baseline", stage_folders, tmp_path, log=Ear(then=interrupt), baseline=ENDLESS)
    assert len(seen) == 2
    assert survivors(seen) == []


@pytest.mark.slow
def test_processes_end_when_whoever_waits_for_them_is_killed(stage_folders, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_of(2, {"baseline": ENDLESS}).model_dump(mode="json")))
    code = (
        "import sys; from pathlib import Path; from semisup.config.files import load_config\n"
        "from semisup.pipeline.log import Silence\n"
        "from semisup.pipeline.specs import load_stage\n"
        "config, split, out = map(Path, sys.argv[1:])\n"
        "load_stage('baseline')(load_config(config, []), {'split': split}, out, Silence())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, config, stage_folders["split"], tmp_path])
    try:
        wait_until(lambda: len(workers(parent.pid)) == 2, parent)
        family = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert survivors(family) == []


@pytest.mark.slow
def test_two_machines_train_together_by_the_environment_of_torchs_launcher(alone, stage_folders, tmp_path, monkeypatch):
    # Two launchers here, each of one process, that find each other as those of two machines would.
    meeting = {"PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "localhost:29471"}
    for name, value in meeting.items():
        monkeypatch.setenv(name, value)
    others: list[subprocess.Popen[bytes]] = []

    class Person(Ear):
        def info(self, message: str) -> None:
            if "on each of the others: python -m" in message:
                folder = message.partition(f"{MODULE} ")[2]
                others.append(subprocess.Popen([sys.executable, "-m", MODULE, folder], env=os.environ))

    inputs, out = {"split": stage_folders["split"]}, tmp_path / "out"
    out.mkdir()
    run_together("baseline", config_of(1), inputs, out, Person(), checkpoints=tmp_path / "checkpoints")
    assert others[0].wait(LONG) == 0
    assert_close(weights_in(out), weights_in(alone["baseline"]))


def test_more_processes_than_the_smallest_batch_has_images_are_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"runtime.processes=26, but the smallest batch of this config has 25 images"):
        preflight.check(config_of(26))
