"""Stage `evaluate_ensemble`: baseline against ensemble on the test images, which only `evaluate` opens besides."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from semisup.config import PipelineConfig
from semisup.data.roles.split import Split
from semisup.evaluation.ensembles import Ensemble, disagreement
from semisup.evaluation.scores import (
    CONFIDENCE_LEVEL,
    SIGNIFICANCE_LEVEL,
    Labels,
    accuracy_interval,
    compare_right,
    macro_f1,
)
from semisup.pipeline.log import StageLog
from semisup.plots import ensemble_comparison, save_png
from semisup.stages.support.images import images_for_test
from semisup.stages.support.models.saved import load_placed
from semisup.stages.support.tested import predict_tested
from semisup.system.json_files import read_json, write_json
from semisup.wording import counted


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `predictions.parquet`, `metrics.json`, `ensemble_comparison.png` and `timings.json`."""
    split = Split.read(inputs["split"] / "split.parquet")
    test = images_for_test(config, split.ids("test"))
    ensemble = load_placed(inputs["ensemble"], config)
    assert isinstance(ensemble, Ensemble)
    probabilities = torch.stack([predict_tested(member, test.images, config) for member in ensemble.members])
    combined = ensemble.cpu().combined(probabilities).exp()
    confidence, label = combined.max(dim=1)
    baseline = predict_tested(load_placed(inputs["baseline"], config), test.images, config).max(dim=1)
    apart = disagreement(probabilities[ensemble.weights > 0], label).numpy()
    predictions = pd.DataFrame(
        {
            "id": test.ids,
            "truth": test.labels.numpy(),
            "baseline_label": baseline.indices.numpy(),
            "baseline_confidence": baseline.values.numpy(),
            "ensemble_label": label.numpy(),
            "ensemble_confidence": confidence.numpy(),
            "disagreement": apart,
            **{f"member_{k}_label": member.argmax(dim=1).numpy() for k, member in enumerate(probabilities, start=1)},
        }
    )
    predictions.to_parquet(out_dir / "predictions.parquet", index=False)
    metrics = compare(predictions, members=len(probabilities))
    write_json(out_dir / "metrics.json", metrics)
    seconds = {name: read_json(inputs[name] / "timings.json")["seconds"] for name in ("baseline", "ensemble")}
    write_json(out_dir / "timings.json", seconds)
    figure = ensemble_comparison(
        _ends(metrics["baseline"]["accuracy"]), metrics["member_accuracies"], _ends(metrics["ensemble"]["accuracy"])
    )
    save_png(figure, out_dir / "ensemble_comparison.png")
    _report(metrics, seconds, log)


def compare(predictions: pd.DataFrame, members: int) -> dict[str, Any]:
    """What is said about baseline and ensemble, as plain JSON values.

    Keys: total, confidence_level, significance_level; baseline and ensemble, each with accuracy {estimate, low, high}
    and macro_f1; member_accuracies and their mean, which has no interval: its members answer the same images;
    disagreement, the mean over the images that the ensemble gets right and over the others (None without any);
    and those of :func:`semisup.evaluation.scores.compare_right`.
    """
    truth = predictions["truth"].to_numpy()
    baseline, ensemble = predictions["baseline_label"].to_numpy(), predictions["ensemble_label"].to_numpy()
    accuracies = [float((predictions[f"member_{k}_label"] == truth).mean()) for k in range(1, members + 1)]
    apart, right = predictions["disagreement"].to_numpy(), ensemble == truth
    return {
        "total": len(truth),
        "confidence_level": CONFIDENCE_LEVEL,
        "significance_level": SIGNIFICANCE_LEVEL,
        "baseline": _figures(truth, baseline),
        "ensemble": _figures(truth, ensemble),
        "member_accuracies": accuracies,
        "mean_member_accuracy": float(np.mean(accuracies)),
        "disagreement": {
            "right": float(apart[right].mean()) if right.any() else None,
            "wrong": float(apart[~right].mean()) if not right.all() else None,
        },
        **compare_right(baseline == truth, right, "ensemble"),
    }


def _figures(truth: Labels, predicted: Labels) -> dict[str, Any]:
    accuracy = accuracy_interval(int((predicted == truth).sum()), len(truth))
    return {"accuracy": asdict(accuracy), "macro_f1": macro_f1(truth, predicted)}


def _ends(accuracy: Mapping[str, float]) -> tuple[float, float, float]:
    return accuracy["estimate"], accuracy["low"], accuracy["high"]


def _report(metrics: Mapping[str, Any], seconds: Mapping[str, float], log: StageLog) -> None:
    figures: dict[str, float] = {}
    named = {f"{name}_test_accuracy": metrics[name]["accuracy"] for name in ("baseline", "ensemble")}
    for name, interval in (named | {"test_accuracy_difference": metrics["difference"]}).items():
        figures |= {name: interval["estimate"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    figures |= {
        "mean_member_test_accuracy": metrics["mean_member_accuracy"],
        "lowest_member_test_accuracy": min(metrics["member_accuracies"]),
        "highest_member_test_accuracy": max(metrics["member_accuracies"]),
        "mcnemar_p": metrics["mcnemar"]["p_value"],
        "baseline_training_seconds": seconds["baseline"],
        "ensemble_training_seconds": seconds["ensemble"],
    }
    log.metrics(figures)
    log.info(
        f"baseline {figures['baseline_test_accuracy']:.1%}, a member {figures['mean_member_test_accuracy']:.1%} on "
        f"average, ensemble {figures['ensemble_test_accuracy']:.1%} of {counted(metrics['total'], 'test image')}: "
        f"{metrics['verdict']} (McNemar p = {figures['mcnemar_p']:.3g}); "
        f"training took {seconds['baseline']:.1f} s and {seconds['ensemble']:.1f} s"
    )
