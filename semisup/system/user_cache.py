"""Where a user's cache is."""

import os
import re
from pathlib import Path

EMPTY_TABLES = re.compile(r"mlflow-[\w.+]+\.db")
"""Names of MLflow's empty tables, one for each of its versions, with which the user's next store begins."""


def user_cache() -> Path:
    """`semisup` in XDG_CACHE_HOME, or in ~/.cache; perhaps it does not exist yet.

    Raises:
        RuntimeError: neither is set, and the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semisup"
