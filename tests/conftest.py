"""What several test files share: a pipeline of a second or two, its stages run once, an MLflow store, Prefect's server.

Heavy libraries are imported inside the fixtures, so that a test of plain functions need not wait for them.
"""

import json
import math
import os
import shutil
import signal
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import flows  # noqa: F401 -- its settings must stand before any test file imports Prefect or MLflow
from semisup.config import PipelineConfig
from semisup.pipeline.log import StageLog
from tests.waiting import LONG

# No test asserts how long anything takes: a first call may import what it needs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
PROJECT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "data": {"name": "digits"},
    "split": {"labeled_per_class": 5, "validation_per_class": 5},
    "model": {"name": "small_cnn", "width": 0.5},
    "baseline": {"epochs": 25, "batch_size": 25},
    "pseudo_label": {"threshold": 0.8},
    "joint": {"epochs": 6, "batch_size": 25, "unlabeled_batch_size": 96, "ramp_start": 1, "ramp_end": 3},
    "runtime": {"device": "cpu", "threads": 1},
    "tracking": {"system_metrics": False},
}
"""Digits with 50 labels, trained for a moment: good enough that some pseudo-labels are accepted and some are not."""


@contextmanager
def process_as_it_was() -> Iterator[None]:
    """Undo what stages, MLflow and the command line set for the whole process."""
    environment, folder = dict(os.environ), Path.cwd()
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        signal.signal(signal.SIGTERM, on_sigterm)
        if torch:
            torch.set_num_threads(threads)
        if server := sys.modules.get("flows.start.server"):
            server._begun = None  # a command's own, which would be taken for the next one's


def pytest_configure() -> None:
    """Settings that a person has outside the tests must not matter within them."""
    for name in list(os.environ):
        if name.startswith("PREFECT_") and name not in {"PREFECT_SERVER_ANALYTICS_ENABLED"}:
            del os.environ[name]
    for name in ("SEMISUP_DATA_ROOT", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = str(LONG)


@pytest.fixture(scope="session", autouse=True)
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prefect's own folder and the user's cache, away from the person's."""
    home = tmp_path_factory.mktemp("prefect-home")
    with process_as_it_was():
        os.environ["PREFECT_HOME"] = str(home)
        os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
        yield home


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    """Every test starts with the same environment, working folder and number of torch threads."""
    with process_as_it_was():
        yield


@pytest.fixture(scope="session")
def tiny_config() -> PipelineConfig:
    """A pipeline on digits that takes about a second of training."""
    return PipelineConfig.model_validate(TINY)


def run_stages(
    config: PipelineConfig,
    root: Path,
    names: tuple[str, ...] | None = None,
    folders: Mapping[str, Path] | None = None,
    logs: Mapping[str, StageLog] | None = None,
) -> dict[str, Path]:
    """Run steps of the config's plan (default: all) one after another, as plain functions; step → its folder.

    `folders` are those of steps already run, and perhaps a champion's; `logs` hear what a step says.
    """
    from semisup.networks.inference import choice
    from semisup.pipeline.log import Silence
    from semisup.pipeline.plan import CHAMPION, plan
    from semisup.stages.running import run_steps

    known = dict(folders or {})
    steps = [step for step in plan(config, champion=CHAMPION in known) if names is None or step.name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "LEAST_WORK", math.inf)  # no test hangs on which engine was faster here: `auto` is torch
        return run_steps(steps, config, root, lambda step: (logs or {}).get(step.name, Silence()), known)


@pytest.fixture(scope="session")
def stage_runner() -> Any:
    """`run_stages`, for test files in other folders."""
    return run_stages


@pytest.fixture(scope="session")
def stage_folders(tiny_config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Step → the folder that it left, all of one round run once; to be read only."""
    with process_as_it_was():
        return run_stages(tiny_config, tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="session")
def round_folders(
    tiny_config: PipelineConfig, stage_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same of a pipeline of three rounds, the first of which is that of `stage_folders`; to be read only."""
    config = tiny_config.model_copy(update={"rounds": 3})
    later = ("pseudo_label-2", "joint-2", "pseudo_label-3", "joint-3", "keep", "labels", "evaluate", "promote")
    with process_as_it_was():
        return run_stages(config, tmp_path_factory.mktemp("rounds"), later, stage_folders)


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store after all migrations, which take ten seconds, without an experiment of ours."""
    from mlflow.tracking import MlflowClient

    database = tmp_path_factory.mktemp("store-template") / "mlflow.db"
    with process_as_it_was():
        os.chdir(database.parent)
        MlflowClient(tracking_uri=f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def store(store_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty store of its own, which is the working folder of the test."""
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(store_template, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def prefect_server(prefect_home: Path) -> Iterator[None]:
    """Prefect's in-process server, started once."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=LONG):
        yield


@pytest.fixture(scope="session")
def workplace(store_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where commands run once for many tests: of a config, a context in a new working folder with an empty store.

    It gives the folder, and the config's file in another one; at its end, the process is as it was.
    """
    from semisup.config.files import to_yaml

    @contextmanager
    def begun(config: PipelineConfig) -> Iterator[tuple[Path, Path]]:
        folder = tmp_path_factory.mktemp("finished-run")
        shutil.copy(store_template, folder / "mlflow.db")
        file = tmp_path_factory.mktemp("config") / f"{config.name}.yaml"
        file.write_text(to_yaml(config), encoding="utf-8")
        with process_as_it_was(), warnings.catch_warnings():
            # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
            os.chdir(folder)
            yield folder, file

    return begun


@dataclass(frozen=True)
class FinishedRun:
    """A pipeline run from the command line: where its store is, and what the command printed."""

    folder: Path
    config: PipelineConfig
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object on the last line."""
        parsed: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return parsed


@pytest.fixture(scope="session")
def finished_run(prefect_server: None, workplace: Any, tiny_config: PipelineConfig) -> FinishedRun:
    """The tiny pipeline through command line, flow and both servers, once; to be read only."""
    import torch._dynamo  # noqa: F401 -- without it each model would be exported in a process of its own
    from typer.testing import CliRunner

    from flows.cli import app

    with workplace(tiny_config) as (folder, config):
        outcome = CliRunner().invoke(app, ["run", str(config), "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return FinishedRun(folder, tiny_config, outcome.stdout, outcome.stderr)


@pytest.fixture
def rerunnable(finished_run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run's folder, store and artifacts, which is the working folder of the test."""
    folder = tmp_path / "rerun"
    shutil.copytree(finished_run.folder, folder)
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            change = f"update {table} set {column} = replace({column}, ?, ?)"
            connection.execute(change, (str(finished_run.folder), str(folder)))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder with the real MNIST files."""
    root = PROJECT.parent / "shared" / "data"
    if not (root / "mnist").is_dir():
        pytest.skip("the real MNIST files are not in ../shared/data, next to the project's folder")
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch with a single CPU thread: bits are the same only for the same number of them."""
    import torch  # seconds that tests without it need not wait

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server of this session."""
    from tests.s3 import serving

    with serving(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """An empty S3 server, with credentials in the environment."""
    from tests.s3 import a_test_with

    with a_test_with(s3_server, monkeypatch, tmp_path) as server:
        yield server
