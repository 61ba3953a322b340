"""The network."""

from typing import Annotated

from pydantic import Field, model_validator

from semisup.config.base import Section


class ModelConfig(Section):
    """The network; the baseline and the student are built alike."""

    name: str = "small_cnn"
    """`small_cnn` (fast, for digits), `paired_cnn` (its convolutions doubled), `pooled_cnn` (for photographs),
    `seed_cnn`, `vgg_small`, `resnet18_small`, or `torchvision:NAME` for any torchvision classifier."""
    width: Annotated[float, Field(gt=0, le=16)] = 1.0
    """Multiplies the number of channels."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout probability; unset: the model's own default."""
    batch_norm: bool | None = None
    """Batch normalisation; unset: the model's own default."""
    deskew: bool = False
    """Shear every image upright and centre it, by its intensity moments: for bright strokes on a black ground."""
    whiten: bool = False
    """`pooled_cnn`: its first filters are not learnt, but whiten the patches of the data set's images."""

    @model_validator(mode="after")
    def _only_one_network_whitens(self) -> "ModelConfig":
        if self.whiten and self.name != "pooled_cnn":
            raise ValueError(f"whiten=true, but name={self.name!r} has no such option; use name: pooled_cnn")
        return self
