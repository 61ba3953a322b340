"""Labels that look wrong: confident learning on probabilities that a model gives images it has not learned from."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5
FEWEST_PER_CLASS = 3
"""Images, or groups of them. With fewer, what is left of a class while one fold is held out says nothing about it."""


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
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    probabilities = np.zeros((len(labels), num_classes))
    probabilities[:, present] = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
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


def suspected_labels(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of at most `most` images whose label looks wrong, the surest first, and the class that each looks like.

    They are those off the diagonal of the confident joint, ordered by how much less likely the label is.
    """
    found = confident_classes(probabilities, labels)
    rows = np.flatnonzero((found >= 0) & (found != labels))
    gaps = probabilities[rows, labels[rows]] - probabilities[rows, found[rows]]
    rows = rows[np.argsort(gaps, kind="stable")][:most]
    return rows, found[rows]
