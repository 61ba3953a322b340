"""Who made a run, with which version, from which commit."""

import getpass
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

from semisup import __version__


@lru_cache
def provenance() -> dict[str, str]:
    """Tags that say who made a run, with which version and from which commit; asked of git once a process."""
    tags = {
        "semisup.version": __version__,
        "mlflow.user": _user(),
        "mlflow.source.name": "semisup",
        "mlflow.source.type": "LOCAL",
        "python": platform.python_version(),
    }
    # The repository around an installed package is somebody else's: the file itself must be in it.
    if _git("ls-files", "--error-unmatch", __file__) and (commit := _git("rev-parse", "HEAD")):
        tags |= {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()}
    return tags


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())


def _git(*arguments: str) -> str:
    """Answer of git about the checkout that this code runs from, or "" where there is none."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
