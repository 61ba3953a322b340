"""Studies of compound patterns: does mixup help a model see both of two superposed images?"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.studies.measuring import Figures, accuracy
from benchmarks.studies.study import Study
from benchmarks.studies.workbench import DIGITS, MNIST, Bench, Setup, fit
from semisup.evaluation.compound import draw_pairs, superpose, top2_right
from semisup.system.randomness import numpy_generator
from semisup.training.predict import predict_probabilities

MANY_DIGITS = replace(DIGITS, labeled=60, held=500, train={**DIGITS.train, "epochs": 60})
MANY_MNIST = replace(MNIST, labeled=200, held=5_000, train={**MNIST.train, "epochs": 15})
"""The source's models had seen many single patterns: these have 600 and 2,000."""
NETS: Mapping[str, tuple[Bench, Mapping[str, Any], int]] = {
    "digits_small_cnn": (MANY_DIGITS, {"name": "small_cnn", "width": 2.0}, 60),
    "digits_seed_cnn": (MANY_DIGITS, {"name": "seed_cnn", "width": 0.25}, 60),
    "digits_vgg_small": (MANY_DIGITS, {"name": "vgg_small", "width": 0.5}, 40),
    "mnist_seed_cnn": (MANY_MNIST, {"name": "seed_cnn", "width": 0.25}, 15),
    "mnist_vgg_small": (MANY_MNIST, {"name": "vgg_small", "width": 0.5}, 10),
    "mnist_small_cnn": (MANY_MNIST, {"name": "small_cnn", "width": 2.0}, 20),
    "digits_resnet18": (MANY_DIGITS, {"name": "resnet18_small"}, 8),
}
"""Study → data, net and epochs; the seed CNN at a quarter of its width, for time."""


def studies() -> list[Study]:
    """All of this file."""
    mixed = {"mixup": {"alpha": 1.0}}
    return [
        Study(
            f"compound_{name}",
            "Does mixup help to see both of two superposed images, and what does it cost on single ones?",
            replace(bench, model=net, train={**bench.train, "epochs": epochs}),
            {"off": (_compound, ({},)), "mixup 1.0": (_compound, (mixed,))},
        )
        for name, (bench, net, epochs) in NETS.items()
    ]


def _compound(setup: Setup, changes: Mapping[str, Any]) -> Figures:
    trained, held = fit(setup, changes), setup.examples("held")
    labels = held.labels.numpy()
    pairs = draw_pairs(labels, numpy_generator(setup.seed, "study compound"))
    first, second = (held.images[torch.from_numpy(rows)] for rows in pairs.T)
    images = superpose(first, second)
    right = top2_right(predict_probabilities(trained.model, images).numpy(), labels[pairs])
    single = accuracy(setup, trained)
    return {"compound": 100 * float(right.mean()), "single": single["accuracy"], "CPU s": single["CPU s"]}
