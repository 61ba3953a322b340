"""What a frozen network makes of a data set's images: computed once, for all stages and rounds that ask."""

import hashlib
import json
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from semisup.config import PipelineConfig, parse_bytes
from semisup.data.datasets import ImageSet
from semisup.data.own_images.decoded.cache import Cache, cache_folder
from semisup.data.own_images.decoded.feature_cache import BLOCK, LAYOUT, kept_features
from semisup.data.rows import gather, images_at_once
from semisup.frozen.network import ProbedClassifier
from semisup.networks.classifier import Classifier
from semisup.pipeline.log import StageLog
from semisup.system.memory import keep_for_reuse

COMPUTED = 1
"""Raised when the same network makes other features of the same images: they outlive the code that computed them."""
Part: TypeAlias = Literal["pool", "test"]


def looked_at(
    config: PipelineConfig, model: nn.Module, images: ImageSet, part: Part, log: StageLog
) -> tuple[nn.Module, Tensor]:
    """A model and the images (N, C, H, W) it predicts; or its last layer and their features (N, D), with equal logits.

    The latter where only that layer was trained, so that others will ask for the same features.
    """
    if isinstance(model, Classifier) and model.frozen:
        return model.head, features_of(config, model, images, part, log)
    return model, images.images


def features_of(config: PipelineConfig, model: Classifier, images: ImageSet, part: Part, log: StageLog) -> Tensor:
    """float32 (N, D), memory-mapped, of what the last layer gets to see of the pool's or the test images.

    Computed if nobody has done so yet, in eval mode and in float32.
    """
    device, shape = next(model.parameters()).device, images.image_shape
    keep_for_reuse()
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        width = model.features(torch.zeros((1, *shape), dtype=torch.uint8, device=device)).shape[1]

    @torch.inference_mode()
    def compute(rows: slice) -> Tensor:
        size = images_at_once(images.images, device)
        parts = torch.arange(rows.start, rows.stop).split(size)
        return torch.cat([model.features(gather(images.images, part).to(device, non_blocking=True)) for part in parts])

    cache = Cache(cache_folder(config.data.cache), parse_bytes(config.data.cache_limit))
    key = features_key(model, images, part)
    found = kept_features(
        cache,
        key,
        (len(images), width),
        compute,
        lambda done, total: log.progress(done, total, "features of images"),
        warn=log.warning,
    )
    model.train(was_training)
    return found


def _computed(model: Classifier) -> dict[str, Any]:
    """How a frozen network looks at an image, where it may do so in several ways."""
    if not isinstance(model, ProbedClassifier):
        return {}
    return {"mirror": model.mirror, "precision": str(model.precision)}


def features_key(model: Classifier, images: ImageSet, part: Part) -> str:
    """A hash of all that decides features: the body and its preprocessing, the pixels, and what it is computed with.

    What the images are called, their labels and the last layer decide nothing.
    """
    sha = hashlib.sha256(repr(model.backbone).replace(repr(model.head), "").encode())
    for name, value in model.state_dict().items():
        if not name.startswith(model.head_prefix):
            sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.cpu().contiguous().numpy().tobytes())
    pixels = f"{images.pixel_digest} {part}"
    if not images.pixel_digest:
        pixels = hashlib.sha256(images.images.numpy().data).hexdigest()
    facts = {
        "shape": list(images.images.shape),
        "pixels": pixels,
        "deskew": model.preprocess.deskew,
        **_computed(model),
        "device": next(model.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "block": BLOCK,
        "layout": LAYOUT,
        "torch": torch.__version__,
        "networks": {name: version(name) for name in ("timm", "torchvision")},
        "code": COMPUTED,
    }
    sha.update(json.dumps(facts, sort_keys=True).encode())
    return sha.hexdigest()[:32]
