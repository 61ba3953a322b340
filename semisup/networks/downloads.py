"""Weights that others publish: where torch and the Hugging Face hub keep them here, and how they come there."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from semisup.errors import UserError, in_one_line

HUB = "hf-hub:"
FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names under which repositories of the hub keep weights."""


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


def in_torchs_cache(url: str, weights: str, download: bool) -> Path:
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


def _fetch(url: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    promised = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        # It writes aside, checks the hash that the name promises, and only then gives the file its name.
        torch.hub.download_url_to_file(url, str(file), promised and promised[1], progress=False)
    except (OSError, RuntimeError) as error:
        words = in_one_line(error)
        raise UserError(f"model.download=true, but {url} cannot be fetched: {words}; name a file") from error
