"""Features on disk: computed once, gone on from after a crash, never half-used, within the cache's limit."""

import hashlib
import os
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from semisup.data.own_images.decoded.cache import ABANDONED_AFTER, FEATURES, Cache, builders_lock
from semisup.data.own_images.decoded.feature_cache import BLOCK, Kept, kept_features
from semisup.errors import UserError

COUNT, WIDTH = 3 * BLOCK + 7, 5
FILE = Kept((COUNT, WIDTH)).file
TRUTH = torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(0))


class Network:
    """Says what it was asked for, and perhaps dies at the n-th block."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.asked: list[slice] = []
        self.dies_at = dies_at

    def __call__(self, rows: slice) -> Tensor:
        if len(self.asked) == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append(rows)
        return TRUTH[rows]


def named(key: str) -> str:
    """As keys are named: 32 hexadecimal digits."""
    return hashlib.md5(key.encode()).hexdigest()


def kept(folder: Path, network: Network, key: str = "key", limit: int = 10**9) -> Tensor:
    return kept_features(Cache(folder, limit), named(key), Kept((COUNT, WIDTH)), network)


def test_features_are_computed_once_in_blocks_and_are_the_same_bits_ever_after(tmp_path):
    network = Network()
    assert torch.equal(kept(tmp_path, network), TRUTH)
    assert [rows.start for rows in network.asked] == [0, BLOCK, 2 * BLOCK, 3 * BLOCK]
    again = Network()
    found = kept(tmp_path, again)
    assert torch.equal(found, TRUTH)
    assert torch.equal(found[torch.tensor([COUNT - 1, 0])], TRUTH[[COUNT - 1, 0]])
    assert not again.asked


def test_what_a_killed_process_had_computed_is_gone_on_from_but_for_its_last_block(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, Network(dies_at=3))
    half = tmp_path / FEATURES / f"building-{named('key')}" / FILE
    half.write_bytes(half.read_bytes() + b"torn")
    rest = Network()
    assert torch.equal(kept(tmp_path, rest), TRUTH)
    assert [rows.start for rows in rest.asked] == [2 * BLOCK, 3 * BLOCK]


def test_a_truncated_file_is_computed_anew(tmp_path):
    kept(tmp_path, Network())
    file = tmp_path / FEATURES / named("key") / FILE
    file.write_bytes(file.read_bytes()[:-4])
    again = Network()
    assert torch.equal(kept(tmp_path, again), TRUTH)
    assert len(again.asked) == 4


def test_features_make_room_for_others_unless_they_are_in_use(tmp_path):
    size = 4 * COUNT * WIDTH
    used = kept(tmp_path, Network(), "used")
    kept(tmp_path, Network(), "unused")
    kept(tmp_path, Network(), "new", limit=2 * size + 1000)
    assert {path.name for path in (tmp_path / FEATURES).iterdir() if path.is_dir()} == {named("used"), named("new")}
    assert torch.equal(used, TRUTH)


def test_more_features_than_the_cache_may_hold_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.cache_limit=.*features"):
        kept(tmp_path, Network(), limit=100)


def killed(folder: Path, key: str) -> Path:
    """What a process leaves that dies at its third block."""
    with pytest.raises(KeyboardInterrupt):
        kept(folder, Network(dies_at=2), key)
    return folder / FEATURES / f"building-{named(key)}"


def last_written(folder: Path, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def test_what_was_begun_makes_room_like_the_rest_unless_somebody_builds_it(tmp_path):
    size = 4 * COUNT * WIDTH
    abandoned, alive = killed(tmp_path, "abandoned"), killed(tmp_path, "alive")
    with FileLock(builders_lock(alive)):
        kept(tmp_path, Network(), "new", limit=size + 1000)
        assert (abandoned.exists(), alive.exists()) == (False, True)
    kept(tmp_path, Network(), "newer", limit=size + 1000)
    assert not alive.exists()


def test_the_room_that_is_taken_by_what_is_gone_on_with_is_not_asked_for_twice(tmp_path):
    size = 4 * COUNT * WIDTH
    kept(tmp_path, Network(), "other")
    killed(tmp_path, "key")
    kept(tmp_path, Network(), "key", limit=2 * size + 1000)
    assert (tmp_path / FEATURES / named("other")).exists()


def test_what_nobody_has_gone_on_with_for_a_week_is_deleted_where_there_is_room(tmp_path):
    old, young, alive = (killed(tmp_path, key) for key in ("old", "young", "alive"))
    for folder, age in ((old, ABANDONED_AFTER + 60), (young, ABANDONED_AFTER - 3600), (alive, 2 * ABANDONED_AFTER)):
        last_written(folder, age)
    with FileLock(builders_lock(alive)):
        Cache(tmp_path, 10**9).make_room(0)
    assert [folder.exists() for folder in (old, young, alive)] == [False, True, True]
    whole = kept(tmp_path, Network(), "whole")
    last_written(tmp_path / FEATURES / named("whole"), 2 * ABANDONED_AFTER)
    Cache(tmp_path, 10**9).make_room(0)
    assert torch.equal(kept(tmp_path, Network(dies_at=0), "whole"), whole)  # it is finished: age alone is no reason
