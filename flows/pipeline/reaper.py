"""What killed processes left RUNNING, in MLflow and in Prefect, is closed by whoever comes next."""

import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.logging import get_run_logger
from prefect.states import Crashed

from flows.start.launch import MARK, MARKED
from flows.start.workplace import sweep
from semisup.config import PipelineConfig
from semisup.pipeline.specs import AnyConfig
from semisup.system.processes import HEARTBEAT, is_gone, machine, process_tags
from semisup.tracking.places.stored import StoredRun
from semisup.tracking.tracker import Tracker

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


def reap_at_start(tracker: Tracker, config: AnyConfig, logger: Logger) -> None:
    """As :func:`close_what_was_lost`; that it fails is told and no reason to end a pipeline that can run."""
    try:
        close_what_was_lost(tracker, config, logger)
    except Exception as error:
        logger.warning("what earlier processes left RUNNING was not closed: %s", error)


def close_what_was_lost(tracker: Tracker, config: AnyConfig, logger: Logger) -> tuple[list[StoredRun], list[str]]:
    """End all runs whose process is gone; the MLflow runs and the names of the Prefect flow runs that were closed."""
    lost = tracker.close_lost()
    for run in lost:
        logger.info("closed MLflow run %s (%s): its process is gone", run.id, run.tags.get("step", "pipeline"))
    sweep(config)
    return lost, close_lost_flow_runs(tracker, logger)


def close_lost_flow_runs(tracker: Tracker, logger: Logger) -> list[str]:
    """Set flow runs to Crashed whose process is gone; their names.

    The system knows of this machine's processes. Of another machine's, or of this one's before it was booted, the
    MLflow run of the flow tells, which has a heartbeat and is closed before this is asked.
    """
    closed = []
    with get_client(sync_client=True) as client:
        for run in _unfinished(client):
            marks = dict(mark.split("=", 1) for mark in run.tags if mark.partition("=")[0] in MARKED)
            gone = _gone_from_here(marks) if marks.get("machine") == machine() else _closed_in_mlflow(tracker, run)
            # Looked at again: it may have reached its end before its process went.
            if gone and client.read_flow_run(run.id).state_type in UNFINISHED:
                client.set_flow_run_state(run.id, Crashed(message="the process ended without a word"), force=True)
                logger.info("closed Prefect flow run %s: its process is gone", run.name)
                closed.append(run.name)
    return closed


def _closed_in_mlflow(tracker: Tracker, run: FlowRun) -> bool:
    found = tracker.search(f"tags.`prefect.flow_run_id` = '{run.id}'", limit=1)
    return bool(found) and found[0].status == "KILLED" and run.state_type == StateType.RUNNING


def _unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[MARK]), state=states))


def _gone_from_here(marks: dict[str, str]) -> bool:
    return is_gone(marks | {HEARTBEAT: process_tags()[HEARTBEAT]})
