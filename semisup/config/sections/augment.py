"""Views of images, for training and for predictions."""

from typing import Annotated

from pydantic import Field

from semisup.config.sections.base import Fraction, Section, rule


class AugmentConfig(Section):
    """Light augmentation of training images, drawn for each image anew. All zero: none."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation either way, in degrees."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift either way, as a fraction of the image's side."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Zoom by e^u, u uniform in ±scale."""
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shear either way, as a tangent."""
    elastic: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Elastic deformation: standard deviation, in pixels, of the displacements at the knots of a 6×6 grid."""
    paste: Fraction = 0.0
    """Largest side, as a fraction of the image's, of a box that half of the images get from another image of the batch;
    the brighter pixel wins."""
    horizontal_flip: bool = False
    """Mirror half of the images. Refused for data whose classes have no mirror symmetry, such as digits."""
    reflect: bool = False
    """Shift by whole pixels and fill the edge with its reflection instead of zeros."""
    randaugment: Annotated[int, Field(ge=0, le=14)] = 0
    """How many of RandAugment's 14 operations, drawn at random, an image gets (FixMatch's strong view: 2); the hole of
    `cutout` is then gray."""
    magnitude: Fraction = 1.0
    """How strong those operations may be, 1 as in FixMatch."""
    cutout: Fraction = 0.0
    """Side of a square hole, as a fraction of the image's side."""

    @property
    def changes_nothing(self) -> bool:
        """Is every view the image itself?"""
        moves = ("rotation", "shift", "scale", "shear", "elastic", "paste", "horizontal_flip", "randaugment", "cutout")
        return not any(getattr(self, name) for name in moves)


class ViewsConfig(Section):
    """Test-time augmentation: the mean prediction over several views of an image."""

    views: Annotated[int, Field(ge=1, le=100)] = 1
    """How many; the first one is the image as it is."""
    augment: AugmentConfig = AugmentConfig()
    """What the other views are like."""

    @rule
    def _views_are_of_one_image(self) -> None:
        if self.augment.paste:
            raise ValueError(
                f"augment.paste={self.augment.paste} would mix other images into a prediction; use 0 in test_time"
            )

    @rule
    def _views_differ(self) -> None:
        if self.views > 1 and self.augment.changes_nothing:
            raise ValueError(
                f"views={self.views}, but augment changes nothing; set for example augment.shift, or views=1"
            )
