"""The quick version of `benchmarks.robustness.faults configs`: absurd configs are refused in one line, or run."""

from pathlib import Path

import pytest

from benchmarks.robustness.random_configs import BASE, Worker, draw, draw_images, leaves, try_all
from semisup.config import PipelineConfig, describe_keys
from semisup.config.files import validate


def test_every_key_of_the_schema_can_be_drawn():
    schema = PipelineConfig.model_json_schema()
    drawn = {key for key, _ in leaves(schema, schema)}
    assert {key for key, _, _ in describe_keys()} <= drawn


def test_a_config_follows_from_the_seed_and_its_number():
    assert draw(0, 7) == draw(0, 7)
    assert len({str(draw(0, number)) for number in range(50)}) > 40


@pytest.mark.slow
def test_random_configs_end_in_no_traceback_no_hang_and_no_signal():
    figures = try_all(12, seed=1, workers=1)
    assert figures["configs"] == 12
    assert figures["problems"] == []


@pytest.mark.slow
def test_a_worker_that_is_lost_is_told_and_the_next_config_has_a_new_one(tmp_path: Path):
    draw_images(tmp_path / "images", 0)
    worker = Worker(tmp_path)
    try:
        assert worker.ask({}).end == "ran"
        assert worker.process is not None
        worker.process.kill()
        assert worker.ask({}).end == "died"
        assert worker.ask({"seed": -1}).end == "refused"
    finally:
        worker.close()
    assert validate(BASE, source="test").name == "absurd"
