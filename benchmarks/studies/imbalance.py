"""Studies of a long tail: labeled images of the first class 50 times as many as of the last."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.studies.measuring import Figures, accuracy, pseudo_labels, rare_recall, selected
from benchmarks.studies.study import Arm, Study
from benchmarks.studies.workbench import Bench, Setup, fit, fit_student, teacher
from semisup.pseudo_labels.table import Selection

TAIL = Bench(
    labeled=250,
    validation=20,
    imbalance=50,
    train={"epochs": 40, "batch_size": 64, "early_stopping": {"monitor": "accuracy", "patience": 40}},
)


AUGMENTED = replace(TAIL, train={**TAIL.train, "augment": {"rotation": 15, "shift": 0.07, "scale": 0.15, "shear": 0.2}})


def studies() -> list[Study]:
    """All of this file."""
    cures: Mapping[str, Mapping[str, Any]] = {
        "off": {},
        "weighted sampling": {"sampling": "balanced"},
        "weights 1 − n_c/Σn": {"class_weights": "complement"},
        "weights 1/n_c": {"class_weights": "inverse_frequency"},
    }
    tail = "MNIST, 250 … 5 labels a class"
    question = "does weighted sampling or a weighted loss help? (rare: the last 3 classes)"
    arms: dict[str, Arm] = {name: (_supervised, (changes,)) for name, changes in cures.items()}
    selections: dict[str, Arm] = {
        "threshold 0.95": (_selected, (0.95, None)),
        "top 50 % of all": (_selected, (None, None)),
        "top 80 % of each class": (_selected, (0.0, 0.8)),
        "top 50 % of each class": (_selected, (0.0, 0.5)),
    }
    return [
        Study("long_tail", f"{tail}: {question}", TAIL, arms),
        Study("long_tail_augmented", f"{tail}, augmented: {question}", AUGMENTED, arms),
        Study("long_tail_selection", f"{tail}: does a share per predicted class help the student?", TAIL, selections),
    ]


def _supervised(setup: Setup, changes: Mapping[str, Any]) -> Figures:
    trained = fit(setup, changes)
    figures = accuracy(setup, trained)
    return {"macro F1": figures["macro F1"], "rare recall": rare_recall(setup, trained)} | figures


def _selected(setup: Setup, threshold: float | None, top_share: float | None) -> Figures:
    """Without a threshold: that of the more confident half."""
    labels, confidence, right = pseudo_labels(setup, teacher(setup).model)
    threshold = float(np.median(confidence)) if threshold is None else threshold
    accepted = Selection(threshold, top_share).reasons(labels, confidence, None) == ""
    rows, chosen = setup.indices["unlabeled"][torch.from_numpy(accepted)], torch.from_numpy(labels[accepted])
    student = fit_student(setup, rows, chosen, {"early_stopping": {"monitor": "accuracy", "patience": 40}})
    figures = accuracy(setup, student)
    rarest = np.isin(labels[accepted], [7, 8, 9]).mean()
    return (
        {"macro F1": figures["macro F1"], "rare recall": rare_recall(setup, student)}
        | figures
        | selected(accepted, right)
        | {"rare share": 100 * float(rarest)}
    )
