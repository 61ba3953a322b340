"""Checkpoints: what was saved comes back, damage is named, a crash or a full disk costs no training."""

import hashlib
import io
import json
import math
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.training.checkpoints import Checkpoints
from tests.waiting import LONG


class Watched(Checkpoints):
    """Checkpoints that are always due (their clock stands still) and keep their warnings."""

    def __init__(self, folder: Path, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.warnings: list[str] = []
        super().__init__(folder, self.warnings.append, clock=clock)

    def save(self, *epochs: int) -> None:
        for epoch in epochs:
            self.save_if_due(epoch, lambda epoch=epoch: state(epoch))


def state(epoch: int, device: str = "cpu") -> dict[str, Any]:
    return {"device": device, "epoch": epoch, "weights": torch.full((5,), float(epoch))}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def file_of(payload: bytes) -> bytes:
    """A checkpoint file as the format says: a line with the payload's SHA-256, then the payload."""
    return b"semisup-checkpoint-3 " + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def same(one: Any, other: Any) -> bool:
    """Equal down to the types and to every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return (
            one.dtype == other.dtype and one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


# --- what comes back --------------------------------------------------------------------------------------------------


def test_a_state_comes_back_equal_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    rng.integers(0, 2, dtype=np.uint32)  # leaves half a draw in the generator
    saved = state(7) | {
        "tensors": [torch.rand(3, 2), torch.arange(4), torch.tensor([True]), torch.rand(2).double(), torch.empty(0)],
        "transposed": torch.rand(2, 3).t(),
        "generator": torch.Generator().manual_seed(1).get_state(),
        "numpy": rng.bit_generator.state,  # holds integers of 128 bits
        "values": (None, 1e-310, 0.1, -0.0, math.inf, math.nan, 2**200, "Zoë", True),
    }
    Watched(tmp_path).save_if_due(7, lambda: saved)
    assert same(Watched(tmp_path).latest("cpu"), saved)


def test_the_newest_epoch_comes_back_however_many_digits_it_has(tmp_path):
    Watched(tmp_path).save(99_999, 100_000)
    assert Watched(tmp_path).latest("cpu")["epoch"] == 100_000


@pytest.mark.parametrize("folder", ["empty", "not/there"])
def test_without_a_checkpoint_there_is_no_state_and_nothing_to_warn_of(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    checkpoints = Watched(tmp_path / folder)
    assert checkpoints.latest("cpu") is None
    assert checkpoints.warnings == []


def test_a_file_is_a_line_with_the_sha_256_of_what_follows_it(tmp_path):
    Watched(tmp_path).save(12)
    content = (tmp_path / "epoch-00012.ckpt").read_bytes()
    payload = content[content.index(b"\n") + 1 :]
    assert content == file_of(payload)
    assert same(torch.load(io.BytesIO(payload), weights_only=True), state(12))


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_newest_two_are_kept_and_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.ckpt").write_text("mine")
    Watched(tmp_path).save(*range(8, 13))
    assert names(tmp_path) == ["epoch-00011.ckpt", "epoch-00012.ckpt", "notes.ckpt"]


def test_temporary_files_of_a_crash_are_neither_read_nor_kept(tmp_path):
    Watched(tmp_path).save(3)
    (tmp_path / "epoch-00004.tmp").write_bytes(file_of(b"half of what was to be written"))
    again = Watched(tmp_path)
    assert again.latest("cpu")["epoch"] == 3
    assert again.warnings == []
    again.save(5)
    assert names(tmp_path) == ["epoch-00003.ckpt", "epoch-00005.ckpt"]


@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
def test_a_crash_in_the_middle_of_writing_leaves_the_one_before_and_no_half_file(moment, tmp_path, monkeypatch):
    checkpoints = Watched(tmp_path)
    checkpoints.save(1)

    def crash(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(moment, crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(2)
    assert names(tmp_path) == ["epoch-00001.ckpt"]
    assert Watched(tmp_path).latest("cpu")["epoch"] == 1


# --- damage -----------------------------------------------------------------------------------------------------------


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a flipped byte at the end": lambda content: content[:-1] + bytes([content[-1] ^ 255]),
    "a flipped byte in the checksum": lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "garbage": lambda content: b"\x80\x04garbage\n" * 50,
    "the header only": lambda content: content[: content.index(b"\n") + 1],
    "the header of nothing": lambda content: file_of(b""),
    "no checkpoint, but a right checksum": lambda content: file_of(b"garbage"),
    "a dict that is no state, but a right checksum": lambda content: file_of(saved({})),
    "not a dict, but a right checksum": lambda content: file_of(saved(torch.zeros(2))),
    "another version of the format": lambda content: content.replace(b"checkpoint-3", b"checkpoint-2"),
    "more than was written": lambda content: content + b"\0",
}


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_named_in_one_line_and_the_one_before_it_is_used(damage, tmp_path):
    Watched(tmp_path).save(8, 9)
    newest = tmp_path / "epoch-00009.ckpt"
    newest.write_bytes(damage(newest.read_bytes()))
    again = Watched(tmp_path)
    assert same(again.latest("cpu"), state(8))
    (warning,) = again.warnings
    assert str(newest) in warning
    assert "\n" not in warning


def test_with_both_damaged_there_is_no_state_and_each_is_named(tmp_path):
    Watched(tmp_path).save(8, 9)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    again = Watched(tmp_path)
    assert again.latest("cpu") is None
    assert ["epoch-00009" in again.warnings[0], "epoch-00008" in again.warnings[1], len(again.warnings)] == [
        True
    ] * 2 + [2]


def test_a_checkpoint_that_may_not_be_read_is_named_and_passed_over(tmp_path):
    Watched(tmp_path).save(8)
    (tmp_path / "epoch-00009.ckpt").mkdir()  # for root, every file may be read
    again = Watched(tmp_path)
    assert again.latest("cpu")["epoch"] == 8
    assert "epoch-00009" in again.warnings[0]


def test_a_damaged_checkpoint_takes_no_place_among_the_newest_two(tmp_path):
    Watched(tmp_path).save(8, 9)
    (tmp_path / "epoch-00009.ckpt").write_bytes(b"")
    again = Watched(tmp_path)
    again.latest("cpu")
    again.save(7 + 4)
    assert names(tmp_path) == ["epoch-00008.ckpt", "epoch-00011.ckpt"]


@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_no_flipped_bit_and_no_lost_end_goes_unnoticed(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "epoch-00001.ckpt"
        Watched(path.parent).save(1)
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[position:]
        path.write_bytes(content)
        assert Watched(path.parent).latest("cpu") is None


class Bomb:
    """Pickled, it is a call: whoever loads it without care makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.target,)


@pytest.mark.parametrize("make", [pickle.dumps, saved], ids=["a bare pickle", "torch's own format"])
def test_a_checkpoint_that_would_run_code_is_passed_over_although_its_checksum_is_right(make, tmp_path):
    target = tmp_path / "exploded"
    payload = make({"device": "cpu", "weights": Bomb(target)})
    (tmp_path / "epoch-00001.ckpt").write_bytes(file_of(payload))
    checkpoints = Watched(tmp_path)
    assert checkpoints.latest("cpu") is None
    assert len(checkpoints.warnings) == 1
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # with care thrown to the winds it does go off
    assert target.exists()


def test_a_checkpoint_of_another_type_of_device_is_passed_over_with_a_line_that_says_so(tmp_path):
    writer = Watched(tmp_path)
    writer.save(1)
    writer.save_if_due(2, lambda: state(2, "cuda"))
    on_cpu, on_gpu = Watched(tmp_path), Watched(tmp_path)
    assert on_cpu.latest("cpu")["epoch"] == 1
    assert on_gpu.latest("cuda")["epoch"] == 2
    assert on_gpu.warnings == []
    (warning,) = on_cpu.warnings
    assert "epoch-00002.ckpt was written on cuda, not cpu" in warning


# --- what it costs ----------------------------------------------------------------------------------------------------


class Clock:
    """Stands still unless it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(folder: Path, epochs: list[float], costs: list[float]) -> tuple[list[int], list[float]]:
    """(epochs after which a checkpoint was written, what each took), for epochs of these seconds."""
    clock = Clock()
    checkpoints, written, taken, costs = Watched(folder, clock), [], [], list(costs)

    def make_state() -> dict[str, Any]:
        written.append(epoch)
        taken.append(costs[len(taken) % len(costs)])
        clock.now += taken[-1]
        return state(epoch)

    for epoch, seconds in enumerate(epochs, start=1):
        clock.now += seconds
        checkpoints.save_if_due(epoch, make_state)
    return written, taken


def test_the_first_epoch_writes_and_then_only_one_that_ends_thirty_times_the_cost_later(tmp_path):
    # A write of 0.5 s is followed by 15 s without one, a write of 1 s by 30 s. Halves and sums of them are exact.
    assert run(tmp_path, [2.5] * 26, [0.5, 1.0])[0] == [1, 7, 19, 25]
    assert run(tmp_path, [0.25] * 9, [0.0])[0] == list(range(1, 10))
    assert run(tmp_path, [14.75, 15.0, 14.75, 0.25], [0.5])[0] == [1, 2, 4]


@given(
    epochs=st.lists(st.floats(0, 100), min_size=1, max_size=40),
    costs=st.lists(st.floats(0, 10), min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=30)
def test_all_writes_but_the_last_cost_at_most_a_thirtieth_of_the_time_trained(epochs, costs):
    with tempfile.TemporaryDirectory() as folder:
        written, taken = run(Path(folder), epochs, costs)
    assert written[0] == 1
    assert sum(taken[:-1]) <= sum(epochs) / 30 + 1e-6


FULL_DISK = """
import json, resource, sys
from pathlib import Path

import torch

from semisup.config import TrainConfig
from semisup.networks.models import build_model
from semisup.training.checkpoints import Checkpoints
from semisup.training.loop import Examples, train

torch.set_num_threads(1)
images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
data = Examples(images, torch.arange(8) % 2)

def weights(checkpoints, on_epoch):
    model = build_model("small_cnn", (1, 8, 8), 2, mean=[0.5], std=[0.5], width=0.5, dropout=0.3, seed=0)
    config = TrainConfig(epochs=4, batch_size=4)
    options = {"num_classes": 2, "steps_per_epoch": 2, "seed": 0, "checkpoints": checkpoints, "on_epoch": on_epoch}
    return train(model, config, data, data, **options).weights

def fill_the_disk(record):
    if record["epoch"] == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

folder, warnings = Path(sys.argv[1]), []
disturbed = weights(Checkpoints(folder, warnings.append, clock=lambda: 0.0), fill_the_disk)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
undisturbed = weights(None, lambda record: None)
same = all(torch.equal(disturbed[name], undisturbed[name]) for name in undisturbed)
print(json.dumps({"warnings": warnings, "same": same}))
"""


def test_a_disk_without_space_costs_one_warning_and_no_training(tmp_path):
    """The operating system itself refuses to write more than 1,000 bytes, from the second epoch on."""
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=LONG).stdout)
    (warning,) = told["warnings"]
    assert str(tmp_path) in warning
    assert "File too large" in warning
    assert "\n" not in warning
    assert told["same"]
    assert names(tmp_path) == ["epoch-00001.ckpt"]
    assert Watched(tmp_path).latest("cpu")["epoch"] == 1


def test_an_error_that_is_no_want_of_space_is_not_hidden(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        Watched(tmp_path / "file").save(1)
