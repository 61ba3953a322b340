"""Where a user's cache is."""

import os
from pathlib import Path


def user_cache() -> Path:
    """`semisup` in XDG_CACHE_HOME, or in ~/.cache; perhaps it does not exist yet.

    Raises:
        RuntimeError: neither is set, and the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "semisup"
