"""The teacher besides a baseline: ensembles, and how its confidence is calibrated."""

from typing import Annotated, Literal

from pydantic import Field

from semisup.config.sections.base import Section


class EnsembleConfig(Section):
    """Several models of `model`, each trained like the baseline; a teacher (`pseudo_label.teacher`) or a flow alone."""

    method: Literal["bagging", "boosting"] = "bagging"
    """`bagging`: members learn from bootstrap samples. `boosting`: one after another, with raised weights where the one
    before was wrong (SAMME)."""
    members: Annotated[int, Field(ge=2, le=100)] = 5
    """How many members."""
    combine: Literal["mean", "vote"] = "mean"
    """Bagging: the mean of the members' probabilities, or the share of their votes. Boosting weighs votes."""


class CalibrateConfig(Section):
    """The teacher's confidence is held against the calibration images (`split.calibration_images`)."""

    method: Literal["none", "temperature"] = "none"
    """`temperature`: divide the logits by the T of least NLL (Guo et al. 2017). `none`: confidence as it is."""
    temperature_share: Annotated[float, Field(ge=0.001, le=0.999)] = 0.25
    """Share of the calibration images that fits T; the others, which T has not seen, measure and certify."""

    def temperature_images(self, images: int) -> int:
        """How many of so many calibration images fit T: at least one, and one is left to measure."""
        return min(max(round(self.temperature_share * images), 1), images - 1) if self.method == "temperature" else 0
