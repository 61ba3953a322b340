"""Deployments: what people are offered, what is tried again, and that Prefect's own scheduler starts pipelines."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import psutil
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.orchestration import get_client as get_prefect_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Pending, Scheduled

import flows.pipeline.flow
from flows.deployments import cron_schedule, deployments, description, next_times
from flows.pipeline.flow import pipeline
from flows.pipeline.stage_flow import stage
from flows.pipeline.steps import Wanted
from flows.start.launch import SECOND_START, start_once_more
from flows.start.server import answers, check_port
from semisup.config import PipelineConfig
from semisup.config.files import load_config, to_yaml, validate
from semisup.errors import StoreUnavailableError, UserError
from semisup.tracking.places.tag_names import told_names
from semisup.tracking.tracker import Tracker
from tests.flows.pipeline.test_growing_pipeline import Drawer, config_of, roles_of
from tests.ports import free_port
from tests.variants import STEPS
from tests.waiting import LONG, wait_until

# MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
PROJECT = Path(__file__).parents[2]
COMMAND = [str(Path(sys.executable).with_name("semisup")), "serve"]


@pytest.fixture
def served(tiny_config: PipelineConfig) -> list[RunnerDeployment]:
    return deployments(tiny_config, "tiny", cron_schedule("0 3 * * *", "Europe/Berlin"))


# --- what is served ---------------------------------------------------------------------------------------------------


def test_the_pipeline_every_stage_and_the_reaper_are_served(served):
    names = ["semisup-pipeline/tiny", *(f"semisup-stage/tiny-{stage}" for stage in STEPS), "semisup-reaper/tiny"]
    assert [deployment.full_name for deployment in served] == names


def test_with_several_rounds_every_step_is_served(tiny_config):
    config = tiny_config.model_copy(update={"rounds": 2})
    names = {deployment.name for deployment in deployments(config, "tiny", None)}
    assert {"tiny-joint", "tiny-pseudo_label-2", "tiny-joint-2"} <= names


def test_every_deployment_is_a_flow_that_takes_its_parameters(served, tiny_config):
    for deployment in served:
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(deployment.entrypoint), use_placeholder_flow=False)
        taken = flow.validate_parameters(json.loads(json.dumps(deployment.parameters)))
        assert taken["config"] == tiny_config


def test_the_form_in_prefects_pages_says_what_every_field_means(served):
    for deployment in served:
        schema = deployment._parameter_openapi_schema.model_dump()
        sections = {"the flow": schema, **schema["definitions"]}
        for title, section in sections.items():
            silent = [key for key, field in section["properties"].items() if not {"description", "$ref"} & set(field)]
            assert silent == [], (deployment.full_name, title)
            assert title == "the flow" or section["description"]


def test_the_schedule_that_is_printed_is_that_of_the_time_zone(served):
    schedule = cron_schedule("0 3 * * *", "Europe/Berlin")
    tomorrow = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(days=1)
    times = next_times(schedule)
    assert f"{tomorrow:%Y-%m-%d} 03:00" in {f"{time:%Y-%m-%d %H:%M}" for time in times}
    assert [time.hour for time in times] == [3, 3, 3]
    *_, last = description(served, schedule)
    assert last.startswith("Next runs (Europe/Berlin): ")
    assert all(f"{time:%Y-%m-%d %H:%M}" in last for time in times)


@pytest.mark.parametrize(
    ("cron", "timezone", "said"),
    [
        ("61 * * * *", "UTC", "--cron '61 * * * *' is not a cron expression"),
        ("* * * * * */10", "UTC", "--cron '* * * * * */10' has 6 fields, not 5; write minute, hour,"),
        ("0 0 1 1 * 0 2027", "UTC", "--cron '0 0 1 1 * 0 2027' has 7 fields, not 5"),
        ("0 3 * *", "UTC", "--cron '0 3 * *' is not a cron expression"),
        ("@reboot", "UTC", "--cron '@reboot' is not a cron expression"),
        ("", "UTC", "--cron '' is not a cron expression"),
        ("R 3 * * *", "UTC", "--cron 'R 3 * * *' is not a cron expression"),
        ("0 0 31 2 *", "UTC", "--cron '0 0 31 2 *' never comes up"),
        ("0 3 * * *", "Mars/Olympus", "--timezone 'Mars/Olympus' is not a time zone"),
    ],
)
def test_a_schedule_that_cannot_be_is_one_line(cron, timezone, said):
    with pytest.raises(UserError) as error:
        cron_schedule(cron, timezone)
    assert str(error.value).startswith(said)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        (" @annually ", " 0  0 1 1 * "),
    ],
)
def test_a_nickname_is_its_five_fields(nickname, fields):
    start = datetime(2027, 1, 31, 12, tzinfo=UTC)
    nicknamed, spelled = (asyncio.run(cron_schedule(cron, "UTC").get_dates(20, start)) for cron in (nickname, fields))
    assert nicknamed == spelled
    assert len(set(spelled)) == 20


@pytest.mark.parametrize(
    ("zone", "wall", "gap_ends"),
    [
        ("Europe/Berlin", time(2, 30), datetime(2027, 3, 28, 3)),
        ("America/New_York", time(2, 30), datetime(2027, 3, 14, 3)),
        ("Australia/Lord_Howe", time(2, 15), datetime(2027, 10, 3, 2, 30)),  # half an hour
        ("America/Santiago", time(0, 30), datetime(2027, 9, 5, 1)),
        ("Africa/Cairo", time(0, 30), datetime(2027, 4, 30, 1)),
    ],
)
def test_a_daily_time_comes_once_a_day_and_where_clocks_skip_it_later_and_never_earlier(zone, wall, gap_ends):
    schedule = cron_schedule(f"{wall.minute} {wall.hour} * * *", zone)
    times = asyncio.run(schedule.get_dates(365, datetime(2027, 1, 1, tzinfo=ZoneInfo(zone))))
    days = [date(2027, 1, 1) + timedelta(days=day) for day in range(365)]
    local = [datetime.fromtimestamp(moment.timestamp(), ZoneInfo(zone)).replace(tzinfo=None) for moment in times]
    assert [moment.date() for moment in local] == days
    (skipped,) = (moment for moment, day in zip(local, days, strict=True) if moment != datetime.combine(day, wall))
    assert gap_ends <= skipped < gap_ends + timedelta(hours=1)


CHANGES = {
    "Europe/Berlin": [(datetime(2027, 3, 28), time(2, 30)), (datetime(2027, 10, 31), time(2, 30))],
    "America/New_York": [(datetime(2027, 3, 14), time(2, 30)), (datetime(2027, 11, 7), time(1, 30))],
    "America/Santiago": [(datetime(2027, 4, 3), time(23, 30)), (datetime(2027, 9, 5), time(0, 30))],
    "Australia/Lord_Howe": [(datetime(2027, 4, 4), time(1, 45)), (datetime(2027, 10, 3), time(2, 15))],
}
"""Zone → days on which its clocks change in 2027, with a time of day that comes twice then, or not at all."""
DAYS_OF_CHANGE = [(zone, day, wall) for zone, days in CHANGES.items() for day, wall in days]


def scheduled(schedule, zone, day):
    """The times that Prefect's scheduler, which asks again and again from now on, makes runs for around that day."""
    found = set()
    for minutes in range(0, 48 * 60, 20):
        now = (day - timedelta(hours=12)).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) + timedelta(minutes=minutes)
        found |= {moment.timestamp() for moment in asyncio.run(schedule.get_dates(3, now))}
    return [datetime.fromtimestamp(moment, UTC) for moment in sorted(found)]


@pytest.mark.parametrize(("zone", "day", "wall"), DAYS_OF_CHANGE)
def test_a_daily_job_runs_once_on_a_day_on_which_clocks_change(zone, day, wall):
    schedule = cron_schedule(f"{wall.minute} {wall.hour} * * *", zone)
    days = [moment.astimezone(ZoneInfo(zone)).date() for moment in scheduled(schedule, zone, day)]
    assert days.count(day.date()) == 1
    assert days == [days[0] + timedelta(days=number) for number in range(len(days))]


@pytest.mark.parametrize("cron", ["0 * * * *", "@hourly"])
@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, day, _ in DAYS_OF_CHANGE])
def test_an_hourly_job_runs_every_hour_on_a_day_on_which_clocks_change(cron, zone, day):
    moments = scheduled(cron_schedule(cron, zone), zone, day)
    steps = {later - before for before, later in pairwise(moments)}
    if zone == "Australia/Lord_Howe":  # its clocks change by half an hour, and the job stays at full ones
        assert steps - {timedelta(hours=1)} in ({timedelta(hours=1.5)}, {timedelta(hours=0.5)})
    else:
        assert steps == {timedelta(hours=1)}


@pytest.mark.parametrize(("zone", "minute"), [("Asia/Kolkata", 0), ("Australia/Lord_Howe", 0), ("Asia/Tokyo", 0)])
def test_an_hourly_job_runs_at_the_minute_of_its_own_zone(zone, minute):
    times = next_times(cron_schedule("0 * * * *", zone))
    assert {moment.astimezone(ZoneInfo(zone)).minute for moment in times} == {minute}


def test_a_port_that_is_taken_is_one_line():
    """The server of other tests is not meant: with a configured one, no port is needed."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}), socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"^--port {port} cannot be used \(Address already in use\); choose"):
            check_port(port)


@pytest.mark.parametrize("mistake", [["--cron", "61 * * * *"], ["--name", "a/b"]])
def test_a_mistake_on_the_command_line_ends_with_status_2_and_writes_nothing(mistake, tmp_path):
    outcome = subprocess.run([*COMMAND, "digits", *mistake], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"error: {mistake[0]} ")
    assert list(tmp_path.iterdir()) == []


# --- prefect.yaml -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project_file() -> dict[str, Any]:
    """What `prefect deploy --all` reads."""
    values: dict[str, Any] = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    return values


def test_prefect_yaml_deploys_what_serve_serves(project_file):
    def flow_name(entry: dict[str, Any]) -> str:
        return str(load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False).name)

    config = load_config(PROJECT / "configs" / "digits.yaml")
    deployed = {f"{flow_name(entry)}/{entry['name']}" for entry in project_file["deployments"]}
    assert deployed == {deployment.full_name for deployment in deployments(config, "digits", None)}
    assert {entry["work_pool"]["name"] for entry in project_file["deployments"]} == {"semisup"}


def test_the_parameters_in_prefect_yaml_are_the_config_digits(project_file):
    expected = load_config(PROJECT / "configs" / "digits.yaml")
    for entry in project_file["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
        parameters = flow.validate_parameters(entry["parameters"])
        assert parameters["config"] == expected
        assert parameters["config"] == validate(entry["parameters"]["config"], "prefect.yaml")
        if "name" in parameters:
            assert entry["name"] == f"digits-{parameters['name']}"


# --- what is tried again, and what ends ------------------------------------------------------------------------------


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_a_stage_whose_store_does_not_answer_is_tried_again_and_a_mistake_is_not(store, tiny_config, monkeypatch):
    errors = [StoreUnavailableError("it is away"), StoreUnavailableError("still"), UserError("your mistake")]
    tried: list[str] = []

    def run_step(wanted: Wanted, logger: Any) -> None:
        tried.append(wanted.step.name)
        raise errors[len(tried) - 1]

    monkeypatch.setattr(flows.pipeline.flow, "run_step", run_step)
    monkeypatch.setattr(flows.pipeline.flow.run_stage, "retry_delay_seconds", [0, 0, 0])
    with pytest.raises(UserError, match="your mistake"):
        pipeline(tiny_config)
    assert tried == ["split", "split", "split"]
    assert status_of_each(store) == {"pipeline": "FAILED"}


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_a_store_that_never_answers_is_asked_four_times(tmp_path, tiny_config, monkeypatch):
    asked: list[str] = []
    real_open = Tracker.open

    def open_store(experiment: str, folder: Path) -> Tracker:
        asked.append(experiment)
        return real_open(experiment, folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(Tracker, "open", open_store)
    monkeypatch.setattr(flows.pipeline.flow.open_store, "retry_delay_seconds", [0, 0, 0])
    with pytest.raises(StoreUnavailableError, match="the store does not answer"):
        pipeline(tiny_config)
    assert len(asked) == 4


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_a_mistake_is_the_message_of_the_failed_flow_run_in_one_line(tmp_path, tiny_config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = tiny_config.model_dump() | {"split": {"labeled_per_class": 100_000}}
    state = pipeline(PipelineConfig.model_validate(values), return_state=True)
    assert state.is_failed()
    (line,) = str(state.message).splitlines()
    assert "split.labeled_per_class=100000" in line


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_a_stage_that_takes_too_long_is_ended_and_has_failed(store, tiny_config):
    """The alarm comes in the middle of training, often in the middle of a write to the store."""
    config = endless(tiny_config)
    stage("split", config)  # it draws: the first figure of a process takes seconds
    config = config.model_copy(update={"runtime": config.runtime.model_copy(update={"stage_timeout": 5})})
    with pytest.raises(UserError, match=r"^runtime\.stage_timeout=5: baseline took longer"):
        pipeline(config)
    assert status_of_each(store) == {"pipeline": "FAILED", "split": "FINISHED", "baseline": "FAILED"}


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("deployed", [False, True], ids=["no deployment", "deployment"])
def test_only_a_run_that_a_deployment_fetches_is_started_once_more(deployed):
    with api() as client:
        run = crashed_before_it_began(client, deployed=deployed)
        start_once_more(pipeline, run, run.state)
        found = client.read_flow_run(run.id)
        assert (found.state.is_scheduled(), SECOND_START in found.tags) == (deployed, deployed)


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_was_canceled_after_it_crashed_is_not_started_once_more():
    with api() as client:
        run = crashed_before_it_began(client, deployed=True)
        client.set_flow_run_state(run.id, Cancelled(), force=True)
        start_once_more(pipeline, run, run.state)
        found = client.read_flow_run(run.id)
        assert (found.state.name, found.tags) == ("Cancelled", [])


# --- with a real server, scheduler and runner -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server with all its services, as people start it."""
    folder = tmp_path_factory.mktemp("prefect-server")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(port)]
    with (folder / "log").open("w") as log, loopback_without_proxy():
        environment = os.environ | {"PREFECT_HOME": str(folder / "home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: answers(url), process, folder / "log")
            with temporary_settings({PREFECT_API_URL: url}):
                yield url
        finally:
            end(process)


@dataclass
class Served:
    """`semisup serve` in a session of its own."""

    process: subprocess.Popen[str]
    folder: Path
    """Its working folder, with the store."""
    log: Path
    environment: Mapping[str, str]

    def runs(self) -> list[Run]:
        """The pipelines in MLflow, in the order of their starts."""
        return [run for run in runs_in(self.folder) if run.data.tags["stage"] == "pipeline"]


@contextmanager
def serving(config: PipelineConfig, server: str, store_template: Path, folder: Path) -> Iterator[Served]:
    """A pipeline every ten seconds, which is a schedule that was added to the one of the command."""
    work, log = folder / "work", folder / "log"
    work.mkdir()
    shutil.copy(store_template, work / "mlflow.db")
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    environment = os.environ | {"PREFECT_API_URL": server, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    environment |= {"PREFECT_HOME": str(folder / "prefect-home")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [*COMMAND, str(folder / "config.yaml"), "--cron", "@yearly"]
    with log.open("w") as output, loopback_without_proxy():
        process = subprocess.Popen(
            command, cwd=work, env=environment, stdout=output, stderr=output, text=True, start_new_session=True
        )
        try:
            wait_until(lambda: "Ctrl-C" in log.read_text(encoding="utf-8"), process, log)
            with api() as client:
                deployment = client.read_deployment_by_name(f"semisup-pipeline/{config.name}")
                often = IntervalSchedule(interval=timedelta(seconds=10))
                client.create_deployment_schedules(deployment.id, [(often, True)])
            yield Served(process, work, log, environment)
        finally:
            end(process)


@pytest.fixture(scope="module")
def tiny_served(
    server: str, store_template: Path, tiny_config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with serving(tiny_config, server, store_template, tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.mark.slow
@pytest.mark.prefect
def test_the_schedule_runs_the_pipeline_again_and_again_and_the_second_run_reuses_every_stage(tiny_served):
    def completed() -> list[FlowRun]:
        return [run for run in flow_runs("tiny") if run.state_type == "COMPLETED"]

    wait_until(lambda: len(completed()) >= 2, tiny_served.process, tiny_served.log)
    assert all(run.auto_scheduled for run in completed())
    first, second = tiny_served.runs()[:2]
    for run in (first, second):
        assert (run.info.status, run.data.tags["complete"]) == ("FINISHED", "true")
    assert first.data.tags["reused"] == ""
    assert second.data.tags["reused"].split() == list(STEPS)


@pytest.mark.slow
@pytest.mark.prefect
def test_a_second_process_that_would_serve_the_same_is_refused_and_the_first_goes_on(tiny_served):
    """Prefect pauses what a process served when it ends, whoever else serves it."""

    def runs() -> int:
        return len(flow_runs("tiny"))

    command = [*COMMAND, str(tiny_served.folder.parent / "config.yaml")]
    second = subprocess.run(
        command, cwd=tiny_served.folder, env=tiny_served.environment, capture_output=True, text=True, check=False
    )
    assert second.returncode == 2, second.stderr
    line = second.stderr.splitlines()[-1]
    assert line.startswith("error: semisup-")
    assert line.endswith("end that one, or serve under another name with --name")
    before = runs()
    with api() as client:
        deployment = client.read_deployment_by_name("semisup-pipeline/tiny")
        assert not deployment.paused
        assert any(entry.active for entry in deployment.schedules)
    wait_until(lambda: runs() > before, tiny_served.process, tiny_served.log)


@pytest.mark.slow
@pytest.mark.prefect
def test_what_a_killed_process_served_is_served_again(server, store_template, tiny_config, tmp_path):
    config = tiny_config.model_copy(update={"name": "killed"})
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with serving(config, server, store_template, tmp_path / "one") as first:
        os.killpg(first.process.pid, signal.SIGKILL)
    with api() as client:
        assert not client.read_deployment_by_name("semisup-pipeline/killed").paused
    with serving(config, server, store_template, tmp_path / "two"):
        pass  # it says that Ctrl-C ends it


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_whose_predecessor_ends_just_before_it_is_due_is_not_canceled(tiny_served):
    process, log = tiny_served.process, tiny_served.log
    with api() as client, predecessor(client, tiny_served) as before:
        next_one = run_in_seconds(client, before, 20)
        due = next_one.expected_start_time
        wait_until(lambda: datetime.now(UTC) > due - timedelta(seconds=6), process, log)
        client.set_flow_run_state(before.id, Completed(), force=True)
        assert client.read_flow_run(before.id).state.timestamp < due
        wait_until(lambda: is_final(client, next_one), process, log)
        assert client.read_flow_run(next_one.id).state.is_completed()


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_whose_predecessor_is_under_way_is_canceled_when_it_is_due_and_not_earlier(tiny_served):
    with api() as client, predecessor(client, tiny_served) as before:
        next_one = run_in_seconds(client, before, 20)
        wait_until(lambda: is_final(client, next_one), tiny_served.process, tiny_served.log)
        state = client.read_flow_run(next_one.id).state
        assert state.is_cancelled()
        assert state.message == "Deployment concurrency limit reached."
        assert state.timestamp >= next_one.expected_start_time


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_whose_process_ends_before_it_begins_is_started_once_more_and_not_again(tiny_served):
    process, log = tiny_served.process, tiny_served.log
    killed: list[int] = []

    def state_of(run: FlowRun) -> State[Any]:
        state = client.read_flow_run(run.id).state
        assert state is not None
        return state

    def killed_at_birth(run: FlowRun) -> bool:
        """Was there a new process of that run to be killed? It had to import the flow yet."""
        for child in psutil.Process(process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if child.pid not in killed and child.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id):
                    child.kill()
                    killed.append(child.pid)
                    return True
        return False

    with api() as client:
        deployment = client.read_deployment_by_name("semisup-pipeline/tiny")
        client.pause_deployment(deployment.id)
        wait_until(lambda: not under_way("tiny"), process, log)
        once = client.create_flow_run_from_deployment(deployment.id)
        wait_until(lambda: killed_at_birth(once), process, log, every=0.05)
        wait_until(lambda: state_of(once).is_completed(), process, log)
        twice = client.create_flow_run_from_deployment(deployment.id)
        for _ in range(2):
            wait_until(lambda: killed_at_birth(twice), process, log, every=0.05)
        wait_until(lambda: state_of(twice).is_crashed(), process, log)
        for run in (once, twice):
            before = state_of(run)
            start_once_more(pipeline, run, before)
            assert state_of(run).id == before.id
        client.resume_deployment(deployment.id)


@pytest.mark.slow
@pytest.mark.prefect
def test_a_run_that_would_overlap_is_canceled_and_says_why_and_a_signal_ends_all_in_order(tiny_served, tiny_config):
    process, log = tiny_served.process, tiny_served.log
    with api() as client:
        deployment = client.read_deployment_by_name("semisup-pipeline/tiny")
        client.pause_deployment(deployment.id)  # the schedule shall not come in between
        wait_until(lambda: not under_way("tiny"), process, log)
        parameters = {"config": endless(tiny_config).model_dump(mode="json")}
        first = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        wait_until(lambda: "baseline" in status_of_each(tiny_served.folder, "endless"), process, log)
        second = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        wait_until(lambda: is_final(client, second), process, log)
        state = client.read_flow_run(second.id).state
        assert state.is_cancelled()
        assert state.message == "Deployment concurrency limit reached."
        assert client.read_flow_run(first.id).state.is_running()

        children = psutil.Process(process.pid).children(recursive=True)
        assert children != []
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=LONG) == 143
        assert psutil.wait_procs(children, timeout=LONG)[1] == []
        assert client.read_flow_run(first.id).state.message == "Runner is shutting down."
        ours = [d for d in client.read_deployments() if d.name == "tiny" or d.name.startswith("tiny-")]
        assert len(ours) == 2 + len(STEPS)
        assert all(d.paused for d in ours)
    ended = status_of_each(tiny_served.folder, "endless")
    ended.pop("split", None)  # it may be that of the runs before
    assert ended == {"pipeline": "KILLED", "baseline": "KILLED"}
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.prefect
def test_a_folder_that_grows_between_scheduled_runs_keeps_the_roles_of_what_was_there(server, store_template, tmp_path):
    photos, digits = tmp_path / "photos", Drawer()
    for label in range(10):
        digits.put(photos / "labeled" / str(label), 10, label)
        digits.put(photos / "test" / str(label), 5, label)
    digits.put(photos / "unlabeled", 60)
    short = {"epochs": 2, "batch_size": 25}
    changes = {"baseline": short, "joint": short | {"unlabeled_batch_size": 25, "ramp_start": 0, "ramp_end": 1}}
    config = validate(config_of(photos).model_dump(mode="json") | {"name": "grown"} | changes, source="test")

    with serving(config, server, store_template, tmp_path) as served:
        client = MlflowClient(tracking_uri=f"sqlite:///{served.folder}/mlflow.db")

        def splits() -> list[str]:
            """Of the complete pipelines so far, the different ones in their order."""
            done = [run for run in served.runs() if run.data.tags.get("complete") == "true"]
            return list(dict.fromkeys(told_names(run.data.tags)["step.split"] for run in done))

        def roles(split: str) -> dict[str, str]:
            return roles_of(Path(unquote(urlsplit(client.get_run(split).info.artifact_uri).path)))

        wait_until(lambda: len(splits()) == 1, served.process, served.log)
        digits.put(photos / "unlabeled" / "tuesday", 40)
        shutil.copy(next((photos / "test" / "3").iterdir()), photos / "unlabeled" / "seen before.png")
        wait_until(lambda: len(splits()) == 2, served.process, served.log)
        before, after = (roles(split) for split in splits())
        assert {content: after[content] for content in before} == before
        assert sorted(after[content] for content in after.keys() - before.keys()) == ["unlabeled"] * 40
    with api() as prefect:
        assert all(run.auto_scheduled for run in flow_runs("grown"))
        assert prefect.read_deployment_by_name("semisup-pipeline/grown").paused


# --- helpers ----------------------------------------------------------------------------------------------------------


def endless(config: PipelineConfig) -> PipelineConfig:
    """The same with a baseline that trains for days."""
    values = config.model_dump() | {"name": "endless"}
    values["baseline"] |= {"epochs": 100_000, "early_stopping": {"patience": 100_000}}
    return PipelineConfig.model_validate(values)


def api() -> SyncPrefectClient:
    return get_prefect_client(sync_client=True)


def runs_in(folder: Path) -> list[Run]:
    """Every run of a store, in the order of their starts."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return sorted(client.search_runs(experiments), key=lambda run: run.info.start_time)


def status_of_each(folder: Path, config: str = "") -> dict[str, str]:
    """Stage → status of its last run, of all configs or of one."""
    runs = [run for run in runs_in(folder) if not config or run.data.tags["config"] == config]
    return {run.data.tags["stage"]: run.info.status for run in runs}


def flow_runs(deployment: str) -> list[FlowRun]:
    """The runs of a pipeline's deployment."""
    with api() as client:
        return client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
            flow_filter=FlowFilter(name=FlowFilterName(any_=["semisup-pipeline"])),
        )


@contextmanager
def predecessor(client: SyncPrefectClient, served: Served) -> Iterator[FlowRun]:
    """A run that has the pipeline's only slot, as a run that is being started has. The test itself ends it.

    Nothing of the schedule comes in between.
    """
    deployment = client.read_deployment_by_name("semisup-pipeline/tiny")
    client.pause_deployment(deployment.id)
    wait_until(lambda: not under_way("tiny"), served.process, served.log)
    run = client.create_flow_run_from_deployment(
        deployment.id, state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))
    )
    try:
        assert client.set_flow_run_state(run.id, Pending()).status is SetStateStatus.ACCEPT
        yield run
    finally:
        client.set_flow_run_state(run.id, Completed(), force=True)
        client.resume_deployment(deployment.id)


def crashed_before_it_began(client: SyncPrefectClient, *, deployed: bool) -> FlowRun:
    """A run that somebody made, and whose process ended at once."""
    if deployed:
        deployment = client.create_deployment(client.create_flow(pipeline), "once-more", enforce_parameter_schema=False)
        run = client.create_flow_run_from_deployment(deployment)
    else:
        run = client.create_flow_run(pipeline)
    client.set_flow_run_state(run.id, Crashed(message="Process exited with status code: 1."))
    return client.read_flow_run(run.id)


def run_in_seconds(client: SyncPrefectClient, before: FlowRun, seconds: float) -> FlowRun:
    """A run of the same deployment that is due then."""
    due = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(seconds=seconds))
    return client.create_flow_run_from_deployment(before.deployment_id, state=due)


def under_way(deployment: str) -> bool:
    """Is a run of the pipeline's deployment being started, or running?"""
    return any(run.state_type in {"PENDING", "RUNNING"} for run in flow_runs(deployment))


def is_final(client: SyncPrefectClient, run: FlowRun) -> bool:
    state = client.read_flow_run(run.id).state
    return state is not None and state.is_final()


def end(process: "subprocess.Popen[Any]") -> None:
    """End the session of a process, orderly if it can."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def loopback_without_proxy() -> Iterator[None]:
    """A proxy of the machine that runs the tests cannot see its own addresses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        yield
