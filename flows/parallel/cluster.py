"""A Dask cluster as the user named it: what can be known of it without Dask's packages."""

from dataclasses import dataclass
from typing import Literal

from semisup.config.sections.runtime import dask_address
from semisup.errors import UserError


@dataclass(frozen=True)
class Cluster:
    """Where tasks run that are not to run on this machine."""

    address: str
    """Of the scheduler."""
    named: str
    """Key or option with its value, for messages."""
    what: Literal["member", "run"]
    """What a task is to people."""

    @classmethod
    def of_option(cls, address: str) -> "Cluster":
        """The one that `semisup benchmark --dask` names.

        Raises:
            UserError: it is no address.
        """
        try:
            return cls(dask_address(address), f"--dask {address}", "run")
        except ValueError as error:
            raise UserError(f"--dask {error}") from None
