"""Networks as training stages leave them: safetensors weights, and a description that rebuilds the network."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.vectors import read_vectors
from semisup.evaluation.ensembles import Combination, Ensemble
from semisup.frozen.looks import AS_THEY_ARE, Looks
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.networks.classifier import Classifier, EngineName
from semisup.networks.inference.choice import make_ready, predict_by
from semisup.networks.inference.engine import is_installed
from semisup.networks.models import build_model
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.configured import computing_as, describe_network, normalization
from semisup.stages.support.models.device import pick_device
from semisup.system.json_files import read_json, write_json

WEIGHTS = "weights.safetensors"
EXAMPLES = 8
"""Images that an exported model is traced with."""


def model_digest(folder: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a stage's weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]


def save_model(
    config: PipelineConfig,
    facts: DatasetFacts,
    weights: Mapping[str, Tensor],
    folder: Path,
    *,
    stage: str,
    predicted_by: EngineName,
) -> None:
    """Leaves `weights.safetensors` and `model.json`, which says what network they belong to and which stage trained it.

    All that is ever said of these weights is computed by one engine, `predicted_by`: where none is asked for, the same
    computes what a threshold is certified by, what is labeled by it, and what is compared. Torch does where OpenVINO
    cannot compute the network with these weights.
    Weights are read back by other configs too (a champion teaches the pipeline that comes after it), so they must not
    depend on the config at hand. Safetensors are plain numbers that no loader can be tricked into running.

    Raises:
        UserError: OpenVINO cannot compute the network, and is asked for.
    """
    mean, std = normalization(config, facts.mean, facts.std)
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
    if predicted_by != "torch" and config.model.train == "all":  # what is frozen it has computed already
        model = _network(description)
        model.load_state_dict(dict(weights))
        predict_by(model, predicted_by)
        make_ready(model, facts.image_shape, config.runtime.inference)
        predicted_by = model.predicted_by
    if predicted_by != "torch":
        description |= {"predicted_by": predicted_by}
    _save(description, weights, folder)


def save_ensemble(members: Sequence[Path], combine: Combination, votes: Sequence[float], folder: Path) -> Ensemble:
    """The ensemble of the networks in the members' folders, in eval mode on the CPU; `votes` are the members' weights.

    Leaves the same two files as :func:`save_model`: they hold all members, whose folders are not needed any more.
    """
    ensemble = Ensemble([load_model(member) for member in members], combine, votes)
    description = read_json(members[0] / "model.json")  # the members are networks of one kind
    description |= {"stage": "ensemble", "ensemble": {"combine": combine, "votes": list(votes)}}
    if any(engine_of_record(member) == "torch" for member in members):
        description.pop("predicted_by", None)  # OpenVINO cannot compute all of them
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
    """The network as :func:`load_model`, on the configured device, in the configured memory format and by its engine.

    Raises:
        UserError: it is to be predicted by OpenVINO, which is missing.
    """
    device = pick_device(config)
    model = computing_as(load_model(folder), config.model.precision).to(device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    if device.type == "cpu" and config.data.features is None:
        asked = config.runtime.inference
        predict_by(model, engine_of_record(folder) if asked == "auto" else asked)
    return model


def load_predicting(folder: Path, device: torch.device) -> nn.Module:
    """The network as :func:`load_model`, on a device, computed as when its confidence was judged.

    That is by the same engine and, below a probe or the last blocks of a network on a CPU, in the same
    `model.precision`. Where OpenVINO did that, and is missing here or cannot do it, torch stands in for it.
    """
    model, description = load_model(folder).to(device), read_json(folder / "model.json")
    computing_as(model, description.get("precision", "float32"))
    if description.get("predicted_by") == "openvino" and device.type == "cpu" and is_installed():
        predict_by(model, "openvino")
        make_ready(model, tuple(description["image_shape"]), "auto")
    return model


def engine_of_record(folder: Path) -> EngineName:
    """What the network in a training stage's folder is predicted by, where nobody asks for another one."""
    name: EngineName = read_json(folder / "model.json").get("predicted_by", "torch")
    return name


def _network(description: Mapping[str, Any]) -> Classifier:
    train = description.get("train", "all")
    looks = AS_THEY_ARE
    if train == "probe":
        looks = Looks(description["mirror"], description.get("center_crop"))  # older ones do not say the latter
    model = build_model(
        description["name"],
        looks.shape(description["image_shape"]),
        len(description["class_names"]),
        mean=description["mean"],
        std=description["std"],
        width=description["width"],
        dropout=description["dropout"],
        batch_norm=description["batch_norm"],
        deskew=description.get("deskew", False),  # a champion of old does not say
        seed=0,
    )
    if train == "probe":
        features, dimensions = description["embedding"]
        probe = EmbeddedProbe(features, dimensions, len(description["class_names"]))
        return ProbedClassifier.upon(model, probe, looks=looks)
    if train != "all":
        model.freeze(0 if train == "head" else int(train.removeprefix("last_")))
    return model
