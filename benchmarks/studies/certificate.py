"""Studies of trust: what thresholds promise and what they keep, raw, calibrated and certified."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.studies.measuring import Figures, calibrated, pseudo_labels, selected
from benchmarks.studies.study import Arm, Study
from benchmarks.studies.workbench import MNIST, Setup, teacher
from semisup.calibration.certificate import certify
from semisup.calibration.false_discovery import control_fdr
from semisup.calibration.measures import expected_calibration_error

BENCH = replace(
    MNIST,
    calibration=1000,
    held=2000,
    train={
        "epochs": 60,
        "batch_size": 64,
        "ema_decay": 0.99,
        "early_stopping": {"monitor": "loss", "patience": 60},
        "augment": {"rotation": 15, "shift": 0.07, "scale": 0.15, "shear": 0.2},
    },
)
SMOOTHED = {"label_smoothing": {"epsilon": 0.1}}
LEVEL = 0.95
TARGETS = (0.99, 0.98, 0.95)


def studies() -> list[Study]:
    """All of this file."""
    arms: dict[str, Arm] = {
        f"{threshold:g} {kind}": (_fixed, (threshold, kind == "calibrated"))
        for threshold in (0.95, 0.99)
        for kind in ("raw", "calibrated")
    }
    arms |= {f"certified {target:g}": (_certified, (target,)) for target in TARGETS}
    arms |= {
        "smoothed teacher, 0.95 raw": (_fixed, (0.95, False, SMOOTHED)),
        "smoothed teacher, 0.95 calibrated": (_fixed, (0.95, True, SMOOTHED)),
        "smoothed teacher, certified 0.99": (_certified, (0.99, SMOOTHED)),
    }
    return [
        Study(
            "thresholds",
            "MNIST, 1,000 labels, 1,000 calibration images: what do fixed and certified thresholds accept, how much "
            "of it is right?",
            BENCH,
            arms,
        ),
        Study(
            "certificates",
            "MNIST, a split and a teacher for each seed: how often is the true precision at least the target? (kept)",
            replace(BENCH, train={**BENCH.train, "epochs": 30}),
            {f"target {target:g}": (_certified, (target,)) for target in TARGETS},
        ),
        Study(
            "false_discovery",
            "MNIST, a split and a teacher for each seed, 300 calibration images: what does a promise about the mean "
            "accept beside one about 95 of 100 draws? (precision: the mean has to reach the target)",
            replace(BENCH, calibration=300, train={**BENCH.train, "epochs": 30}),
            {
                name: arm
                for target in (0.98, 0.95)
                for name, arm in (
                    (f"certified {target:g}", (_certified, (target,))),
                    (f"fdr {1 - target:g}", (_controlled, (round(1 - target, 2),))),
                )
            },
        ),
    ]


def _fixed(setup: Setup, threshold: float, calibrates: bool, changes: Mapping[str, Any] | None = None) -> Figures:
    trained = teacher(setup, changes)
    temperature = calibrated(setup, trained.model)[0] if calibrates else 1.0
    _, confidence, right = pseudo_labels(setup, trained.model, temperature)
    ece = 100 * expected_calibration_error(confidence, right)
    return selected(confidence >= threshold, right) | {"threshold": threshold, "T": temperature, "ECE": ece}


def _certified(setup: Setup, target: float, changes: Mapping[str, Any] | None = None) -> Figures:
    trained = teacher(setup, changes)
    temperature, confidence, correct = calibrated(setup, trained.model)
    _, pool_confidence, right = pseudo_labels(setup, trained.model, temperature)
    certificate = certify(confidence, correct, pool_confidence, target, LEVEL)
    figures = {"certified": 100.0 * certificate.certified, "T": temperature}
    figures["ECE"] = 100 * expected_calibration_error(pool_confidence, right)
    if certificate.threshold is None:
        return {"coverage": 0.0} | figures
    accepted = pool_confidence >= np.float32(certificate.threshold)
    kept = 100.0 * float(right[accepted].mean() >= target)
    return selected(accepted, right) | figures | {"threshold": certificate.threshold, "kept": kept}


def _controlled(setup: Setup, fdr: float) -> Figures:
    trained = teacher(setup)
    temperature, confidence, correct = calibrated(setup, trained.model)
    _, pool_confidence, right = pseudo_labels(setup, trained.model, temperature)
    control = control_fdr(confidence, correct, pool_confidence, fdr)
    if control.threshold is None:
        return {"coverage": 0.0, "certified": 0.0}
    accepted = pool_confidence >= np.float32(control.threshold)
    kept = 100.0 * float(right[accepted].mean() >= 1 - fdr)
    figures = {"certified": 100.0, "threshold": control.threshold, "T": temperature, "kept": kept}
    return selected(accepted, right) | figures
