"""The network."""

from typing import Annotated, Literal

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
    weights: Annotated[str, Field(min_length=1)] | None = None
    """Begin with these weights, all but those of the last layer: a file with a state dict (torch's, or safetensors), or
    of a `torchvision:NAME` the name of torchvision's own, such as `DEFAULT`. Unset: random ones."""
    download: bool = False
    """Fetch torchvision's own weights where they are not in torch's cache. Nothing is ever downloaded without it."""
    train: Literal["all", "head"] = "all"
    """`all`: fine-tune the whole network. `head`: the last layer alone (a linear probe); all below it stays as it is in
    `weights`, and without augmentation its features are computed once and kept in `data.cache`."""
    normalize: Literal["data", "imagenet"] | None = None
    """Mean and deviation that images are normalised by: those of the data set, or of ImageNet. Unset: where there are
    `weights`, those that an earlier run trained them with, else ImageNet's. Networks with weights see a grey image as
    three equal channels, unless the weights are of an earlier run on grey ones."""

    @model_validator(mode="after")
    def _only_one_network_whitens(self) -> "ModelConfig":
        if self.whiten and self.name != "pooled_cnn":
            raise ValueError(f"whiten=true, but name={self.name!r} has no such option; use name: pooled_cnn")
        return self

    @model_validator(mode="after")
    def _only_a_pretrained_body_is_frozen(self) -> "ModelConfig":
        for key, value in (("train", "head"), ("download", True)):
            if self.weights is None and getattr(self, key) == value:
                shown = str(value).lower() if value is True else repr(value)
                raise ValueError(f"{key}={shown}, but weights is unset; name pretrained weights, or leave {key} out")
        if self.weights is not None and self.whiten:
            raise ValueError(
                "whiten=true would overwrite the first filters of weights; use false, or leave weights out"
            )
        return self

    @property
    def imagenet(self) -> bool:
        """Are images normalised by the figures of ImageNet?"""
        return self.normalize == "imagenet" or (self.normalize is None and self.weights is not None)
