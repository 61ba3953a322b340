"""The state folder: what is ours goes when its time has come, and nothing else ever does."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.robustness.damage import foreign_layouts
from flows.start.workplace import checkpoint_folder, scratch_folder, sweep
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.system.own_files import MARK, SECONDS_UNTIL_OLD, mark

YEARS = time.time() + 10 * 365 * 86_400


@pytest.fixture(scope="module")
def dead() -> str:
    """How a process of this machine that has ended is named."""
    code = "from semisup.system.own_files import owner; print(owner())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def config(state: Path | str = ".semisup") -> PipelineConfig:
    return PipelineConfig.model_validate({"runtime": {"state": str(state)}})


def test_scratch_folders_go_with_their_block_and_those_of_dead_processes_are_swept(tmp_path, monkeypatch, dead):
    monkeypatch.chdir(tmp_path)
    with scratch_folder(config()) as mine:
        left = mine.with_name(f"{dead}-abcdefgh")
        other = mine.with_name(f"0123456789ab-{dead.partition('-')[2]}-abcdefgh")
        for folder in (left, other):
            mark(folder)
        (mine / "half.txt").write_text("half", encoding="utf-8")
        unmarked = mine.with_name(f"{dead}-ijklmnop")  # killed before it was marked
        unmarked.mkdir()
        (unmarked / f".{MARK}.semisup-{dead}.new").touch()
        sweep(config())
        assert mine.is_dir()
        assert not left.exists()
        assert not unmarked.exists()
        assert other.is_dir()  # of another machine that shares the folder
        sweep(config(), now=YEARS)
        assert not other.exists()
    assert not mine.exists()


def test_checkpoints_that_nobody_has_touched_for_a_month_are_swept_and_younger_ones_stay(tmp_path):
    with scratch_folder(config(tmp_path / "state")):
        old, young = (tmp_path / "state" / "checkpoints" / f"0123abcd-{digit * 16}" for digit in "01")
        for folder, age in ((old, SECONDS_UNTIL_OLD + 60), (young, 60)):
            mark(folder)
            (folder / "cpu").mkdir()
            (folder / "cpu" / "epoch-00001.ckpt").write_bytes(b"semisup-checkpoint-3 ")
            for path in [folder, *folder.rglob("*")]:
                os.utime(path, (time.time() - age,) * 2)
        sweep(config(tmp_path / "state"))
    assert not old.exists()
    assert young.exists()


def test_in_folders_full_of_foreign_files_none_is_ever_touched(tmp_path, dead):
    figures = foreign_layouts(tmp_path, 25, seed=1, owner=dead, now=time.time())
    assert figures["layouts"] == 25
    assert not figures["problems"]


def test_state_goes_into_a_subfolder_of_a_folder_that_holds_anything_else(tmp_path):
    (tmp_path / "checkpoints" / "resnet").mkdir(parents=True)
    with scratch_folder(config(tmp_path)) as scratch:
        assert scratch.parent == tmp_path / ".semisup" / "scratch"
    (tmp_path / "other" / ".semisup").mkdir(parents=True)
    (tmp_path / "other" / ".semisup" / "notes.txt").touch()
    with (
        pytest.raises(UserError, match=r"runtime\.state=.*its \.semisup holds"),
        scratch_folder(config(tmp_path / "other")),
    ):
        pass


def test_a_state_folder_that_an_earlier_version_left_empty_goes_on_to_be_used(tmp_path):
    for name in ("checkpoints", "scratch"):
        (tmp_path / "state" / name).mkdir(parents=True)
    with scratch_folder(config(tmp_path / "state")) as scratch:
        assert scratch.parent == tmp_path / "state" / "scratch"


def test_a_linked_state_folder_is_used_by_every_run_and_swept(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".semisup").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "work")
    for named in (config(), config(), config("."), config(".")):
        with scratch_folder(named) as scratch:
            assert scratch.parent == tmp_path / "disk" / "scratch"
            folder = checkpoint_folder(named, f"sqlite:///{tmp_path}/work/mlflow.db", "f" * 64)
            assert folder.parent == tmp_path / "disk" / "checkpoints"
        mark(folder)
        sweep(named, now=YEARS)
        assert not folder.exists()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match=r"runtime\.state=.*loop' cannot be used"), scratch_folder(config("../loop")):
        pass


def test_where_no_space_is_left_for_the_state_folder_the_way_out_is_to_free_some(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (0, limits[1])
    )  # as on a full disk: folders can be made, files not filled
    try:
        with pytest.raises(UserError, match=r"^runtime\.state=.*; free some space$"), scratch_folder(config(tmp_path)):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_checkpoints_are_found_again_where_store_and_state_are_moved_together(tmp_path, monkeypatch):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        folder = checkpoint_folder(config(), f"sqlite:///{tmp_path / name}/mlflow.db", "f" * 64)
        found.append(folder.relative_to(tmp_path / name))
    assert found[0] == found[1]
    shared = {checkpoint_folder(config(tmp_path), f"sqlite:///{tmp_path / name}/mlflow.db", "f" * 64) for name in "ab"}
    assert len(shared) == 2
