"""The wheel, installed in an empty environment outside the checkout: it brings all that the command line needs."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.corpus import encoded, photo, put

PROJECT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
SHORT = ["baseline.epochs=2", "joint.epochs=2", "joint.ramp_start=0", "joint.ramp_end=1"]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not UV.exists(), reason="uv is not installed beside Python")]


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel and what it asks for, and nothing of this checkout."""

    python: Path
    wheel: Path
    folder: Path
    """Where its commands work."""

    def __call__(self, *arguments: str, program: Sequence[str] = ("-m", "semisup")) -> str:
        """What a command prints; it has to end with 0."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))
        }
        environment.pop("PYTHONPATH", None)
        environment |= {"PREFECT_HOME": str(self.folder / "prefect"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        command = [str(self.python), *program, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    work = folder / "work"
    work.mkdir()
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, PROJECT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--python", python, "--constraint", PROJECT / "constraints.txt", wheel]
    subprocess.run(install, check=True)
    return Installed(python, wheel, work)


def test_the_code_that_runs_is_the_wheels(installed):
    said = installed(program=("-c", "import semisup, flows; print(semisup.__file__, flows.__file__)"))
    assert all(Path(file).is_relative_to(installed.python.parents[1]) for file in said.split())


def test_both_ways_to_call_it_tell_the_version_of_the_wheel(installed):
    version = installed.wheel.name.split("-")[1]
    assert installed("--version") == f"semisup {version}\n"
    command = subprocess.run(
        [installed.python.with_name("semisup"), "--version"], capture_output=True, text=True, check=True
    )
    assert command.stdout == f"semisup {version}\n"


def built_version(folder: Path, out: Path) -> str:
    """The version of a wheel that is built of a folder."""
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", out, folder], check=True)
    (wheel,) = out.glob("*.whl")
    return wheel.name.split("-")[1]


def test_the_version_is_gits_newest_tag_and_without_git_there_is_one_too(tmp_path):
    files = ["pyproject.toml", "README.md", "LICENSE"]
    folder = tmp_path / "checkout"
    for name in ("semisup", "flows", "configs"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    for name in files:
        shutil.copy(PROJECT / name, folder)
    assert built_version(folder, tmp_path / "plain") == "0+unknown"

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "--message=first")
    assert ".dev" in built_version(folder, tmp_path / "untagged")
    git("tag", "v1.2.3")
    assert built_version(folder, tmp_path / "tagged") == "1.2.3"
    git("commit", "--allow-empty", "--message=second")
    assert built_version(folder, tmp_path / "after").startswith("1.2.4.dev1+g")


def test_all_ready_made_configs_are_in_it(installed):
    listed = {line.split()[0] for line in installed("configs").splitlines()[1:]}
    assert listed == {file.stem for file in (PROJECT / "configs").glob("*.yaml")}


def test_every_file_of_the_packages_is_in_it(installed):
    tracked = subprocess.run(
        ["git", "ls-files", "flows", "semisup"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.split()
    inside = set(zipfile.ZipFile(installed.wheel).namelist())
    assert {file for file in tracked if (PROJECT / file).exists()} <= inside


def test_it_runs_the_digits_and_writes_the_report(installed):
    options = [text for override in SHORT for text in ("--set", override)]
    result = json.loads(installed("run", "digits", *options, "--json"))
    assert 0 < result["student_test_accuracy"] <= 1
    (report,) = (installed.folder / "mlartifacts").rglob("report.html")
    assert "<html" in report.read_text(encoding="utf-8")


def test_it_looks_through_a_folder_of_images_and_writes_a_config(installed):
    for number in range(24):
        label = "cat" if number % 2 else "dog"
        put(installed.folder / "photos" / "labeled" / label / f"{number}.png", encoded(photo(number), "PNG"))
        put(installed.folder / "photos" / "unlabeled" / f"{number}.png", encoded(photo(100 + number), "PNG"))
    installed("init", "photos", "--out", "photos.yaml")
    assert "photos" in (installed.folder / "photos.yaml").read_text(encoding="utf-8")


def test_its_doctor_finds_nothing_wrong(installed):
    said = json.loads(installed("doctor", "--json"))
    assert said["wrong"] == 0
    assert [finding["seen"] for finding in said["findings"] if finding["about"] == "requirement"] == []
