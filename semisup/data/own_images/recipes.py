"""Which recipe suits a folder, and the lines of a config that say so."""

import re
from collections.abc import Sequence

from semisup.config.families import JOINT

LEAST_SIDE = 24
"""Of color images; what is smaller shows no more than a network trained from nothing can learn."""
LARGE_SIDE, LARGE, SMALL = 96, 288, 164
"""Images whose shorter side is mostly at least this are decoded with 288 pixels a side, smaller ones with 164."""
CENTER = {LARGE: 224, SMALL: 128}
"""Side of images → what the network is to see of them, all and the center: the first of NETWORKS was trained with 224
pixels. 0.8 points more right (standard error 0.3) than with all of the image and its mirror image, at as many passes of
the network; none where things are not in the middle."""
NETWORKS = ("efficientnet_lite0", "efficientnet_lite2")
"""Whose features stand side by side: 1.4 points more right in the mean than with the first alone, for 2.2 times its CPU
seconds."""
RECIPE = "recipe: graph  # labels spread over features of two pretrained networks; the first alone takes half the time"
"""The line of a config that says how they are learned from."""
OTHER_CLASSES = "# pseudo_label: {unknown: {false_alarms: 0.05}}  # finds images of other classes and groups them"
"""A line to be uncommented: who is sure of the unlabeled images loses 5 % of the labels by it."""


def suits_pretrained(channels: str | int, sides: Sequence[int]) -> bool:
    """Are these photographs, by their channels and shorter sides (n,)?"""
    return channels == "rgb" and bool(sides) and _typical(sides) >= LEAST_SIDE


def pretrained_size(sides: Sequence[int]) -> int:
    """Side in pixels that images with these shorter sides (n,) are to be decoded with."""
    return LARGE if _typical(sides) >= LARGE_SIDE else SMALL


WORDS_BEFORE = r"(?:class|digit|number|letter|char|character|sign)"
DIGITS = "zero|one|two|three|four|five|six|seven|eight|nine|ten"
SIGN = re.compile(rf"(?:{WORDS_BEFORE}[\s_-]*)?(?:[^\W_]|\d{{1,2}}|{DIGITS})", re.IGNORECASE)
"""A class that is called like one letter or digit: `a`, `7`, `07`, `digit_7`, `letter A`, `seven`."""


def are_signs(class_names: Sequence[str]) -> bool:
    """Are the classes called like letters or digits, which a mirror turns into something else?"""
    return all(SIGN.fullmatch(name.strip()) for name in class_names)


def graph_lines(size: tuple[int, int], *, signs: bool) -> list[str]:
    """The part of a config that learns from features of pretrained networks, for images of this size."""
    center = f", center_crop: {CENTER[min(size)]}" if min(size) in CENTER else ""
    mirror, why = (
        ("false", "a mirrored letter is another")
        if signs
        else ("true", "mirror: false where a mirrored image is another class")
    )
    return [f"model: {{name: {JOINT.join(NETWORKS)}{center}, mirror: {mirror}}}  # {why}"]


def steps_lines(minutes: int) -> list[str]:
    """The part of a config that trains a small network from nothing."""
    return [
        "model: {name: small_cnn, width: 2.0, dropout: 0.2}",
        "baseline: &training {epochs: 30, batch_size: 32, ema_decay: 0.98, early_stopping: {patience: 10},",
        "  augment: {shift: 0.1, scale: 0.1},  # horizontal_flip: true where a mirrored image is of the same class",
        f"  budget: {minutes} min}}  # of CPU time, for baseline and student each; more makes better models",
        "pseudo_label: {threshold: 0.9}  # confidence from which the teacher's label is believed",
        "joint: {<<: *training, unlabeled_batch_size: 96, ramp_end: 10}",
    ]


def _typical(sides: Sequence[int]) -> int:
    return sorted(sides)[len(sides) // 2]
