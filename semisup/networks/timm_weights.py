"""Weights of timm's networks: where they are, in whose layout they were saved, and what they want to see."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from semisup.errors import UserError
from semisup.networks.timm_backbones import HUB, TIMM, pretrained_tags

FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names under which repositories of the hub keep weights."""


def described_weights(name: str, weights: str | None = None) -> Any:
    """timm's description of a network's weights: of those with the tag `weights`, else of those that the name means."""
    import timm

    tagged = f"{name.removeprefix(TIMM).partition('.')[0]}.{weights}"
    return pretrained_tags(name).get(tagged) or timm.get_pretrained_cfg(name.removeprefix(TIMM))


def timm_normalization(
    name: str, weights: str | None = None, *, download: bool = False
) -> tuple[Sequence[float], Sequence[float]]:
    """(mean, standard deviation) of three channels on the 0..1 scale, as timm says that the weights want them.

    Raises:
        UserError: what a repository says of its weights cannot be fetched.
    """
    from timm.data import resolve_data_config

    if weights is not None and weights.startswith(HUB):
        content = json.loads(hub_file(weights, ("config.json",), download=download).read_text(encoding="utf-8"))
        described = content.get("pretrained_cfg", content)
    else:
        found = described_weights(name, weights)
        described = found.to_dict() if found else {}
    wanted = resolve_data_config({}, pretrained_cfg=described)
    return tuple(wanted["mean"]), tuple(wanted["std"])


def doubtful_normalization(name: str, weights: str) -> str | None:
    """A warning where timm's weights of a network want different pixels, and a file does not say which they are."""
    bare_name = name.removeprefix(TIMM)
    tags = pretrained_tags(name)
    if "." in bare_name or weights == "DEFAULT" or weights.startswith(HUB) or f"{bare_name}.{weights}" in tags:
        return None
    wanted = {(tuple(described.mean), tuple(described.std)) for described in tags.values()}
    if len(wanted) <= 1:
        return None
    mean = ", ".join(f"{value:.3g}" for value in timm_normalization(name)[0])
    return (
        f"model.weights={weights!r}: weights of {name} want pixels normalised in {len(wanted)} ways, and those of "
        f"{described_weights(name).tag} (mean {mean}) are taken; if they are others, name their tag, {name}.TAG"
    )


def hub_file(weights: str, names: Sequence[str] = FILES, *, download: bool) -> Path:
    """The first of these files of a repository hf-hub:OWNER/NAME[@REVISION] that is on this machine, or is fetched.

    Raises:
        UserError: there is none, and none may or can be fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = weights.removeprefix(HUB).partition("@")
    for local in (True, False) if download else (True,):
        for name in names:
            try:
                with _quiet():
                    found = hf_hub_download(repository, name, revision=revision or None, local_files_only=local)
            except HFValidationError:
                raise UserError(f"model.weights={weights!r} names no repository; use {HUB}OWNER/NAME") from None
            except (EntryNotFoundError, HfHubHTTPError, OSError) as error:
                missing = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
                if not local and not missing:
                    raise _unfetched(weights, error) from error
            else:
                return Path(found)
    if download:
        raise UserError(f"model.weights={weights!r} holds none of {', '.join(names)}; name a file")
    raise UserError(
        f"model.weights={weights!r} is not on this machine; set model.download: true to fetch it, or name a file"
    )


def _unfetched(weights: str, error: Exception) -> UserError:
    from huggingface_hub import constants

    words = " ".join(str(error.__cause__ or error).split()).partition(" (Request ID")[0][:160]
    return UserError(
        f"model.download=true, but {weights} cannot be fetched from {constants.ENDPOINT}: {words}; name a file"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The hub's client tells each of its attempts on the screen; what came of them is enough."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def heads_of(backbone: nn.Module) -> tuple[str, ...]:
    """Names of all layers that give logits, where timm says so: some networks have a second one."""
    described = getattr(backbone, "pretrained_cfg", None) or {}
    named = described.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def under_timms_names(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """A state dict as the authors of a network published it, as timm's network has it; one of timm's as it is.

    timm keeps what does this beside each family of networks.

    Raises:
        ValueError: timm cannot make sense of it.
    """
    converts = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if converts is None:
        return dict(state)
    try:
        return dict(converts(dict(state), backbone))
    except Exception as error:  # it takes for granted that the file is of this family
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}") from error
