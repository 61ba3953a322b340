"""Which earlier split a pipeline goes on from."""

from pathlib import Path

import pytest

from flows.pipeline.promotion import references, split_before
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.pipeline.plan import plan
from semisup.stages.preflight.check import DataDigests
from semisup.tracking.tracker import Tracker

CONFIG = PipelineConfig.model_validate({"name": "photos", "seed": 3, "data": {"name": "folder"}})


def leave(
    tracker: Tracker, tmp_path: Path, dataset: str | None, *, name="photos", seed=3, complete=True, text="roles"
) -> str:
    """A run of stage `split`, its id; without a dataset it lacks the tag."""
    out = tmp_path / f"{dataset}-{text}"
    out.mkdir(exist_ok=True)
    (out / "split.parquet").write_text(text)
    tags = {"stage": "split", "config": name, "seed": str(seed)} | ({"dataset": dataset} if dataset else {})
    with tracker.run("split", tags) as run:
        run.set_tags({"output_digest": run.log_outputs(out)} | ({"complete": "true"} if complete else {}))
    return run.id


def found(tracker: Tracker, dataset: str) -> str | None:
    reference = split_before(tracker, CONFIG, DataDigests(dataset, "test"))
    return reference.run_id if reference else None


def test_it_is_the_newest_one_of_this_name_and_seed_of_another_state_of_the_data(store, tmp_path):
    tracker = Tracker.open("semisup", store)
    assert found(tracker, "one") is None
    one = leave(tracker, tmp_path, "one")
    assert found(tracker, "one") is None  # the same command again asks for the same fingerprint
    assert found(tracker, "two") == one
    two = leave(tracker, tmp_path, "two")
    assert (found(tracker, "two"), found(tracker, "three")) == (one, two)
    leave(tracker, tmp_path, "other", name="another")
    leave(tracker, tmp_path, "other", seed=4)
    leave(tracker, tmp_path, "other", complete=False)
    assert (found(tracker, "two"), found(tracker, "three")) == (one, two)


def test_a_run_that_does_not_say_of_which_data_it_is_counts_as_one_of_other_data(store, tmp_path):
    tracker = Tracker.open("semisup", store)
    untold = leave(tracker, tmp_path, None)
    leave(tracker, tmp_path, "one")
    assert found(tracker, "one") == untold


def test_only_the_split_of_ones_own_images_reads_it(store, tmp_path):
    tracker = Tracker.open("semisup", store)
    one, digests = leave(tracker, tmp_path, "one"), DataDigests("two", "test")
    (reference,) = references(tracker, CONFIG, plan(CONFIG)[0], {}, digests=digests, reigning=None).values()
    assert reference.run_id == one
    digits = CONFIG.model_copy(update={"data": PipelineConfig().data})
    assert references(tracker, digits, plan(digits)[0], {}, digests=digests, reigning=None) == {}


def test_a_damaged_one_is_not_passed_over(store, tmp_path):
    tracker = Tracker.open("semisup", store)
    leave(tracker, tmp_path, "zero")
    one = leave(tracker, tmp_path, "one")
    (tracker.artifacts(one, tmp_path) / "split.parquet").write_text("others")
    with pytest.raises(UserError, match=r"damaged \(split.parquet was changed\)"):
        found(tracker, "two")
    tracker.client.delete_run(one)
    assert found(tracker, "two") is not None
