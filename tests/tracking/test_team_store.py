"""A team's store: the servers and the worker of compose.yaml, started for real on this machine, without Docker.

Commands and environment are read from compose.yaml; only addresses and folders are made local. What it cannot tell:
whether the image builds, and whether containers see each other.
"""

import contextlib
import json
import os
import pwd
import random
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from semisup.config import PipelineConfig
from semisup.config.files import to_yaml
from tests.variants import STEPS
from tests.waiting import LONG, wait_until

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SECRET = secrets.token_hex(12)
PASSWORD = f"p@ss:w/rd?#%20'{SECRET}"
"""What would break an address or SQL, were it not quoted; the secret part is looked for where it must not be."""
POOLS = ("docker", "kubernetes")
OURS = ("mlflow", "prefect", "worker")


def slow(test: Any) -> Any:
    """Mark a test that needs the servers."""
    return pytest.mark.slow(pytest.mark.prefect(test))


def read_yaml(name: str) -> dict[str, Any]:
    """A YAML file of the project."""
    parsed: dict[str, Any] = yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))
    return parsed


def pool_template(kind: str) -> dict[str, Any]:
    """The base job template of a kind of work pool."""
    parsed: dict[str, Any] = json.loads((PROJECT / "deploy" / f"{kind}-pool.json").read_text(encoding="utf-8"))
    return parsed


# What can be told without a server.


def test_compose_publishes_ports_on_the_loopback_address_alone() -> None:
    ports = [port for service in read_yaml("compose.yaml")["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_holds_no_secret_and_no_default_for_one() -> None:
    for name, service in read_yaml("compose.yaml")["services"].items():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|AUTH|SECRET|TOKEN|USERNAME", key):
                assert value is None or re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", value), (name, key)


def test_compose_gives_the_database_password_to_the_servers_alone_and_through_no_address() -> None:
    services = read_yaml("compose.yaml")["services"]
    knowing = {name for name, service in services.items() if "POSTGRES_PASSWORD" in json.dumps(service)}
    assert knowing == {"postgres", "mlflow", "prefect"}
    assert not re.search(r"://[^/\s]*:[^/\s]*@", (PROJECT / "compose.yaml").read_text(encoding="utf-8"))


def test_every_service_of_ours_runs_the_one_image_without_telemetry_and_says_whether_it_is_well() -> None:
    compose = read_yaml("compose.yaml")
    assert set(compose["services"]) == {"postgres", *OURS}
    for name in OURS:
        service = compose["services"][name]
        assert service["image"] == "semisup:latest"
        assert service["entrypoint"] != ["semisup"]
        environment = service["environment"]
        assert environment["DO_NOT_TRACK"] == environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert {volume.split(":")[1] for volume in service["volumes"]} >= {"/store"}
    assert all("healthcheck" in service for service in compose["services"].values())


def test_the_image_gets_the_driver_for_postgresql_and_what_talks_to_dask() -> None:
    (line,) = re.findall(r"^RUN (python -c '.*') > requirements\.txt", dockerfile(), re.MULTILINE)
    command = [sys.executable, *shlex.split(line)[1:]]
    printed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=LONG).stdout
    assert {"mlflow==3.17.2", "psycopg2-binary>=2.9", "prefect-dask>=0.3.6"} <= set(printed.splitlines())


def test_another_build_of_torch_is_still_the_pinned_version_and_none_is_asked_for_by_default() -> None:
    assert re.findall(r"^ARG (.*)", dockerfile(), re.MULTILINE) == ["TORCH_INDEX=", "VERSION="]
    installs = re.findall(r"pip install (.*)", dockerfile())
    assert len(installs) == 3
    assert all(
        "--constraint constraints.txt" in install for install in installs if not install.startswith("--no-deps .")
    )


def test_the_gpu_file_changes_nothing_but_what_the_worker_may_use() -> None:
    (name,) = gpu = read_yaml("compose.gpu.yaml")["services"]
    assert name == "worker"
    assert set(gpu[name]) == {"shm_size", "deploy"}


def dockerfile() -> str:
    """The text of the Dockerfile."""
    return (PROJECT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_keeps_decoded_images_where_the_next_container_finds_them() -> None:
    assert re.search(r"^ENV (?:.*\\\n)*?\s*XDG_CACHE_HOME=/store/", dockerfile(), re.MULTILINE)


@pytest.mark.parametrize("kind", POOLS)
def test_what_a_pool_template_fills_in_is_declared_and_what_it_requires_has_a_default(kind: str) -> None:
    template = pool_template(kind)
    assert set(template) == {"job_configuration", "variables"}
    declared = template["variables"]["properties"]
    used = set(re.findall(r"\{\{ *([\w.]+) *\}\}", json.dumps(template["job_configuration"])))
    assert used <= set(declared)
    assert set(template["variables"].get("required", [])) <= {n for n, v in declared.items() if "default" in v}


@pytest.mark.parametrize("kind", POOLS)
def test_containers_of_a_pool_run_the_workers_command_in_our_image_and_report_to_the_servers_of_compose(
    kind: str,
) -> None:
    template = pool_template(kind)
    defaults = {name: value.get("default") for name, value in template["variables"]["properties"].items()}
    services = read_yaml("compose.yaml")["services"]
    assert defaults["image"] == services["worker"]["image"]
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "SEMISUP_DATA_ROOT", "DO_NOT_TRACK"):
        assert defaults["env"][name] == services["worker"]["environment"][name]
    # The image's own entrypoint would take the worker's command for arguments of `semisup`.
    if kind == "docker":
        assert defaults["container_create_kwargs"]["entrypoint"] == ["/usr/bin/env"]
        assert {volume.split(":")[1] for volume in defaults["volumes"]} == {"/data", "/store"}
    else:
        pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert container["command"] == ["/usr/bin/env"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/store"}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert all(defaults[f"{what}_{bound}"] for what in ("cpu", "memory") for bound in ("request", "limit"))


# The servers.


@dataclass(frozen=True)
class Team:
    """The services of compose.yaml on this machine."""

    folder: Path
    postgres: "Postgres"
    ports: Mapping[str, int]

    @property
    def mlflow(self) -> str:
        """Address of MLflow's server."""
        return f"http://127.0.0.1:{self.ports['5000']}"

    @property
    def prefect(self) -> str:
        """Address of Prefect's API."""
        return f"http://127.0.0.1:{self.ports['4200']}/api"

    def command(self, name: str) -> list[str]:
        """The command line of a service."""
        service = read_yaml("compose.yaml")["services"][name]
        words: list[str] = [*service["entrypoint"], *service["command"]]
        return [str(BIN / words[0]), *(self._local(word, name) for word in words[1:])]

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, and nothing that a person has set for these programs outside."""
        own = read_yaml("compose.yaml")["services"][name]["environment"]
        home = {"PREFECT_HOME": str(self.folder / name / ".prefect")}
        return bare_environment() | home | {k: self._local(v, name) for k, v in own.items() if v is not None}

    def _local(self, text: str, service: str) -> str:
        variables = {"POSTGRES_PASSWORD": PASSWORD, "MLFLOW_PUBLIC_HOST": "mlflow.example.org"}
        names = r"(?:postgres|mlflow|prefect|localhost|127\.0\.0\.1|0\.0\.0\.0)"
        text = re.sub(r"--host=0\.0\.0\.0", "--host=127.0.0.1", text)
        text = re.sub(r"--port=(\d+)", lambda match: f"--port={self.ports[match[1]]}", text)
        text = re.sub(rf"{names}:(\d+)", lambda match: f"127.0.0.1:{self.ports[match[1]]}", text)
        text = re.sub(r"(?<![\w/])/(store|data)\b", str(self.folder / service), text)
        return re.sub(r"\$\{(\w+):[-?]([^}]*)\}", lambda match: variables.get(match[1], match[2]), text)

    def api(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer of Prefect's API: to GET, or to POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.prefect}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def run(self, program: str, *arguments: str, folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
        """A command in a person's folder, as somebody of the team would give it; fails if it fails."""
        environment = bare_environment() | {"MLFLOW_TRACKING_URI": self.mlflow, "PREFECT_API_URL": self.prefect} | more
        command = [str(BIN / program), *arguments]
        outcome = subprocess.run(
            command,
            cwd=folder,
            env=environment | {"PREFECT_HOME": str(folder / ".prefect")},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )
        (folder / f"{time.time_ns()}.log").write_text(outcome.stdout + outcome.stderr, encoding="utf-8")
        assert outcome.returncode == 0, f"{command}\n{outcome.stdout[-4000:]}\n{outcome.stderr[-4000:]}"
        return outcome


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL of our own, where only its owner may connect without a password, through a socket."""

    programs: Path
    folder: Path
    port: int

    def client(self, program: str, *arguments: str) -> str:
        """What one of PostgreSQL's programs prints, run by the superuser."""
        where = [f"--host={self.folder}", f"--port={self.port}", "--username=postgres"]
        outcome = subprocess.run(
            [str(self.programs / program), *where, *arguments],
            env=bare_environment() | {"POSTGRES_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    def answers(self) -> bool:
        """Does it take connections?"""
        command = [str(self.programs / "pg_isready"), f"--host={self.folder}", f"--port={self.port}"]
        return subprocess.run(command, capture_output=True, check=False, timeout=LONG).returncode == 0


def bare_environment() -> dict[str, str]:
    """This process's environment without what would speak to the servers; a proxy is not asked for the loopback."""
    prefixes = ("PREFECT_", "MLFLOW_", "SEMISUP_", "PG", "POSTGRES_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


def find_postgres() -> Path:
    """The folder with PostgreSQL's programs; skips the test where there is none."""
    folders: list[Path] = []
    if shutil.which("pg_config"):
        asked = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False, timeout=LONG)
        folders.append(Path(asked.stdout.strip() or "/"))
    if initdb := shutil.which("initdb"):
        folders.append(Path(initdb).resolve().parent)
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    folders += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        if all((folder / program).exists() for program in ("initdb", "postgres", "pg_isready", "psql", "pg_dump")):
            return folder
    pytest.skip("PostgreSQL's programs are not found (pg_config, PATH, /usr/lib/postgresql); install postgresql")


def unprivileged() -> dict[str, Any]:
    """Arguments for Popen that make a process of root's run as a user without rights; none where we are not root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to outgoing connections.

    A server listens half a minute after its port was chosen; by then, a connection may have got any of those.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(15_000, 32_000), 1_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def status(url: str, host: str | None = None) -> int:
    """The HTTP status that a GET is answered with; 0 where nobody answers."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def is_well(url: str) -> bool:
    """Does a server answer that it is well?"""
    return status(url) == 200


def start(
    stack: ExitStack, command: list[str], log: Path, how: Mapping[str, Any], ending: int = signal.SIGTERM
) -> "subprocess.Popen[bytes]":
    """Start a server that ends, with all that it has started, when the stack is left."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **how
        )
    stack.callback(stop, process, ending)
    return process


def stop(process: "subprocess.Popen[bytes]", ending: int) -> None:
    """End a process in its own way, then whatever is left of it and of its descendants."""
    family = []
    if process.poll() is None:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(ending)
    _, alive = psutil.wait_procs(family, timeout=30)
    for survivor in alive:
        survivor.kill()
    process.wait(timeout=LONG)


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """PostgreSQL, MLflow, Prefect and a worker, until the last test of this file."""
    programs, owner = find_postgres(), unprivileged()
    with ExitStack() as stack:
        # Not pytest's folder, which only its owner may enter; and short, for the path of a socket has 107 bytes.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="semisup-team-")))
        folder.chmod(0o755)
        for name in ("postgres", *OURS, "logs"):
            (folder / name).mkdir()
        ports = dict(zip(("5432", "5000", "4200", "8080"), free_ports(4), strict=True))
        team = Team(folder, start_postgres(stack, folder, programs, owner, ports["5432"]), ports)
        servers = {"mlflow": f"{team.mlflow}/health", "prefect": f"{team.prefect}/ready"}
        begun = {name: begin(stack, team, name) for name in servers}
        for name, url in servers.items():
            wait_until(partial(is_well, url), begun[name], folder / "logs" / name)
        # Asks for work every second instead of every ten, so that the test does not wait for it.
        worker = begin(
            stack, team, "worker", PREFECT_WORKER_WEBSERVER_PORT=str(ports["8080"]), PREFECT_WORKER_QUERY_SECONDS="1"
        )
        health = f"http://127.0.0.1:{ports['8080']}/health"
        wait_until(partial(is_well, health), worker, folder / "logs" / "worker")
        yield team


def begin(stack: ExitStack, team: Team, name: str, **more: str) -> "subprocess.Popen[bytes]":
    """Start a service of compose.yaml in its own folder."""
    how = {"cwd": team.folder / name, "env": team.environment(name) | more}
    return start(stack, team.command(name), team.folder / "logs" / name, how)


def start_postgres(stack: ExitStack, folder: Path, programs: Path, owner: Mapping[str, Any], port: int) -> Postgres:
    """A fresh PostgreSQL with what deploy/postgres.sql makes in it."""
    home, data = folder / "postgres", folder / "postgres" / "data"
    if owner:
        os.chown(home, owner["user"], owner["group"])
    home.chmod(0o700)
    how = {"cwd": home, "env": bare_environment(), **owner}
    access = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"]
    made = subprocess.run(
        [str(programs / "initdb"), f"--pgdata={data}", "--encoding=UTF8", "--no-locale", "--no-sync", *access],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
        **how,
    )
    assert made.returncode == 0, made.stderr
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": home, "fsync": "off"}
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    log = folder / "logs" / "postgres"
    # SIGINT, for SIGTERM would wait for its clients.
    process = start(stack, [str(programs / "postgres"), "-D", str(data), *options], log, how, ending=signal.SIGINT)
    postgres = Postgres(programs, home, port)
    wait_until(postgres.answers, process, log)
    postgres.client("psql", f"--file={PROJECT / 'deploy' / 'postgres.sql'}")
    return postgres


@pytest.fixture(scope="module")
def person(team: Team, tiny_config: PipelineConfig) -> Path:
    """The folder of somebody of the team, with `my.yaml` in it."""
    folder = team.folder / "person"
    folder.mkdir()
    runtime = tiny_config.runtime.model_copy(update={"state": team.folder / "worker" / "state"})
    config = tiny_config.model_copy(update={"runtime": runtime})
    (folder / "my.yaml").write_text(to_yaml(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def flow_run(team: Team, person: Path) -> dict[str, Any]:
    """The flow run of a deployment that the documentation's command makes, run by the worker; as Prefect knows it."""
    guide = (PROJECT / "docs" / "how-to" / "team-store.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^semisup deploy .*$", guide, re.MULTILINE)
    team.run(*command.split(), folder=person)
    team.run("prefect", "deployment", "run", "semisup-pipeline/team", "--watch", folder=person)
    deployment = team.api("deployments/name/semisup-pipeline/team")
    runs = team.api("flow_runs/filter", {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}})
    assert len(runs) == 1
    found: dict[str, Any] = runs[0]
    return found


@pytest.fixture(scope="module")
def command_result(team: Team, person: Path) -> dict[str, Any]:
    """What `semisup run` prints with the addresses of the two servers in its environment."""
    printed = team.run("semisup", "run", "my.yaml", "--set", "seed=4", "--json", folder=person).stdout
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def direct_result(team: Team, person: Path) -> dict[str, Any]:
    """The same with the database's own address, password and all, in place of a server's.

    Experiment and registered model are others: artifacts that a server keeps can be read through it alone.
    """
    address = f"postgresql://semisup:{quote(PASSWORD, safe='')}@127.0.0.1:{team.ports['5432']}/mlflow"
    folder = team.folder / "direct"
    folder.mkdir()
    keys = ("seed=5", "tracking.experiment=direct", "promote.model=direct")
    settings = [word for key in keys for word in ("--set", key)]
    command = ["run", str(person / "my.yaml"), *settings, "--json"]
    printed = team.run("semisup", *command, folder=folder, MLFLOW_TRACKING_URI=address).stdout
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def assert_recorded(team: Team, run_id: str) -> None:
    """A pipeline's run and those of its stages are FINISHED and complete, as MLflow's server tells."""
    client = MlflowClient(tracking_uri=team.mlflow)
    experiment = client.get_run(run_id).info.experiment_id
    stages = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert {run.data.tags["stage"] for run in stages} >= set(STEPS)
    for run in [*stages, client.get_run(run_id)]:
        assert (run.info.status, run.data.tags["complete"]) == ("FINISHED", "true"), run.data.tags["stage"]


def pipeline_runs(team: Team, seed: int) -> list[Run]:
    """The pipelines' runs with a seed, newest first, as MLflow's server tells."""
    client = MlflowClient(tracking_uri=team.mlflow)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.stage = 'pipeline' and params.seed = '{seed}'"))


@slow
def test_a_run_that_a_worker_takes_from_a_work_pool_ends_completed_in_prefect_and_complete_in_mlflow(
    team: Team, flow_run: dict[str, Any]
) -> None:
    assert flow_run["state_type"] == "COMPLETED"
    assert flow_run["work_pool_name"] == "semisup"
    (run,) = pipeline_runs(team, seed=3)
    assert_recorded(team, run.info.run_id)


@slow
def test_a_run_from_the_command_line_is_recorded_by_the_same_servers(
    team: Team, command_result: dict[str, Any]
) -> None:
    assert_recorded(team, command_result["run_id"])
    assert command_result["page"].startswith(team.mlflow)
    names = {"flow_runs": {"name": {"any_": ["tiny-seed4"]}}}
    assert [run["state_type"] for run in team.api("flow_runs/filter", names)] == ["COMPLETED"]


@slow
def test_artifacts_are_in_the_servers_folder_and_are_downloaded_through_it(
    team: Team, command_result: dict[str, Any], tmp_path: Path
) -> None:
    run_id = command_result["stages"]["evaluate"]["run_id"]
    client = MlflowClient(tracking_uri=team.mlflow)
    assert client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    (kept,) = (team.folder / "mlflow" / "artifacts").glob(f"**/{run_id}/artifacts/report.html")
    downloaded = Path(client.download_artifacts(run_id, "report.html", str(tmp_path)))
    assert downloaded.read_bytes() == kept.read_bytes()
    assert not list((team.folder / "person").glob("ml*")), "there is a store in the folder of the command as well"


@slow
def test_the_databases_password_is_nowhere(
    team: Team, flow_run: dict[str, Any], command_result: dict[str, Any], direct_result: dict[str, Any]
) -> None:
    stored = {name: team.postgres.client("pg_dump", f"--dbname={name}") for name in ("mlflow", "prefect")}
    # Tags, parameters, logs, artifacts and job variables are all in these dumps, in plain text.
    for known in (flow_run["id"], command_result["run_id"], direct_result["run_id"], "mlflow.note.content"):
        assert known in stored["mlflow"] + stored["prefect"]
    assert "done in" in stored["prefect"] or "accepted" in stored["prefect"]  # the lines of the log
    assert [name for name, text in stored.items() if SECRET in text] == []
    files = [path for path in team.folder.rglob("*") if path.is_file() and "data" not in path.parts]
    assert {path.suffix for path in files} >= {".log", ".html", ".safetensors"}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any("postgresql://semisup@" in command for command in commands)
    assert [command for command in commands if SECRET in command] == []


@slow
def test_mlflow_answers_to_its_own_names_only(team: Team) -> None:
    url = f"{team.mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert status(url) == 200
    assert status(url, host="mlflow.example.org") == 200  # MLFLOW_PUBLIC_HOST
    assert status(url, host="attacker.example.net") == 403


@slow
@pytest.mark.parametrize("kind", POOLS)
def test_prefects_server_takes_the_template_of_a_work_pool(team: Team, kind: str, tmp_path: Path) -> None:
    template = PROJECT / "deploy" / f"{kind}-pool.json"
    pool = f"semisup-{kind}"
    command = ["work-pool", "create", pool, "--type", kind, "--base-job-template", str(template)]
    team.run("prefect", *command, folder=tmp_path)
    created = team.api(f"work_pools/{pool}")
    assert created["type"] == kind
    assert created["base_job_template"] == pool_template(kind)
