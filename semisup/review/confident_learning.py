"""Labels that look wrong: confident learning on probabilities that a model gives images it has not learned from.

Source of thresholds, joint and its calibration: Northcutt et al. 2021 (arXiv 1911.00068), section 3.1. What follows is
ours: they prune by counts and margins; here the noise that the joint shows says of each image how likely its label is
wrong (`python -m benchmarks.few_labels.suspects` holds both against each other).
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from semisup.system.threads import one_thread

FOLDS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Scikit-learn's C on standardized features: the one is taken whose probabilities fit held-out labels best. With more,
wrong labels are learned as well as right ones."""
POWERS = 2.0 ** np.arange(-2.0, 4.25, 0.25)
"""Of which the likeliest one is taken: a model that learned from wrong labels has probabilities too flat for the true
classes, and those of one that knows its labels by heart too steep."""
FEWEST_PER_CLASS = 3
"""Images, or groups of them. With fewer, what is left of a class while one fold is held out says nothing about it."""


@one_thread()
def out_of_sample_probabilities(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    seed: int,
    units: NDArray[np.int64] | None = None,
) -> NDArray[np.float64] | None:
    """Probabilities (N, C) of each image by a logistic regression that has not seen it; None: too few labels for that.

    The network itself has learned its labels by heart, wrong ones included, so that only its features (N, D) are used.
    Of images of one unit, numbers (N,), it has seen none.
    """
    told_apart = np.arange(len(labels)) if units is None else units
    counts = np.bincount(np.unique(np.stack([labels, told_apart]), axis=1)[0], minlength=num_classes)
    present = np.flatnonzero(counts)
    if len(present) < 2 or counts[present].min() < FEWEST_PER_CLASS:
        return None
    kind = StratifiedKFold if units is None else StratifiedGroupKFold
    dealer = kind(min(FOLDS, int(counts[present].min())), shuffle=True, random_state=seed % 2**32)
    folds = [(learned, held) for learned, held in dealer.split(features, labels, units) if len(held)]
    if any(len(np.unique(labels[learned])) < len(present) for learned, _ in folds):
        return None  # groups of several classes cannot always be dealt so that each class is learned
    models = [make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=strength)) for strength in STRENGTHS]
    found = [cross_val_predict(model, features, labels, cv=folds, method="predict_proba") for model in models]
    probabilities = np.zeros((len(labels), num_classes))
    probabilities[:, present] = min(found, key=lambda said: log_loss(labels, said, labels=present))
    return probabilities


def class_thresholds(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) of each class the mean probability that its own images (N,) get for it; infinite for a class without any."""
    num_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, own, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def confident_classes(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the likeliest class of those that reach their threshold; -1 where none does."""
    reaching = probabilities >= class_thresholds(probabilities, labels)
    likeliest = np.where(reaching, probabilities, -1.0).argmax(axis=1)
    return np.where(reaching.any(axis=1), likeliest, -1)


def confident_joint(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C, C): how many images with label i are confidently of class j.

    Source: Northcutt et al. 2021, equation 1.
    """
    num_classes, found = probabilities.shape[1], confident_classes(probabilities, labels)
    joint = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(joint, (labels[found >= 0], found[found >= 0]), 1)
    return joint


def label_noise(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C, C): how likely an image of class j has label i; columns sum to 1, or to 0 where no image looks like j.

    The confident joint, each row scaled to the number of images with that label (equation 2 of the source), and divided
    by its columns' sums. A label none of whose images is confidently of any class is taken to be right.
    """
    joint = confident_joint(probabilities, labels).astype(np.float64)
    counted = joint.sum(axis=1, keepdims=True)
    shares = np.where(counted > 0, joint / np.maximum(counted, 1), np.eye(len(joint)))
    scaled = shares * np.bincount(labels, minlength=len(joint))[:, None]
    columns = scaled.sum(axis=0)
    return scaled / np.where(columns > 0, columns, 1)


def true_classes(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, C): how likely each image is of each class, given the image and its label.

    By Bayes' rule, P(j | x, label) ~ :func:`label_noise` [label, j] · p(j | x) ** power, with the power from `POWERS`
    under which the labels are likeliest. Where nothing is likely, the label is taken to be right.
    """
    noise = label_noise(probabilities, labels)
    right = np.eye(len(noise))[labels]
    best, highest = right, -np.inf
    for power in POWERS:
        sharpened = (probabilities / probabilities.max(axis=1, keepdims=True)) ** power
        sharpened /= sharpened.sum(axis=1, keepdims=True)
        weights = noise[labels] * sharpened
        likelihoods = weights.sum(axis=1, keepdims=True)
        likelihood = float(np.log(np.maximum(likelihoods, np.finfo(float).tiny)).sum())
        if likelihood > highest:
            best = np.where(likelihoods > 0, weights / np.where(likelihoods > 0, likelihoods, 1), right)
            highest = likelihood
    return best


def suspected_labels(
    likely: NDArray[np.float64], labels: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of at most `most` images whose label is likelier wrong than right, the surest first, and the class that each
    is likeliest of otherwise.

    `likely` (N, C) is what :func:`true_classes` says.
    """
    right = likely[np.arange(len(labels)), labels]
    rows = np.flatnonzero(right < 0.5)
    rows = rows[np.argsort(right[rows], kind="stable")][:most]
    others = likely[rows]
    others[np.arange(len(rows)), labels[rows]] = -1.0
    return rows, others.argmax(axis=1)


def agreement(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """The share of images (N,) whose likeliest class is their label, and that share by chance: what it would be of a
    model that named as many images of each class and knew nothing (Cohen 1960).
    """
    likeliest, num_classes = probabilities.argmax(axis=1), probabilities.shape[1]
    named, given = (np.bincount(kind, minlength=num_classes) / len(labels) for kind in (likeliest, labels))
    return float((likeliest == labels).mean()), float((named * given).sum())
