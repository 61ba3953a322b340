"""What configs need to know of a method of pseudo-labeling. Its code is :mod:`semisup.pseudo_labels.method`'s."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from semisup.config.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """What decides which configs make sense with a method."""

    learns_from: Literal["accepted", "table", "images"]
    """`accepted`: the labels that the table of pseudo-labels accepts; `table`: all of its labels, accepted or not;
    `images`: every unlabeled image, which is labeled anew at every step."""
    heeds: frozenset[str] = frozenset()
    """Which of the options of `joint.policy` that only some methods have it looks at."""
    view: Literal["same", "weak", "clean"]
    """What its teacher looks at where `joint.policy.view` is unset."""
    leaves_images_out: bool = False
    """Does it give weight 0 to images of which its teacher is not sure?"""
    remembers: bool = False
    """Has it running means of its own, whose `momentum` scales with the steps where it is unset?"""
    aligns: bool = False
    """Does it align the mean of its predictions itself, whatever `joint.policy.distribution_alignment` says?"""
    judges_single_images: bool = False
    """Would mixed images mean nothing to it?"""
    learns_negatives: bool = False
    """Does it learn which classes an image is not, as measured by `pseudo_label.uncertainty`?"""
    is_its_own_target: bool = False
    """Is a prediction its own target, which teaches nothing, unless an option of `joint.policy` changes it?"""
    options: type[BaseModel] | None = None
    """Options of its own, under `joint.policy.options`."""


METHODS: Plugins[MethodFacts] = Plugins(
    MethodFacts,
    key="joint.method",
    group="semisup.policies",
    package="semisup.pseudo_labels.policies",
    attribute="METHOD",
    first=(
        "threshold",
        "confidence",
        "ups",
        "online",
        "soft",
        "fixmatch",
        "flexmatch",
        "freematch",
        "softmatch",
        "adamatch",
    ),
)
"""By the names that `joint.method` may have."""
