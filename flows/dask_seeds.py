"""The runs of a benchmark on a Dask cluster: each is a `semisup run` that a worker begins."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import display
from flows.benchmark_plan import Job
from flows.cluster import Cluster
from flows.dask_tasks import run_on_dask
from flows.seed_runs import run_jobs


def run_jobs_on_dask(
    jobs: Sequence[Job],
    cluster: Cluster,
    environment: Mapping[str, str],
    ended: Callable[[Job, dict[str, Any]], None],
) -> None:
    """As :func:`flows.seed_runs.run_jobs`; the cluster knows itself for how many at a time it has room.

    Raises:
        UserError: a run failed (the message names it), or the cluster cannot be used or was lost.
    """
    calls = [(seed_run.with_options(name=job.words), {"job": job, "environment": environment}) for job in jobs]
    run_on_dask(calls, cluster, _hear, lambda number, result: ended(jobs[number], result))


def _hear(stage: str, kind: str, *said: Any) -> None:
    """Runs print nothing but their result; a warning of a worker's process is passed on."""
    if kind == "line":
        text, warning = said
        display.current().line(f"{stage}: {text}" if stage else text, warning=warning)


# --- in a process of a worker -----------------------------------------------------------------------------------------


@task(cache_policy=NO_CACHE, persist_result=False)
def seed_run(job: Job, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `semisup run` prints. Whoever ends this process ends that one in order.

    Raises:
        UserError: it failed.
    """
    results: list[dict[str, Any]] = []
    run_jobs([job], 1, environment, lambda _, result: results.append(result))
    return results[0]
