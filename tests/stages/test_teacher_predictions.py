"""The pass over unlabeled images in shards, against one table in memory."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semisup.config import PipelineConfig
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.pseudo_labels.table import build_table
from semisup.stages import pseudo_label
from semisup.stages.support.teacher_predictions import Shards, TeacherPredictions
from tests.conftest import TINY

SIZE = 100
KEYS: dict[str, dict[str, Any]] = {
    "threshold": {},
    "a share of each class": {"threshold": 0.0, "top_share": 0.4},
    "a share of each round": {"threshold": 0.0, "share_per_round": 0.3},
    "aligned": {"distribution_alignment": True},
}


class CutError(Exception):
    """Ends a pass where a crash would."""


def label(config: PipelineConfig, folders: dict[str, Path], out: Path, checkpoints: Path | None = None, **more: Path):
    """Run the stage; its pseudo-label table."""
    out.mkdir(parents=True)
    inputs = {"split": folders["split"], "teacher": folders["baseline"], "baseline": folders["baseline"]} | more
    load_stage("pseudo_label", checkpoints)(config, inputs, out, Silence())
    return pd.read_parquet(out / "pseudo_labels.parquet")


@pytest.fixture
def small_shards(monkeypatch):
    """Eleven shards, the last of which is smaller."""
    monkeypatch.setattr(pseudo_label, "Shards", partial(Shards, size=SIZE))


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_streamed_table_is_the_one_of_all_images_at_once(keys, stage_folders, tmp_path, monkeypatch, small_shards):
    config = PipelineConfig.model_validate(TINY | {"pseudo_label": TINY["pseudo_label"] | keys})
    tables: list[pd.DataFrame] = []

    def at_once(predictions: TeacherPredictions, ids, indices, *, selection, teacher, previous, **more):
        shards = list(predictions)
        assert len(shards) > 5
        whole = np.concatenate([shard.probabilities for shard in shards])
        raw = np.concatenate([shard.raw_confidence for shard in shards])
        tables.append(
            build_table(
                ids, indices, whole, selection=selection, teacher=teacher, previous=previous, raw_confidence=raw
            )
        )
        return parts(predictions, ids, indices, selection=selection, teacher=teacher, previous=previous, **more)

    parts = pseudo_label.table_parts
    monkeypatch.setattr(pseudo_label, "table_parts", at_once)
    first = label(config, stage_folders, tmp_path / "first")
    assert pq.ParquetFile(tmp_path / "first" / "pseudo_labels.parquet").num_row_groups == -(-len(first) // SIZE)
    second = label(config, stage_folders, tmp_path / "second", previous=tmp_path / "first")
    assert set(second["round"]) == {2}
    for streamed, whole in zip((first, second), tables, strict=True):
        pd.testing.assert_frame_equal(streamed, whole)
        assert 0 < streamed["accepted"].sum() < len(streamed)


def test_the_size_of_a_shard_changes_no_more_than_floating_point_does(stage_folders, tmp_path, small_shards):
    ours = label(PipelineConfig.model_validate(TINY), stage_folders, tmp_path / "out")
    theirs = pd.read_parquet(stage_folders["pseudo_label"] / "pseudo_labels.parquet")
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_pass_that_was_cut_off_asks_again_only_for_what_is_missing_or_damaged(tmp_path):
    asked: list[int] = []

    def compute(number: int, rows: slice, cut_at: int = 99):
        if number == cut_at:
            raise CutError
        asked.append(number)
        return {"log_probabilities": torch.arange(rows.start, rows.stop).float()[:, None]}

    shards = Shards(tmp_path, 10, 3)
    with pytest.raises(CutError):
        shards.fill(partial(compute, cut_at=2))
    assert asked == [0, 1]
    damaged = tmp_path / "shard-00001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    said: list[tuple[int, int]] = []
    shards.fill(compute, lambda done, total: said.append((done, total)))
    assert asked == [0, 1, 1, 2, 3]
    assert said == [(3, 10), (6, 10), (9, 10), (10, 10)]
    whole = np.concatenate([shards.read(number)["log_probabilities"] for number in range(4)])
    assert whole[:, 0].tolist() == list(range(10))


class Member:
    """One of several processes, as a pass sees them."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def summed(self, value: float) -> float:
        return value


@given(count=st.integers(1, 40), processes=st.integers(1, 5))
def test_processes_share_the_shards_and_another_number_of_them_finds_all_of_them_done(count, processes):
    with TemporaryDirectory() as folder:
        shards, asked = Shards(Path(folder), count, 3), []

        def compute(number: int, rows: slice):
            asked.append(number)
            return {"log_probabilities": torch.arange(rows.start, rows.stop).float()[:, None]}

        for rank in range(processes):
            shards.fill(compute, group=Member(rank, processes))
        assert sorted(asked) == list(range(-(-count // 3)))
        shards.fill(compute, group=Member(0, 1))
        assert len(asked) == -(-count // 3)
        whole = np.concatenate([shards.read(number)["log_probabilities"] for number in range(len(asked))])
        assert whole[:, 0].tolist() == list(range(count))


def test_the_stage_goes_on_where_it_was_cut_off_and_leaves_the_same_bytes(
    stage_folders, tmp_path, monkeypatch, small_shards
):
    config, passes = PipelineConfig.model_validate(TINY), []

    def counted(model, images, *arguments, **options):
        passes.append(len(images))
        if len(passes) == cut_at:
            raise CutError
        return predict_views(model, images, *arguments, **options)

    predict_views = pseudo_label.ask.__globals__["predict_views"]
    monkeypatch.setitem(pseudo_label.ask.__globals__, "predict_views", counted)
    cut_at = 4
    with pytest.raises(CutError):
        label(config, stage_folders, tmp_path / "cut", tmp_path / "checkpoints")
    cut_at = 99
    passes.clear()
    label(config, stage_folders, tmp_path / "resumed", tmp_path / "checkpoints")
    resumed = sum(passes)
    passes.clear()
    label(config, stage_folders, tmp_path / "undisturbed")
    assert resumed == sum(passes) - 3 * SIZE
    for file in (tmp_path / "undisturbed").iterdir():
        assert file.read_bytes() == (tmp_path / "resumed" / file.name).read_bytes(), file.name


def test_alignment_takes_its_mean_over_all_shards(tmp_path):
    table = torch.rand(10, 3, generator=torch.Generator().manual_seed(0)).log_softmax(dim=1)
    shards = Shards(tmp_path, 10, 4)
    shards.fill(lambda number, rows: {"log_probabilities": table[rows]})
    shares = torch.tensor([0.5, 0.3, 0.2])
    aligned = np.concatenate([shard.probabilities for shard in TeacherPredictions.of(shards, 1.0, shares)])
    scaled = table.exp() * (shares / table.exp().mean(dim=0))
    np.testing.assert_allclose(aligned, (scaled / scaled.sum(dim=1, keepdim=True)).numpy(), rtol=1e-4)
