"""The network that a config asks for: its weights, its normalization, and what it is predicted by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semisup.config import ModelConfig, PipelineConfig, Precision
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.decoded.cache import cache_folder
from semisup.errors import UserError
from semisup.frozen.looks import AS_THEY_ARE, Looks
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.networks.classifier import Classifier
from semisup.networks.families.own import whiten_first_layer
from semisup.networks.inference.choice import settle
from semisup.networks.inference.engine import require_openvino
from semisup.networks.joined import join
from semisup.networks.models import build_model
from semisup.networks.pretrained import (
    begin_with,
    find_weights,
    imagenet_normalization,
    own_normalization,
    weights_digest,
)
from semisup.stages.support.models.device import configured_device
from semisup.system.randomness import derive_seed
from semisup.training.optimization.precision import lower


def fresh_model(config: PipelineConfig, facts: DatasetFacts, purpose: str) -> Classifier:
    """A new network to be trained, its initial weights derived from the config's seed and `purpose`, or given by it.

    It does not deskew: it learns from views of images that are upright already. What it is to be predicted by once
    it is trained is settled here, and so is what computes its frozen part.

    Raises:
        UserError: as in :func:`network`, or `runtime.inference` cannot be had.
    """
    seed = derive_seed(config.seed, f"{purpose} weights")
    model = network(config, facts.image_shape, facts.num_classes, facts.mean, facts.std, seed=seed)
    if config.model.whiten:
        whiten_first_layer(model.backbone, torch.tensor(facts.patch_covariance))
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    settle_inference(config, model, facts.image_shape, facts.pool_size)
    return model


def settle_inference(
    config: PipelineConfig, model: Classifier, image_shape: tuple[int, int, int], images: int
) -> Classifier:
    """The model, computing in `model.precision`, and by what `runtime.inference` comes to for so many images.

    Raises:
        UserError: OpenVINO is asked for, and is missing or on another device.
    """
    computing_as(model, config.model.precision)
    check_inference(config)
    if configured_device(config).type == "cpu" and config.data.features is None:
        settle(model, config.runtime.inference, image_shape, images, cache_folder(config.data.cache))
    return model


def check_inference(config: PipelineConfig) -> None:
    """`runtime.inference` can be had here.

    Raises:
        UserError: OpenVINO is asked for, and is missing or on another device.
    """
    if config.runtime.inference == "openvino":
        if configured_device(config).type != "cpu":
            raise UserError(
                "runtime.inference='openvino' computes on a CPU; use runtime.device: cpu, or inference: auto"
            )
        require_openvino()


def network(
    config: PipelineConfig,
    image_shape: tuple[int, int, int],
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int,
) -> Classifier:
    """The configured network for images (C, H, W); `mean` and `std` are the data set's, which it may or may not use.

    Raises:
        UserError: as in :func:`semisup.networks.models.build_model`, and of weights that are missing or of another
            network.
    """
    settings = config.model
    looks = Looks(settings.mirror, settings.center_crop) if settings.train == "probe" else AS_THEY_ARE
    networks = []
    for part in settings.parts:
        own_mean, own_std = _normalization(config, part, mean, std)
        model = build_model(
            part.name,
            looks.shape(image_shape),
            num_classes,
            mean=own_mean,
            std=own_std,
            width=part.width,
            dropout=part.dropout,
            batch_norm=part.batch_norm,
            seed=seed,
        )
        if part.pretrained and config.data.features is None:
            begin_with(model.backbone, weights_of(part), part.name)
        networks.append(model)
    model = join(networks, num_classes) if len(networks) > 1 else networks[0]
    if settings.train == "probe":
        return ProbedClassifier.upon(model, EmbeddedProbe(1, 1, num_classes), looks=looks)  # fitted later
    if settings.train != "all":
        model.freeze(settings.last_blocks)
    return model


def weights_files(config: PipelineConfig) -> list[Path]:
    """The file of each network's pretrained weights; ready-made features stand for networks."""
    assert config.model.pretrained
    if config.data.features is not None:
        return [config.data.features.expanduser()]
    return [weights_of(part) for part in config.model.parts]


def weights_of(settings: ModelConfig) -> Path:
    """The file of one network's pretrained weights: that of `model.weights`, or the one installed with the network."""
    return find_weights(settings.weights, settings.name, download=settings.download)


def normalization(
    config: PipelineConfig, mean: Sequence[float], std: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """By what images are normalized, given the figures of the data set; three channels where gray ones become three.

    Weights of an earlier run bring their own figures, and as many channels as they were trained on. Of networks side
    by side those of the first.
    """
    return _normalization(config, config.model.parts[0], mean, std)


def _normalization(
    config: PipelineConfig, settings: ModelConfig, mean: Sequence[float], std: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    if config.data.features is not None:
        return mean, std
    own = own_normalization(weights_of(settings)) if settings.pretrained else None
    if own is not None and len(own[0]) >= len(mean):
        if settings.normalize is None:
            return own
        if settings.normalize == "data" and len(own[0]) == len(mean):
            return mean, std
    if settings.pretrained and len(mean) not in (1, 3):
        seen = len(own[0]) if own is not None else 3
        raise UserError(
            f"data.channels={len(mean)}, but the weights of model.name={settings.name!r} see {seen}; use weights of an "
            "earlier run on such images, or a network without weights, such as small_cnn"
        )
    if settings.imagenet:
        return imagenet_normalization(settings.name, settings.weights, download=settings.download)
    if settings.pretrained and len(mean) == 1:
        return [*mean] * 3, [*std] * 3
    return mean, std


def describe_network(config: PipelineConfig) -> dict[str, Any]:
    """The network's settings for `model.json`: pretrained weights by what they are, not by where they were found."""
    pretrained = {"weights", "download", "train", "normalize"}
    described = config.model.model_dump(mode="json", exclude=pretrained)
    if config.model.pretrained:
        described |= {"weights": weights_digest(weights_files(config)), "train": config.model.train}
    if config.model.train != "probe":
        del described["mirror"], described["center_crop"]
        if not config.model.last_blocks:
            del described["precision"]
    return described


def computing_as(model: nn.Module, precision: Precision) -> nn.Module:
    """The model; what is below a probe or the last blocks of it computes in this precision from now on."""
    if isinstance(model, Classifier) and (isinstance(model, ProbedClassifier) or model.last_blocks):
        model.precision = torch.bfloat16 if lower(precision, torch.device("cpu")) else torch.float32
    return model
