"""Studies of the teacher: what smoothing and mixup do to its confidence, and what the student makes of it."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.studies.measuring import Figures, accuracy, pseudo_labels, selected
from benchmarks.studies.study import Study
from benchmarks.studies.workbench import DIGITS, MNIST, Setup, fit, fit_student

SMOOTHINGS: Mapping[str, Mapping[str, Any]] = {
    "off": {},
    "0.1 over all": {"label_smoothing": {"epsilon": 0.1, "spread": "all"}},
    "0.1 over the others": {"label_smoothing": {"epsilon": 0.1, "spread": "others"}},
}


def studies() -> list[Study]:
    """All of this file."""
    question = "A smoothed teacher and a fixed threshold of 0.95: does the student starve?"
    return [
        Study(
            f"teacher_smoothing_{bench.data}",
            question,
            bench,
            {name: (_student_of, (changes, steps)) for name, changes in SMOOTHINGS.items()},
        )
        for bench, steps in ((DIGITS, 12), (MNIST, 100))
    ]


def _student_of(setup: Setup, changes: Mapping[str, Any], steps: int) -> Figures:
    teacher = fit(setup, changes)
    labels, confidence, right = pseudo_labels(setup, teacher.model)
    accepted = confidence >= 0.95
    rows, chosen = setup.indices["unlabeled"][torch.from_numpy(accepted)], torch.from_numpy(labels[accepted])
    changes = {"early_stopping": {"monitor": "accuracy", "patience": 60}}
    student = accuracy(setup, fit_student(setup, rows, chosen, changes, steps=steps))
    of_teacher = accuracy(setup, teacher)
    return (
        {"student": student["accuracy"], "teacher": of_teacher["accuracy"]}
        | selected(accepted, right)
        | {"CPU s": student["CPU s"] + of_teacher["CPU s"]}
    )
