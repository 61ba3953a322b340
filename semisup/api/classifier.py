"""A classifier of scikit-learn's kind that learns from labeled and unlabeled images or feature vectors."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from semisup.api import html, saving
from semisup.api.data import Dataset
from semisup.api.inputs import Given, Learned, Model, read_images, units_of
from semisup.api.labels import Labels, read_labels
from semisup.api.learning import training, vectors
from semisup.api.learning.recipe import recipe
from semisup.api.policies import AnyPolicy, LabelGraph, SelfTraining, check_fraction, check_policy
from semisup.api.progress import Progress, listener
from semisup.config.families import FAMILIES, family_of, networks_in
from semisup.data.datasets import UNLABELED
from semisup.errors import UserError


class PseudoLabelClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learns from rows with a label and from rows without one: images, or feature vectors.

    Examples:
        >>> import numpy as np
        >>> import semisup as ss
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> known = np.random.default_rng(0).permutation(len(y))[:100]
        >>> partly = np.full_like(y, -1)                     # -1: no label
        >>> partly[known] = y[known]
        >>> classifier = ss.PseudoLabelClassifier(random_state=0).fit(X, partly)
        >>> classifier.pseudo_labels_.columns.tolist()
        ['row', 'label', 'confidence', 'accepted', 'round']
        >>> classifier.predict_proba(X[:3]).shape
        (3, 10)

        Images are uint8, and the same call trains a convolutional network:

        >>> images = np.round(X.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        >>> quick = ss.PseudoLabelClassifier(ss.FixMatch(0.95), budget="60 steps", random_state=0)
        >>> quick.fit(images, partly).termination_condition_
        'budget'

    Args:
        policy: what unlabeled rows teach. None: `LabelGraph()` for vectors, for images
            `SelfTraining(weights="confidence")`. Or `FixMatch`, `FlexMatch`, `FreeMatch`, `SoftMatch`, `AdaMatch`,
            `OnlineArgmax`, `SoftLabels`, perhaps within a modifier such as `Sharpened`: then labels are made anew at
            every step, by a student that starts with the weights of one that learned from the labels alone.
        network: of images a name as `model.name` of a config ("small_cnn", "resnet18_small", "torchvision:…"), of
            vectors "mlp" or "linear". None: "small_cnn", "mlp". `LabelGraph` trains none.
        width: factor on the network's hidden widths.
        dropout: probability; None: the network's own.
        budget: how long to train, all trainings together: "60s" of CPU time, "60s wall", "500 steps"; None: 60 epochs
            of a student, or until nothing improves. Only steps, or None, repeat to the bit.
        validation_fraction: share of the labels of each class that is held out to choose the epoch, in [0, 0.9]; with
            0 the last epoch is kept. None: 0.2, but 0 where a class has fewer than 50 labels on average: a handful
            chooses nothing, and is missed. `LabelGraph` holds every label out in turn instead.
        settings: keys of the section `joint` of a config, such as {"batch_size": 64, "augment": {"shift": 0.1}}, over
            what is usual here.
        device: "auto" (a GPU where there is one), "cpu", "cuda".
        random_state: a number, a RandomState or None. The same number gives the same bits, with the same number of
            torch's threads.
        progress: "auto": a bar in a notebook, nothing elsewhere. A function: is told the record of each epoch. None:
            nothing.

    Attributes:
        classes_: (C,), sorted.
        n_features_in_: columns of the vectors, or numbers in an image.
        feature_names_in_: names of the columns, where X was a table with such.
        image_shape_: (C, H, W), after images.
        labeled_iter_: int (N,): 0 for a row that came with its label, the round in which its pseudo-label was accepted
            first, or -1.
        termination_condition_: "no_unlabeled"; "all_labeled": every row has a label by now; "solved": the exact ways
            have no further step; "no_change": a round labeled as the one before; "early_stopping"; "budget";
            "max_iter": all epochs are done.
        pseudo_labels_: a DataFrame with a row for each row of X without a label: `row` (its position), `label`,
            `confidence`, `accepted`, `round` (as `labeled_iter_`).
        transduction_: (N,): the label, or what was taken for it.
        history_: list of dicts: of every epoch, or of every way that was tried.
        n_validation_: labels that were held out to choose the epoch.
    """

    def __init__(
        self,
        policy: AnyPolicy | None = None,
        *,
        network: str | None = None,
        width: float = 1.0,
        dropout: float | None = None,
        budget: str | None = None,
        validation_fraction: float | None = None,
        settings: dict[str, Any] | None = None,
        device: str = "auto",
        random_state: Any = None,
        progress: Progress = "auto",
    ) -> None:
        self.policy = policy
        self.network = network
        self.width = width
        self.dropout = dropout
        self.budget = budget
        self.validation_fraction = validation_fraction
        self.settings = settings
        self.device = device
        self.random_state = random_state
        self.progress = progress

    def fit(
        self,
        X: Any,  # noqa: N803 -- scikit-learn's names
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> "PseudoLabelClassifier":
        """Learn. Where that fails, or is interrupted, all stays as it was before.

        Args:
            X: uint8 images (N, C, H, W), (N, H, W) or (N, H, W, C), numbers (N, D), or a `Dataset` with its labels.
            y: (N,), labels of any type. No label: -1 among whole numbers, otherwise NaN, None or "".
            sample_weight: (N,), of labeled rows in the loss. A row of weight 0 is left out.
            groups: (N,): rows of a group are all learned from, or all held out. Without them, exact copies are a group.

        Raises:
            UserError: (a ValueError) the images, a label, a setting or a parameter is not as said above.
        """
        with _whole_or_not_at_all(self):
            if isinstance(X, Dataset):
                if y is not None:
                    raise UserError("y is given, but X is a Dataset, which has labels of its own; leave y out")
                X, y = X.images, X.labels  # noqa: N806 -- as above
            rows, labels = self._read(X, y)
            count = len(rows)
            weights = _weights(sample_weight, count)
            used = torch.from_numpy(weights > 0)
            codes = torch.from_numpy(labels.codes)
            if not (used & (codes != UNLABELED)).any():
                raise UserError(
                    "sample_weight is 0 for every row of every class; give some labeled rows a weight above 0"
                )
            if groups is not None:
                check_consistent_length(rows, groups)
            of_group = None if groups is None else np.asarray(groups)[used.numpy()]
            given = Given(
                rows[used],
                codes[used],
                len(labels.classes),
                torch.from_numpy(np.ascontiguousarray(weights))[used],
                units_of(rows[used], of_group),
                int(check_random_state(self.random_state).randint(2**31 - 1)),
            )
            learned = self._learn(given)
            self._tell(labels, codes, rows, used, given, learned)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The likeliest class of each row, (N,)."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[likeliest])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Probabilities (N, C) of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        if isinstance(X, Dataset):
            X = X.images  # noqa: N806
        if hasattr(self, "image_shape_"):
            rows = read_images(X, self.image_shape_)
        else:
            rows = torch.from_numpy(np.array(validate_data(self, X, reset=False, dtype=np.float64)))
        probabilities: NDArray[np.float64] = self._model.log_probabilities(rows).double().softmax(dim=1).numpy()
        return probabilities

    def score(self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:  # noqa: N803
        """Share of the labeled rows whose class is predicted; rows without a label are not asked about.

        So `GridSearchCV` may split rows of both kinds.

        Raises:
            UserError: no row has a label, or none with a label has a weight above 0.
        """
        if isinstance(X, Dataset):
            X, y = X.images, X.labels  # noqa: N806
        labels = read_labels(self._needed(y))
        check_consistent_length(X, labels.codes)
        known = labels.codes != UNLABELED
        weights = _weights(sample_weight, len(known))[known]
        if not weights.any():
            raise UserError("sample_weight is 0 for every row with a label; give some of them a weight above 0")
        right = self.predict(X)[known] == labels.classes[labels.codes[known]]
        return float(np.average(right, weights=weights))

    def save(self, path: str | Path) -> Path:
        """Write a folder with `classifier.json` and `weights.safetensors`, which :func:`semisup.load` reads; its path.

        It has its name when it is whole. A folder that `save` wrote before, and that nobody has added to, is replaced.

        Raises:
            UserError: something else is there, it cannot be written, or the classes are neither text nor numbers.
        """
        check_is_fitted(self)
        return saving.save(self, Path(path))

    def _read(self, X: Any, y: ArrayLike | None) -> tuple[Tensor, Labels]:  # noqa: N803
        needed = self._needed(y)
        for name in ("image_shape_", "feature_names_in_"):  # of an earlier fit, to other rows
            self.__dict__.pop(name, None)
        if (np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", 2)) < 3:
            rows = torch.from_numpy(np.array(validate_data(self, X, dtype=np.float64)))
        else:
            rows = read_images(X)
            channels, height, breadth = rows.shape[1:]
            self.image_shape_ = channels, height, breadth
            self.n_features_in_ = int(np.prod(self.image_shape_))
        check_consistent_length(rows, needed)
        return rows, read_labels(needed)

    def _needed(self, y: ArrayLike | None) -> ArrayLike:
        if y is None:
            # In scikit-learn's own words, which its checks look for.
            raise UserError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        return y

    def _learn(self, given: Given) -> Learned:
        images = given.rows.dim() == 4
        usual: AnyPolicy = SelfTraining(weights="confidence") if images else LabelGraph()
        policy = usual if self.policy is None else self.policy
        check_policy(policy)
        self._check_numbers()
        listening = listener(self.progress)
        if isinstance(policy, LabelGraph):
            if images:
                raise UserError(
                    "policy=LabelGraph() needs feature vectors (N, D), but X holds images; use SelfTraining()"
                )
            self._warn_of_idle()
            return vectors.solve(given, policy)
        how = recipe(
            policy,
            images=images,
            network=self.network,
            width=self.width,
            dropout=self.dropout,
            budget=self.budget,
            device=self.device,
            validation_fraction=self.validation_fraction,
            settings=self.settings,
        )
        return training.learn(given, policy, how, listening)

    def _check_numbers(self) -> None:
        for name in ("validation_fraction", "dropout"):
            if (value := getattr(self, name)) is not None:
                check_fraction(name, value, most=0.9)
        if isinstance(self.width, bool) or not isinstance(self.width, Real) or not 0.05 <= self.width <= 16:
            raise UserError(f"width={self.width!r} is outside [0.05, 16]; use a factor such as 0.5")
        if self.network is not None and not isinstance(self.network, str):
            raise UserError(f"network={self.network!r} is no name; use for example 'small_cnn'")
        kinds = {name: family_of(name) for name in networks_in(self.network or "")}
        if len(kinds) > 1 or any(kind in FAMILIES and name in FAMILIES[kind].installed for name, kind in kinds.items()):
            raise UserError(
                f"network={self.network!r} is pretrained in a pipeline, but a classifier begins anew; use semisup.run, "
                "or a network such as 'small_cnn'"
            )

    def _warn_of_idle(self) -> None:
        usual = PseudoLabelClassifier()
        for name in ("network", "width", "dropout", "budget", "settings", "validation_fraction"):
            if getattr(self, name) != getattr(usual, name):
                warnings.warn(
                    f"{name}={getattr(self, name)!r} has no effect: LabelGraph solves without a network and without "
                    f"steps; leave {name} out, or use a policy that trains, such as semisup.SelfTraining()",
                    UserWarning,
                    stacklevel=4,
                )

    def _tell(  # noqa: PLR0917 -- what fit knows
        self, labels: Labels, codes: Tensor, rows: Tensor, used: Tensor, given: Given, learned: Learned
    ) -> None:
        """The attributes that end with an underscore."""
        self.classes_ = labels.classes
        self._model: Model = learned.model
        self.history_ = learned.history
        self.termination_condition_ = learned.termination
        self.n_validation_ = learned.validation
        unlabeled = (codes == UNLABELED).nonzero().flatten()
        shown, left_out = used[unlabeled], unlabeled[~used[unlabeled]]
        label, confidence = torch.zeros_like(unlabeled), torch.zeros(len(unlabeled))
        accepted, iteration = shown & False, torch.full_like(unlabeled, UNLABELED)
        label[shown], confidence[shown] = learned.labels, learned.confidence.float()
        accepted[shown], iteration[shown] = learned.accepted, learned.iteration
        if len(left_out):  # not learned from, but asked about as any new row
            said = learned.model.log_probabilities(rows[left_out]).exp().max(dim=1)
            label[~shown], confidence[~shown] = said.indices, said.values.float()
        self.labeled_iter_ = np.zeros(len(codes), dtype=np.int64)
        self.labeled_iter_[unlabeled.numpy()] = iteration.numpy()
        filled = codes.clone()
        filled[unlabeled] = label
        self.transduction_ = labels.classes[filled.numpy()]
        self.pseudo_labels_ = pd.DataFrame(
            {
                "row": unlabeled.numpy(),
                "label": labels.classes[label.numpy()],
                "confidence": confidence.numpy(),
                "accepted": accepted.numpy(),
                "round": iteration.numpy(),
            }
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _repr_html_(self) -> str:
        """What a notebook shows: the parameters that are not the usual ones and, after `fit`, what came out."""
        if not self.__sklearn_is_fitted__():
            return html.table(repr(self), [("State", "not fitted")])
        return html.table(repr(self), self._result())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def _result(self) -> list[tuple[str, str]]:
        table, names = self.pseudo_labels_, [str(name) for name in self.classes_]
        labeled = len(self.labeled_iter_) - len(table)
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
        rows = [
            ("Classes", f"{len(names):,}: {shown}"),
            (
                "With a label",
                f"{labeled:,}" + (f", {self.n_validation_:,} to choose the epoch" * (self.n_validation_ > 0)),
            ),
            ("Without a label", f"{len(table):,}"),
        ]
        if len(table):
            rows.append(
                ("Pseudo-labels accepted", f"{int(table['accepted'].sum()):,} ({table['accepted'].mean():.1%})")
            )
        return [*rows, *self._judged(), ("Ended", self.termination_condition_.replace("_", " "))]

    def _judged(self) -> list[tuple[str, str]]:
        if "way" in self.history_[-1]:
            kept = next(record for record in self.history_ if record["kept"])
            right = kept["held_out_accuracy"]
            said = kept["way"] if right is None else f"{kept['way']}, {right:.1%} of the labels right when held out"
            return [("Kept", said)]
        if not self.n_validation_:
            return [("Epochs", f"{len(self.history_):,}")]
        best = max(record["validation_accuracy"] for record in self.history_)
        return [("Epochs", f"{len(self.history_):,}, at best {best:.1%} of the validation labels right")]


@contextmanager
def _whole_or_not_at_all(classifier: PseudoLabelClassifier) -> Iterator[None]:
    """Within it all attributes may change; where it fails, or is interrupted, they are as they were before."""
    before = classifier.__dict__.copy()
    try:
        yield
    except BaseException:
        classifier.__dict__.clear()
        classifier.__dict__.update(before)
        raise


def _weights(sample_weight: ArrayLike | None, count: int) -> NDArray[np.float64]:
    """float64 (N,), none of them below 0; without any, 1 each."""
    if sample_weight is None:
        return np.ones(count)
    checked: NDArray[np.float64] = _check_sample_weight(
        sample_weight, np.empty((count, 1)), dtype=np.float64, ensure_non_negative=True
    )
    return checked


def load(path: str | Path) -> PseudoLabelClassifier:
    """The classifier that :meth:`PseudoLabelClassifier.save` wrote; it predicts the same bits.

    Examples:
        >>> import numpy as np
        >>> import semisup as ss
        >>> vectors = np.array([[0.0], [0.1], [0.9], [1.0]])
        >>> folder = ss.PseudoLabelClassifier(random_state=0).fit(vectors, ["low", "", "", "high"]).save("model")
        >>> ss.load(folder).predict(vectors).tolist()
        ['low', 'low', 'high', 'high']

    Raises:
        UserError: there is none, it is of a later version, or its files are damaged.
    """
    return saving.load(Path(path), PseudoLabelClassifier)
