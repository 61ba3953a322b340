"""Classifiers that take raw images: whatever the network, the one preprocessing is part of the model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from semisup.data.augmentation.geometry import upright
from semisup.errors import UserError
from semisup.networks.backbones import (
    head_name,
    paired_cnn,
    pooled_cnn,
    resnet18_small,
    seed_cnn,
    small_cnn,
    torchvision_classifier,
    vgg_small,
)
from semisup.networks.cuts import cut
from semisup.networks.embedded import EMBEDDED, embedded_classifier
from semisup.networks.timm_backbones import TIMM, known_architecture, timm_classifier

TORCHVISION = "torchvision:"
OTHERS = f"{TORCHVISION}<name>, {TIMM}<name>"


@dataclass(frozen=True)
class _Network:
    """A network with a width, dropout and batch norm, and what these are where nothing is said."""

    build: Callable[[tuple[int, int, int], int, float, float, bool], nn.Module]
    """image shape, classes, width, dropout, batch norm → the network."""
    dropout: float = 0.0
    batch_norm: bool = True


WITH_OPTIONS = {
    "seed_cnn": _Network(seed_cnn, dropout=0.5, batch_norm=False),
    "small_cnn": _Network(small_cnn),
    "paired_cnn": _Network(paired_cnn),
    "pooled_cnn": _Network(pooled_cnn),
    "vgg_small": _Network(vgg_small, dropout=0.5),
}
LEAST_DEVIATION = 1 / 255
"""Of a channel, on the 0..1 scale: one step of 8 bits."""
MODELS = (*WITH_OPTIONS, "resnet18_small", *EMBEDDED)  # and OTHERS


def divisors(std: Sequence[float]) -> list[float]:
    """What channels are divided by, given their standard deviations on the 0..1 scale: of less than one step, 1.

    A channel that is the same in all images has none, and one that is nearly so would be mostly rounding.
    """
    return [deviation if deviation >= LEAST_DEVIATION else 1.0 for deviation in std]


class Preprocess(nn.Module):
    """Pixels on the 0..255 scale, uint8 or float32 (B, C, H, W), to normalised float32 of that shape.

    Every split goes through this one path, and it travels with the weights and with the exported model.
    `mean` and `std` are per channel, on the 0..1 scale (see `divisors`); three of them make a grey image (B, 1, H, W)
    one of three equal channels. With `deskew`, images are first sheared upright and centred.
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

    def forward(self, images: Tensor) -> Tensor:
        if self.deskew:
            images = upright(images)
        # (x / 255 - mean) / std, as one pass over the pixels.
        return torch.addcmul(-self.mean / self.std, images.float(), 1 / (255 * self.std))


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

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.backbone(self.preprocess(images))
        return logits

    @property
    def head(self) -> nn.Module:
        """The last layer: features (B, D) to logits."""
        return self.backbone.get_submodule(head_name(self.backbone))

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
        """What the tail gets to see of images as in :meth:`forward`: tail(activations(images)) are the logits."""
        seen: Tensor = cut(self.backbone, self.last_blocks)[0](self.preprocess(images))
        return seen

    def freeze(self, last_blocks: int = 0) -> None:
        """From now on the last layer alone learns, or the last blocks with all that follows them.

        All others keep their weights and behave as in eval mode.

        Raises:
            UserError: the network has no such blocks, see :func:`semisup.networks.cuts.cut`.
        """
        self.frozen, self.last_blocks = not last_blocks, last_blocks
        learning = self.tail if last_blocks else self.head
        self.requires_grad_(False)
        learning.requires_grad_(True)
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
        seen: list[Tensor] = []
        with self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
            self(images)
        return seen[0]


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


def build_model(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    width: float = 1.0,
    dropout: float | None = None,
    batch_norm: bool | None = None,
    deskew: bool = False,
    seed: int,
    device: Literal["cpu", "meta"] = "cpu",
) -> Classifier:
    """A fresh classifier on the CPU, in training mode. Its weights depend on `seed` alone; no global generator moves.

    Args:
        name: one of MODELS, or "torchvision:<name>" for any classifier of torchvision, "timm:<name>" for any of timm.
        image_shape: (C, H, W).
        mean, std: one per channel, on the 0..1 scale; or three for grey images, which the network then gets to see as
            three equal channels.
        width: factor on the hidden widths (only of WITH_OPTIONS).
        dropout: probability (as `width`); None for the model's own. Never on the output layer.
        deskew: see `Preprocess`.
        batch_norm: after the convolutions (as `width`); None for the model's own.
        device: "meta" for a backbone without numbers, to be measured alone.

    Raises:
        UserError: an unknown name, an option that the model does not have, or images too small for it.
    """
    assert len(mean) == len(std)
    assert len(mean) == image_shape[0] or (len(mean), image_shape[0]) == (3, 1)
    seen_shape = (len(mean), *image_shape[1:])
    # fork_rng without devices and the CPU's own generator: torch.manual_seed would also reseed every GPU.
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(seed)
        if name in WITH_OPTIONS:
            network = WITH_OPTIONS[name]
            p = network.dropout if dropout is None else dropout
            norm = network.batch_norm if batch_norm is None else batch_norm
            backbone = network.build(seen_shape, num_classes, width, p, norm)
        else:
            build = _without_options(name)
            _refuse_options(name, width, dropout, batch_norm)
            backbone = build(seen_shape, num_classes)
    return Classifier(Preprocess(mean, std, deskew=deskew), backbone)


def _without_options(name: str) -> Callable[[tuple[int, int, int], int], nn.Module]:
    """(image shape, classes) → the network of that name, whose layers are what they are."""
    if name == "resnet18_small":
        return lambda shape, num_classes: resnet18_small(shape[0], num_classes)
    if name in EMBEDDED:
        return lambda shape, num_classes: embedded_classifier(name, shape[0], num_classes)
    if name.startswith(TIMM):
        return partial(timm_classifier, known_architecture(name))
    return partial(torchvision_classifier, _torchvision_name(name))


def _refuse_options(name: str, width: float, dropout: float | None, batch_norm: bool | None) -> None:
    options = (("width", width, 1.0), ("dropout", dropout, None), ("batch_norm", batch_norm, None))
    given = [(option, value, default) for option, value, default in options if value != default]
    if given:
        said = " and ".join(f"model.{option}={value}" for option, value, _ in given)
        way_out = " and ".join(f"model.{option}={'null' if default is None else 1}" for option, _, default in given)
        raise UserError(
            f"{said}, but model.name={name!r} has no such option{'s' if len(given) > 1 else ''}; set {way_out}, or use "
            f"one of {', '.join(WITH_OPTIONS)}"
        )


def _torchvision_name(name: str) -> str:
    """The name without its prefix, known to be that of a classifier."""
    import torchvision

    # Asked of this module alone: detection, segmentation and video have their own.
    known = torchvision.models.list_models(module=torchvision.models)
    bare_name = name.removeprefix(TORCHVISION)
    if not name.startswith(TORCHVISION) or bare_name not in known:
        raise _unknown_model(name, known)
    return bare_name


def _unknown_model(name: str, torchvision_names: Sequence[str]) -> UserError:
    full_names = {known: TORCHVISION + known for known in torchvision_names}
    if not name.startswith(TORCHVISION):
        full_names |= {known: known for known in MODELS}
    # Compared without the prefix: it is long enough to make any two names look alike.
    nearest = [full_names[close] for close in get_close_matches(name.removeprefix(TORCHVISION), full_names, n=3)]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"use one of {', '.join(MODELS)}, {OTHERS}"
    return UserError(f"model.name={name!r} is not a known model; {hint}")
