"""The runs of a benchmark on a Dask cluster: each is a `semisup run` that a worker begins."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.parallel.cluster import Cluster
from flows.parallel.dask import run_on_dask
from flows.seeds.plan import Job
from flows.seeds.runs import SECONDS_TO_END, run_jobs
from semisup.data.published.files import ROOT_VARIABLE


def run_jobs_on_dask(
    jobs: Sequence[Job],
    cluster: Cluster,
    environment: Mapping[str, str],
    ended: Callable[[Job, dict[str, Any]], None],
) -> None:
    """As :func:`flows.seeds.runs.run_jobs`; the cluster knows itself for how many at a time it has room.

    Raises:
        UserError: a run failed (the message names it), or the cluster cannot be used or was lost.
    """
    told = dict(environment)
    if root := os.environ.get(ROOT_VARIABLE):
        told[ROOT_VARIABLE] = root
    calls = [(seed_run.with_options(name=job.words), {"job": job, "environment": told}) for job in jobs]
    run_on_dask(
        calls,
        cluster,
        lambda *_: None,  # a run says nothing but its result
        ended=lambda number, result: ended(jobs[number], result),
        seconds_to_end=SECONDS_TO_END + 10,  # its own `semisup run` has fewer
    )


# --- in a process of a worker -----------------------------------------------------------------------------------------


@task(cache_policy=NO_CACHE, persist_result=False)
def seed_run(job: Job, environment: Mapping[str, str]) -> dict[str, Any]:
    """What `semisup run` prints. Whoever ends this process ends that one in order.

    Raises:
        UserError: it failed.
    """
    results: list[dict[str, Any]] = []
    advice = "start the worker with fewer threads, one for each run at a time, and run again"
    run_jobs([job], 1, environment, lambda _, result: results.append(result), if_killed=advice)
    return results[0]
