"""What Prefect's log is told of a long way: under a worker nobody sees a bar."""

from typing import Any

import pytest

from flows.pipeline.recorder import Tenths


class Said(list[str]):
    """A logger that keeps its lines."""

    def info(self, line: str, *values: Any) -> None:
        self.append(line % values)


def test_a_line_for_each_tenth_of_the_way_and_again_when_something_else_begins():
    said = Said()
    tell = Tenths(said)
    for note in ("images read", "features of images"):
        for done in range(1, 1001):
            tell(done, 1000, note)
    assert said == [f"{100 * n}/1000 {note}" for note in ("images read", "features of images") for n in range(1, 11)]


def test_a_flow_tells_its_log_how_far_the_decoding_is(tmp_path, monkeypatch):
    from flows.pipeline import flow as pipeline
    from semisup.config import PipelineConfig
    from semisup.data.sources import folder

    def decode(data, say):
        say(50, 100, "images read, 50 of them decoded")
        raise InterruptedError

    said = Said()
    monkeypatch.setattr(folder, "own_images", decode)
    monkeypatch.setattr(pipeline, "get_run_logger", lambda: said)
    config = PipelineConfig.model_validate({"data": {"name": "folder", "root": tmp_path}})
    with pytest.raises(InterruptedError):
        pipeline.checked_config(config)
    assert said == ["50/100 images read, 50 of them decoded"]
