"""Who plays which role."""

from typing import Annotated

from pydantic import Field

from semisup.config.base import PositiveInt, Section


class SplitConfig(Section):
    """Balanced picks per class; every other image of the pool is unlabelled."""

    labeled_per_class: PositiveInt = 10
    """Labelled training images per class."""
    imbalance_ratio: Annotated[float, Field(ge=1)] = 1.0
    """Long tail: class k of C gets labeled_per_class · ratio^(−k/(C−1)) labelled images, so the first has `ratio` times
    as many as the last. 1: all alike."""
    validation_per_class: PositiveInt = 10
    """Labelled images per class that early stopping watches; never trained on."""
    calibration_images: Annotated[int, Field(ge=0)] = 0
    """Labelled images that only stage `calibrate` sees. Drawn at random from all that are left, not per class: what
    they certify holds for images like them, and those are the unlabelled ones."""
