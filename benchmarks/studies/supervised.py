"""Studies of supervised training: what regularization is worth with few labels."""

from collections.abc import Mapping
from typing import Any

from benchmarks.studies.measuring import Figures, accuracy
from benchmarks.studies.study import Study
from benchmarks.studies.workbench import DIGITS, MNIST, Setup, fit

DATA = {"digits": DIGITS, "mnist": MNIST}


def _plain(setup: Setup, changes: Mapping[str, Any], net: Mapping[str, Any]) -> Figures:
    return accuracy(setup, fit(setup, changes, net=net))


def _studies(name: str, question: str, arms: Mapping[str, Mapping[str, Any]]) -> list[Study]:
    """One study for each data set; an arm's keys are of the training config, under "net" of the model's."""
    return [
        Study(
            f"{name}_{data}",
            question,
            bench,
            {
                arm: (_plain, ({key: value for key, value in changes.items() if key != "net"}, changes.get("net", {})))
                for arm, changes in arms.items()
            },
        )
        for data, bench in DATA.items()
    ]


def _every(n: int, alpha: float) -> dict[str, Any]:
    return {"mixup": {"alpha": alpha, "every_n_batches": n}}


def _smoothing(spread: str) -> dict[str, Any]:
    return {"label_smoothing": {"epsilon": 0.1, "spread": spread}}


def studies() -> list[Study]:
    """All of this file."""
    return [
        *_studies(
            "disturb_label",
            "Do labels drawn anew for every batch help?",
            {"off": {}, "10 %": {"disturb_label": 10.0}, "20 %": {"disturb_label": 20.0}},
        ),
        *_studies(
            "smoothing",
            "Does label smoothing help supervised training?",
            {"off": {}, "0.1 over all": _smoothing("all"), "0.1 over the others": _smoothing("others")},
        ),
        *_studies(
            "mixup",
            "Does mixup help, on every batch or on every third?",
            {"off": {}, "0.4, every batch": _every(1, 0.4), "0.4, every third": _every(3, 0.4), "1.0": _every(1, 1.0)},
        ),
        *_studies(
            "dropout",
            "Does dropout before the last layer help?",
            {"off": {}, "0.2": {"net": {"dropout": 0.2}}, "0.5": {"net": {"dropout": 0.5}}},
        ),
        *_studies(
            "batch_norm",
            "Does batch normalization help?",
            {"on": {}, "off": {"net": {"batch_norm": False}}},
        ),
        *_studies(
            "early_stopping",
            "Keep the epoch of least validation loss, or of highest validation accuracy?",
            {
                "least loss": {"early_stopping": {"monitor": "loss", "patience": 60}},
                "highest accuracy": {"early_stopping": {"monitor": "accuracy", "patience": 60}},
            },
        ),
    ]
