"""Who plays which role."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from semisup.config.sections.base import NUMBER, WORD, PositiveInt, Section, kind_of, rule


class SplitConfig(Section):
    """Balanced picks per class; every other image of the pool is unlabeled."""

    labeled_per_class: Annotated[
        Annotated[PositiveInt, Tag(NUMBER)] | Annotated[Literal["all"], Tag(WORD)], Discriminator(kind_of)
    ] = 10
    """Labeled training images per class, of one's own images at most; `all`: every image with a label that no other
    role takes, for data of which only a part is labeled."""
    imbalance_ratio: Annotated[float, Field(ge=1, le=1e6)] = 1.0
    """Long tail: class k of C gets labeled_per_class · ratio^(−k/(C−1)) labeled images, so the first has `ratio` times
    as many as the last. 1: all alike."""
    validation_per_class: Annotated[int, Field(ge=0)] = 10
    """Labeled images per class that early stopping watches; never trained on. Of one's own images a class that has too
    few for this and `labeled_per_class` gives at most half of its labels. Of no effect where the data set names its
    validation images itself."""
    calibration_images: Annotated[int, Field(ge=0)] = 0
    """Labeled images that only stage `calibrate` sees. Drawn at random from all that are left, not per class: what
    they certify holds for images like them, and those are the unlabeled ones."""

    @rule
    def _a_tail_is_cut_from_a_number(self) -> None:
        if self.labeled_per_class == "all" and self.imbalance_ratio != 1:
            raise ValueError(
                f"imbalance_ratio={self.imbalance_ratio:g}, but labeled_per_class='all' takes the classes as they are; "
                "use imbalance_ratio: 1, or a number"
            )
