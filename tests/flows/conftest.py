"""What test files of whole commands share."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def in_its_folder(finished: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the test file's own `finished` ran once, as the working folder."""
    monkeypatch.chdir(finished[0])
    return finished[0]
