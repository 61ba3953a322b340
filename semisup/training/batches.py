"""Endless streams of shuffled, augmented batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from semisup.config import AugmentConfig
from semisup.data.augmentation.augment import augment
from semisup.data.augmentation.randaugment import randaugment, weak
from semisup.data.parts import Part, drawn
from semisup.data.rows import Images, gather
from semisup.system.randomness import torch_generator


@dataclass
class ShuffledBatches:
    """Endless int64 index batches (B,) over [0, size): one random permutation after another, without a seam.

    A batch may end one permutation and begin the next, so every batch is full and every image is drawn equally
    often. A batch larger than the set holds some images twice.
    """

    size: int
    batch_size: int
    generator: torch.Generator
    rest: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        assert self.size > 0, "an empty set has no batches"

    def __next__(self) -> Tensor:
        """The next batch of indices."""
        while len(self.rest) < self.batch_size:
            self.rest = torch.cat([self.rest, torch.randperm(self.size, generator=self.generator)])
        batch, self.rest = self.rest[: self.batch_size], self.rest[self.batch_size :]
        return batch

    def state(self) -> dict[str, Any]:
        """What decides every batch to come."""
        return {"generator": self.generator.get_state(), "rest": self.rest.clone()}  # a view would save all of it

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.generator.set_state(state["generator"])
        self.rest = state["rest"]


@dataclass
class WeightedBatches:
    """Endless int64 index batches (B,), every index drawn on its own with probability weights / Σ weights.

    `weights` is (N,), none negative, on the CPU.
    """

    weights: Tensor
    batch_size: int
    generator: torch.Generator

    def __next__(self) -> Tensor:
        """The next batch of indices."""
        return torch.multinomial(self.weights, self.batch_size, replacement=True, generator=self.generator)

    def state(self) -> dict[str, Any]:
        """What decides every batch to come."""
        return {"generator": self.generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.generator.set_state(state["generator"])


def balancing_weights(labels: Tensor) -> Tensor:
    """1 / (number of images of the class) for each of the labels (N,): every class is drawn equally often."""
    return (1 / torch.bincount(labels).double())[labels].cpu()


@dataclass(frozen=True, eq=False)
class KeptViews:
    """Images (N, ...) of which a frozen network saw some views beforehand: what it made of a view stands for that.

    Attributes:
        plain: (N, ...), of the images as they are.
        views: augmentation → (N, K, ...), of K views each.
    """

    plain: Images
    views: Mapping[AugmentConfig, Tensor]

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        return self.plain[index]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.plain.device

    def drawn(
        self, indices: Tensor, augment: AugmentConfig, generator: torch.Generator, part: Part | None = None
    ) -> Tensor:
        """float32 (b, ...): of each image at indices (b,) any of its views."""
        views = self.views[augment]
        number = (views.shape[1] * drawn(torch.rand, (len(indices),), generator, part)).long().to(indices.device)
        return gather(views.flatten(0, 1), indices * views.shape[1] + number).float()


def some_of(images: Images, rows: Tensor) -> Images:
    """The images at rows (n,), copied, with the views that are kept of them."""
    if not isinstance(images, KeptViews):
        return images[rows]
    return KeptViews(images[rows], {augment: gather(table, rows) for augment, table in images.views.items()})


class View:
    """Images at some indices (B,) as the network gets to see them: float32 (B, C, H, W) on the 0..255 scale.

    The images stay where they are; a view is one index gather and one pass of batched augmentation.
    """

    def __init__(self, images: Images, config: AugmentConfig, seed: int, purpose: str) -> None:
        self.images, self.config = images, config
        self.generator = torch_generator(seed, f"{purpose} augmentation", images.device)

    def __call__(self, indices: Tensor, rows: Tensor | None = None) -> Tensor:
        """Every image changed in its own way, and in another one at the next call; of the batch only some `rows` (b,).

        The rows change nothing about how an image looks.
        """
        if isinstance(self.images, KeptViews) and not self.config.changes_nothing:
            if rows is None:
                return self.images.drawn(indices, self.config, self.generator)
            return self.images.drawn(indices[rows], self.config, self.generator, Part(len(indices), rows))
        if rows is None:
            return augmented(self.images[indices], self.config, self.generator)
        if self.config.paste:  # of another image of the batch, wherever that is needed
            return augmented(self.images[indices], self.config, self.generator)[rows]
        return augmented(self.images[indices[rows]], self.config, self.generator, Part(len(indices), rows))

    def state(self) -> dict[str, Any]:
        """What decides every view to come, the images themselves apart."""
        return {"generator": self.generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.generator.set_state(state["generator"])


def augmented(images: Tensor, config: AugmentConfig, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """uint8 images (B, C, H, W) changed as configured, each in its own way; float32, on the 0..255 scale.

    Operations on bytes come first (reflected shift, RandAugment), then those that interpolate, cutout last
    (with RandAugment, its gray hole comes first).
    """
    reflect = config.reflect and config.shift > 0  # drawing shifts of nothing would change all later draws
    if reflect:
        images = weak(
            images, shift=config.shift, horizontal_flip=config.horizontal_flip, generator=generator, part=part
        )
    if config.randaugment:
        images = randaugment(
            images,
            operations=config.randaugment,
            magnitude=config.magnitude,
            generator=generator,
            cutout=config.cutout,
            part=part,
        )
    return augment(
        images,
        rotation=config.rotation,
        shift=0.0 if reflect else config.shift,
        scale=config.scale,
        shear=config.shear,
        horizontal_flip=config.horizontal_flip and not reflect,
        cutout=0.0 if config.randaugment else config.cutout,
        elastic=config.elastic,
        paste=config.paste,
        generator=generator,
        part=part,
    )


class ImageStream:
    """Endless batches of one set of images: their indices (B,), and how the network sees these (float32, 0..255).

    Without `weights` (N,) it goes through the images in random order, again and again; with them every image is drawn
    on its own.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        config: AugmentConfig,
        seed: int,
        purpose: str,
        *,
        weights: Tensor | None = None,
    ) -> None:
        generator = torch_generator(seed, f"{purpose} batches")
        self.device = images.device
        self.batches: ShuffledBatches | WeightedBatches
        if weights is None:
            self.batches = ShuffledBatches(len(images), batch_size, generator)
        else:
            self.batches = WeightedBatches(weights, batch_size, generator)
        self.view = View(images, config, seed, purpose)

    def __next__(self) -> Tensor:
        """Indices (B,) of the next batch; `view` shows their images."""
        return next(self.batches).to(self.device, non_blocking=True)

    def state(self) -> dict[str, Any]:
        """What decides every batch to come, the images themselves apart."""
        return {"batches": self.batches.state(), "view": self.view.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.batches.restore(state["batches"])
        self.view.restore(state["view"])
