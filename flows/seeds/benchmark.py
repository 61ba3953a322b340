"""Configs over seeds: what is in the store is read, what is missing is run, and all of it becomes one MLflow run."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flows.parallel.cluster import Cluster
from flows.pipeline.results import CPU_SECONDS, PipelineResult, StageResult
from flows.pipeline.survey import Surveyor
from flows.seeds.plan import BenchmarkPlan, Job
from flows.seeds.report import MODELS, Row, metrics, metrics_by_labels, points, report_of
from flows.seeds.runs import run_jobs
from flows.seeds.tables import markdown
from flows.start import display
from semisup.evaluation.comparison import Spread
from semisup.plots.benchmark import accuracy_by_seed, label_efficiency
from semisup.plots.style import save_png
from semisup.system.own_files import temporary_folder
from semisup.tracking.places.failures import store_failures
from semisup.tracking.run import Run
from semisup.tracking.tracker import Tracker

STAGE = "benchmark"
"""What the run is tagged with, where a stage's run has its stage."""
FIGURES = (
    "baseline_test_accuracy",
    "student_test_accuracy",
    "pseudo_label_coverage",
    "pseudo_label_precision",
    CPU_SECONDS,
)


def benchmark(plan: BenchmarkPlan, parallel: int, cluster: Cluster | None = None) -> dict[str, Any]:
    """Run what is missing, and keep what all runs say; the report as plain JSON values.

    `parallel` processes run at a time, or as many as the cluster has room for.

    Raises:
        UserError: a run failed (its message names config and seed), or store or server do not answer.
    """
    started, tracker = time.perf_counter(), _open_stores(plan)
    with store_failures(tracker.uri):
        tags = {"stage": STAGE, "step": STAGE, "config": plan.main.name, "seeds": _words(plan.seeds)}
        tags["compared"] = " ".join(variant.name for variant in plan.compared)
        tags["labels"] = " ".join(str(variant.labels) for variant in plan.by_labels)
        with tracker.run(f"{plan.main.name}-benchmark", tags) as run:
            run.log_config(plan.main.config)
            rows = _rows(tracker, plan, parallel, cluster)
            report = report_of(plan, rows)
            for point in points(report):
                run.log_metrics(metrics_by_labels(point), step=point["labels"])
            _keep(run, report)
            run.conclude(metrics(report), {"complete": "true"}, markdown(report))
    page, folder = tracker.link(run.id), tracker.locate(run.id, "")
    return report | {
        "run_id": run.id,
        "seconds": round(time.perf_counter() - started, 3),
        "page": page,
        "artifacts": folder,
    }


# --- rows -------------------------------------------------------------------------------------------------------------


def _open_stores(plan: BenchmarkPlan) -> Tracker:
    """The store with every config's experiment in it, made here once: the processes would race."""
    for variant in plan.variants():
        Tracker.open(variant.config.tracking.experiment, Path.cwd())
    return Tracker.open(plan.main.config.tracking.experiment, Path.cwd())


def _rows(tracker: Tracker, plan: BenchmarkPlan, parallel: int, cluster: Cluster | None) -> list[Row]:
    """A row for every job, in the plan's order; equal ones are run once."""
    jobs = plan.all_jobs()
    different = {_key(job): job for job in reversed(jobs)}  # of equal ones the first
    news, results = _News(len(different)), dict[str, dict[str, Any]]()

    def ended(job: Job, result: dict[str, Any]) -> None:
        results[_key(job)] = result
        news.tell(job, result)

    missing = []
    with temporary_folder() as scratch:
        for job in (job for job in jobs if different[_key(job)] is job):
            result = _in_store(tracker, job, scratch)
            if result is None:
                missing.append(job)
            else:
                ended(job, result)
    if missing and cluster:
        from flows.seeds.dask import run_jobs_on_dask

        run_jobs_on_dask(missing, cluster, _environment(), ended)
    elif missing:
        run_jobs(missing, parallel, _environment(), ended)
    return [_row(tracker, job, results) for job in plan.jobs()]


def _key(job: Job) -> str:
    return job.config.model_dump_json()


def _in_store(tracker: Tracker, job: Job, scratch: Path) -> dict[str, Any] | None:
    """The result of a pipeline of which every step is in the store and whole; None where one is not."""
    states = Surveyor(tracker, job.config, job.digests, scratch).survey()
    stages = {name: StageResult.of(state.run, 0.0) for name, state in states.items() if state.run and state.reference}
    if len(stages) < len(states):
        return None
    return PipelineResult("", 0.0, stages, "", "", "", None).as_json()


def _environment() -> dict[str, str]:
    """What the processes are told: one Prefect server for all of them, and one thread each."""
    from prefect.settings import PREFECT_API_URL

    from flows.start.server import ensure_prefect_api

    ensure_prefect_api()
    return {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "OMP_NUM_THREADS": "1"}


def _row(tracker: Tracker, job: Job, results: Mapping[str, dict[str, Any]]) -> Row:
    result = results[_key(job)]
    stages = result["stages"]
    row = {
        "config": job.config.name,
        "labels": job.labels,
        "seed": job.config.seed,
        **{name: result.get(name) for name in FIGURES},
        "reused": _reused(result),
        "split": tracker.get(stages["split"]["run_id"]).tags["output_digest"],
        "runs": {name: stage["run_id"] for name, stage in stages.items()},
    }
    if job.supervised is not None:
        rival = results[_key(job.supervised)]
        row |= {
            "baseline_test_accuracy": rival["baseline_test_accuracy"],
            "supervised_cpu_seconds": rival[CPU_SECONDS],
            "reused": row["reused"] and _reused(rival),
            "supervised_run": rival["stages"]["evaluate"]["run_id"],
        }
    return row


def _reused(result: Mapping[str, Any]) -> bool:
    return all(stage["reused"] for stage in result["stages"].values())


@dataclass
class _News:
    """One line for each finished run, and on a terminal a bar."""

    total: int
    done: int = 0
    screen: display.Display = field(default_factory=display.current)

    def __post_init__(self) -> None:
        if isinstance(self.screen, display.Live):
            self.screen.begin(STAGE)

    def tell(self, job: Job, result: Mapping[str, Any]) -> None:
        self.done += 1
        models = MODELS[:1] if job.is_supervised else MODELS
        accuracies = ", ".join(f"{model} {result[f'{model}_test_accuracy']:.1%}" for model in models)
        how = "in the store already" if _reused(result) else f"{result['seconds']:.0f} s"
        self.screen.line(f"[{self.done}/{self.total}] {job.words}: {accuracies} ({how})")
        if isinstance(self.screen, display.Live):
            self.screen.progress(self.done, self.total, "runs")


# --- files ------------------------------------------------------------------------------------------------------------


def _keep(run: Run, report: Mapping[str, Any]) -> None:
    """`benchmark.json`, `benchmark.md`, the pictures and, with numbers of labels, their table, as artifacts."""
    with temporary_folder() as folder:
        (folder / "benchmark.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (folder / "benchmark.md").write_text(markdown(report), encoding="utf-8")
        rows = report["rows"]
        save_png(accuracy_by_seed(_dots(report)), folder / "accuracy_by_seed.png")
        if report["label_efficiency"]:
            table = pd.DataFrame([row for row in rows if row["labels"] is not None]).drop(
                columns=["runs", "split", "supervised_run"], errors="ignore"
            )
            table.to_parquet(folder / "label_efficiency.parquet", index=False)
            labels, seeds = [point["labels"] for point in points(report)], len(report["seeds"])
            accuracies = {
                name: np.stack([table.loc[table["labels"] == n, f"{model}_test_accuracy"] for n in labels])
                for name, model in zip(("supervised", "semi-supervised"), MODELS, strict=True)
            }
            title = f"{report['config']}, {seeds} seed{'s' if seeds > 1 else ''}"
            save_png(label_efficiency(labels, accuracies, title), folder / "label_efficiency.png")
        run.log_outputs(folder)


def _dots(report: Mapping[str, Any]) -> list[tuple[str, str, list[float], Spread]]:
    plain = [row for row in report["rows"] if row["labels"] is None]
    return [
        (
            summary["config"],
            "supervised" if model == "baseline" and report["equal_time"] else model,
            [row[f"{model}_test_accuracy"] for row in plain if row["config"] == summary["config"]],
            Spread(**summary[model]),
        )
        for summary in report["configs"]
        for model in MODELS
    ]


def _words(seeds: Sequence[int]) -> str:
    return " ".join(str(seed) for seed in seeds)
