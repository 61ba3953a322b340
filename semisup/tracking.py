"""MLflow: one run per pipeline and per stage. The only file that imports mlflow.

Runs are written through the client with explicit run ids; MLflow's notion of an "active run" is never used, so several
pipelines may run in one process.
"""

import copy
import getpass
import logging
import os
import platform
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for the result

import mlflow
import numpy as np
import torch
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError
from torch import Tensor, nn

from semisup import __version__
from semisup.config import PipelineConfig, flatten, resolve_data_root
from semisup.config_files import to_yaml
from semisup.errors import UserError
from semisup.signals import undisturbed

MODEL_NAME = "model"
DEFAULT_DATABASE = "mlflow.db"
DEFAULT_ARTIFACTS = "mlartifacts"
MOST_PARAMS_PER_CALL = 100
UI_PORT = 5000


def store_uri(folder: Path) -> str:
    """Address of the MLflow store: MLFLOW_TRACKING_URI, or else the SQLite file in a folder.

    Raises:
        UserError: the folder's path holds a question mark, which begins something else in an address.
    """
    folder = folder.resolve()
    configured = os.environ.get("MLFLOW_TRACKING_URI")
    if not configured and "?" in str(folder):
        raise UserError(f"folder {str(folder)!r}: a store's address cannot hold '?'; work in a folder of another name")
    return configured or f"sqlite:///{folder / DEFAULT_DATABASE}"


@contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """What MLflow takes for its default store, for calls that know no other; the environment is left as it was."""
    before, environment = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if environment is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


@dataclass(frozen=True)
class Tracker:
    """A store, opened and checked, and the experiment in it."""

    client: MlflowClient
    uri: str
    experiment_id: str

    @classmethod
    def open(cls, experiment: str, folder: Path) -> "Tracker":
        """The store that MLFLOW_TRACKING_URI names, or else `mlflow.db` and `mlartifacts` in `folder`.

        A fresh SQLite store is created by one process alone: several would race in its migrations.

        Raises:
            UserError: the store cannot be reached or written.
        """
        uri = store_uri(folder)
        database = _sqlite_path(uri)
        if database is None:
            return cls._connect(uri, experiment, artifacts=None)
        _check_writable(database)
        with FileLock(database.with_name(database.name + ".lock")):
            # Said explicitly: otherwise artifacts land in whatever folder the process happens to stand in.
            return cls._connect(uri, experiment, artifacts=(database.parent / DEFAULT_ARTIFACTS).as_uri())

    @classmethod
    def _connect(cls, uri: str, experiment: str, artifacts: str | None) -> "Tracker":
        with _quiet("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
            try:
                client = MlflowClient(tracking_uri=uri)
                found = client.get_experiment_by_name(experiment)
                if found is not None and found.lifecycle_stage == "deleted":
                    raise UserError(
                        f"tracking.experiment={experiment!r} was deleted in this store; restore it, or name another"
                    )
                if found is not None:
                    return cls(client, uri, found.experiment_id)
                experiment_id = client.create_experiment(experiment, artifacts)
            except (MlflowException, SQLAlchemyError, ImportError) as error:
                reason = str(error).splitlines()[0].replace(uri, without_secrets(uri))
                raise UserError(
                    f"MLFLOW_TRACKING_URI={without_secrets(uri)!r}: the store does not answer ({reason}); "
                    "start its server, mend the address, or unset it to use a file in this folder"
                ) from None
        return cls(client, uri, experiment_id)

    @contextmanager
    def run(
        self, name: str, tags: Mapping[str, str], parent_run_id: str | None = None, *, system_metrics: bool = False
    ) -> Iterator["Run"]:
        """A run that ends as FINISHED, FAILED (an exception) or KILLED (Ctrl-C, SIGTERM); never left RUNNING."""
        all_tags = dict(tags) | _standard_tags()
        if parent_run_id is not None:
            all_tags["mlflow.parentRunId"] = parent_run_id
        run: Run | None = None
        monitor: SystemMetricsMonitor | None = None
        status = "FAILED"
        try:
            with undisturbed():
                created = self.client.create_run(self.experiment_id, run_name=name, tags=all_tags)
                run = Run(self.client, created.info.run_id, self.experiment_id, self.uri)
            if system_metrics:
                monitor = self._start_monitor(run.id)
            yield run
            status = "FINISHED"
        except BaseException as error:
            # Ctrl-C, and Prefect's own signal for SIGTERM, are no Exceptions: asked to end, not failed.
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            raise
        finally:
            try:
                if monitor is not None:
                    with _quiet("mlflow.system_metrics"):
                        monitor.finish()
            finally:
                if run is not None:
                    with undisturbed():
                        self.client.set_terminated(run.id, status)

    def _start_monitor(self, run_id: str) -> SystemMetricsMonitor:
        with _quiet("mlflow.system_metrics"):
            monitor = SystemMetricsMonitor(run_id, sampling_interval=2, tracking_uri=self.uri)
            monitor.start()
        return monitor

    def artifacts(self, run_id: str, scratch: Path) -> Path:
        """Folder with a run's artifacts: the store's own where it is on this machine, else a copy within `scratch`."""
        local = self._local_artifacts(run_id)
        if local is not None:
            return local
        copy = scratch / run_id
        copy.mkdir(parents=True, exist_ok=True)
        with _quiet("mlflow"):
            mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(copy), tracking_uri=self.uri)
        return copy

    def locate(self, run_id: str, file: str) -> str:
        """Where people find an artifact: its path, or on a server the address of its page."""
        local = self._local_artifacts(run_id)
        return str(local / file) if local is not None else f"{self.link(run_id)}/artifacts/{file}"

    def _local_artifacts(self, run_id: str) -> Path | None:
        uri = urlsplit(self.client.get_run(run_id).info.artifact_uri)
        return Path(unquote(uri.path)) if uri.scheme in {"", "file"} else None

    def link(self, run_id: str) -> str:
        """Address of a run's page: on the MLflow server, or for a file store where `semisup ui` serves it."""
        server = self.uri.rstrip("/") if self.uri.startswith("http") else f"http://127.0.0.1:{UI_PORT}"
        return f"{without_secrets(server)}/#/experiments/{self.experiment_id}/runs/{run_id}"


@dataclass(frozen=True)
class Run:
    """One MLflow run that is being written."""

    client: MlflowClient
    id: str
    experiment_id: str
    store: str

    @undisturbed()
    def log_config(self, config: PipelineConfig, sections: Collection[str] | None = None) -> None:
        """The resolved config as parameters, all of it or some top-level sections, and whole as `config.yaml`."""
        params = [
            Param(key, str(value))
            for key, value in flatten(config).items()
            if sections is None or key.partition(".")[0] in sections
        ]
        for start in range(0, len(params), MOST_PARAMS_PER_CALL):
            self.client.log_batch(self.id, params=params[start : start + MOST_PARAMS_PER_CALL])
        self.client.log_text(self.id, to_yaml(config), "config.yaml")

    @undisturbed()
    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """All figures of one moment, in one call."""
        now = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(_key(k), float(v), now, step or 0) for k, v in values.items()])

    @undisturbed()
    def log_dataset(self, config: PipelineConfig, digest: str) -> None:
        """The data set as a logged input."""
        root = resolve_data_root(config.data)
        dataset = Dataset(
            name=config.data.name,
            digest=digest[:32],
            source_type="local",
            source=f'{{"uri": "{root.resolve().as_uri() if root else "embedded"}"}}',
        )
        self.client.log_inputs(self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def describe(self, markdown: str) -> None:
        """The description that MLflow shows on the run's page."""
        self.set_tags({"mlflow.note.content": markdown})

    @undisturbed()
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Several tags in one call."""
        self.client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tags.items()])

    @undisturbed()
    def log_folder(self, folder: Path) -> None:
        """All files of a folder as the run's artifacts."""
        self.client.log_artifacts(self.id, str(folder))

    @undisturbed()
    def log_model(self, model: nn.Module, example: Tensor, versions: Mapping[str, str]) -> str:
        """The model as an MLflow model in the pt2 format; its id. uint8 images (N, C, H, W) in, probabilities out.

        The exported graph holds preprocessing and softmax, needs none of this project's code, and is no pickle.
        """
        exported = _Probabilities(copy.deepcopy(model)).eval()
        shape = (-1, *example.shape[1:])
        with torch.inference_mode():
            outputs = exported(example)
        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), shape)]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, outputs.shape[1]))]),
        )
        logged = self.client.create_logged_model(
            self.experiment_id, MODEL_NAME, source_run_id=self.id, tags={"mlflow.flavor": "pytorch"}
        )
        with _quiet("mlflow", "torch.export"), _default_store(self.store):
            info = Model.log(
                artifact_path=None,
                flavor=mlflow.pytorch,
                run_id=self.id,
                model_id=logged.model_id,
                pytorch_model=exported,
                signature=signature,
                input_example=example.numpy(),
                serialization_format="pt2",
                pip_requirements=[f"{name}=={version}" for name, version in versions.items()],
            )
        return str(info.model_id)


class _Probabilities(nn.Module):
    """A classifier that answers with probabilities, as users of a finished model expect."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, C) probabilities of uint8 images (N, C, H, W)."""
        probabilities: Tensor = self.model(images).softmax(dim=1)
        return probabilities


def without_secrets(uri: str) -> str:
    """The address without user name and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute() if uri.startswith("sqlite:///") else None


def _is_sqlite(database: Path) -> bool:
    with database.open("rb") as file:
        return file.read(15) == b"SQLite format 3"


def _check_writable(database: Path) -> None:
    advice = "choose another folder, or name a store in MLFLOW_TRACKING_URI"
    if database.is_dir():
        raise UserError(f"MLflow store {str(database)!r} is a folder, not a database file; move it away, or {advice}")
    if not database.parent.is_dir():
        raise UserError(f"MLflow store {str(database)!r}: its folder does not exist; create it, or {advice}")
    target = database if database.exists() else database.parent
    if not os.access(target, os.W_OK):
        raise UserError(f"MLflow store {str(database)!r} cannot be written: no permission; {advice}")
    if database.exists() and database.stat().st_size and not _is_sqlite(database):
        raise UserError(f"MLflow store {str(database)!r} is not an SQLite database; move it away, or {advice}")
    artifacts = database.parent / DEFAULT_ARTIFACTS
    if artifacts.exists() and not artifacts.is_dir():
        raise UserError(f"artifact folder {str(artifacts)!r} is a file; move it away, or {advice}")


def _key(name: str) -> str:
    """MLflow allows letters, digits and a few signs in a metric's name; class names may hold any, as their number."""
    return "".join(c if c.isalnum() or c in "_-. /" else f"_{ord(c):x}_" for c in name)


def _standard_tags() -> dict[str, str]:
    tags = {
        "semisup.version": __version__,
        "mlflow.user": _user(),
        "mlflow.source.name": "semisup",
        "mlflow.source.type": "LOCAL",
        "host": platform.node(),
        "pid": str(os.getpid()),
    }
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()}
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


def _git(*arguments: str) -> str:
    """Answer of git about the checkout that this code runs from, or "" where there is none."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Libraries' chatter at INFO and WARNING level is not for the user's screen."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def model_requirements() -> dict[str, str]:
    """What the exported model needs to run: name → version."""
    return {"mlflow": mlflow.__version__, "torch": torch.__version__.partition("+")[0]}
