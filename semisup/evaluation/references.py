"""What a few lines of scikit-learn with fixed constants make of the same features: lines to compare with."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from semisup.evaluation.scores import accuracy_interval
from semisup.system.threads import one_thread

STRENGTH, ACCEPTED_FROM, NEIGHBORS, CLAMPING, COMPONENTS = 0.01, 0.9, 10, 0.2, 128
WITHOUT_LABEL = -1
"""scikit-learn's sign for it."""
Predictions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a reference learns from, and what it is asked about.

    Attributes:
        labeled: float32 (n, D).
        labels: int64 (n,), of at least two classes.
        unlabeled: float32 (m, D).
        test: float32 (k, D).
    """

    labeled: NDArray[np.float32]
    labels: NDArray[np.int64]
    unlabeled: NDArray[np.float32]
    test: NDArray[np.float32]

    def standardized(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Labeled and unlabeled images (n + m, D), and test images (k, D): each feature of mean 0 and deviation 1."""
        learned = np.concatenate([self.labeled, self.unlabeled])
        scaler = StandardScaler().fit(learned)
        return scaler.transform(learned), scaler.transform(self.test)

    def targets(self) -> NDArray[np.int64]:
        """(n + m,): labels, and WITHOUT_LABEL."""
        return np.concatenate([self.labels, np.full(len(self.unlabeled), WITHOUT_LABEL)])


@one_thread()
def logistic_regression(seen: Seen) -> Predictions:
    """The classes (k,) of test images, by a model of the labeled images alone."""
    learned, test = seen.standardized()
    model = LogisticRegression(C=STRENGTH, max_iter=2000).fit(learned[: len(seen.labels)], seen.labels)
    return np.asarray(model.predict(test))


@one_thread()
def self_training(seen: Seen) -> Predictions:
    """The same model, which labels the images that it is sure of and learns from them, too."""
    learned, test = seen.standardized()
    model = SelfTrainingClassifier(LogisticRegression(C=STRENGTH, max_iter=500), threshold=ACCEPTED_FROM)
    return np.asarray(model.fit(learned, seen.targets()).predict(test))


@one_thread()
def label_spreading(seen: Seen) -> Predictions:
    """Labels that spread over a graph of nearest neighbors."""
    learned, test = seen.standardized()
    with np.errstate(invalid="ignore"):  # of images that no label reaches, scikit-learn divides nothing by nothing
        components = PCA(min(COMPONENTS, *learned.shape), random_state=0).fit(learned)
        model = LabelSpreading(kernel="knn", n_neighbors=min(NEIGHBORS, len(learned)), alpha=CLAMPING)
        model.fit(components.transform(learned), seen.targets())
        return np.asarray(model.predict(components.transform(test)))


REFERENCES: Mapping[str, tuple[Callable[[Seen], Predictions], str]] = {
    "Logistic regression": (logistic_regression, f"C = {STRENGTH:g}, of the labeled images alone"),
    "Self-training": (self_training, f"the same, accepts its own labels from {ACCEPTED_FROM:g} on"),
    "Label spreading": (label_spreading, f"{NEIGHBORS} neighbors, {COMPONENTS} components, α = {CLAMPING:g}"),
}
"""Name → classes that it predicts, and its constants in words. All features are standardized first."""


def score_references(seen: Seen, truth: NDArray[np.int64]) -> list[dict[str, Any]]:
    """name, constants, and the accuracy on the test images with its interval, of each reference; `truth` is int64 (k,).

    Empty where the labels are all of one class: there is nothing to tell apart.
    """
    if len(np.unique(seen.labels)) < 2:
        return []
    rows = []
    for name, (predict, constants) in REFERENCES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of steps that are not enough, or of nothing to accept: that is its way
            right = int((predict(seen) == truth).sum())
        rows.append({"name": name, "constants": constants, **asdict(accuracy_interval(right, len(truth)))})
    return rows
