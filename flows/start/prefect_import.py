"""Prefect reads its settings when it is imported: a wrong one would be a traceback, or some lines of warning."""

import os
from pathlib import Path

from pydantic import ValidationError

from flows.start.prefect_home import check_prefect_home
from semisup.errors import UserError
from semisup.system.memory import uncollected


def import_prefect() -> None:
    """Import Prefect, by way of `flows.start.server`.

    Raises:
        UserError: Prefect refuses a setting, or cannot use its folder.
    """
    if not os.environ.get("PREFECT_API_URL"):  # else it can do without, as in a container that is read-only
        check_prefect_home(Path(os.environ.get("PREFECT_HOME") or "~/.prefect"))
    try:
        with uncollected():
            import prefect.context  # noqa: F401 -- here the settings are read

            import flows.start.server  # noqa: F401
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise UserError(
            f"Prefect refuses a setting of its own, PREFECT_…{name}={first['input']!r}: {first['msg']}; mend it in the "
            "environment, prefect.toml or Prefect's profile"
        ) from None
