"""Only what carries our own mark, at a path of our own pattern, is ever deleted."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from semisup.delivery.tables import table_written
from semisup.own_files import MARK, MARKED, aside, delete, is_marked, mark, owner, sweep, temporary_folder


@pytest.fixture(scope="module")
def dead() -> str:
    """How a process of this machine that has ended is named."""
    code = "from semisup.own_files import owner; print(owner())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_folder_without_the_mark_is_not_deleted(tmp_path):
    for name, text in (("none", None), ("empty", ""), ("other", "Signature: 8a477f597d28d172789f06886806bc55")):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / MARK).write_text(text, encoding="utf-8")
        assert not delete(tmp_path / name)
        assert (tmp_path / name).is_dir()


def test_a_link_to_a_marked_folder_is_no_marked_folder(tmp_path):
    mark(tmp_path / "ours")
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    assert not is_marked(tmp_path / "link")
    assert not delete(tmp_path / "link")
    assert is_marked(tmp_path / "ours")


def test_what_a_link_in_a_marked_folder_leads_to_survives_it(tmp_path):
    mark(tmp_path / "ours")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "ours" / "photos").symlink_to(tmp_path / "photos")
    assert delete(tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_half_a_deletion_leaves_a_folder_that_is_still_ours(tmp_path, monkeypatch):
    mark(tmp_path / "ours")
    (tmp_path / "ours" / "a").write_text("a", encoding="utf-8")

    def killed(path: Path) -> None:
        path.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("semisup.own_files._remove", killed)
        with pytest.raises(KeyboardInterrupt):
            delete(tmp_path / "ours")
    assert delete(tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_and_of_people_stay(tmp_path, dead):
    gone = [".pred.csv.semisup-{}.new", ".pred.csv.semisup-{}.tried", "..pred.csv.semisup-{0}.tried.semisup-{0}.new"]
    gone += [".pred.csv.semisup-{}.new-journal"]
    for name in gone:
        (tmp_path / name.format(dead)).write_text("half", encoding="utf-8")
    (tmp_path / f".pred.csv.semisup-{dead}.old").mkdir()
    stay = {"pred.csv", f".pred.csv.semisup-{owner()}.new", ".pred.csv.4711"}
    stay |= {".pred.csv", ".pred.csv.new", f".pred.csv.semisup-{dead}.new.bak", f"pred.csv.semisup-{dead}.new"}
    for name in stay:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == stay


def test_what_a_killed_command_had_moved_out_of_the_way_is_put_back(tmp_path, dead):
    old = tmp_path / f".export.semisup-{dead}.old"
    old.mkdir()
    (old / "a.jpg").write_bytes(b"a")
    sweep(tmp_path)
    assert (tmp_path / "export" / "a.jpg").read_bytes() == b"a"


def test_a_table_takes_away_what_a_killed_command_left_of_it(tmp_path):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom semisup.delivery.tables import table_written\n"
        "import pandas as pd\nwith table_written(Path(sys.argv[1]), {'path': str}) as table:\n"
        "    table.append(pd.DataFrame({'path': ['a']}))\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "pred.csv")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".pred.csv.semisup-")
    with table_written(tmp_path / "other.csv", {"path": str}) as table:
        assert not left.exists()
        table.append(pd.DataFrame({"path": ["a"]}))


def test_temporary_folders_of_killed_commands_are_taken_away_by_the_next_one(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"semisup-{dead}-abcdefgh" / "run").mkdir(parents=True)
    stay = {f"semisup-{owner()}-abcdefgh", "semisup-photos", f"semisup-{dead}-abcdefghi", f"x-semisup-{dead}-abcdefgh"}
    for name in stay:
        (tmp_path / name).mkdir()
    with temporary_folder() as folder:
        assert {path.name for path in tmp_path.iterdir()} == {*stay, folder.name}
    assert {path.name for path in tmp_path.iterdir()} == stay


def test_the_mark_says_what_it_is_for():
    assert "may delete it" in MARKED
    assert aside(Path("/nowhere/pred.csv")).name == f".pred.csv.semisup-{owner()}.new"
