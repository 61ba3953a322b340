"""Warnings that save an afternoon: legal configs and results that hardly anybody can mean."""

from collections.abc import Mapping
from typing import Any

from semisup.config import PipelineConfig


def config_warnings(config: PipelineConfig, num_classes: int) -> list[str]:
    """What a config says that cannot work well, one line each."""
    warnings = []
    smoothing, threshold = config.baseline.label_smoothing, config.pseudo_label.threshold
    highest = smoothing.highest_target(num_classes)
    if config.joint.method == "threshold" and smoothing.epsilon and threshold >= highest:
        warnings.append(
            f"pseudo_label.threshold={threshold} can hardly be reached: baseline.label_smoothing.epsilon="
            f"{smoothing.epsilon} teaches the baseline a confidence of at most {highest:.3g}; "
            "lower the threshold or train the teacher without smoothing"
        )
    if config.joint.method == "online" and config.rounds > 1:
        warnings.append(
            f"rounds={config.rounds}, but joint.method='online' asks no teacher, so every round is alike; use rounds: 1"
        )
    if config.joint.alpha_final == 0:
        warnings.append("joint.alpha_final=0: the pseudo-labels have no weight; use for example 1.0")
    return warnings


def pseudo_label_warnings(summary: Mapping[str, Any]) -> list[str]:
    """What a pseudo-label summary shows that cannot help a student, one line each."""
    per_class = summary["accepted_per_class"]
    if summary["accepted"] == 0:
        return [
            f"no unlabelled image reached pseudo_label.threshold={summary['threshold']}; "
            "lower it or train a better baseline"
        ]
    if sum(count > 0 for count in per_class) == 1:
        return ["all accepted pseudo-labels are of one class; the student can only drift towards it"]
    return []
