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
from semisup.networks.families import family
from semisup.networks.family import Normalization, UnknownNetworkError
from semisup.networks.heads import head_name, heads_of
from semisup.networks.models import unknown_model

WRAPPERS = ("state_dict_ema", "model_ema", "model", "state_dict", "model_state_dict")
"""Keys under which training scripts keep a state dict among other things; averaged weights are the better ones."""
PREFIXES = ("module.", "backbone.")
"""What DistributedDataParallel and this project put before a backbone's names."""
NOT_OF_THE_BODY = re.compile(r"(AuxLogits|aux1|aux2|preprocess)\.")
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")

BETWEEN_DIGESTS = "+"
"""Of the files of several networks side by side."""
_expected: dict[Path, str] = {}
"""Weights that a run has been promised to begin with: file → SHA-256."""


def find_weights(weights: str | None, model_name: str, *, download: bool) -> Path:
    """The file that `model.weights` means: itself, or its family's weights of that name.

    None: the one that is installed with the network.

    Raises:
        UserError: there is no such file or no such network, or the file cannot be fetched.
    """
    if weights is None:
        return family(model_name).installed_weights(model_name)
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    try:
        return family(model_name).find(model_name, weights, download)
    except UnknownNetworkError:
        raise unknown_model(model_name) from None


def expect_weights(files: Sequence[Path]) -> str:
    """:func:`weights_digest` of the files; from now on this process refuses to read other weights from there."""
    digest = weights_digest(files)
    promise_weights(files, digest)
    return digest


def promise_weights(files: Sequence[Path], digest: str) -> None:
    """From now on this process reads no other weights from the files than those of this digest."""
    for file, of_file in zip(files, digest.split(BETWEEN_DIGESTS), strict=True):
        _expected[file.resolve()] = of_file


def promised_weights(files: Sequence[Path]) -> str:
    """The digest that this process expects of the files; "" where it expects none."""
    expected = [_expected.get(file.resolve(), "") for file in files]
    return BETWEEN_DIGESTS.join(expected) if all(expected) else ""


def own_normalization(file: Path) -> tuple[Sequence[float], Sequence[float]] | None:
    """(mean, standard deviation) of each channel, where the file is of one of this project's runs, which keep them."""
    state = _read(file)
    figures = [state.get(f"preprocess.{name}") for name in ("mean", "std")]
    if figures[0] is None or figures[1] is None:
        return None
    mean, std = ([float(value) for value in figure.flatten()] for figure in figures if figure is not None)
    return mean, std


def weights_digest(files: Sequence[Path]) -> str:
    """SHA-256 of each file in hex, with BETWEEN_DIGESTS between them."""
    digests = []
    for file in files:
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return BETWEEN_DIGESTS.join(digests)


def begin_with(backbone: nn.Module, file: Path, model_name: str) -> None:
    """Give the backbone the weights in a file, all but those of its last layer, which stay as they are.

    The file holds a state dict of the same network with any number of classes, as torch or safetensors saves it;
    nothing in it is run. Of EfficientNet-Lite it may be under the names of the weights' own network.

    Raises:
        UserError: it cannot be read, has changed since :func:`expect_weights`, or belongs to another network.
    """
    unfit = f"model.weights={str(file)!r} does not fit model.name={model_name!r}"
    way_out = "name weights of this network, or the network of these weights"
    try:
        state = family(model_name).adapt(_renamed(_read(file), set(backbone.state_dict())), backbone)
    except ValueError as error:
        raise UserError(f"{unfit}: it cannot be converted ({error}); {way_out}") from None
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


def imagenet_normalization(model_name: str, weights: str | None = None, *, download: bool = False) -> Normalization:
    """(mean, standard deviation) of three channels on the 0..1 scale, as pretrained weights of a network want it.

    Raises:
        UserError: there is no such network, or what is said of its weights cannot be fetched.
    """
    try:
        return family(model_name).normalization(model_name, weights, download)
    except UnknownNetworkError:
        raise unknown_model(model_name) from None


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
