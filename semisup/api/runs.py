"""A pipeline as plain functions, one stage after the other, and its result with types: no Prefect, no MLflow."""

import json
import shutil
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import ArrayLike, NDArray

from semisup.api import html
from semisup.api.data import Dataset
from semisup.api.inputs import read_images
from semisup.api.progress import Listener, Progress, listener
from semisup.config import PipelineConfig, flatten
from semisup.config.files import read_values, to_yaml, validate_kind
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import write_config
from semisup.delivery.image_files import ImageFile
from semisup.delivery.predict import Predictor, predict
from semisup.errors import UserError
from semisup.pipeline.plan import Step, kept_step, plan
from semisup.pseudo_labels import TABLE_FILE
from semisup.ready_made import find_config
from semisup.stages.preflight.check import check
from semisup.stages.running import run_steps
from semisup.stages.support.models.device import pick_device
from semisup.system.json_files import read_json
from semisup.system.own_files import aside, temporary_folder

ASKED = "overrides"
"""What a mistake in them is called."""


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of two, with its 95 % interval; a fraction."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Mapping[str, float]) -> "Estimate":
        """What a stage wrote down."""
        return cls(found["estimate"], found["low"], found["high"])

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} … {self.high:.1%})"


@dataclass(frozen=True)
class Metrics:
    """What a run came to, on test images that nothing was chosen by."""

    baseline: Estimate
    """Accuracy of the model that learned from the labels alone."""
    student: Estimate
    """Accuracy of the one that learned from pseudo-labels as well."""
    difference: Estimate
    """Student minus baseline."""
    p_value: float
    """Of McNemar's exact test."""
    verdict: str
    kept: Literal["baseline", "student"]
    """Which one to keep, by validation images or labels that were held out."""
    coverage: float
    """Share of the unlabeled images whose label, by the model to keep, was accepted."""
    precision: Estimate | None
    """Share of those that are right; None: the truth is not known, or none was accepted."""
    details: Mapping[str, Any] = field(repr=False)
    """All of `metrics.json`: per class, calibration, confusion …"""


@dataclass(frozen=True)
class Report:
    """The page of a run: one file that fetches nothing. It shows itself in a notebook."""

    path: Path
    run: Any = field(default=None, repr=False, compare=False)
    """Whose page it is: a temporary folder lasts as long as its run."""

    def __fspath__(self) -> str:
        return str(self.path)

    def html(self) -> str:
        """The page."""
        return self.path.read_text(encoding="utf-8")

    def _repr_html_(self) -> str:
        return html.frame(self.html())


@dataclass(frozen=True, eq=False)
class PipelineModel:
    """The model that a run kept."""

    predictor: Predictor

    @property
    def classes_(self) -> NDArray[np.str_]:
        """(C,)."""
        return np.array(self.predictor.class_names)

    def predict(self, images: ArrayLike) -> NDArray[np.str_]:
        """The likeliest class (N,) of uint8 images (N, H, W), (N, C, H, W) or (N, H, W, C)."""
        likeliest: NDArray[np.str_] = self.classes_[self.predict_proba(images).argmax(axis=1)]
        return likeliest

    def predict_proba(self, images: ArrayLike) -> NDArray[np.float32]:
        """Probabilities (N, C), in the order of `classes_`.

        Raises:
            UserError: the images are not uint8, or not of the size that the model has learned.
        """
        return self.predictor.probabilities(read_images(images, self.predictor.target.shape).numpy())

    def predict_files(self, paths: Iterable[str | Path]) -> pd.DataFrame:
        """A row for each image file, of any kind and size: path, label, confidence, probabilities, reason."""
        files = [ImageFile(str(path), str(path)) for path in paths]
        tables = list(predict(self.predictor, files))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run. What is in `folder` is what stages leave each other; a temporary one lives as long as this."""

    config: PipelineConfig
    folder: Path
    warnings: tuple[str, ...] = ()
    """What the config, the data and the stages ask attention for."""

    @cached_property
    def metrics(self) -> Metrics:
        """Figures."""
        found = read_json(self.folder / "evaluate" / "metrics.json")
        labels = read_json(self.folder / "labels" / "summary.json")
        precision = None
        if labels["precision"] is not None:
            precision = Estimate(labels["precision"], labels["precision_low"], labels["precision_high"])
        return Metrics(
            baseline=Estimate.of(found["baseline"]["accuracy"]),
            student=Estimate.of(found["student"]["accuracy"]),
            difference=Estimate.of(found["difference"]),
            p_value=found["mcnemar"]["p_value"],
            verdict=found["verdict"],
            kept=found["kept"]["model"],
            coverage=labels["coverage"],
            precision=precision,
            details=found,
        )

    @cached_property
    def pseudo_labels(self) -> pd.DataFrame:
        """A row for each unlabeled image, labeled by the model to keep: id, label (the class), confidence, margin,
        accepted, reason …"""
        names = np.array(DatasetFacts.read(self.folder / "split").class_names, dtype=object)
        table = pd.read_parquet(self.folder / "labels" / TABLE_FILE)
        table["label"] = names[table["label"].to_numpy()]
        return table

    @cached_property
    def model(self) -> PipelineModel:
        """The one to keep."""
        kept, metrics = self.metrics.kept, self.metrics.details
        folder = self.folder / kept_step(self.config, kept)
        temperature = metrics.get("temperature", {}).get(kept)
        return PipelineModel(Predictor.load(folder, temperature, pick_device(self.config)))

    @property
    def report(self) -> Report:
        """The page that people read."""
        return Report(self.folder / "evaluate" / "report.html", self)

    def __repr__(self) -> str:
        return f"Run({self.config.name!r}, student {self.metrics.student}, folder={str(self.folder)!r})"

    def _repr_html_(self) -> str:
        found = self.metrics
        rows = [
            ("Baseline, test accuracy", str(found.baseline)),
            ("Student, test accuracy", str(found.student)),
            ("Difference", f"{found.difference}; McNemar p = {found.p_value:.3g}: {found.verdict}"),
            ("Model to keep", found.kept),
            ("Pseudo-labels accepted", f"{found.coverage:.1%}"),
            ("Pseudo-labels right", str(found.precision or "not known")),
            ("Folder", str(self.folder)),
            *(("Warning", warning) for warning in self.warnings),
        ]
        return html.table(self.config.name, rows)


def run(
    config: str | Path | PipelineConfig | None = None,
    data: Dataset | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress = "auto",
    **overrides: Any,
) -> Run:
    """Run a pipeline in this process, and return what came out.

    Examples:
        >>> import semisup as ss
        >>> result = ss.run("digits", baseline__epochs=2, joint={"epochs": 2, "ramp_end": 1})
        >>> result.metrics.kept in {"baseline", "student"}
        True
        >>> result.model.predict_proba([[[0] * 8] * 8]).shape            # doctest: +SKIP

    Args:
        config: the name of a ready-made config, a path, a `PipelineConfig`, or None: what `semisup init` would write
            for the data, and without data "digits".
        data: images in place of the config's.
        out: a folder that is not there yet, to keep the files of all stages; None: a temporary one, which is gone with
            the result.
        progress: as of :class:`semisup.PseudoLabelClassifier`; a function is told what a stage tells.
        overrides: keys of the config: `seed=3`, `joint__epochs=20` or `joint={"epochs": 20}`.

    Raises:
        UserError: a mistake in config, data or overrides; the folder is there already or cannot be written.
    """
    destination = None if out is None else Path(out).absolute()
    if destination is not None and (destination.exists() or destination.is_symlink()):
        raise UserError(f"out={str(out)!r} is there already; name a folder that is not")
    listening = listener(progress)
    with _place(destination) as (folder, close):
        settled = _settle(config, data, folder / "data", overrides)
        said = [*check(settled, _looking(listening)).warnings]
        kept = _moved(settled, folder, destination or folder)
        (folder / "config.yaml").write_text(to_yaml(kept), encoding="utf-8")
        with _own_threads():
            run_steps(_steps(settled), settled, folder, lambda step: _Log(step.name, listening, said))
    finished = Run(kept, destination or folder, tuple(dict.fromkeys(said)))
    if close is not None:
        weakref.finalize(finished, close)
    for warning in finished.warnings:
        warnings.warn(warning, UserWarning, stacklevel=2)
    return finished


def _steps(config: PipelineConfig) -> list[Step]:
    """Of the plan; nobody's registry is asked or changed."""
    return [step for step in plan(config) if step.stage != "promote"]


@contextmanager
def _own_threads() -> Iterator[None]:
    """Stages set how many threads torch has, as the config says; afterwards it has as many as before."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _settle(
    config: str | Path | PipelineConfig | None, data: Dataset | None, folder: Path, overrides: Mapping[str, Any]
) -> PipelineConfig:
    """The config that is meant."""
    found = None if data is None else data.survey(folder)
    if isinstance(config, PipelineConfig):
        values: dict[str, Any] = config.model_dump(mode="json")
        source = f"config {config.name!r}"
    elif config is None and found is not None:
        values, source = yaml.safe_load(write_config(found)), "the config for these images"
    else:
        file = find_config(str(config or "digits"))
        values, source = read_values(file), str(file)
    if found is not None:
        values["data"] = found.data.model_copy(update={"max_broken": found.most_broken}).model_dump(mode="json")
    changes = [f"{key}={json.dumps(value, default=str)}" for key, value in _keys(overrides).items()]
    return validate_kind(PipelineConfig, values, source, changes, asked=ASKED)


def _moved(config: PipelineConfig, here: Path, there: Path) -> PipelineConfig:
    """The config once a folder has its last name: what lies in it is named by that."""
    inside = {
        name: there / path.relative_to(here)
        for name in ("root", "manifest", "features", "cache")
        if (path := getattr(config.data, name)) is not None and path.is_relative_to(here)
    }
    return config.model_copy(update={"data": config.data.model_copy(update=inside)})


def _keys(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key → value."""
    return flatten({name.replace("__", "."): value for name, value in overrides.items()})


@contextmanager
def _place(destination: Path | None) -> Iterator[tuple[Path, Any]]:
    """(where to write, what deletes it later): a temporary folder, or one that has its name once it is whole (None)."""
    if destination is None:
        with ExitStack() as stack:
            folder = stack.enter_context(temporary_folder())
            closing = stack.pop_all()
            try:
                yield folder, closing.close
            except BaseException:
                closing.close()
                raise
        return
    unfinished = aside(destination)
    with _writing(destination):
        unfinished.mkdir(parents=True)
    try:
        yield unfinished, None
        with _writing(destination):
            unfinished.rename(destination)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _writing(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"out={str(destination)!r} cannot be written: {why}; name another folder") from error


def _looking(listening: Listener) -> Any:
    return lambda done, total, note: listening.tell(
        done, total, note, {"stage": "images", "done": done, "total": total}
    )


@dataclass
class _Log:
    """What a stage says: to whoever listens, and warnings into a list."""

    stage: str
    listening: Listener
    said: list[str]

    def info(self, message: str) -> None:
        """Lines are for a screen that there is not."""

    def warning(self, message: str) -> None:
        """Keep it."""
        self.said.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """They are in the files of the stage."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Hand it on."""
        record = {"stage": self.stage, "done": done, "total": total, "note": note}
        self.listening.tell(done, total, f"{self.stage}: {note}", record)
