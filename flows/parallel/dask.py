"""Tasks on a Dask cluster by Prefect's `DaskTaskRunner`, each in a process of its own there.

The process is the worker's child: Dask cannot end a thread that computes, and a worker may have several of them. It
ends when Dask gives its task up, which it does when this process is gone.
"""

import multiprocessing
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import distributed
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect_dask.task_runners import DaskTaskRunner

from flows.parallel.cluster import Cluster
from flows.parallel.processes import SECONDS_TO_END, Call, Hear, ProcessKilledError, Result, run_in_processes
from semisup.errors import UserError
from semisup.tracking.places.store import store_uri, without_secrets

SECONDS_TO_ANSWER = 5
RUNNING = (distributed.Status.running, distributed.Status.paused)
NOT_UNDERSTOOD = "Error during deserialization of the task graph"
"""How Dask's own message begins."""


def check(cluster: Cluster) -> None:
    """Make sure that a scheduler answers and has workers.

    Raises:
        UserError: it does not, or has none.
    """
    if cluster.address.startswith("tls:") and not distributed.Security().get_connection_args("client")["ssl_context"]:
        raise UserError(
            f"{cluster.named} needs certificates; name them in Dask's configuration (distributed.comm.tls.ca-file and "
            "client.cert, or DASK_DISTRIBUTED__COMM__TLS__CA_FILE and …__CLIENT__CERT)"
        )
    try:
        with distributed.Client(cluster.address, timeout=SECONDS_TO_ANSWER, set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{cluster.named} cannot be used ({_first_line(error)}); start `dask scheduler` there, or leave it out: "
            f"{cluster.what}s are then done in processes of this machine"
        ) from None
    if not workers:
        raise UserError(f"{cluster.named} has no workers; start some: dask worker {cluster.address} --no-nanny")


def run_on_dask(
    calls: Sequence[Call[Result]],
    cluster: Cluster,
    hear: Hear,
    *,
    ended: Callable[[int, Any], None] = lambda *_: None,
    seconds_to_end: float = SECONDS_TO_END,
) -> list[Result]:
    """The results of the tasks, in their order. The first failure, or the end of this process, ends the others.

    `ended` is told of each result as soon as it is there, with its place. A task that is ended has so many seconds for
    it.

    Raises:
        UserError: the cluster cannot be used, or was lost; or whatever a task raises.
    """
    check(cluster)
    topic = f"semisup-{uuid.uuid4()}"
    place: dict[str, Any] = {"folder": str(Path.cwd()), "store": without_secrets(store_uri(Path.cwd())), "topic": topic}
    place |= {"seconds_to_end": seconds_to_end}
    with DaskTaskRunner(address=cluster.address, client_kwargs={"timeout": SECONDS_TO_ANSWER}) as runner:
        runner.client.subscribe_topic(topic, lambda event: hear(*event[1]))
        futures = [runner.submit(_elsewhere(call), {"call": call, **place}) for call in calls]
        place_of = {future.wrapped_future.key: number for number, future in enumerate(futures)}
        try:
            for done in distributed.as_completed(
                [future.wrapped_future for future in futures], loop=runner.client.loop
            ):
                number = place_of[done.key]
                ended(number, futures[number].result())
        except (distributed.KilledWorker, CancelledError) as error:
            raise UserError(
                f"{cluster.named}: a {cluster.what} was lost with the workers that had it ({_first_line(error)}); see "
                "to them and run again: training goes on from its checkpoint"
            ) from None
        except RuntimeError as error:
            if NOT_UNDERSTOOD not in str(error):
                raise
            raise UserError(
                f"{cluster.named} does not understand the {cluster.what}s' tasks; install the same semisup, Python "
                "and packages for its scheduler and workers as here (constraints.txt)"
            ) from None
        return [future.result() for future in futures]


def _elsewhere(call: Call[Any]) -> Any:
    return elsewhere.with_options(name=f"{call[0].name} on Dask")


# --- on a worker ------------------------------------------------------------------------------------------------------


@task(cache_policy=NO_CACHE, persist_result=False)
def elsewhere(*, call: Call[Any], folder: str, store: str, topic: str, seconds_to_end: float) -> Any:
    """Run a task in a child of this worker.

    Raises:
        UserError: the worker cannot do that, or sees another folder or store than who asks; or whatever it raises.
    """
    worker = distributed.get_worker()
    _check_place(worker.address, folder, store)
    wanted = partial(_is_wanted, worker, worker.get_current_task())
    try:
        tell = partial(_tell, worker, topic)
        return run_in_processes([call], 1, tell, folder=Path(folder), wanted=wanted, seconds_to_end=seconds_to_end)[0]
    except ProcessKilledError:
        raise UserError(
            f"worker {worker.address}: the process of a task was killed, perhaps for want of memory; start the "
            "worker with fewer threads, one for each task at a time, and run again"
        ) from None


def _check_place(worker: str, folder: str, store: str) -> None:
    if multiprocessing.current_process().daemon:
        raise UserError(
            f"worker {worker} may begin no processes; start it with --no-nanny, or with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment"
        )
    if not Path(folder).is_dir():
        raise UserError(f"worker {worker} sees no folder {folder!r}; work in a folder that all workers share")
    theirs = without_secrets(store_uri(Path(folder)))
    if theirs != store:
        raise UserError(
            f"worker {worker} keeps its runs in {theirs!r}, this run is in {store!r}; start all workers with the same "
            "MLFLOW_TRACKING_URI"
        )


def _is_wanted(worker: distributed.Worker, key: Any) -> bool:
    """Does somebody still wait for a task, and does the worker go on?"""
    state = worker.state.tasks.get(key)
    return worker.status in RUNNING and state is not None and state.state != "cancelled"


def _tell(worker: distributed.Worker, topic: str, *said: Any) -> None:
    worker.log_event(topic, said)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
