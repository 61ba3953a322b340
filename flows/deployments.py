"""What `semisup serve` offers: the pipeline, each of its stages and the reaper, ready to be started by Prefect."""

import asyncio
import re
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import schedules
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, DeploymentStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Interval, Schedule
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, PREFECT_RUNNER_POLL_FREQUENCY, PREFECT_UI_URL
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.annotations import freeze
from pydantic import ValidationError

from flows.pipeline.ensemble import ensemble
from flows.pipeline.flow import pipeline
from flows.pipeline.reaper import reaper
from flows.pipeline.stage_flow import stage
from flows.start.server import answers
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.pipeline.plan import plan
from semisup.tracking.places.redaction import without_logins

CRON_FIELDS = 5
EVERY_HOUR = ["*"] * 4
"""All fields but that of the minutes."""
REAPER_EVERY = timedelta(minutes=10)
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A run that is due while one of the same deployment is under way is canceled, and says so. It would train the same
twice, and a schedule that is faster than its runs would pile them up."""
WHEN_DUE = 0.0
"""Seconds before its time at which a run is fetched. With Prefect's own ten it would be decided that much too early
whether it overlaps: a run whose predecessor has ended when it is due would be canceled."""


class StoppableRunner(Runner):
    """Prefect's runner, for which Ctrl-C and SIGTERM mean the same: end the flow runs in order, pause the schedules.

    Of its own accord it would leave at once, kill its flow runs, and nobody would say in MLflow that they have ended.
    """

    stopped_by: int | None = None
    _stopping: "asyncio.Task[None] | None" = None

    def handle_sigterm(self, number: int, *_: Any) -> None:
        """Begin to stop; a second signal is in earnest."""
        if self._loop is None or self.stopped_by is not None:
            raise KeyboardInterrupt
        self.stopped_by = number
        self._loop.call_soon_threadsafe(self._stop_soon)

    def _stop_soon(self) -> None:
        assert self._loop is not None
        self._stopping = self._loop.create_task(self.astop())


def cron_schedule(cron: str, timezone: str) -> CronSchedule:
    """The schedule of a cron expression of five fields, or `@daily` and its likes, known to come up.

    One of every hour is kept in UTC where that means the same: Prefect leaves out the hour that clocks repeat.

    Raises:
        UserError: the expression or the time zone is not valid, or no day is like that.
    """
    way_out = "write minute, hour, day, month, weekday, such as '0 3 * * *', or @hourly, @daily, @weekly, @monthly"
    fields = cron.split()
    if len(fields) > CRON_FIELDS:  # a sixth one would be seconds, and a seventh years, to Prefect alone
        raise UserError(f"--cron {cron!r} has {len(fields)} fields, not {CRON_FIELDS}; {way_out}")
    try:
        schedule = CronSchedule(cron=" ".join(fields), timezone=timezone)
    except ValidationError as error:
        if error.errors()[0]["loc"] == ("cron",):
            raise UserError(f"--cron {cron!r} is not a cron expression; {way_out}") from None
        raise UserError(
            f"--timezone {timezone!r} is not a time zone; write an IANA name such as UTC or Europe/Berlin"
        ) from None
    if (fields == ["@hourly"] or fields[1:] == EVERY_HOUR) and _by_whole_hours(timezone):
        schedule = CronSchedule(cron=" ".join(fields), timezone="UTC")
    if not next_times(schedule):
        raise UserError(f"--cron {cron!r} never comes up: there is no such day; mend its day or month")
    return schedule


def _by_whole_hours(timezone: str) -> bool:
    """Is the zone ahead of UTC, or behind it, by whole hours in all months of this year and the next?"""
    year = datetime.now(UTC).year
    months = [datetime(year + number // 12, number % 12 + 1, 1, tzinfo=ZoneInfo(timezone)) for number in range(24)]
    return all(not (month.utcoffset() or timedelta()) % timedelta(hours=1) for month in months)


def checked_name(name: str | None) -> str | None:
    """The name of the deployments, if one is given.

    Raises:
        UserError: it holds a sign that would part it.
    """
    if name is not None and not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"--name {name!r} may hold letters, digits, '.', '_' and '-' only")
    return name


def next_times(schedule: CronSchedule, count: int = 3) -> list[datetime]:
    """The next times at which a schedule starts a run."""
    try:
        return list(asyncio.run(schedule.get_dates(count)))
    except ValueError:  # croniter's, after it has looked through fifty years
        return []


def deployments(
    config: PipelineConfig, name: str, schedule: CronSchedule | None, overrides: list[str] | None = None
) -> list[RunnerDeployment]:
    """The pipeline, on a schedule if there is one; every stage of this config; and the reaper, every ten minutes.

    A teacher that is an ensemble is also offered on its own, to be held against the baseline. `overrides` are those of
    the command line, which names of runs tell.
    """
    values = config.model_dump(mode="json")
    told = {"overrides": overrides} if overrides else {}
    cron = Cron(schedule.cron, timezone=schedule.timezone) if schedule else None
    stages = [(step.name, {"name": freeze(step.name), "config": values} | told) for step in plan(config)]
    alone = [ensemble] if config.pseudo_label.teacher == "ensemble" else []
    return [
        _deployment(pipeline, name, {"config": values} | told, cron, ONE_AT_A_TIME),
        *(_deployment(flow, name, {"config": values} | told, limit=ONE_AT_A_TIME) for flow in alone),
        *(_deployment(stage, f"{name}-{step}", parameters) for step, parameters in stages),
        _deployment(reaper, name, {"config": values}, Interval(REAPER_EVERY), ONE_AT_A_TIME),
    ]


def description(served: Sequence[RunnerDeployment], schedule: CronSchedule | None) -> list[str]:
    """What is served, where, and when it runs next; lines for people."""
    lines = [f"Prefect: {PREFECT_UI_URL.value()}/deployments, where each of these can be started by hand:"]
    for deployment in served:
        lines.append(f"  {deployment.full_name:<32} {_when(deployment)}".rstrip())
    if schedule is None:
        return [*lines, "No schedule: --cron '0 3 * * *' would run the pipeline every night. Ctrl-C ends it."]
    times = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in next_times(schedule))
    return [*lines, f"Next runs ({schedule.timezone}): {times}. Ctrl-C pauses the schedule and ends it."]


def _when(deployment: RunnerDeployment) -> str:
    match [entry.schedule for entry in deployment.schedules or []]:
        case [schedules.CronSchedule() as schedule]:
            return f"{schedule.cron} ({schedule.timezone})"
        case [schedules.IntervalSchedule() as schedule]:
            return f"every {schedule.interval.total_seconds() / 60:.0f} minutes"
        case _:
            return ""


def check_unserved(served: Sequence[RunnerDeployment]) -> None:
    """Make sure that no other process serves one of these; where one may have been killed, wait until that is certain.

    Whoever of two ends first would pause the schedules of both, and the other one would wait for runs without a word.

    Raises:
        UserError: another process goes on asking Prefect's server for runs of one.
    """
    asked = {name: found.last_polled for name in _names(served) if (found := _found(name)) and _seems_served(found)}
    # Two rounds of polling, and what the server takes to write down that it was asked.
    until = time.monotonic() + 2 * PREFECT_RUNNER_POLL_FREQUENCY.value() + 5
    while asked and time.monotonic() < until:
        for name, before in asked.items():
            if (found := _found(name)) and found.last_polled != before:
                raise UserError(
                    f"{name} is served by another process on this Prefect server, and whichever ends first would pause "
                    "the schedule of both; end that one, or serve under another name with --name"
                )
        time.sleep(1)


def _names(served: Sequence[RunnerDeployment]) -> list[str]:
    return [deployment.full_name for deployment in served]


def _found(name: str) -> DeploymentResponse | None:
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None


def _seems_served(deployment: DeploymentResponse) -> bool:
    """Whoever ends in order pauses all that it served. The workers of a pool give theirs away without harm."""
    return deployment.status is DeploymentStatus.READY and not deployment.paused and not deployment.work_pool_name


def register(served: Sequence[RunnerDeployment]) -> StoppableRunner:
    """Make the deployments known to Prefect's server; what will run them.

    Raises:
        UserError: the server refuses one.
    """
    runner = StoppableRunner(name="semisup", prefetch_seconds=WHEN_DUE)
    try:
        for deployment in served:
            runner.add_deployment(deployment)
    except DeploymentApplyError as error:
        raise UserError(f"Prefect's server refuses a deployment: {error}") from error
    return runner


def run_until_stopped(runner: StoppableRunner) -> int:
    """Run what Prefect starts, each run in a process of its own, until a signal comes; the signal's number.

    Raises:
        UserError: Prefect's server has stopped answering.
    """
    signal.signal(signal.SIGINT, runner.handle_sigterm)
    try:
        asyncio.run(runner.start())
    except Exception:
        url = PREFECT_API_URL.value() or ""
        if answers(url):
            raise
        shown = without_logins(url)
        raise UserError(f"Prefect's server at {shown} does not answer any more; start it, and serve again") from None
    assert runner.stopped_by is not None
    return runner.stopped_by


def apply(
    config: PipelineConfig, name: str, schedule: CronSchedule | None, pool: str, overrides: list[str] | None = None
) -> list[str]:
    """Register the deployments with Prefect's server for the workers of a pool; their full names.

    Raises:
        UserError: there is no such pool, or the server refuses one.
    """
    made = deployments(config, name, schedule, overrides)
    try:
        with get_client(sync_client=True) as client:
            if client.read_work_pool(pool).type == "process":
                # The worker's own folder. Otherwise its runs stand in a copy of it, made anew and deleted with each.
                for deployment in made:
                    deployment.job_variables = {"working_dir": "."}
        for deployment in made:
            deployment.apply(work_pool_name=pool)
    except ObjectNotFound:
        raise UserError(f"--pool {pool!r} does not exist; `prefect work-pool ls` lists those that do") from None
    except DeploymentApplyError as error:
        raise UserError(f"Prefect's server refuses a deployment: {error}") from error
    return [deployment.full_name for deployment in made]


def _deployment(
    flow: Flow[..., Any],
    name: str,
    parameters: dict[str, Any],
    schedule: Schedule | None = None,
    limit: ConcurrencyLimitConfig | None = None,
) -> RunnerDeployment:
    deployment = flow.to_deployment(
        name=name,
        parameters=parameters,
        schedules=[schedule] if schedule else [],  # an empty list takes an earlier one away
        concurrency_limit=limit,
        paused=False,  # an earlier server paused it when it ended
        tags=["semisup"],
        entrypoint_type=EntrypointType.MODULE_PATH,  # the package is installed; a file would be copied for every run
    )
    assert isinstance(deployment, RunnerDeployment)
    # Said explicitly, for only then an earlier `prefect deploy` of the same name loses its hold on the runs.
    deployment.work_pool_name = deployment.work_queue_name = None
    return deployment
