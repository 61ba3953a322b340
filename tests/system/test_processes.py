"""Whose run is it, and does the process still live? On this machine and on others."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from semisup.system.processes import SECONDS_UNTIL_GONE, is_gone, is_mine, process_tags
from tests.waiting import wait_until

TAGS = "import json; from semisup.system.processes import process_tags; print(json.dumps(process_tags()), flush=True)"


@pytest.fixture
def other():
    """A living process that wrote its tags: (process, tags)."""
    import json

    code = f"{TAGS}; import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_this_process_is_there_and_knows_its_own_tags():
    assert not is_gone(process_tags())
    assert is_mine(process_tags())


def test_another_process_is_there_until_it_is_killed(other):
    process, tags = other
    assert not is_mine(tags)
    assert not is_gone(tags)
    process.kill()
    process.wait()
    assert is_gone(tags)


def test_a_killed_process_that_nobody_has_buried_is_gone(other):
    """Its pid is still in the table: a zombie until its parent asks for its end."""
    process, tags = other
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, every=0.01)
    assert is_gone(tags)


def test_a_living_process_of_another_start_is_not_the_one_that_wrote_the_tags():
    """A pid is given again."""
    tags = process_tags()
    assert is_gone(tags | {"pid.started": str(int(tags["pid.started"]) - 100)})


def test_setting_the_clock_moves_no_process(monkeypatch):
    """A time of day computed from the boot's would jump with the clock."""
    tags = process_tags()
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert is_mine(tags)
    assert not is_gone(tags)


def test_a_silent_process_of_this_machine_is_not_gone_while_it_lives():
    """A laptop may sleep for a night; the process wakes with it."""
    assert not is_gone(process_tags() | {"heartbeat": "0"})


@pytest.mark.parametrize(
    ("silent_for", "gone"), [(0, False), (SECONDS_UNTIL_GONE, False), (SECONDS_UNTIL_GONE + 1, True)]
)
def test_a_process_of_another_machine_is_gone_once_its_heart_has_been_silent_for_long(silent_for, gone):
    now = 1_000_000.0
    tags = process_tags() | {"machine": "elsewhere", "heartbeat": str(now - silent_for)}
    assert is_gone(tags, now=now) == gone


def test_a_pid_of_another_machine_means_nothing_here():
    tags = process_tags() | {"machine": "elsewhere", "pid": str(os.getpid()), "pid.started": "1.0"}
    assert not is_gone(tags)


@pytest.mark.parametrize("tags", [{}, {"pid": "1"}, {"machine": "elsewhere", "pid.started": "1"}])
def test_a_run_that_does_not_say_whose_it_is_is_left_alone(tags):
    assert not is_gone(tags)
