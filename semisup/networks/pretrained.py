"""Weights that somebody else trained: where they are, how they are read, and whether they fit a network."""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from semisup.errors import UserError
from semisup.networks.backbones import head_name
from semisup.networks.embedded import EMBEDDED, NORMALIZATION, by_position, embedded_weights
from semisup.networks.timm_backbones import HUB, TIMM, known_architecture, pretrained_tags
from semisup.networks.timm_weights import (
    FILES,
    described_weights,
    heads_of,
    hub_file,
    timm_normalization,
    under_timms_names,
)

TORCHVISION = "torchvision:"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
OF_TENSORFLOW = {"torchvision:inception_v3", "torchvision:googlenet"}
"""Their weights came from elsewhere and want pixels from -1 to 1; where torchvision loads them itself, it turns those
normalised by ImageNet's figures into such ones inside the network."""
WRAPPERS = ("state_dict_ema", "model_ema", "model", "state_dict", "model_state_dict")
"""Keys under which training scripts keep a state dict among other things; averaged weights are the better ones."""
PREFIXES = ("module.", "backbone.")
"""What DistributedDataParallel and this project put before a backbone's names."""
NOT_OF_THE_BODY = re.compile(r"(AuxLogits|aux1|aux2|preprocess)\.")
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")

_expected: dict[Path, str] = {}
"""Weights that a run has been promised to begin with: file → SHA-256."""


def find_weights(weights: str | None, model_name: str, *, download: bool) -> Path:
    """The file that `model.weights` means: itself, or torchvision's or timm's weights of this name in their cache.

    None: the one that is installed with the network.

    Raises:
        UserError: there is no such file, or it cannot be fetched.
    """
    if weights is None:
        return embedded_weights(model_name)
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if model_name.startswith(TIMM):
        return _of_timm(weights, model_name, download)
    known = _torchvision_urls(model_name)
    if weights not in known:
        state = "is a folder" if path.is_dir() else "does not exist"
        names = f", or one of torchvision's own ({', '.join(known)})" if known else ""
        if model_name in EMBEDDED:
            names = f", or leave it out: {model_name} has weights of its own"
        raise UserError(f"model.weights={weights!r} {state}; name a file with a state dict{names}")
    return _in_torchs_cache(known[weights], weights, download)


def expect_weights(file: Path) -> str:
    """SHA-256 of the file in hex; from now on this process refuses to read other weights from there."""
    _expected[file.resolve()] = weights_digest(file)
    return _expected[file.resolve()]


def promise_weights(file: Path, digest: str) -> None:
    """From now on this process reads no other weights from there than those of this digest."""
    _expected[file.resolve()] = digest


def promised_weights(file: Path) -> str:
    """The digest that this process expects of the file; "" where it expects none."""
    return _expected.get(file.resolve(), "")


def own_normalization(file: Path) -> tuple[Sequence[float], Sequence[float]] | None:
    """(mean, standard deviation) of each channel, where the file is of one of this project's runs, which keep them."""
    state = _read(file)
    figures = [state.get(f"preprocess.{name}") for name in ("mean", "std")]
    if figures[0] is None or figures[1] is None:
        return None
    mean, std = ([float(value) for value in figure.flatten()] for figure in figures if figure is not None)
    return mean, std


def weights_digest(file: Path) -> str:
    """SHA-256 of the file in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def begin_with(backbone: nn.Module, file: Path, model_name: str) -> None:
    """Give the backbone the weights in a file, all but those of its last layer, which stay as they are.

    The file holds a state dict of the same network with any number of classes, as torch or safetensors saves it;
    nothing in it is run. Of EfficientNet-Lite it may be under the names of the weights' own network.

    Raises:
        UserError: it cannot be read, has changed since :func:`expect_weights`, or belongs to another network.
    """
    unfit = f"model.weights={str(file)!r} does not fit model.name={model_name!r}"
    way_out = "name weights of this network, or the network of these weights"
    state = by_position(_renamed(_read(file), set(backbone.state_dict())), backbone)
    if model_name.startswith(TIMM):
        try:
            state = under_timms_names(state, backbone)
        except ValueError as error:
            raise UserError(f"{unfit}: timm cannot convert it ({error}); {way_out}") from None
    head = tuple(f"{name}." for name in {head_name(backbone), *heads_of(backbone)})
    body = {key: value for key, value in state.items() if not key.startswith(head)}
    for key, value in backbone.state_dict().items():
        if key in body and body[key].shape != value.shape:
            theirs, ours = (tuple(tensor.shape) for tensor in (body[key], value))
            raise UserError(f"{unfit}: {key} is {theirs} in the file and {ours} in the network; {way_out}")
    found = backbone.load_state_dict(body, strict=False)
    missing = [key for key in found.missing_keys if not key.startswith(head)]
    for keys, where in ((missing, "in the network alone"), (found.unexpected_keys, "in the file alone")):
        if keys:
            more = f" and {len(keys) - 1} others are" if len(keys) > 1 else " is"
            raise UserError(f"{unfit}: {keys[0]}{more} {where}; {way_out}")


def imagenet_normalization(
    model_name: str, weights: str | None = None, *, download: bool = False
) -> tuple[Sequence[float], Sequence[float]]:
    """(mean, standard deviation) of three channels on the 0..1 scale, as pretrained weights of a network want it."""
    if model_name.startswith(TIMM):
        return timm_normalization(model_name, weights, download=download)
    if model_name in EMBEDDED:
        return NORMALIZATION
    if model_name in OF_TENSORFLOW:
        return HALVES
    if not model_name.startswith(TORCHVISION):
        return IMAGENET
    import torchvision

    wanted = torchvision.models.get_model_weights(model_name.removeprefix(TORCHVISION)).DEFAULT.transforms()
    return tuple(wanted.mean), tuple(wanted.std)


def _of_timm(weights: str, model_name: str, download: bool) -> Path:
    if weights.startswith(HUB):
        return hub_file(weights, download=download)
    tags = [full.partition(".")[2] for full in pretrained_tags(known_architecture(model_name))]
    if weights not in (*tags, "DEFAULT") or not tags:
        state = "is a folder" if Path(weights).expanduser().is_dir() else "does not exist"
        own = f", one of timm's own ({', '.join(['DEFAULT', *tags])})" if tags else ""
        raise UserError(f"model.weights={weights!r} {state}; name a file with a state dict{own}, or {HUB}OWNER/NAME")
    described = described_weights(model_name, weights)
    if not described.hf_hub_id:
        return _in_torchs_cache(described.url, weights, download)
    names = (described.hf_hub_filename,) if described.hf_hub_filename else FILES
    return hub_file(f"{HUB}{described.hf_hub_id}", names, download=download)


def _in_torchs_cache(url: str, weights: str, download: bool) -> Path:
    """The file of that address, where torch keeps what it fetches."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        if not download:
            raise UserError(
                f"model.weights={weights!r} is not on this machine ({file}); set model.download: true to fetch it, or "
                "name a file"
            )
        _fetch(url, file)
    return file


def _torchvision_urls(model_name: str) -> dict[str, str]:
    """Name of each of torchvision's weights of a network → where it is."""
    if not model_name.startswith(TORCHVISION):
        return {}
    import torchvision

    known = torchvision.models.get_model_weights(model_name.removeprefix(TORCHVISION)).__members__
    return {name: member.url for name, member in known.items()}


def _fetch(url: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    promised = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        # It writes aside, checks the hash that the name promises, and only then gives the file its name.
        torch.hub.download_url_to_file(url, str(file), promised and promised[1], progress=False)
    except (OSError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise UserError(f"model.download=true, but {url} cannot be fetched: {words}; name a file") from error


def _read(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    expected = _expected.get(file.resolve())
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise UserError(f"model.weights={str(file)!r} changed while the pipeline ran; run it again")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load(content)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what is wrong with a file is no finite list, and none of it is a bug of ours
        words = f"{type(error).__name__}: {' '.join(str(error).split()).partition('. ')[0][:120]}"
        raise UserError(
            f"model.weights={str(file)!r} cannot be read as numbers alone ({words}); save model.state_dict() with "
            "torch.save or safetensors, and name that file"
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"model.weights={str(file)!r} holds no state dict; save model.state_dict(), and name that file")
    return dict(loaded)


def _renamed(state: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Without prefixes that the network's own names have not, and without what belongs to no backbone."""
    state = {key: value for key, value in state.items() if not NOT_OF_THE_BODY.match(key)}
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state) and not state.keys() & wanted:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {OLD_DENSENET.sub(r"\1\2.", key): value for key, value in state.items()}
