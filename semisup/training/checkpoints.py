"""Checkpoints that survive a crash at any moment, tell when they are damaged, and cost little."""

import hashlib
import io
import math
import os
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from semisup.errors import NO_SPACE

KEPT = 2
"""The newest one, and one before it should the newest be damaged."""
COST_FACTOR = 30
"""Training takes at least this many times as long as the writing: 1/30 is some 3 %."""
MAGIC = "semisup-checkpoint-3"
"""Stands before the checksum. Another layout of the state gets another number: no version misreads another's."""
ZIP = b"PK"
"""How torch.save's files begin. Anything else torch.load takes for a bare pickle."""


class Checkpoints:
    """The checkpoints of one training, in a folder of their own: `epoch-00012.ckpt`, the newest two of them.

    A file is a header line, "semisup-checkpoint-3 <SHA-256 of the payload>", and the payload: torch.save's zip of
    plain values and tensors, which is read back without running anything. It gets its name only when it is complete
    and on the disk. The folder belongs to one training (the same model, config, data and seed) and to one process at
    a time: its owner makes sure of both. `warn` gets one line for whatever is amiss; `clock` tells seconds.
    """

    def __init__(
        self, folder: Path, warn: Callable[[str], None], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.folder, self.warn, self.clock = folder, warn, clock
        self._due_at = -math.inf
        self._ours: list[Path] = []  # read or written by this object: whatever else lies there can go

    def save_if_due(self, epoch: int, make_state: Callable[[], dict[str, Any]]) -> None:
        """Write the state after `epoch`, unless writing would cost more than about 3 % of the training time.

        The first call writes; a later one once 30 times the seconds have passed that the last write took. Only then
        is `make_state` called; its dict says under "device" what kind of device the training runs on. A full disk (or
        quota) is a warning, and nothing more is written.
        """
        started = self.clock()
        if started < self._due_at:
            return
        path = self.folder / f"epoch-{epoch:05d}.ckpt"
        try:
            self._write(path, make_state())
            self._ours = [*(earlier for earlier in self._ours if earlier != path), path][-KEPT:]
            self._remove_all_but(self._ours)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self.warn(
                f"no checkpoint could be written to {self.folder} ({error.strerror}); training goes on without, "
                "free some space before the next run"
            )
            self._due_at = math.inf
            return
        ended = self.clock()
        self._due_at = ended + COST_FACTOR * (ended - started)

    def latest(self, device: str) -> dict[str, Any] | None:
        """The newest undamaged state of a training on this type of device ("cpu", "cuda"), its tensors on the CPU.

        None if there is none. Every newer file that is of no use is named in a warning: on another type of device the
        generators draw other numbers, so that its state cannot be continued.
        """
        for path in sorted(self._files(), key=_epoch, reverse=True):
            state = _read(path)
            if state is None:
                self.warn(f"checkpoint {path} is damaged or unreadable and is passed over")
            elif state["device"] != device:
                self.warn(f"checkpoint {path} was written on {state['device']}, not {device}, and is passed over")
            else:
                self._ours = [path]
                return state
        return None

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(_header(buffer.getbuffer()))
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(self.folder)

    def _files(self) -> list[Path]:
        return _named(self.folder, ".ckpt")

    def _remove_all_but(self, kept: list[Path]) -> None:
        for path in [*self._files(), *_named(self.folder, ".tmp")]:
            if path not in kept:
                path.unlink(missing_ok=True)


def _named(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.glob(f"epoch-*{suffix}") if re.fullmatch(r"epoch-\d{5,}", path.stem)]


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def _header(payload: memoryview) -> bytes:
    return f"{MAGIC} {hashlib.sha256(payload).hexdigest()}\n".encode()


def _read(path: Path) -> dict[str, Any] | None:
    """The state in a file, None if it is not what was once written there."""
    try:
        content = memoryview(path.read_bytes())
        payload = content[len(_header(memoryview(b""))) :]  # every header has the same length
        if content[: len(content) - len(payload)] != _header(payload) or payload[: len(ZIP)] != ZIP:
            return None
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and "device" in state else None


def _sync(folder: Path) -> None:
    """Bring a new name in the folder to the disk: the file's own sync does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
