"""Regression on a table as a Prefect flow: two stages, each a task and an MLflow run, reused like the pipeline's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.pipeline.flow import open_store, run_steps
from flows.pipeline.reaper import reap_at_start
from flows.pipeline.recorder import publish_markdown
from flows.pipeline.results import FlowResult, StageResult, last_tags
from flows.start.launch import Begun
from flows.start.run_names import named_by_parameters
from semisup.config.regression import RegressionConfig
from semisup.errors import UserError
from semisup.lineage.code_versions import pin_code_versions
from semisup.lineage.fingerprints import sha256
from semisup.pipeline.plan import Step
from semisup.regression.rows import load_rows
from semisup.stages.preflight.check import DataDigests
from semisup.stages.regression.fit import roles_of
from semisup.system.json_files import read_json
from semisup.system.own_files import temporary_folder
from semisup.tracking.places.failures import store_failures
from semisup.tracking.tracker import Tracker

STEPS = (
    Step("regression_fit", "regression_fit", {}),
    Step("regression_evaluate", "regression_evaluate", {"regression_fit": "regression_fit"}),
)
MODELS = {"network": "Network", "linear": "Linear regression", "mean": "Training mean"}
FIGURES = {"mae": "MAE", "rmse": "RMSE", "r2": "R²"}


@dataclass(frozen=True)
class RegressionResult(FlowResult):
    """That of a regression."""

    metrics: Mapping[str, Any]
    """As `metrics.json` of the stage `regression_evaluate`."""
    residuals: str
    """Where the residual plot is: a path for a local store, else an MLflow address."""
    page: str
    """Address of the run's page in MLflow."""

    def as_json(self) -> dict[str, Any]:
        """The one JSON object that `semisup regress --json` prints."""
        return {**self.told(), **self.metrics, "residuals": self.residuals, "page": self.page}

    def markdown(self) -> str:
        """The summary table that the flow publishes in Prefect and in MLflow."""
        lines = [f"| {' | '.join(columns())} |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in rows(self.metrics)]
        return "\n".join([*lines, "", *(f"- {line}" for line in comparisons(self.metrics))]) + "\n"


@flow(name="semisup-regression", flow_run_name=named_by_parameters(), validate_parameters=True)
def regression(config: RegressionConfig, overrides: list[str] | None = None) -> dict[str, Any]:
    """Fit and evaluate; the result as plain JSON values. Stages whose result is in the store already are reused.

    Args:
        config: Everything that decides the run.
        overrides: What the command line set on top of the config's file, as `key=value`: the config holds it, and names
            of runs tell it.
    """
    begun = Begun.now(config, overrides)
    pin_code_versions()
    digests = check(config)
    tracker = open_store(config.tracking.experiment)
    with store_failures(tracker.uri):
        reap_at_start(tracker, config, get_run_logger())
        with tracker.run(begun.name(), begun.tags(stage="regression", step="regression")) as run:
            run.log_config(config)
            run.log_dataset(config, digests.pool)
            stages = run_steps(tracker, config, digests, STEPS, run)
            evaluation = stages["regression_evaluate"]
            metrics, plot = _metrics(tracker, evaluation), tracker.locate(evaluation.run_id, "residuals.png")
            result = RegressionResult(run.id, begun.seconds, stages, metrics, plot, tracker.link(run.id))
            verdict = metrics["differences"]["linear"]["verdict"]
            described = begun.described(result.markdown())
            run.conclude(_figures(metrics), last_tags(verdict, stages), described)
    publish_markdown(key="semisup-regression", markdown=described, description=config.name)
    return result.as_json()


def check(config: RegressionConfig) -> DataDigests:
    """Make sure that the rows can be split and the device is there; what the data are.

    The test rows are hashed here and looked at nowhere but in `regression_evaluate`.

    Raises:
        UserError: one of them is not so.
    """
    pool = load_rows("pool")
    roles_of(config, pool)
    if config.runtime.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("runtime.device='cuda', but torch finds no CUDA device; use 'auto' or 'cpu'")
    whole = sha256(f"{pool.digest()} {load_rows('test').digest()}".encode())
    return DataDigests(whole, whole)


def columns() -> list[str]:
    """Heads of the result table."""
    return ["Model, 95 % intervals", *FIGURES.values()]


def rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Lines of the result table."""
    return [
        [label, *(_cell(metrics["models"][name][figure], 2 if figure == "r2" else 1) for figure in FIGURES)]
        for name, label in MODELS.items()
    ]


def comparisons(metrics: Mapping[str, Any]) -> list[str]:
    """What the paired comparisons of the mean absolute errors say, a line for each."""
    return [
        f"MAE of network − {MODELS[name].lower()}: {_cell(difference, 1, '+')}, paired: "
        + difference["verdict"].replace(f"{name} ", f"{MODELS[name].lower()} ")
        for name, difference in metrics["differences"].items()
    ]


def _cell(interval: Mapping[str, float], digits: int, sign: str = "") -> str:
    def number(name: str) -> str:
        return f"{interval[name]:{sign}z.{digits}f}"  # z: no negative zero

    return f"{number('estimate')} ({number('low')} … {number('high')})"


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    named = {f"{name}_{figure}": of[figure] for name, of in metrics["models"].items() for figure in FIGURES}
    named |= {f"mae_difference_{name}": difference for name, difference in metrics["differences"].items()}
    return {
        name + ("" if end == "estimate" else f"_{end}"): interval[end]
        for name, interval in named.items()
        for end in ("estimate", "low", "high")
    }


def _metrics(tracker: Tracker, evaluate: StageResult) -> dict[str, Any]:
    with temporary_folder() as scratch:
        metrics: dict[str, Any] = read_json(tracker.file(evaluate.run_id, "metrics.json", scratch))
    return metrics
