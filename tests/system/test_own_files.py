"""Only what carries our own mark, at a path of our own pattern, is ever deleted."""

import ast
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from semisup.delivery.tables import check_out, table_written
from semisup.errors import UserError
from semisup.system.own_files import (
    MARK,
    MARKED,
    aside,
    claimed,
    delete,
    is_marked,
    mark,
    owner,
    place_within,
    sweep,
    temporary_folder,
)


@pytest.fixture(scope="module")
def dead() -> str:
    """How a process of this machine that has ended is named."""
    code = "from semisup.system.own_files import owner; print(owner())"
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


def test_a_linked_folder_is_claimed_once_and_found_again(tmp_path):
    (tmp_path / "disk" / "state").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "state").symlink_to(tmp_path / "disk" / "state")
    (tmp_path / "work" / "photos.txt").touch()
    (tmp_path / "work" / ".sub").symlink_to(tmp_path / "disk" / "sub")  # which is not there yet
    for named, folder in (("work/state", "disk/state"), ("work", "disk/sub")):
        for _ in range(2):
            assert claimed(tmp_path / named, ".sub", "runtime.state") == tmp_path / folder
            assert place_within(tmp_path / named, ".sub") == tmp_path / folder
            (tmp_path / folder / "checkpoints").mkdir(exist_ok=True)
    assert {path.name for path in (tmp_path / "disk").rglob("*")} == {"state", "sub", "checkpoints", MARK}


def test_a_mark_is_whole_or_not_there_and_until_it_is_there_the_folder_is_not_foreign(tmp_path, monkeypatch):
    killed = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom semisup.system.own_files import mark\n"
        "Path.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\nmark(Path(sys.argv[1]))\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path / "state")], check=False)
    (half,) = (tmp_path / "state").iterdir()
    assert half.name.startswith(f".{MARK}.semisup-")
    assert claimed(tmp_path / "state", ".sub", "runtime.state") == tmp_path / "state"
    assert [path.name for path in (tmp_path / "state").iterdir()] == [MARK]


def test_threads_that_mark_a_folder_at_once_all_find_it_marked(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            folders = [tmp_path / str(number)] * 8
            assert [*threads.map(lambda folder: claimed(folder, ".sub", "x"), folders)] == folders
    assert all(is_marked(folder) and len([*folder.iterdir()]) == 1 for folder in tmp_path.iterdir())


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
        patched.setattr("semisup.system.own_files._remove", killed)
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


def write(out: Path, label: str) -> None:
    with table_written(out, {"path": str, "label": str}) as table:
        table.append(pd.DataFrame({"path": ["a"], "label": [label]}))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_replaced_as_long_as_nobody_has_corrected_it(tmp_path, suffix):
    out = tmp_path / f"labels{suffix}"
    for label in ("cat", "dog"):
        write(out, label)
        check_out(out, force=True)
    moved = out.rename(tmp_path / f"moved{suffix}")
    check_out(moved, force=True)
    write(tmp_path / f"corrected{suffix}", "ant")
    about = moved.stat()
    corrected = (tmp_path / f"corrected{suffix}").read_bytes()
    moved.write_bytes(corrected)
    for times in (None, (about.st_atime_ns, about.st_mtime_ns)):  # a tool may set the time back
        if times is not None:
            os.utime(moved, ns=times)
        with pytest.raises(UserError, match="was not written by semisup, or was changed since"):
            check_out(moved, force=True)
        with pytest.raises(UserError, match="was changed since"):
            write(moved, "bee")
    assert moved.read_bytes() == corrected


def test_a_table_of_others_with_the_columns_of_ours_is_not_replaced(tmp_path):
    out = tmp_path / "labels.csv"
    out.write_text("path,label,confidence,temperature\na,cat,1.0,\n", encoding="utf-8")
    with pytest.raises(UserError, match="was not written by semisup"):
        check_out(out, force=True)


def test_temporary_folders_of_killed_commands_are_taken_away_by_the_next_one(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"semisup-{dead}-abcdefgh" / "run").mkdir(parents=True)
    stay = {f"semisup-{owner()}-abcdefgh", "semisup-photos", f"semisup-{dead}-abcdefghi", f"x-semisup-{dead}-abcdefgh"}
    for name in stay:
        (tmp_path / name).mkdir()
    with temporary_folder() as folder:
        assert {path.name for path in tmp_path.iterdir()} == {*stay, folder.name}
    assert {path.name for path in tmp_path.iterdir()} == stay


def test_no_temporary_folder_is_made_but_where_the_next_command_finds_it():
    root, makers = Path(__file__).parents[2], {"TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp"}
    for file in (*(root / "semisup").rglob("*.py"), *(root / "flows").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in makers:
                named = {keyword.arg for keyword in node.keywords}
                assert "dir" in named or file.name == "own_files.py", f"{file}:{node.lineno}"


def test_the_mark_says_what_it_is_for():
    assert "may delete it" in MARKED
    assert aside(Path("/nowhere/pred.csv")).name == f".pred.csv.semisup-{owner()}.new"
