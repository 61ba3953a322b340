"""Stage `evaluate`: the only place that opens the test images. Baseline against student, once."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from semisup import __version__
from semisup.checks import config_warnings, pseudo_label_warnings
from semisup.config import PipelineConfig
from semisup.data.datasets import load_test
from semisup.data.split import Split
from semisup.evaluation import evaluate_models
from semisup.report import build_report
from semisup.stages import StageLog
from semisup.stages.files import DatasetFacts, load_model, pick_device, read_json, write_json
from semisup.training.predict import predict_probabilities

MODELS = {"baseline": "baseline", "student": "joint"}
"""Name in the tables → stage that left the weights."""


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `predictions.parquet`, `metrics.json` and the report (HTML and Markdown, with its `figures/`)."""
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    test = load_test(config.data.name, config.data.root, config.data.download)
    assert list(test.ids) == split.ids("test"), "the test images are not those of the split"
    device = pick_device(config)
    columns: dict[str, Any] = {"id": test.ids, "truth": test.labels.numpy()}
    for name, stage in MODELS.items():
        model = load_model(inputs[stage]).to(device)
        confidence, label = predict_probabilities(model, test.images).max(dim=1)
        columns |= {f"{name}_label": label.numpy(), f"{name}_confidence": confidence.numpy()}
    predictions = pd.DataFrame(columns)
    predictions.to_parquet(out_dir / "predictions.parquet", index=False)

    metrics = evaluate_models(
        predictions["truth"].to_numpy(),
        predictions["baseline_label"].to_numpy(),
        predictions["student_label"].to_numpy(),
        facts.class_names,
    )
    write_json(out_dir / "metrics.json", metrics)
    summary = read_json(inputs["pseudo_label"] / "summary.json")
    build_report(
        {**inputs, "evaluate": out_dir},
        config.model_dump(mode="json"),
        [*config_warnings(config, facts.num_classes), *pseudo_label_warnings(summary)],
        out_dir,
        title=f"{config.name}: pseudo-labelling report",
        facts=_facts(config, inputs, facts),
    )
    _log_figures(metrics, log)


def _facts(config: PipelineConfig, inputs: Mapping[str, Path], facts: DatasetFacts) -> dict[str, str]:
    timings = {name: read_json(inputs[stage] / "timings.json") for name, stage in MODELS.items()}
    return {
        "Seed": str(config.seed),
        "Data set": f"{facts.name}, digest {facts.digest[:12]}",
        "Model": config.model.name,
        "Baseline training": f"{timings['baseline']['seconds']:.1f} s",
        "Student training": f"{timings['student']['seconds']:.1f} s",
        "CPU threads": str(torch.get_num_threads()),
        "Versions": f"semisup {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _log_figures(metrics: Mapping[str, Any], log: StageLog) -> None:
    figures: dict[str, float] = {}
    for name in MODELS:
        accuracy = metrics[name]["accuracy"]
        figures |= {
            f"{name}_test_accuracy": accuracy["estimate"],
            f"{name}_test_accuracy_low": accuracy["low"],
            f"{name}_test_accuracy_high": accuracy["high"],
            f"{name}_macro_f1": metrics[name]["macro_f1"],
        }
        for row in metrics[name]["per_class"]:
            figures |= {f"{name}_{figure}.{row['name']}": row[figure] for figure in ("precision", "recall", "f1")}
    figures |= {
        "test_accuracy_difference": metrics["difference"]["estimate"],
        "test_accuracy_difference_low": metrics["difference"]["low"],
        "test_accuracy_difference_high": metrics["difference"]["high"],
        "mcnemar_p": metrics["mcnemar"]["p_value"],
    }
    log.metrics(figures)
    log.info(
        f"baseline {metrics['baseline']['accuracy']['estimate']:.2%}, student "
        f"{metrics['student']['accuracy']['estimate']:.2%} of {metrics['total']:,} test images: {metrics['verdict']} "
        f"(McNemar p = {metrics['mcnemar']['p_value']:.3g})"
    )
