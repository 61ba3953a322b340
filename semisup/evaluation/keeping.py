"""Which of two models to keep, by images whose labels a model of its kind had not seen when it was asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semisup.evaluation.scores import compare_right
from semisup.wording import counted

PRIOR_WON, PRIOR_LOST = 6.0, 3.0
"""What is believed before any image is looked at: of the images on which just one of the two is right, students of this
pipeline have mostly been the right one of two in three. As sure as if nine such images had been seen."""
Judges: TypeAlias = Literal["validation images", "held-out labels"]


@dataclass(frozen=True)
class Belief:
    """How the student does against the baseline: a Beta distribution of the share of discordant images that it wins."""

    won: float
    """Images on which the student alone is right, those of the prior included."""
    lost: float
    """Images on which the baseline alone is right, those of the prior included."""
    discordant: float
    """Share of all images on which just one of them is right."""

    @property
    def expected_difference(self) -> float:
        """Of the student's accuracy minus the baseline's."""
        return self.discordant * (self.won - self.lost) / (self.won + self.lost)


def believe(difference: NDArray[np.float64]) -> Belief:
    """The posterior after N paired differences (N,), each −1, 0 or 1, or a mean of such.

    The Beta prior is conjugate: its counts are added to those of the images. So the student has a head start of
    PRIOR_WON − PRIOR_LOST images, however many there are and however rarely the two differ.
    """
    won, lost = float(difference.clip(min=0).sum()), float(-difference.clip(max=0).sum())
    return Belief(PRIOR_WON + won, PRIOR_LOST + lost, (won + lost) / len(difference))


def better_model(
    baseline_right: NDArray[Any], student_right: NDArray[Any], judges: Judges = "validation images"
) -> dict[str, Any]:
    """Which model to keep: the one whose expected accuracy is higher, given N images and what was known before.

    `baseline_right` and `student_right` (N,) are bool, or the share of several repetitions in which the model was
    right. Keys: model, "student" or "baseline"; judges; images; baseline_validation_accuracy and
    student_validation_accuracy; expected_difference; and those of :func:`semisup.evaluation.scores.compare_right`.
    """
    baseline, student = baseline_right.astype(np.float64), student_right.astype(np.float64)
    belief = believe(student - baseline)
    return {
        "model": "student" if belief.won >= belief.lost else "baseline",
        "judges": judges,
        "images": len(baseline),
        "baseline_validation_accuracy": float(baseline.mean()),
        "student_validation_accuracy": float(student.mean()),
        "expected_difference": belief.expected_difference,
        **compare_right(baseline >= 0.5, student >= 0.5),
    }


def judges_in_words(kept: Mapping[str, Any]) -> str:
    """ "100 validation images", or "100 labeled images, each held out in turn", or several times (`repetitions`)."""
    if kept.get("judges") == "held-out labels":
        return f"{counted(kept['images'], 'labeled image')}, each held out {times_held_out(kept)}"
    return f"{counted(kept['images'], 'validation image')}"


def times_held_out(kept: Mapping[str, Any]) -> str:
    """ "in turn", or "3 times"."""
    times = kept.get("repetitions", 1)
    return "in turn" if times == 1 else f"{times} times"
