"""Prefect's folder and settings: one line where they cannot be used, before anything is written."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from flows.start.prefect_home import check_prefect_home
from flows.start.prefect_import import import_prefect
from semisup.errors import UserError
from tests.waiting import LONG

SEMISUP = str(Path(sys.executable).with_name("semisup"))


def the_mistake(work: Path, environment: Mapping[str, str], *command: str, prefect_says: bool = False) -> str:
    """The only line that a command says, which ends with status 2 and leaves nothing in its folder."""
    before = set(work.iterdir())
    ours = {"MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    arguments = [SEMISUP, *(command or ("run", "digits"))]
    done = subprocess.run(
        arguments, cwd=work, env=kept | environment, capture_output=True, text=True, check=False, timeout=LONG
    )
    assert done.returncode == 2, done.stderr
    assert set(work.iterdir()) == before
    *others, line = done.stderr.splitlines()
    assert bool(others) == prefect_says
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return line


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working folder, away from what a test puts into its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("command", [("run", "digits"), ("benchmark", "digits", "--seeds", "2")])
def test_a_home_that_is_no_folder_is_one_line(command, tmp_path, work):
    home = tmp_path / "file"
    home.write_text("not a folder")
    line = the_mistake(work, {"PREFECT_HOME": str(home)}, *command)
    assert line.startswith(f"error: PREFECT_HOME={str(home)!r} cannot be used (")
    assert line.endswith("; name another folder")


def test_a_home_that_a_file_of_prefects_names_is_looked_at_as_well(tmp_path, work):
    (tmp_path / "file").write_text("not a folder")
    (work / "prefect.toml").write_text(f"home = '{tmp_path / 'file'}'")
    assert "cannot be used" in the_mistake(work, {"HOME": str(tmp_path)})


def test_a_setting_that_prefect_refuses_is_the_last_line_after_prefects_own(work, tmp_path):
    line = the_mistake(
        work, {"PREFECT_LOGGING_LEVEL": "FOO", "PREFECT_HOME": str(tmp_path / "home")}, prefect_says=True
    )
    assert line.startswith("error: ")
    assert "LEVEL='FOO'" in line


@pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\x00" + b"\xff" * 9_000])
def test_a_database_of_prefects_that_is_none_is_one_line_and_left_as_it_is(content, tmp_path, work):
    home = tmp_path / "home"
    home.mkdir()
    (home / "prefect.db").write_bytes(content)
    line = the_mistake(work, {"PREFECT_HOME": str(home)})
    assert line.startswith(f"error: PREFECT_HOME={str(home)!r}: its prefect.db is ")
    assert (home / "prefect.db").read_bytes() == content


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_what_is_no_folder_is_named(home, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        UserError, match=rf"^PREFECT_HOME='{tmp_path / home}' cannot be used \(.+\); name another folder$"
    ):
        check_prefect_home(tmp_path / home)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_without_permission_to_write_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="no permission to write there"):
            check_prefect_home(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_home_of_nobody_is_named():
    with pytest.raises(UserError, match="PREFECT_HOME='~nobody at all/prefect' cannot be used"):
        check_prefect_home(Path("~nobody at all/prefect"))


def test_a_home_that_is_not_there_yet_is_made(tmp_path):
    check_prefect_home(tmp_path / "new" / "home")
    assert (tmp_path / "new" / "home").is_dir()


def test_with_a_server_elsewhere_no_home_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError):
        import_prefect()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    import_prefect()
