"""What the tests of `semisup review` share."""

from pathlib import Path
from typing import Any

import pytest

from semisup.config.files import to_yaml


@pytest.fixture
def own_config(rerunnable: Path, finished_run: Any) -> Path:
    """The config of the finished run, as a file beside its store."""
    file = rerunnable / "mine.yaml"
    file.write_text(to_yaml(finished_run.config), encoding="utf-8")
    return file
