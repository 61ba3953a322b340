"""The Python interface beside scikit-learn's own semi-supervised classifiers, on the digits.

    python -m benchmarks.few_labels.classifier                  # 5 seeds, vectors and images
    python -m benchmarks.few_labels.classifier --seeds 1 --only vectors

Of 1,797 digits 500 are test images, drawn anew for each seed, and of the others ten of each class have a label: 100 in
all, for training and for every choice. Each method gets the same rows. scikit-learn's ones choose their constants from
the grids below by five folds of the labeled rows, the other rows being there without a label, as in training. Ours
choose as they always do: `LabelGraph` by labels that are held out, the networks nothing at all. CPU seconds hold the
choice and the fit. The seeds begin at 10: while ours got its defaults, test rows of the seeds 0 to 2 were looked at,
and rows of the pool of seeds from 100 on. All are draws from the same 1,797 digits.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

import semisup as ss
from benchmarks.output import publish, show

TEST, PER_CLASS, FOLDS = 500, 10, 5
FIRST_SEED = 10
Rows = NDArray[Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """What is compared: a classifier, and the grid that folds of the labels choose from."""

    input: Literal["vectors", "images"]
    make: Callable[[int], Any]
    """Seed → classifier."""
    grid: Mapping[str, Sequence[Any]] | None = None
    supervised: bool = False
    """Does it get the labeled rows alone?"""


def _regression() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _ours(policy: Any = None, **options: Any) -> Callable[[int], Any]:
    return lambda seed: ss.PseudoLabelClassifier(policy, random_state=seed, **options)


STRENGTHS, THRESHOLDS = (0.01, 0.1, 1.0, 10.0, 100.0), (0.6, 0.75, 0.9)
METHODS = {
    "logistic regression, labels only": Method(
        "vectors", lambda seed: _regression(), {"logisticregression__C": STRENGTHS}, supervised=True
    ),
    "SVM, labels only": Method(
        "vectors", lambda seed: SVC(random_state=seed), {"C": (1.0, 10.0, 100.0)}, supervised=True
    ),
    "SelfTrainingClassifier, logistic": Method(
        "vectors",
        lambda seed: SelfTrainingClassifier(_regression()),
        {"estimator__logisticregression__C": STRENGTHS, "threshold": THRESHOLDS},
    ),
    "SelfTrainingClassifier, k best, SVM": Method(
        "vectors",
        lambda seed: SelfTrainingClassifier(_platt(), criterion="k_best", k_best=100, max_iter=20),
        {"estimator__C": (1.0, 10.0)},
    ),
    "LabelSpreading": Method(
        "vectors",
        lambda seed: LabelSpreading(kernel="knn", max_iter=200),
        {"n_neighbors": (3, 5, 7, 10, 15), "alpha": (0.01, 0.2, 0.5, 0.8)},
    ),
    "ours, vectors": Method("vectors", _ours()),
    "ours, images, labels only": Method("images", _ours(), supervised=True),
    "ours, images": Method("images", _ours()),
    "ours, images, FixMatch": Method("images", _ours(ss.FixMatch(0.95))),
}


def _platt() -> SVC:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return SVC(probability=True, random_state=0)


@dataclass(frozen=True)
class Draw:
    """The digits of one seed."""

    vectors: Rows
    """(N, 64)."""
    partly: NDArray[np.int64]
    """(N,), -1 without a label."""
    test_vectors: Rows
    test: NDArray[np.int64]

    @classmethod
    def of(cls, seed: int) -> "Draw":
        """That of a seed."""
        vectors, labels = load_digits(return_X_y=True)
        pool, tested, truth, test = train_test_split(
            vectors, labels, test_size=TEST, stratify=labels, random_state=seed
        )
        rng, partly = np.random.default_rng(seed), np.full(len(truth), -1)
        for label in np.unique(truth):
            known = rng.permutation(np.flatnonzero(truth == label))[:PER_CLASS]
            partly[known] = label
        return cls(pool, partly, tested, test)


def as_input(vectors: Rows, kind: str) -> Rows:
    """Values of 0 to 16, (N, 64), as they are or as uint8 images (N, 8, 8)."""
    return vectors if kind == "vectors" else np.round(vectors.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)


def chosen(classifier: Any, grid: Mapping[str, Sequence[Any]], rows: Rows, partly: NDArray[np.int64]) -> Any:
    """The classifier with the constants whose folds have most labels right; of several the first."""
    known = np.flatnonzero(partly != -1)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(known, partly[known]))

    def right(constants: Mapping[str, Any]) -> int:
        total = 0
        for _, held in folds:
            hidden = partly.copy()
            hidden[known[held]] = -1
            fitted = fit(clone(classifier).set_params(**constants), rows, hidden)
            total += int((fitted.predict(rows[known[held]]) == partly[known[held]]).sum())
        return total

    return clone(classifier).set_params(**max(ParameterGrid(dict(grid)), key=right))


def fit(classifier: Any, rows: Rows, partly: NDArray[np.int64]) -> Any:
    """Fitted on all rows, or where it would take -1 for a class on those with a label."""
    semi = isinstance(classifier, SelfTrainingClassifier | LabelSpreading | ss.PseudoLabelClassifier)
    used = slice(None) if semi else partly != -1
    return classifier.fit(rows[used], partly[used])


def measure(name: str, draws: Mapping[int, Draw]) -> Row:
    """One line of the table."""
    method, scores, seconds = METHODS[name], [], []
    for seed, draw in draws.items():
        rows, partly = as_input(draw.vectors, method.input), draw.partly
        if method.supervised:
            rows, partly = rows[partly != -1], partly[partly != -1]
        began = time.process_time()
        classifier = method.make(seed)
        if method.grid:
            classifier = chosen(classifier, method.grid, rows, partly)
        fitted = fit(classifier, rows, partly)
        seconds.append(time.process_time() - began)
        scores.append(100 * float((fitted.predict(as_input(draw.test_vectors, method.input)) == draw.test).mean()))
    return {
        "method": name,
        "input": method.input,
        "test accuracy, %": round(float(np.mean(scores)), 2),
        "worst seed": round(min(scores), 2),
        "CPU s": round(float(np.mean(seconds)), 1),
        "of seeds": [round(score, 2) for score in scores],
    }


def main() -> None:
    """Print the table, and keep it where it is whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 10 on")
    parser.add_argument("--only", choices=("vectors", "images"), help="one kind of input; nothing is kept then")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # of nets as light as these, a second thread costs more than it brings
    warnings.simplefilter("ignore")  # of peers whose constants do not converge: the folds see what comes of it
    draws = {seed: Draw.of(seed) for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds)}
    METHODS["ours, vectors"].make(0).fit(
        next(iter(draws.values())).vectors[:40], np.arange(40) % 2
    )  # imports are nobody's seconds
    rows = []
    for name, method in METHODS.items():
        if arguments.only in {None, method.input}:
            rows.append(measure(name, draws))
            show("classifier", rows[-1:], name)
    note = f"digits, 100 labels in all, {len(draws)} draws, one thread: means"
    show("classifier", rows, note) if arguments.only else publish("classifier", rows, note)


if __name__ == "__main__":
    main()
