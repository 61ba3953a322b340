"""Prefect's folder, looked at before Prefect is imported: a wrong one would be a traceback."""

import os
from pathlib import Path

from semisup.errors import UserError


def check_prefect_home(home: Path) -> None:
    """Make sure that Prefect can write into its folder, which is made where it is not there.

    Raises:
        UserError: it cannot.
    """
    reason = ""
    try:
        home = home.expanduser()
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = str(error.strerror)
    except RuntimeError:
        reason = "there is no such user"
    if not reason and not os.access(home, os.W_OK | os.X_OK):
        reason = "no permission to write there"
    if reason:
        raise UserError(f"PREFECT_HOME={str(home)!r} cannot be used ({reason}); name another folder")
