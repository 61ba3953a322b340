"""A backbone behind its preprocessing: whatever the network, the one preprocessing is part of the model."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semisup.data.augmentation.geometry import upright
from semisup.networks.cuts import cut
from semisup.networks.heads import head_name

EngineName: TypeAlias = Literal["torch", "openvino"]
LEAST_DEVIATION = 1 / 255
"""Of a channel, on the 0..1 scale: one step of 8 bits."""


def divisors(std: Sequence[float]) -> list[float]:
    """What channels are divided by, given their standard deviations on the 0..1 scale: of less than one step, 1.

    A channel that is the same in all images has none, and one that is nearly so would be mostly rounding.
    """
    return [deviation if deviation >= LEAST_DEVIATION else 1.0 for deviation in std]


class Preprocess(nn.Module):
    """Pixels on the 0..255 scale, uint8 or float32 (B, C, H, W), to normalized float32 of that shape.

    Every split goes through this one path, and it travels with the weights and with the exported model.
    `mean` and `std` are per channel, on the 0..1 scale (see `divisors`); three of them make a gray image (B, 1, H, W)
    one of three equal channels. With `deskew`, images are first sheared upright and centered.
    What learns from augmented views, or looks at them, must get views of images that were deskewed once, and leave it
    out here: deskewing a view would undo its shear and shift. See `deskewed_once`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, deskew: bool = False) -> None:
        super().__init__()
        self.deskew = deskew
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(divisors(std), dtype=torch.float32).view(-1, 1, 1))

    def turned(self, images: Tensor) -> Tensor:
        """The images upright, where that is wanted: float32, or else as they are."""
        return upright(images) if self.deskew else images

    def normalized(self, images: Tensor) -> Tensor:
        """Images that are upright where that is wanted, as float32."""
        # (x / 255 - mean) / std, as one pass over the pixels.
        return torch.addcmul(-self.mean / self.std, images.float(), 1 / (255 * self.std))

    def forward(self, images: Tensor) -> Tensor:
        return self.normalized(self.turned(images))


class Engine(Protocol):
    """What computes a part of a network in eval mode, preprocessing included, from images (B, C, H, W) to float32."""

    def __call__(self, images: Tensor) -> Tensor:
        """Its answers about uint8 or float32 images on the 0..255 scale, which are upright where that is wanted."""

    def prepare(self, images: Tensor) -> None:
        """Get ready for batches like this one; raises an error where it cannot compute the network."""

    @property
    def description(self) -> str:
        """What decides the bits of its answers beside the network."""


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """In place of a module's `train`: its mode is not changed any more."""
    return module


class Classifier(nn.Module):
    """A backbone behind its preprocessing: uint8 or float32 images on the 0..255 scale to logits (B, num_classes)."""

    def __init__(self, preprocess: Preprocess, backbone: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone
        self.frozen = False
        """Is the last layer the only one that learns? See :meth:`freeze`."""
        self.last_blocks = 0
        """How many blocks learn with what follows them; 0: it is not decided by blocks. See :meth:`freeze`."""
        self.precision = torch.float32
        """What the frozen part computes in, on a CPU, where the rest is told what it makes of images."""
        self.engine: Engine | None = None
        """What computes :attr:`inferred_part` in place of torch, where nothing is in training mode."""
        self.predicted_by: EngineName = "torch"
        """What is to compute its predictions once it is trained."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor
        if not self.is_predicting or (self.engine is None and not self._is_lower):
            logits = self.backbone(self.preprocess(images))
        elif self.engine is None or self.frozen or self.last_blocks:
            logits = self.learning(self.seen_by_learning(images))
        else:
            logits = self.engine(self.preprocess.turned(images))
        return logits

    @property
    def is_predicting(self) -> bool:
        """Is nothing in training mode? Dropout may be, on purpose, in a network that is not trained."""
        return not self.training and not any(module.training for module in self.backbone.modules())

    @property
    def _is_lower(self) -> bool:
        """Do the layers below the last blocks compute in lower precision than those that learn?"""
        return self.last_blocks > 0 and self.precision != torch.float32

    @property
    def is_on_cpu(self) -> bool:
        """Are its weights where engines compute?"""
        return next(self.parameters()).device.type == "cpu"

    def asked_of_engine(self, images: Tensor) -> Tensor:
        """What an engine is shown of images as in :meth:`forward`."""
        return self.preprocess.turned(images)

    @property
    def inferred_part(self) -> nn.Module:
        """What an engine computes: upright images to what the learning part gets to see, or to logits."""
        preprocess = copy.copy(self.preprocess)
        preprocess.deskew = False
        return nn.Sequential(preprocess, self._inferred_layers)

    @property
    def _inferred_layers(self) -> nn.Module:
        if self.last_blocks:
            return cut(self.backbone, self.last_blocks)[0]
        if self.frozen:
            body = copy.deepcopy(self.backbone)
            body.set_submodule(head_name(body), nn.Identity())
            return body
        return self.backbone

    @property
    def head(self) -> nn.Module:
        """The last layer: features (B, D) to logits."""
        return self.backbone.get_submodule(head_name(self.backbone))

    @property
    def width(self) -> int | None:
        """How many features the last layer gets to see of an image, where it says so."""
        return self.head.in_features if isinstance(self.head, nn.Linear) else None

    @property
    def head_prefix(self) -> str:
        """What the names of the last layer's weights begin with."""
        return f"backbone.{head_name(self.backbone)}."

    @property
    def tail(self) -> nn.Module:
        """The last blocks, where they alone learn, and what follows them: :meth:`activations` to logits.

        Its layers are the network's own, under the backbone's names.
        """
        return cut(self.backbone, self.last_blocks)[1]

    def activations(self, images: Tensor) -> Tensor:
        """What the tail gets to see of images as in :meth:`forward`: tail(activations(images)) are the logits.

        In `precision`, float32 or bfloat16 (B, C, H, W).
        """
        if self.engine is not None and self.is_predicting:
            return self.engine(self.preprocess.turned(images)).to(self.precision)
        seen: Tensor = self.preprocess(images)
        with self.reduced(seen):
            seen = cut(self.backbone, self.last_blocks)[0](seen)
        return seen.to(self.precision) if seen.device.type == "cpu" else seen

    def reduced(self, seen: Tensor) -> AbstractContextManager[Any]:
        """Inside, layers compute in `precision` on what they see."""
        lower = self.precision != torch.float32 and seen.device.type == "cpu"
        return torch.autocast("cpu", self.precision) if lower else nullcontext()

    @property
    def learning(self) -> nn.Module:
        """What learns of a network of which a part is frozen: :meth:`seen_by_learning` to logits."""
        return self.tail if self.last_blocks else self.head

    @property
    def learning_prefix(self) -> str:
        """What the names of its weights begin with in the whole network."""
        return "backbone." if self.last_blocks else self.head_prefix

    def seen_by_learning(self, images: Tensor) -> Tensor:
        """What the frozen part makes of images as in :meth:`forward`: (B, ...)."""
        return self.activations(images) if self.last_blocks else self.features(images)

    def freeze(self, last_blocks: int = 0) -> None:
        """From now on the last layer alone learns, or the last blocks with all that follows them.

        All others keep their weights and behave as in eval mode. So do the batch norms among the last blocks, whose
        weights learn: figures of a batch of few images are worse than those that the network came with.

        Raises:
            UserError: the network has no such blocks, see :func:`semisup.networks.cuts.cut`.
        """
        self.frozen, self.last_blocks = not last_blocks, last_blocks
        learning = self.tail if last_blocks else self.head
        self.requires_grad_(False)
        learning.requires_grad_(True)
        if last_blocks:
            for module in learning.modules():
                if isinstance(module, _BatchNorm):
                    module.eval().train = MethodType(_stay, module)  # type: ignore[method-assign]
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":
        """As of any module; but a frozen body drops nothing out, and its batch norms' running figures do not move."""
        super().train(mode and not self.frozen and not self.last_blocks)
        if self.frozen:
            self.training = mode
            self.head.train(mode)
        if self.last_blocks:
            # What a backbone drops out on its own, and not in one of its layers, it does behind the blocks.
            self.training = self.backbone.training = mode
            self.tail.train(mode)
        return self

    def features(self, images: Tensor) -> Tensor:
        """What the last layer gets to see of images as in :meth:`forward`: float32 (B, D)."""
        if self.is_predicting:
            if self._is_lower or (self.engine is not None and self.last_blocks):
                return self.features_behind(self.tail, self.activations(images))
            if self.engine is not None and self.frozen:
                return self.engine(self.preprocess.turned(images))
        return self.features_behind(self.backbone, self.preprocess(images))

    def features_behind(self, part: nn.Module, seen: Tensor) -> Tensor:
        """What the last layer gets to see, float32 (B, D), when a part of the network that ends with it is shown this.

        For :attr:`tail` that is :meth:`activations`.
        """
        features: list[Tensor] = []
        with self.head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0])):
            part(seen)
        return features[0]


@contextmanager
def deskewed_once(model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Inside, the model takes images for upright; what is yielded makes them so, where the model deskews.

    For views: deskew an image, augment what comes out, and let the model look at that as it is.
    """
    deskewing = [module for module in model.modules() if isinstance(module, Preprocess) and module.deskew]
    for module in deskewing:
        module.deskew = False
    try:
        yield upright if deskewing else lambda images: images
    finally:
        for module in deskewing:
            module.deskew = True


@contextmanager
def as_predicting(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
