"""What a frozen network makes of a data set's images: computed once, for all stages and rounds that ask."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from semisup.config import AugmentConfig, PipelineConfig, parse_bytes
from semisup.data.datasets import ImageSet
from semisup.data.own_images.decoded.cache import FEATURES, Cache, cache_folder
from semisup.data.own_images.decoded.feature_cache import BLOCK, LAYOUT, Kept, kept_features
from semisup.data.own_images.vectors import read_vectors
from semisup.data.rows import Rows, gather, images_at_once
from semisup.errors import UserError
from semisup.frozen.network import ProbedClassifier
from semisup.networks.classifier import Classifier, as_predicting, deskewed_once
from semisup.networks.inference.choice import make_ready
from semisup.networks.pretrained import promised_weights, weights_digest
from semisup.pipeline.log import StageLog
from semisup.stages.support.models.configured import weights_files
from semisup.system.memory import keep_for_reuse
from semisup.system.randomness import torch_generator
from semisup.training.batches import augmented
from semisup.training.predict import predict_features
from semisup.wording import counted

COMPUTED = 2
"""Raised when the same network makes other features of the same images: they outlive the code that computed them."""
Part: TypeAlias = Literal["pool", "test"]


def looked_at(
    config: PipelineConfig, model: nn.Module, images: ImageSet, part: Part, log: StageLog
) -> tuple[nn.Module, Tensor]:
    """A model and the images (N, C, H, W) it predicts; or what of it was trained and what that gets to see of them.

    The latter, with equal logits, where a part of the network is frozen, so that others will ask for the same; of
    activations, which are large, only where the cache can hold them.
    """
    if isinstance(model, Classifier) and (model.frozen or (model.last_blocks and fit(config, model, images))):
        return model.learning, features_of(config, model, images, part, log)
    return model, images.images


def last_layer_inputs(
    model: Classifier, asked: nn.Module, shown: Tensor, indices: Tensor, batch_size: int | None = None
) -> Tensor:
    """float32 (n, D): what the last layer of a model gets to see of the images at indices (n,).

    `asked` and `shown` are what :func:`looked_at` says of the model and the images.
    """
    if asked is model or model.last_blocks:
        tail = None if asked is model else asked
        return predict_features(model, Rows(shown, indices), batch_size, tail=tail)
    return shown[indices].float()


def fit(config: PipelineConfig, model: Classifier, images: ImageSet) -> bool:
    """Can the cache hold what the frozen part of a network makes of all these images?"""
    return _table(model, images.image_shape, (len(images),)).size <= parse_bytes(config.data.cache_limit)


def features_of(config: PipelineConfig, model: Classifier, images: ImageSet, part: Part, log: StageLog) -> Tensor:
    """Memory-mapped (N, D) or (N, C, H, W): what the trained part of a network gets to see of the pool or the test.

    Computed if nobody has done so yet, in eval mode; float32, or of activations what the model computes them in. Or
    read from `data.features`, and in memory.

    Raises:
        UserError: as in :func:`semisup.data.own_images.vectors.read_vectors`, or these features have changed.
    """
    if config.data.features is not None:
        return _ready_made(config, images)
    kept = _table(model, images.image_shape, (len(images),))

    def compute(rows: slice) -> Tensor:
        return _seen(model, images, torch.arange(rows.start, rows.stop))

    return _kept(config, model, images, part, kept, compute, log)


def _ready_made(config: PipelineConfig, images: ImageSet) -> Tensor:
    files = weights_files(config)
    promised = promised_weights(files)
    if promised and weights_digest(files) != promised:
        raise UserError(f"data.features={str(files[0])!r} changed while the pipeline ran; run it again")
    return read_vectors(config.data, images.ids)


def views_of(
    config: PipelineConfig, model: Classifier, pool: ImageSet, rows: Tensor, log: StageLog, *, augment: AugmentConfig
) -> Tensor:
    """Memory-mapped (n, K, ...): as :func:`features_of`, of K = `model.kept_views` views of the images at rows (n,).

    An image has the same views whatever the seed of a run: they are computed once for all of them.
    """
    number = config.model.kept_views
    kept = _table(model, pool.image_shape, (len(rows), number))

    def compute(block: slice) -> Tensor:
        generator = torch_generator(block.start, "kept views")
        with deskewed_once(model) as upright:
            views = [
                _seen(model, pool, rows[block], lambda batch: augmented(upright(batch), augment, generator))
                for _ in range(number)
            ]
        return torch.stack(views, dim=1)

    which = {"rows": rows.tolist(), "views": number, "augment": augment.model_dump(mode="json")}
    return _kept(config, model, pool, "pool", kept, compute, log, which)


def _table(model: Classifier, image_shape: Sequence[int], leading: tuple[int, ...]) -> Kept:
    """What a table is like whose rows are what the trained part gets to see."""
    if model.width is not None and not model.last_blocks:
        return Kept((*leading, model.width), torch.float32)
    blank = torch.zeros((1, *image_shape), dtype=torch.uint8, device=next(model.parameters()).device)
    engine, model.engine = model.engine, None  # which would have to be prepared first
    try:
        with as_predicting(model), torch.inference_mode():
            row = model.seen_by_learning(blank)
    finally:
        model.engine = engine
    return Kept((*leading, *row.shape[1:]), row.dtype)


@torch.inference_mode()
def _seen(
    model: Classifier, images: ImageSet, rows: Tensor, view: Callable[[Tensor], Tensor] = lambda batch: batch
) -> Tensor:
    """What the trained part of a network gets to see of the images at rows (n,), batch by batch."""
    device = next(model.parameters()).device
    batches = (
        gather(images.images, part).to(device, non_blocking=True)
        for part in rows.split(images_at_once(images.images, device))
    )
    return torch.cat([model.seen_by_learning(view(batch)) for batch in batches])


def _kept(  # noqa: PLR0917
    config: PipelineConfig,
    model: Classifier,
    images: ImageSet,
    part: Part,
    kept: Kept,
    compute: Callable[[slice], Tensor],
    log: StageLog,
    which: Mapping[str, Any] | None = None,
) -> Tensor:
    """The table of these images in `data.cache`, computed by a network in eval mode where it is not there.

    `which`: as in :func:`features_key`.

    Raises:
        UserError: OpenVINO is asked for, and cannot compute the network.
    """
    keep_for_reuse()
    cache = Cache(cache_folder(config.data.cache), parse_bytes(config.data.cache_limit))
    key = features_key(model, images, part, which)
    if model.engine is not None and not (cache.folder / FEATURES / key).exists():
        make_ready(model, images.image_shape, config.runtime.inference)
        key = key if model.engine else features_key(model, images, part, which)  # torch's are others
    if model.last_blocks and not (cache.folder / FEATURES / key).exists():
        log.info(
            f"activations below the last blocks of {counted(len(kept), 'image')}: {kept.size / 1e6:,.0f} MB in "
            "data.cache"
        )
    with as_predicting(model):
        return kept_features(
            cache,
            key,
            kept,
            compute,
            lambda done, total: log.progress(done, total, "features of images"),
            warn=log.warning,
        )


def _computed(model: Classifier) -> dict[str, Any]:
    """How a frozen network looks at an image, where it may do so in several ways."""
    if model.last_blocks:
        return {"last blocks": model.last_blocks, "precision": str(model.precision)}
    if not isinstance(model, ProbedClassifier):
        return {}
    crop = {} if model.looks.center_crop is None else {"center crop": model.looks.center_crop}
    return {"mirror": model.looks.mirror, **crop, "precision": str(model.precision)}


def features_key(model: Classifier, images: ImageSet, part: Part, which: Mapping[str, Any] | None = None) -> str:
    """A hash of all that decides features: the body and its preprocessing, the pixels, and what it is computed with.

    What the images are called, their labels and what is trained decide nothing. `which`: of which of the images, and
    of which views.
    """
    trained = {model.learning_prefix + name for name in model.learning.state_dict()}
    sha = hashlib.sha256(repr(model.backbone).replace(repr(model.head), "").encode())
    for name, value in model.state_dict().items():
        if name not in trained:
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
        **({"engine": model.engine.description} if model.engine else {}),
        **(which or {}),
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
