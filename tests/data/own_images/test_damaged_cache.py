"""Damage in the cache is recognized by checksums, said in one line and made good."""

import random
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.robustness.damage import KINDS, Cached
from semisup.config import DataConfig
from semisup.data.own_images import forget, own_images
from semisup.data.own_images.decoded import building, checksums
from semisup.data.own_images.decoded.checksums import await_verified, remember_verified
from semisup.errors import UserError


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    return Cached(tmp_path_factory.mktemp("damaged"))


def opened(cached):
    forget()
    config = DataConfig(name="folder", root=cached.folder / "photos", size=(8, 8), cache=cached.folder / "cache")
    return own_images(config)


def put_back(cached):
    shutil.rmtree(cached.folder / "cache", ignore_errors=True)
    shutil.copytree(cached.folder / "whole", cached.folder / "cache")


@pytest.mark.parametrize("cut", [False, True], ids=["changed", "cut"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_of_the_cache_is_named_and_what_is_used_is_as_it_was(kind, cut, cached):
    what, problem = cached.damaged(kind, random.Random(f"{kind} {cut}"), cut=cut)
    assert not problem, what


def test_of_a_damaged_pack_only_damaged_images_are_decoded_anew(cached, monkeypatch):
    put_back(cached)
    (pool,) = (cached.folder / "cache").rglob("pool.u8")
    content = np.fromfile(pool, dtype=np.uint8).reshape(-1, 8 * 8 * 3)
    content[:40] = 255 - content[:40]  # as many pictures as a person may invert
    content.tofile(pool)
    decoded, decode = [], building.decode
    monkeypatch.setattr(building, "decode", lambda content, target: decoded.append(1) or decode(content, target))
    own = opened(cached)
    assert torch.equal(own.pool.images, cached.expected[0])
    assert len(decoded) == 40
    assert [line for line in own.repaired if "pool.u8 is damaged" in line and "decoded anew" in line] == [*own.repaired]


def test_what_a_disk_changes_by_itself_is_found_before_a_result_is_kept(cached, monkeypatch):
    monkeypatch.setattr(checksums, "AT_ONCE", 0)  # as if it were large
    put_back(cached)
    opened(cached)
    own = opened(cached)
    await_verified()
    (pool,) = (cached.folder / "cache").rglob("pool.u8")
    with pool.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3\4")
    pack = own.pack
    table = pd.read_parquet(next(pack.folder.glob("files-*.parquet")))
    remember_verified(pack.folder, type(pack)(pack.folder, table, pack.target).blocks())  # the times tell nothing
    assert not opened(cached).repaired
    with pytest.raises(UserError, match=r"pool\.u8 is damaged at 96[0-9] .* run again"):
        await_verified()
    assert opened(cached).repaired
    await_verified()
    assert torch.equal(opened(cached).pool.images, cached.expected[0])


def test_a_disk_that_fails_while_a_thread_reads_is_told_before_a_result_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "AT_ONCE", -1)
    file = tmp_path / "pool.u8"
    file.symlink_to("/proc/self/mem")  # whose beginning nobody can read
    unreadable = [checksums.Blocks(file, 1, 1, np.zeros(1, np.uint32))]
    (tmp_path / "verified").mkdir()  # cannot be unlinked, as on a disk that has become read-only
    checksums._Watch(tmp_path, unreadable)
    with pytest.raises(UserError, match=r"data\.cache: .* cannot be read \(Input/output error\); name another folder"):
        await_verified()
    await_verified()


def test_a_linked_cache_folder_is_used_by_every_run(tmp_path, cached):
    for name in ("disk", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    (tmp_path / "photos" / "semisup-cache").symlink_to(tmp_path / "disk")
    (tmp_path / "photos" / "a.jpg").touch()
    for named in ("cache", "cache", "photos"):
        forget()
        keys = {"name": "folder", "root": cached.folder / "photos", "cache": tmp_path / named}
        assert own_images(DataConfig(**keys, size=(8, 8))).pack.folder.is_relative_to(tmp_path / "disk")
    assert not (tmp_path / "disk" / "semisup-cache").exists()


def test_a_pack_that_was_found_whole_is_not_gone_through_again_before_it_is_used(cached, monkeypatch):
    put_back(cached)
    opened(cached)
    monkeypatch.setattr(checksums, "AT_ONCE", 0)
    monkeypatch.setattr(checksums, "_Watch", lambda folder, files: None)
    monkeypatch.setattr(checksums, "_go_through", None)
    assert not opened(cached).repaired


def test_a_cache_of_an_earlier_version_is_decoded_anew_with_a_line_and_leaves_when_room_is_wanted(tmp_path, cached):
    put_back(cached)
    source = opened(cached).pack
    old = tmp_path / "cache" / "0123456789abcdef" / ("0" * 32)
    old.mkdir(parents=True)
    for name in ("pool.u8", "test.u8", "lock"):
        shutil.copy(source.folder / name, old)
    table = pd.read_parquet(next(source.folder.glob("files-*.parquet")))
    table.drop(columns=["checksum", "low", "high", "flat"]).to_parquet(old / "files.parquet", index=False)
    keys = {"name": "folder", "root": cached.folder / "photos", "cache": tmp_path / "cache"}
    forget()
    (line,) = own_images(DataConfig(**keys, size=(8, 8))).repaired
    assert "earlier version" in line
    assert old.exists()
    forget()
    assert not own_images(DataConfig(**keys, size=(9, 9), cache_limit="200 kB")).repaired
    assert not old.exists()
