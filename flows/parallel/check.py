"""Is a Dask cluster there? Asked before anything runs, also where Dask is not installed."""

from flows.parallel.cluster import Cluster
from semisup.errors import UserError


def check(cluster: Cluster) -> None:
    """Make sure that it can be used.

    Raises:
        UserError: it does not answer or has no workers, or what talks to it is not installed.
    """
    try:
        from flows.parallel import dask
    except ModuleNotFoundError as error:
        raise UserError(
            f"{cluster.named} needs packages that are not installed ({error}); "
            "pip install --constraint constraints.txt '.[dask]', or leave it out"
        ) from None
    dask.check(cluster)
