"""What stages leave for each other: JSON, safetensors weights, and the facts about the data set."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from semisup.config import PipelineConfig, Precision
from semisup.data.datasets import ImageSet
from semisup.data.own_images.vectors import read_vectors
from semisup.data.sources import source
from semisup.errors import UserError
from semisup.evaluation.ensembles import Combination, Ensemble
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.networks.classifier import Classifier
from semisup.networks.families.own import whiten_first_layer
from semisup.networks.models import build_model
from semisup.networks.pretrained import (
    begin_with,
    find_weights,
    imagenet_normalization,
    own_normalization,
    weights_digest,
)
from semisup.system.randomness import derive_seed
from semisup.training.optimization.precision import lower

WEIGHTS = "weights.safetensors"
EXAMPLES = 8
"""Images that an exported model is traced with."""
ALL_THREADS = torch.get_num_threads()
"""What torch starts with: an earlier run's `runtime.threads` must not decide a later run's bits."""


@dataclass(frozen=True)
class DatasetFacts:
    """What later stages need to know about the data without reading it: `dataset.json` of the split stage."""

    name: str
    digest: str
    class_names: Sequence[str]
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    mean: Sequence[float]
    """Per channel, on the 0..1 scale, over the labeled and unlabeled images alone."""
    std: Sequence[float]
    patch_covariance: Sequence[Sequence[float]]
    """(K, K), of the K = 4C numbers of a normalized patch of 2×2 pixels, over such images."""
    pool_size: int
    test_size: int
    class_counts: Mapping[str, Sequence[int]]
    """Role → images per class; for unlabeled images an audit from the truth."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def write(self, folder: Path) -> None:
        """Save as `dataset.json`."""
        write_json(folder / "dataset.json", asdict(self))

    @classmethod
    def read(cls, split_folder: Path) -> "DatasetFacts":
        """Read back."""
        values = read_json(split_folder / "dataset.json")
        return cls(**values | {"image_shape": tuple(values["image_shape"])})


def write_json(path: Path, values: Any) -> None:
    """Indented JSON with a final newline; NaN is refused."""
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Parsed JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def model_digest(folder: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a stage's weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]


def pick_device(config: PipelineConfig) -> torch.device:
    """The configured device, and torch's CPU threads set as configured."""
    torch.set_num_threads(config.runtime.threads or ALL_THREADS)
    if config.runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.runtime.device)


def fresh_model(config: PipelineConfig, facts: DatasetFacts, purpose: str) -> Classifier:
    """A new network to be trained, its initial weights derived from the config's seed and `purpose`, or given by it.

    It does not deskew: it learns from views of images that are upright already.
    """
    seed = derive_seed(config.seed, f"{purpose} weights")
    model = network(config, facts.image_shape, facts.num_classes, facts.mean, facts.std, seed=seed)
    if config.model.whiten:
        whiten_first_layer(model.backbone, torch.tensor(facts.patch_covariance))
    if config.runtime.channels_last:
        model.to(memory_format=torch.channels_last)
    return model


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
    mean, std = _normalization(config, mean, std)
    model = build_model(
        settings.name,
        image_shape,
        num_classes,
        mean=mean,
        std=std,
        width=settings.width,
        dropout=settings.dropout,
        batch_norm=settings.batch_norm,
        seed=seed,
    )
    if settings.pretrained and config.data.features is None:
        begin_with(model.backbone, weights_file(config), settings.name)
    if settings.train == "probe":
        return ProbedClassifier.upon(model, EmbeddedProbe(1, 1, num_classes), mirror=settings.mirror)  # fitted later
    if settings.train != "all":
        model.freeze(settings.last_blocks)
    return model


def weights_file(config: PipelineConfig) -> Path:
    """The file of pretrained weights: that of `model.weights`, or the one that is installed with the network.

    Ready-made features stand for both.
    """
    assert config.model.pretrained
    if config.data.features is not None:
        return config.data.features.expanduser()
    return find_weights(config.model.weights, config.model.name, download=config.model.download)


def _normalization(
    config: PipelineConfig, mean: Sequence[float], std: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """By what images are normalized, given the figures of the data set; three channels where gray ones become three.

    Weights of an earlier run bring their own figures, and as many channels as they were trained on.
    """
    if config.data.features is not None:
        return mean, std
    own = own_normalization(weights_file(config)) if config.model.pretrained else None
    if own is not None and len(own[0]) >= len(mean):
        if config.model.normalize is None:
            return own
        if config.model.normalize == "data" and len(own[0]) == len(mean):
            return mean, std
    if config.model.imagenet:
        return imagenet_normalization(config.model.name, config.model.weights, download=config.model.download)
    if config.model.pretrained and len(mean) == 1:
        return [*mean] * 3, [*std] * 3
    return mean, std


def describe_network(config: PipelineConfig) -> dict[str, Any]:
    """The network's settings for `model.json`: pretrained weights by what they are, not by where they were found."""
    pretrained = {"weights", "download", "train", "normalize"}
    described = config.model.model_dump(mode="json", exclude=pretrained)
    if config.model.pretrained:
        described |= {"weights": weights_digest(weights_file(config)), "train": config.model.train}
    if config.model.train != "probe":
        del described["mirror"], described["precision"]
    return described


def save_model(
    config: PipelineConfig, facts: DatasetFacts, weights: Mapping[str, Tensor], folder: Path, *, stage: str
) -> None:
    """Leaves `weights.safetensors` and `model.json`, which says what network they belong to and which stage trained it.

    Weights are read back by other configs too (a champion teaches the pipeline that comes after it), so they must not
    depend on the config at hand. Safetensors are plain numbers that no loader can be tricked into running.
    """
    mean, std = _normalization(config, facts.mean, facts.std)
    description = describe_network(config) | {
        "stage": stage,
        "image_shape": list(facts.image_shape),
        "resize": config.data.resize,
        "range": config.data.range,
        "class_names": list(facts.class_names),
        "mean": list(mean),
        "std": list(std),
    }
    if config.model.train == "probe":
        description |= {"embedding": list(weights["probe.components"].shape)}
    _save(description, weights, folder)


def save_ensemble(members: Sequence[Path], combine: Combination, votes: Sequence[float], folder: Path) -> Ensemble:
    """The ensemble of the networks in the members' folders, in eval mode on the CPU; `votes` are the members' weights.

    Leaves the same two files as :func:`save_model`: they hold all members, whose folders are not needed any more.
    """
    ensemble = Ensemble([load_model(member) for member in members], combine, votes)
    description = read_json(members[0] / "model.json")  # the members are networks of one kind
    description |= {"stage": "ensemble", "ensemble": {"combine": combine, "votes": list(votes)}}
    _save(description, ensemble.state_dict(), folder)
    return ensemble.eval()


def _save(description: Mapping[str, Any], weights: Mapping[str, Tensor], folder: Path) -> None:
    write_json(folder / "model.json", description)
    # Written by Python: safetensors' own writer reports a full disk as an error of no kind that could be recognized.
    (folder / WEIGHTS).write_bytes(
        safetensors.torch.save({name: value.contiguous() for name, value in weights.items()})
    )


def load_model(folder: Path) -> nn.Module:
    """The network that a training stage left in its folder, in eval mode on the CPU; of `ensemble` an `Ensemble`."""
    description = read_json(folder / "model.json")
    model: nn.Module
    if description["stage"] == "ensemble":
        combine, votes = description["ensemble"]["combine"], description["ensemble"]["votes"]
        model = Ensemble([_network(description) for _ in votes], combine, votes)
    else:
        model = _network(description)
    model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return model.eval()


def exported(config: PipelineConfig, folder: Path) -> tuple[nn.Module, Tensor]:
    """The model in a training stage's folder as others are to use it, and a few examples of what it takes.

    Upon ready-made features that is the probe alone.
    """
    model, pool = load_model(folder), pool_of(config)
    if config.data.features is None:
        return model, pool.images[:EXAMPLES]
    assert isinstance(model, Classifier), "a probe is one"
    return model.head, read_vectors(config.data, pool.ids[:EXAMPLES])


def load_placed(folder: Path, config: PipelineConfig) -> nn.Module:
    """The network as :func:`load_model`, on the configured device and in the configured memory format."""
    model = computing_as(load_model(folder), config.model.precision).to(pick_device(config))
    return model.to(memory_format=torch.channels_last) if config.runtime.channels_last else model


def computing_as(model: nn.Module, precision: Precision) -> nn.Module:
    """The model; what is below a probe or the last blocks of it computes in this precision from now on."""
    if isinstance(model, Classifier) and (isinstance(model, ProbedClassifier) or model.last_blocks):
        model.precision = torch.bfloat16 if lower(precision, torch.device("cpu")) else torch.float32
    return model


def _network(description: Mapping[str, Any]) -> Classifier:
    model = build_model(
        description["name"],
        tuple(description["image_shape"]),
        len(description["class_names"]),
        mean=description["mean"],
        std=description["std"],
        width=description["width"],
        dropout=description["dropout"],
        batch_norm=description["batch_norm"],
        deskew=description.get("deskew", False),  # a champion of old does not say
        seed=0,
    )
    train = description.get("train", "all")
    if train == "probe":
        features, dimensions = description["embedding"]
        probe = EmbeddedProbe(features, dimensions, len(description["class_names"]))
        return ProbedClassifier.upon(model, probe, mirror=description["mirror"])
    if train != "all":
        model.freeze(0 if train == "head" else int(train.removeprefix("last_")))
    return model


def pool_of(config: PipelineConfig, facts: DatasetFacts | None = None) -> ImageSet:
    """The training images of the configured data set.

    Raises:
        UserError: they are others than the split's, which left these `facts`: someone changed the folder meanwhile.
    """
    images = source(config.data.name)
    if facts is not None and images.digest(config.data) not in {"", facts.digest}:
        raise _changed_meanwhile(config)
    return images.pool(config.data)


def images_for_test(config: PipelineConfig, ids: Sequence[str] | None = None) -> ImageSet:
    """The test images of the configured data set, with their labels.

    Raises:
        UserError: they are others than the split's, whose `ids` these are: someone changed the folder meanwhile.
    """
    test = source(config.data.name).test(config.data)
    if ids is not None and list(test.ids) != list(ids):
        raise _changed_meanwhile(config)
    return test


def _changed_meanwhile(config: PipelineConfig) -> UserError:
    where = config.data.manifest or config.data.url or config.data.root or "its folder"
    return UserError(f"the images of data.name={config.data.name!r} in {where} changed after the split; run it again")


def ids_for_test(config: PipelineConfig) -> tuple[str, ...]:
    """The ids of the test images, without a look at their labels."""
    return source(config.data.name).ids_for_test(config.data)
