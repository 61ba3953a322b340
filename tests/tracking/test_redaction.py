"""No password in any line, whoever writes it: our messages, the libraries' logs, warnings, tracebacks."""

import logging
import os
import queue
import subprocess
import sys
import warnings

import pytest

from semisup.tracking.places.redaction import SECRETS, redact_everything, without_logins
from tests.waiting import LONG

PASSWORDS = ["hunter2-secret", "p@ss/w#rd?1", "with%20space%2F1", "a:b:c-4711"]
LOGS = """
import logging, sys, threading, warnings
import flows
address = sys.argv[1]
logging.basicConfig(level=logging.DEBUG)
log = logging.getLogger("a.library")
log.warning("no answer from %s/api/2.0", address)
log.info(f"GET {address}")
log.debug({"uri": address})
warnings.warn(f"{address} is old")
def fails(): raise RuntimeError(f"Max retries exceeded: {address}/x")
try:
    fails()
except RuntimeError:
    log.exception("it failed")
thread = threading.Thread(target=fails); thread.start(); thread.join()
fails()
"""
SYSTEM_METRICS = """
import logging, sys
import flows
import os
address = os.environ["MLFLOW_TRACKING_URI"]
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
monitor = SystemMetricsMonitor("0" * 32, sampling_interval=0.1, tracking_uri=address)
logging.getLogger("mlflow").setLevel(logging.DEBUG)
monitor.start()
import time; time.sleep(3)
monitor.finish()
"""


@pytest.mark.parametrize(
    ("password", "name"), list(zip(PASSWORDS, ["MLFLOW_TRACKING_URI", "PREFECT_API_URL"] * 2, strict=True))
)
def test_no_line_of_a_process_holds_the_password_of_an_address(name, password):
    address = f"http://someone:{password}@127.0.0.1:9"
    outcome = subprocess.run(
        [sys.executable, "-c", LOGS, address],
        env=os.environ | {name: address},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )
    assert outcome.returncode == 1
    assert outcome.stderr.count("***@127.0.0.1:9") >= 7
    assert password not in outcome.stderr
    assert password.partition("/")[2] not in outcome.stderr or "/" not in password


def test_the_systems_figures_of_mlflow_tell_no_password_when_the_server_has_died():
    address = "http://someone:hunter2-secret@127.0.0.1:9"
    outcome = subprocess.run(
        [sys.executable, "-c", SYSTEM_METRICS],
        env=os.environ | {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )
    assert "127.0.0.1:9" in outcome.stderr or "port=9" in outcome.stderr, outcome.stderr  # it has said so
    assert "hunter2" not in outcome.stdout + outcome.stderr


def test_addresses_that_no_variable_names_are_hidden_as_well():
    assert without_logins("GET http://me:p@example.org/a@b") == "GET http://***@example.org/a@b"
    assert (
        without_logins("at postgresql://db/x?user=me&password=p&a=1")
        == "at postgresql://db/x?user=***&password=***&a=1"
    )


@pytest.mark.parametrize("name", SECRETS)
def test_tokens_and_keys_are_hidden_wherever_they_stand(name, monkeypatch):
    monkeypatch.setenv(name, "pnu_0123456789")
    assert without_logins("Authorization: Bearer pnu_0123456789") == "Authorization: Bearer ***"


def test_what_holds_no_login_is_left_as_it_is(monkeypatch):
    redact_everything()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////home/a@b/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "digits")  # as good a word as any
    for text in ("sqlite:////home/a@b/mlflow.db", "digits: http://127.0.0.1:5000/#/experiments/1", "a@b", ""):
        assert without_logins(text) == text
    log, records = logging.Logger("a.library"), queue.SimpleQueue[logging.LogRecord]()
    log.addHandler(kept := logging.Handler())  # its own: libraries give the root logger other handlers at any time
    kept.emit = records.put
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.warning("%s of %d", "one", 2)
        log.debug("%d", 1)
    assert [records.get_nowait().args for _ in range(2)] == [("one", 2), (1,)]
