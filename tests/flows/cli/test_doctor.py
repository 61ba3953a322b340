"""`semisup doctor`: it looks and makes nothing, tells what is wrong and what to type, and no secret."""

import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest


def doctor(folder: Path, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """In a folder, with the homes of all tools in places that are not there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
    environment |= {"PREFECT_HOME": str(folder / "no" / "prefect"), "XDG_CACHE_HOME": str(folder / "no" / "cache")}
    command = [sys.executable, "-m", "semisup", "doctor", *options]
    environment |= {"NO_PROXY": "127.0.0.1", "PYTHONPATH": ""} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def findings(outcome: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return {finding["about"]: finding for finding in json.loads(outcome.stdout)["findings"]}


def test_it_says_what_there_is_makes_nothing_and_ends_with_0_where_nothing_is_wrong(tmp_path):
    outcome = doctor(tmp_path, "--json", OMP_NUM_THREADS="1")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert list(tmp_path.iterdir()) == []
    found = findings(outcome)
    assert {"semisup", "packages", "optional", "store", "Prefect", "cache", "this folder", "device", "GPU"} <= set(
        found
    )
    for name in ("torch", "prefect", "mlflow"):
        assert f"{name} {version(name)}" in found["packages"]["seen"]
    assert json.loads(outcome.stdout)["environment"]["OMP_NUM_THREADS"] == "1"


def test_what_does_not_answer_is_wrong_with_what_to_do_and_no_password_is_told(tmp_path):
    address = "http://me:s3cret-word@127.0.0.1:9"
    servers = {"MLFLOW_TRACKING_URI": address, "PREFECT_API_URL": f"{address}/api"}
    for options in ([], ["--json"]):
        outcome = doctor(tmp_path, *options, **servers)
        assert outcome.returncode == 1
        assert "s3cret-word" not in outcome.stdout + outcome.stderr
    found = findings(outcome)
    for about in ("store", "Prefect"):
        assert found[about]["standing"] == "wrong"
        assert found[about]["advice"].startswith("start that server")
    assert json.loads(outcome.stdout)["wrong"] == 2


@pytest.mark.parametrize(
    ("schema", "standing", "said"),
    [(None, "ok", "0 runs"), ("ffffffffffff", "wrong", "of a newer MLflow"), ("451aebb31d03", "wrong", "older MLflow")],
)
def test_a_store_of_another_version_of_mlflow_is_told(store_template, tmp_path, schema, standing, said):
    database = tmp_path / "mlflow.db"
    shutil.copy(store_template, database)
    if schema is not None:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("update alembic_version set version_num = ?", (schema,))
    before = database.read_bytes()
    outcome = doctor(tmp_path, "--json")
    found = findings(outcome)["store"]
    assert (found["standing"], outcome.returncode) == (standing, int(standing == "wrong"))
    assert said in found["seen"]
    assert database.read_bytes() == before


def test_a_file_that_is_no_store_is_told(tmp_path):
    (tmp_path / "mlflow.db").write_text("a shopping list, long enough to be read as a header " * 10, encoding="utf-8")
    found = findings(doctor(tmp_path, "--json"))["store"]
    assert (found["standing"], found["advice"]) == ("wrong", "put a copy of it back, or move it away")


@pytest.fixture
def old_prefect() -> Iterator[str]:
    """The address of a server that says it is Prefect 3.0.0."""

    class Old(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/admin/version" else 404)
            self.end_headers()
            self.wfile.write(b'"3.0.0"')

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Old) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_server_of_another_version_is_a_note_and_not_wrong(old_prefect, tmp_path):
    outcome = doctor(tmp_path, "--json", PREFECT_API_URL=old_prefect)
    found = findings(outcome)["Prefect"]
    assert (found["standing"], outcome.returncode) == ("note", 0)
    assert found["advice"] == f"install prefect 3.0.0 here, or {version('prefect')} there"
