"""A frozen network with a probe on top: one classifier from raw images to logits, saved and loaded as any other."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semisup.frozen.embedding import Embedding
from semisup.frozen.looks import AS_THEY_ARE, Looks
from semisup.frozen.probe import Probe
from semisup.networks.classifier import Classifier, Preprocess
from semisup.networks.heads import head_name


class EmbeddedProbe(nn.Module):
    """Features (B, D) to logits (B, C): the embedding, then the probe."""

    mean: Tensor
    components: Tensor

    def __init__(self, features: int, dimensions: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("components", torch.zeros(features, dimensions))
        self.linear = nn.Linear(dimensions, num_classes)

    def embedding(self) -> Embedding:
        """What features become before the last layer."""
        return Embedding(self.mean, self.components)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.embedding()(features))
        return logits

    @classmethod
    def of(cls, embedding: Embedding, probe: Probe) -> "EmbeddedProbe":
        """The two as one module."""
        features, dimensions = embedding.components.shape
        made = cls(features, dimensions, len(probe.bias))
        made.load_state_dict(
            {
                "mean": embedding.mean,
                "components": embedding.components,
                "linear.weight": probe.weight,
                "linear.bias": probe.bias,
            }
        )
        return made


class ProbedClassifier(Classifier):
    """A network whose last layer is taken off, frozen, and a probe in its place.

    An image's features are the mean of those of the views that `looks` gives. `precision` is what the frozen network
    computes in, on a CPU; the probe and all that it sees are float32.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        backbone: nn.Module,
        probe: EmbeddedProbe,
        *,
        width: int | None = None,
        looks: Looks = AS_THEY_ARE,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(preprocess, backbone)
        self._width = width
        self.probe, self.looks, self.precision = probe, looks, precision
        self.freeze()

    @classmethod
    def upon(
        cls,
        model: Classifier,
        probe: EmbeddedProbe,
        *,
        looks: Looks = AS_THEY_ARE,
        precision: torch.dtype = torch.float32,
    ) -> "ProbedClassifier":
        """The network of `model` without its last layer, and the probe upon it. `model` is not to be used any more."""
        width = model.width
        model.backbone.set_submodule(head_name(model.backbone), nn.Identity())
        return cls(model.preprocess, model.backbone, probe, width=width, looks=looks, precision=precision)

    @property
    def _inferred_layers(self) -> nn.Module:
        return self.backbone

    @property
    def head(self) -> nn.Module:
        """Embedding and probe: features (B, D) to logits."""
        return self.probe

    @property
    def width(self) -> int | None:
        """How many features there are of an image, where the last layer said so that was taken off."""
        return self._width

    @property
    def head_prefix(self) -> str:
        """What the names of the head's weights begin with."""
        return "probe."

    def features(self, images: Tensor) -> Tensor:
        """float32 (B, D) of uint8 or float32 images (B, C, H, W)."""
        body: Callable[[Tensor], Tensor] = self._body
        if self.engine is not None and self.is_predicting:
            body = self.engine
        views = [body(view) for view in self.looks(self.preprocess.turned(images))]
        return sum(views[1:], views[0]) / len(views)

    def asked_of_engine(self, images: Tensor) -> Tensor:
        """The first view of images: all views are of one shape."""
        return self.looks(self.preprocess.turned(images))[0]

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.probe(self.features(images))
        return logits

    def _body(self, view: Tensor) -> Tensor:
        seen = self.preprocess.normalized(view)
        with self.reduced(seen):
            features: Tensor = self.backbone(seen.contiguous(memory_format=torch.channels_last))
        return features.float()
