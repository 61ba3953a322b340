"""Studies of ensembles: five members against one model that is trained five times as long; and as teachers."""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.studies.measuring import Figures, accuracy, selected, truth
from benchmarks.studies.study import Study
from benchmarks.studies.workbench import DIGITS, MNIST, Setup, Trained, fit, fit_student
from semisup.config import TrainConfig
from semisup.evaluation.ensembles import (
    Combination,
    Ensemble,
    bootstrap,
    predict_with_disagreement,
    samme_update,
    samme_weight,
    weighted_error,
)
from semisup.pseudo_labels.table import Selection
from semisup.stages.ensembles.member import wrong_shares
from semisup.system.randomness import numpy_generator, torch_generator
from semisup.training.loop import Examples

MEMBERS = 5
AUGMENTED = {"augment": {"rotation": 12, "shift": 0.1, "scale": 0.1, "shear": 0.1}}
THRESHOLD = 0.9


def studies() -> list[Study]:
    """All of this file."""
    digits, mnist = (
        replace(bench, train={**bench.train, **AUGMENTED, "epochs": epochs})
        for bench, epochs in ((DIGITS, 30), (MNIST, 20))
    )
    found = [
        Study(
            f"ensembles_{bench.data}",
            "Five members, or one model of five times their epochs?",
            bench,
            {
                "one model, five times the epochs": (_one, ()),
                "one model, as short as a member": (_short, ()),
                "bagging, mean": (_bagging, ("mean",)),
                "bagging, vote": (_bagging, ("vote",)),
                "boosting (SAMME)": (_boosting, ()),
            },
        )
        for bench in (digits, mnist)
    ]
    teachers = Study(
        "ensemble_teacher_digits",
        f"Teachers of equal time, threshold {THRESHOLD}: what do they accept, and what does the student make of it?",
        digits,
        {
            "one model": (_taught_by_one, ()),
            "bagging": (_taught_by_bagging, (None,)),
            "bagging, disagreement at most 0.05": (_taught_by_bagging, (0.05,)),
        },
    )
    return [*found, teachers]


def _long(setup: Setup) -> Trained:
    epochs = MEMBERS * setup.bench.train["epochs"]
    return fit(setup, {"epochs": epochs, "early_stopping": {"patience": epochs}})


def _bag(setup: Setup, method: Combination = "mean") -> Trained:
    labeled = setup.examples("labeled")
    members = []
    for number in range(1, MEMBERS + 1):
        rng = numpy_generator(setup.seed, f"member {number} bootstrap")
        drawn = torch.from_numpy(bootstrap(len(labeled.labels), rng))
        sample = Examples(labeled.images[drawn], labeled.labels[drawn])
        members.append(fit(setup, examples=sample, purpose=f"member {number}"))
    return _together(members, method, [1.0] * MEMBERS)


def _together(members: list[Trained], method: Combination, weights: list[float]) -> Trained:
    ensemble = Ensemble([member.model for member in members], method, weights)
    return Trained(ensemble, sum(member.cpu_seconds for member in members))


def _one(setup: Setup) -> Figures:
    return accuracy(setup, _long(setup))


def _short(setup: Setup) -> Figures:
    return accuracy(setup, fit(setup))


def _bagging(setup: Setup, method: Combination) -> Figures:
    return accuracy(setup, _bag(setup, method))


def _boosting(setup: Setup) -> Figures:
    labeled, members, votes = setup.examples("labeled"), [], []
    augment = TrainConfig.model_validate(setup.bench.train).augment
    weights = np.ones(len(labeled.labels))
    for number in range(1, MEMBERS + 1):
        sample = Examples(labeled.images, labeled.labels, torch.from_numpy(weights).float())
        members.append(fit(setup, examples=sample, purpose=f"member {number}"))
        views = torch_generator(setup.seed, f"member {number} views")
        shares = wrong_shares(members[-1].model, labeled, augment, views)
        votes.append(samme_weight(weighted_error(weights, shares), setup.pool.num_classes))
        weights = samme_update(weights, shares, votes[-1])
    return accuracy(setup, _together(members, "vote", votes))


def _taught_by_one(setup: Setup) -> Figures:
    return _taught(setup, _long(setup), None)


def _taught_by_bagging(setup: Setup, max_disagreement: float | None) -> Figures:
    return _taught(setup, _bag(setup), max_disagreement)


def _taught(setup: Setup, teacher: Trained, max_disagreement: float | None) -> Figures:
    images, disagreement = setup.pool.images[setup.indices["unlabeled"]], None
    if isinstance(teacher.model, Ensemble):
        table, apart = predict_with_disagreement(teacher.model, images)
        disagreement = apart.numpy()
    else:
        table = teacher.model(images).detach().log_softmax(dim=1)
    confidence, labels = (values.numpy() for values in table.exp().max(dim=1))
    accepted = Selection(THRESHOLD, None, max_disagreement).reasons(labels, confidence, disagreement) == ""
    rows = setup.indices["unlabeled"][torch.from_numpy(accepted)]
    student = fit_student(
        setup,
        rows,
        torch.from_numpy(labels[accepted]),
        {"epochs": 30, "early_stopping": {"monitor": "accuracy", "patience": 30}},
        steps=12,
    )
    figures = accuracy(setup, student)
    return (
        {"student": figures["accuracy"], "teacher": accuracy(setup, teacher)["accuracy"]}
        | selected(accepted, labels == truth(setup, "unlabeled"))
        | {"CPU s": teacher.cpu_seconds + student.cpu_seconds}
    )
