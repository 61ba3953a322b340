"""The figures of a benchmark, from the rows of its runs: plain JSON values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

from flows.pipeline.results import CPU_SECONDS
from flows.seeds.plan import BenchmarkPlan, Variant
from semisup.evaluation.comparison import paired_over_seeds, saved_labels, spread

MODELS = ("baseline", "student")
SUPERVISED_CPU_SECONDS = "supervised_cpu_seconds"
Row = dict[str, Any]
"""One pipeline run: config, labels, seed, its figures (None where there is none), its runs, the digest of its split."""


def report_of(plan: BenchmarkPlan, rows: Sequence[Row]) -> dict[str, Any]:
    """All figures of a benchmark, as plain JSON values: per config, config against config, per number of labels."""

    def of(variant: Variant) -> list[Row]:
        return [row for row in rows if (row["config"], row["labels"]) == (variant.name, variant.labels)]

    main = of(plan.main)
    return {
        "config": plan.main.name,
        "seeds": plan.seeds,
        "overrides": list(plan.overrides),
        "equal_time": plan.equal_time,
        "configs": [{"config": v.name} | _summary(of(v)) for v in (plan.main, *plan.compared)],
        "comparisons": [{"config": v.name, "against": plan.main.name} | _compare(main, of(v)) for v in plan.compared],
        "label_efficiency": _efficiency([(v.labels, of(v)) for v in plan.by_labels if v.labels is not None]),
        "rows": list(rows),
    }


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    seeds = [row["seed"] for row in rows]
    values = {model: [row[f"{model}_test_accuracy"] for row in rows] for model in MODELS}
    cpu_seconds = _mean(rows, CPU_SECONDS)
    supervised = _mean(rows, SUPERVISED_CPU_SECONDS)
    return {
        **{model: asdict(spread(values[model], seeds)) for model in MODELS},
        "difference": asdict(paired_over_seeds(values["baseline"], values["student"])),
        "pseudo_label_coverage": _mean(rows, "pseudo_label_coverage"),
        "pseudo_label_precision": _mean(rows, "pseudo_label_precision"),
        "cpu_minutes": None if cpu_seconds is None else cpu_seconds / 60,
        "supervised_cpu_minutes": None if supervised is None else supervised / 60,
    }


def _mean(rows: Sequence[Row], name: str) -> float | None:
    """Over all seeds, or not at all: a mean over some of them would be another figure."""
    values = [row.get(name) for row in rows]
    return None if None in values else mean(value for value in values if value is not None)


def _compare(main: Sequence[Row], other: Sequence[Row]) -> dict[str, Any]:
    ours, theirs = ([row["student_test_accuracy"] for row in rows] for rows in (main, other))
    same = [first["split"] == second["split"] for first, second in zip(main, other, strict=True)]
    return {"difference": asdict(paired_over_seeds(ours, theirs)), "same_splits": same}


def _efficiency(rows_by_labels: Sequence[tuple[int, list[Row]]]) -> list[dict[str, Any]] | None:
    if not rows_by_labels:
        return None
    summaries = [_summary(rows) for _, rows in rows_by_labels]
    means = [[summary[model]["mean"] for summary in summaries] for model in MODELS]
    saved = saved_labels([labels for labels, _ in rows_by_labels], *means)
    return [
        {"labels": found.labels, "as_good_with": found.as_good_with, "more_than": found.more_than} | summary
        for found, summary in zip(saved, summaries, strict=True)
    ]


def points(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a report says of each number of labels; nothing where none were asked for."""
    found: list[dict[str, Any]] = report["label_efficiency"] or []
    return found


def metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """For MLflow; those of a compared config end with its name, behind a dot, as all figures of something named."""
    values: dict[str, Any] = {}
    for number, summary in enumerate(report["configs"]):
        end = f".{summary['config']}" if number else ""
        values |= {f"{name}{end}": value for name, value in _flat(summary).items()}
    for compared in report["comparisons"]:
        values |= {f"against_{k}.{compared['config']}": v for k, v in compared["difference"].items()}
    return {name: value for name, value in values.items() if value is not None}


def _flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        name: summary[name]
        for name in ("pseudo_label_coverage", "pseudo_label_precision", "cpu_minutes", "supervised_cpu_minutes")
    }
    for part in (*MODELS, "difference"):
        values |= {f"{part}_{name}": value for name, value in summary[part].items()}
    return values


def metrics_by_labels(point: Mapping[str, Any]) -> dict[str, float]:
    """For MLflow, whose step is then the number of labels."""
    values = {f"labels_{name}": value for name, value in _flat(point).items()}
    values["labels_as_good_with"] = point["as_good_with"]
    return {name: value for name, value in values.items() if value is not None}
