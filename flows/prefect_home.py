"""Prefect's settings, looked at when it is imported: a wrong one would be a traceback, or some lines of warning."""

import os
from pathlib import Path

from pydantic import ValidationError

from semisup.errors import UserError
from semisup.memory import uncollected


def import_prefect() -> None:
    """Import Prefect, by way of `flows.server`.

    Raises:
        UserError: Prefect refuses a setting, or cannot use its folder.
    """
    if not os.environ.get("PREFECT_API_URL"):  # else it can do without, as in a container that is read-only
        check_prefect_home(Path(os.environ.get("PREFECT_HOME") or "~/.prefect"))
    try:
        with uncollected():
            import prefect.context  # noqa: F401 -- here the settings are read

            import flows.server  # noqa: F401
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise UserError(
            f"Prefect refuses a setting of its own, PREFECT_…{name}={first['input']!r}: {first['msg']}; mend it in the "
            "environment, prefect.toml or Prefect's profile"
        ) from None


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
