"""What killed processes left RUNNING, in MLflow and in Prefect, is closed by whoever comes next."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.workplace import sweep
from semisup.config import PipelineConfig
from semisup.processes import is_gone, process_tags
from semisup.tracking.stored import StoredRun
from semisup.tracking.tracker import Tracker

MARK = "semisup"
"""Tag of our flow runs in Prefect; beside it stands the process, as "name=value" tags."""
UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
Logger = logging.Logger | logging.LoggerAdapter[Any]


@flow(name="semisup-reaper", flow_run_name="reaper-{config.name}")
def reaper(config: PipelineConfig) -> dict[str, int]:
    """Close what killed processes left RUNNING in MLflow and in Prefect; how many of each.

    Args:
        config: Only its store and its state folder matter.
    """
    tracker = Tracker.open(config.tracking.experiment, Path.cwd())
    mlflow_runs, flow_runs = close_what_was_lost(tracker, config, get_run_logger())
    return {"mlflow_runs": len(mlflow_runs), "prefect_runs": len(flow_runs)}


def close_what_was_lost(tracker: Tracker, config: PipelineConfig, logger: Logger) -> tuple[list[StoredRun], list[str]]:
    """End all runs whose process is gone; the MLflow runs and the names of the Prefect flow runs that were closed."""
    lost = tracker.lost()
    for run in lost:
        tracker.close_lost(run)
        logger.info("closed MLflow run %s (%s): its process is gone", run.id, run.tags.get("step", "pipeline"))
    sweep(config)
    return lost, close_lost_flow_runs(logger)


def marked() -> AbstractContextManager[set[str]]:
    """Flow runs that begin within the block say from their first moment on which process they live in."""
    return tags(MARK, *_process_marks())


def mark_flow_run() -> None:
    """Write into Prefect which process this flow run lives in: one that was made elsewhere does not say so yet."""
    if flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        present = set(client.read_flow_run(UUID(flow_run.id)).tags)
        wanted = {MARK, *_process_marks()}
        if not wanted <= present:
            client.update_flow_run(UUID(flow_run.id), tags=sorted(present | wanted))


def close_lost_flow_runs(logger: Logger) -> list[str]:
    """Set flow runs to Crashed whose process was on this machine and is gone; their names.

    One on another machine is left to that machine: Prefect has no heartbeat of ours to judge it by.
    """
    closed = []
    with get_client(sync_client=True) as client:
        for run in _unfinished(client):
            marks = dict(mark.split("=", 1) for mark in run.tags if "=" in mark)
            if _gone_from_here(marks):
                client.set_flow_run_state(run.id, Crashed(message="the process ended without a word"), force=True)
                logger.info("closed Prefect flow run %s: its process is gone", run.name)
                closed.append(run.name)
    return closed


def _unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[MARK]), state=states))


def _process_marks() -> list[str]:
    here = process_tags()
    return [f"{name}={here[name]}" for name in ("host", "machine", "pid", "pid.started")]


def _gone_from_here(marks: dict[str, str]) -> bool:
    here = process_tags()
    return marks.get("machine") == here["machine"] and is_gone(marks | {"heartbeat": here["heartbeat"]})
