"""The pipeline as a Prefect flow: every stage a task, every stage an MLflow run, references between them."""

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows import display
from flows.results import PipelineResult, StageResult
from semisup.config import PipelineConfig
from semisup.stages import SECTIONS, STAGES, UPSTREAM, load_stage
from semisup.stages.files import DatasetFacts, load_model, pool_of, read_json
from semisup.stages.preflight import check
from semisup.tracking import Run, Tracker, model_requirements


@dataclass
class StageRecorder:
    """A stage's log: figures to MLflow, lines to Prefect's log and to the screen."""

    run: Run
    logger: "logging.Logger | logging.LoggerAdapter[Any]"
    summary: dict[str, float] = field(default_factory=dict)
    """The figures of the whole stage (not of an epoch)."""
    lines: list[str] = field(default_factory=list)
    """What the stage told people; MLflow shows it as the run's description."""
    tenths: int = 0
    """How much of the way Prefect's log knows of."""

    def info(self, message: str) -> None:
        """Tell people."""
        self.lines.append(message)
        self.logger.info(message)
        display.current().line(message)

    def warning(self, message: str) -> None:
        """Warn people."""
        self.lines.append(f"**Warning:** {message}")
        self.logger.warning(message)
        display.current().line(message, warning=True)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Keep figures; one call to MLflow."""
        self.run.log_metrics(values, step)
        if step is None:
            self.summary |= values

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Move the display; one line for each tenth of the way also reaches Prefect's log."""
        display.current().progress(done, total, note)
        if 10 * done // total > self.tenths:
            self.tenths = 10 * done // total
            self.logger.info("%d/%d %s", done, total, note)


@flow(name="semisup-pipeline", flow_run_name="{config.name}-seed{config.seed}", validate_parameters=True)
def pipeline(config: PipelineConfig) -> dict[str, Any]:
    """Split, baseline, pseudo-labels, joint training, evaluation; returns the result as plain JSON values."""
    started = time.perf_counter()
    for warning in check(config):  # a mistake is found before the store holds anything of this run
        get_run_logger().warning(warning)
    tracker = Tracker.open(config.tracking.experiment, Path.cwd())
    tags = {"config": config.name, "seed": str(config.seed), "stage": "pipeline"}
    with tracker.run(f"{config.name}-seed{config.seed}", tags) as run:
        run.log_config(config)
        stages: dict[str, StageResult] = {}
        for name in STAGES:
            upstream = {earlier: stages[earlier].run_id for earlier in UPSTREAM[name]}
            stages[name] = run_stage.with_options(name=name)(name, config, upstream, run.id)
        with tempfile.TemporaryDirectory(prefix="semisup-") as scratch:
            facts = DatasetFacts.read(tracker.artifacts(stages["split"].run_id, Path(scratch)))
            metrics = read_json(tracker.artifacts(stages["evaluate"].run_id, Path(scratch)) / "metrics.json")
        verdict, report = metrics["verdict"], tracker.locate(stages["evaluate"].run_id, "report.html")
        run.log_dataset(config, facts.digest)
        result = PipelineResult(run.id, time.perf_counter() - started, stages, verdict, report, tracker.link(run.id))
        run.log_metrics(result.figures())
        run.set_tags({"verdict": verdict})
        run.describe(result.markdown())
    _publish(create_markdown_artifact, key="semisup-summary", markdown=result.markdown(), description=config.name)
    return result.as_json()


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(name: str, config: PipelineConfig, upstream: Mapping[str, str], parent_run_id: str) -> StageResult:
    """Run one stage in a folder of its own and keep what it leaves in an MLflow run.

    `upstream` maps the names of earlier stages to their MLflow run ids. The artifacts are uploaded only when the
    stage is complete, and the tag `complete` is set last.
    """
    started = time.perf_counter()
    tracker = Tracker.open(config.tracking.experiment, Path.cwd())
    tags = {"stage": name, "config": config.name, "seed": str(config.seed)}
    display.current().begin(name)
    with tracker.run(name, tags, parent_run_id, system_metrics=config.tracking.system_metrics) as run:
        _publish(
            create_link_artifact,
            key=f"semisup-{name.replace('_', '-')}",
            link=tracker.link(run.id),
            link_text=f"{name} in MLflow",
            description=f"Run {run.id} of {config.name}, seed {config.seed}; `semisup ui` serves the page.",
        )
        run.log_config(config, SECTIONS[name])
        recorder = StageRecorder(run, get_run_logger())
        with tempfile.TemporaryDirectory(prefix=f"semisup-{name}-") as scratch:
            inputs = {earlier: tracker.artifacts(run_id, Path(scratch)) for earlier, run_id in upstream.items()}
            out_dir = Path(scratch) / "out"
            out_dir.mkdir()
            load_stage(name)(config, inputs, out_dir, recorder)
            run.log_folder(out_dir)
            run.describe("\n\n".join(recorder.lines))
            if name == "joint":
                _log_student(run, config, inputs["split"], out_dir)
        seconds = time.perf_counter() - started
        run.log_metrics({"stage_seconds": seconds})
        run.set_tags({f"upstream.{earlier}": run_id for earlier, run_id in upstream.items()} | {"complete": "true"})
    display.current().end(name, seconds)
    return StageResult(run.id, seconds, recorder.summary)


def _log_student(run: Run, config: PipelineConfig, split_folder: Path, joint_folder: Path) -> None:
    model = load_model(joint_folder)
    run.log_model(model, pool_of(config).images[:8], model_requirements())


def _publish(create: Any, **artifact: Any) -> None:
    """Artifacts are a courtesy: a Prefect server that loses one must not cost a trained model."""
    try:
        create(**artifact)
    except Exception as error:
        get_run_logger().warning("Prefect artifact %s was not published: %s", artifact["key"], error)
