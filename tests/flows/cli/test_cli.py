"""The command line: what it prints, with which status it ends, and one line for every mistake of its user."""

import contextlib
import gzip
import itertools
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import semisup
from flows.cli import app
from flows.cli.begin.init import config_of
from flows.start.preparation import modules_of
from semisup.checks.ineffective import ineffective_options
from semisup.config import PipelineConfig, keys
from semisup.config.files import load_config, load_kind
from semisup.config.regression import RegressionConfig
from semisup.ready_made import find_config, place_of_images
from semisup.tracking.tracker import Tracker
from tests.waiting import LONG

PROJECT = Path(__file__).parents[3]
CONFIGS = sorted((PROJECT / "configs").glob("*.yaml"))
WIDE = {"COLUMNS": "200", "TERM": "dumb"}
FIGURES = {
    "run_id": "run-0",
    "seconds": 12.3,
    "stages": {},
    "verdict": "student better",
    "champion": "the student is better than the [old] champion",
    "report": "/somewhere/[odd]/report.html",
    "page": "http://127.0.0.1:5000/#/experiments/1/runs/run-0",
    "baseline_test_accuracy": 0.8,
    "baseline_test_accuracy_low": 0.75,
    "baseline_test_accuracy_high": 0.85,
    "student_test_accuracy": 0.9,
    "student_test_accuracy_low": 0.87,
    "student_test_accuracy_high": 0.93,
    "test_accuracy_difference": 0.1,
    "test_accuracy_difference_low": 0.06,
    "test_accuracy_difference_high": 0.15,
    "mcnemar_p": 0.0001,
    "pseudo_label_coverage": 0.5,
}


def invoke(*arguments: str, env: dict[str, str] | None = None):
    """The outcome of `semisup …`; an exception that a user would see as a traceback is one here, too."""
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}
    return CliRunner().invoke(app, list(arguments), env=WIDE | quiet | (env or {}), catch_exceptions=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    empty = tmp_path / "work"
    empty.mkdir()
    monkeypatch.chdir(empty)
    return empty


@pytest.fixture
def a_file(tmp_path):
    """Writes a YAML file outside the working folder and says its path."""

    def write(content: str | bytes, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def the_mistake(*arguments: str, left: tuple[str, ...] = ()) -> str:
    """The one line on stderr of a command that ends with status 2 and writes nothing."""
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2, outcome.output
    assert outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    assert tuple(sorted(path.name for path in Path.cwd().iterdir())) == left
    return line


# --- mistakes in the config -------------------------------------------------------------------------------------------


def test_without_a_command_the_help_is_printed_as_a_mistake():
    outcome = invoke()
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr == invoke("--help").stdout


def test_the_help_cuts_no_command_short_on_a_narrow_screen():
    assert "..." not in invoke("--help", env={"COLUMNS": "80"}).stdout.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ui", "--port", "99999"], ["--port", "65535", "ui --help`"]),
        (["run", "digits", "--setx", "seed=1"], ["--setx", "--set", "run --help`"]),
        (["run"], ["CONFIG", "run --help`"]),
        (["run", "digits", "--set"], ["--set", "`semisup run --help`"]),
        (["export", "0123", "--format", "cvs"], ["'--format': 'cvs' is not one of", "'csv'"]),
        (["runn", "digits"], ["runn", "'run'", " --help`"]),
        (["runs", "--limit", "few"], ["--limit", "integer", "runs --help`"]),
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_line_as_well(arguments, said, folder):
    outcome = invoke(*arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    assert outcome.stderr.startswith("error: ")
    assert [word for word in said if word not in outcome.stderr] == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("joint: {alpha_finl: 1}", ["joint.alpha_finl", "joint.alpha_final"], id="misspelt key"),
        pytest.param("alpha_final: 1", ["alpha_final", "joint.alpha_final"], id="key without its section"),
        pytest.param("quux: 1", ["quux"], id="unknown key"),
        pytest.param("seed: many", ["seed", "many"], id="wrong type"),
        pytest.param("split: 5", ["split=5", "section"], id="value for a section"),
        pytest.param("joint: [1, 2]", ["joint", "section"], id="list for a section"),
        pytest.param("pseudo_label: {threshold: 1.5}", ["pseudo_label.threshold=1.5", "1"], id="out of range"),
        pytest.param("seed: -1", ["seed=-1"], id="negative seed"),
        pytest.param("baseline: {epochs: 0}", ["baseline.epochs=0"], id="no epochs"),
        pytest.param("baseline: {optimizer: {lr: .nan}}", ["baseline.optimizer.lr"], id="not a number"),
        pytest.param("data: {name: minst}", ["data.name", "minst", "mnist"], id="misspelt data set"),
        pytest.param("joint: {ramp_start: 9, ramp_end: 3}", ["ramp_start=9", "ramp_end=3"], id="ramp backwards"),
        pytest.param("joint: {epochs: 5, ramp_end: 9}", ["ramp_end=9", "epochs=5"], id="ramp too long"),
        pytest.param(
            "baseline: {augment: {horizontal_flip: true}}", ["horizontal_flip", "digits"], id="mirrored digits"
        ),
        pytest.param("seed: 1\nseed: 2", ["'seed'", "twice", "line 2"], id="key given twice"),
        pytest.param("seed: [1", ["YAML", "line"], id="unbalanced bracket"),
        pytest.param("\tseed: 1", ["YAML", "line 1"], id="tab"),
        pytest.param("- seed", ["list", "mapping"], id="list instead of a mapping"),
        pytest.param(b"name: \xff\xfe\x00", ["is no text", "YAML file"], id="not UTF-8"),
        pytest.param("seed: !!python/object/apply:os.getcwd []", ["YAML"], id="code in YAML"),
        pytest.param("name: two words", ["name='two words'", "letters, digits, '.'"], id="name with a space"),
        pytest.param("promote: {model: a/b}", ["promote.model='a/b'", "digits, spaces, '.'"], id="odd sign"),
    ],
)
def test_a_mistake_in_a_config_is_one_line_that_names_it(content, said, folder, a_file):
    line = the_mistake("run", a_file(content))
    for word in said:
        assert word in line


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("joint.alpha_finl=1", ["joint.alpha_finl", "joint.alpha_final"]),
        ("joint.alpha_final", ["key=value"]),
        ("=1", ["key=value"]),
        ("joint.alpha_final=", ["joint.alpha_final"]),
        ("joint.alpha_final=[1", ["YAML"]),
        ("seed=1.5", ["seed=1.5"]),
        ("seed.x=1", ["seed"]),
        ("joint=1", ["joint=1", "section"]),
        ("split.labeled_per_class=100000", ["split.labeled_per_class=100000", "class '0'", "128"]),  # 178 - 50 zeros
        ("model.name=resnet81_small", ["resnet18_small"]),
        ("data.name=mnist", ["data.root", "SEMISUP_DATA_ROOT"]),
        ("tracking.experiment=", ["tracking.experiment"]),
    ],
)
def test_a_mistake_in_an_override_is_one_line_that_names_it(override, said, folder):
    line = the_mistake("run", "digits", "--set", override)
    for word in said:
        assert word in line


@pytest.mark.parametrize(
    ("override", "blamed"),
    [("seed=-1", "--set: seed=-1"), ("joint={alpha_final: abc}", "--set: joint.alpha_final='abc'")],
)
def test_a_mistake_in_an_override_is_not_blamed_on_the_file(override, blamed, folder):
    assert the_mistake("run", "digits", "--set", override).startswith(f"error: {blamed}")


def test_a_mistake_in_the_file_is_not_blamed_on_an_override(folder, a_file):
    path = a_file("seed: -1")
    assert the_mistake("run", path, "--set", "joint.alpha_final=1").startswith(f"error: {path}: seed=-1")


def test_a_stage_that_does_not_exist_leaves_no_store(folder):
    assert "'jont'" in the_mistake("stage", "jont", "digits")
    assert not list(Path.cwd().glob("mlflow.db*"))


def test_a_config_that_does_not_exist_is_named(folder):
    assert "nowhere.yaml" in the_mistake("run", "nowhere.yaml")


def test_a_name_of_no_config_is_answered_with_the_nearest_or_with_those_that_exist(folder):
    assert "'digit' is neither" in (line := the_mistake("run", "digit"))
    assert line.endswith("did you mean 'digits'?")
    assert all(path.stem in the_mistake("run", "photographs") for path in CONFIGS)


@pytest.mark.parametrize("there", ["photos.yaml", "dog.yaml"])
def test_a_file_that_was_meant_is_named(folder, a_file, there):
    Path(there).write_text("seed: 1\n", encoding="utf-8")
    for typed in (there.removesuffix(".yaml"), there.replace("o", "oo", 1)):
        assert the_mistake("run", typed, left=(there,)).endswith(f"did you mean {there!r}?")


def test_a_stage_that_was_meant_is_named(folder):
    for arguments in (["stage", "jont", "digits"], ["run", "digits", "--force", "jont"]):
        assert the_mistake(*arguments).endswith("stage 'jont' does not exist; did you mean 'joint'?")


def test_a_folder_in_place_of_a_config_is_answered_with_what_to_type(folder, tmp_path):
    photos = tmp_path / "my photos"
    photos.mkdir()
    line = the_mistake("status", str(photos))
    assert "is a folder" in line
    assert f"semisup init '{photos}' --out 'my photos.yaml'" in line
    assert "semisup run 'my photos.yaml'" in line
    (photos / "mine.yaml").write_text("seed: 1\n")
    assert f"such as {photos / 'mine.yaml'}" in the_mistake("run", str(photos))


def photographs(folder: Path) -> Path:
    """Two classes of noise, in color, and some without a label."""
    rng = np.random.default_rng(0)
    for place in ("labeled/bright", "labeled/dark", "unlabeled"):
        (folder / place).mkdir(parents=True)
        for number in range(8):
            low, high = (128, 256) if "bright" in place else (0, 128)
            pixels = rng.integers(low, high, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")
    return folder


def test_a_place_of_images_gets_the_config_that_init_writes_and_keeps_it(folder, tmp_path):
    photos = photographs(tmp_path / "my photos")
    assert place_of_images(str(photos)) == photos
    assert config_of(photos) == Path("my photos.yaml")
    written = load_config(folder / "my photos.yaml")
    assert (written.recipe, written.data.root) == ("graph", photos)
    assert written.model.name == "efficientnet_lite0+efficientnet_lite2"
    assert ineffective_options(written) == []
    text = (folder / "my photos.yaml").read_text()
    assert invoke("init", str(photos), "--out", "other.yaml").exit_code == 0
    assert (folder / "other.yaml").read_text() == text
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 15
    (other,) = re.findall(r"^# (pseudo_label: .*)  #", text, re.MULTILINE)
    (folder / "others.yaml").write_text(text + other + "\n")
    assert load_config(folder / "others.yaml").pseudo_label.unknown.false_alarms == 0.05
    (folder / "my photos.yaml").write_text(text + "seed: 7\n")
    assert load_config(config_of(photos)).seed == 7


def test_a_config_of_that_name_for_other_images_is_not_taken_for_the_folders(folder, tmp_path):
    photos = photographs(tmp_path / "photos")
    (folder / "photos.yaml").write_text("data: {name: folder, root: elsewhere}\n")
    for command in ("run", "status"):
        line = the_mistake(command, str(photos), left=("photos.yaml",))
        assert "photos.yaml is a config, but not for" in line
        assert f"semisup init {photos} --out FILE" in line
    assert (folder / "photos.yaml").read_text() == "data: {name: folder, root: elsewhere}\n"


def test_every_command_takes_a_folder_for_the_config_beside_it_and_says_so(folder, tmp_path):
    photos = photographs(tmp_path / "photos")
    assert invoke("init", str(photos), "--out", "photos.yaml").exit_code == 0
    said = f"{photos} is taken for photos.yaml, the config for these images\n"
    for arguments in (["status"], ["status", "--json"]):
        outcome = invoke(*arguments, str(photos))
        assert (outcome.exit_code, outcome.stderr.count(said)) == (0, 1)
        assert said not in outcome.stdout
    assert find_config(str(photos)) == config_of(photos) == Path("photos.yaml")
    assert load_config(find_config(str(photos))).data.root == photos


@pytest.mark.parametrize("other", ["digits", "digits.yaml"])
def test_what_a_ready_made_config_hides_is_said(folder, other):
    Path(other).mkdir() if other == "digits" else Path(other).write_text("seed: 3\n")
    lines = list[str]()
    assert find_config("digits", lines.append) == PROJECT / "configs" / "digits.yaml"
    assert lines == [
        f"digits is taken for the ready-made config; the {'folder' if other == 'digits' else 'file'} {other} is "
        "something else, and left alone"
    ]


def test_a_command_that_lacks_its_images_says_what_to_type(folder):
    assert "semisup predict photos.yaml new_photos" in the_mistake("predict", "photos.yaml")
    assert "--manifest photos.csv" in the_mistake("init")


def test_a_path_that_no_file_can_have_is_one_short_line(folder):
    for arguments in (["run"], ["init"], ["status"]):
        line = the_mistake(*arguments, "a" * 5000)
        assert "File name too long" in line
        assert len(line) < 300


def test_a_table_alone_means_the_folder_that_it_lies_in(folder, tmp_path):
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in (f"{label}{number}" for label in "ab" for number in range(8)):
        photos.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(photos / f"{name}.png")
    rows = [f"{file.name},{file.name[0] if int(file.stem[1]) < 5 else ''}" for file in sorted(photos.iterdir())]
    (photos / "m.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    outcome = invoke("init", "--manifest", str(photos / "m.csv"))
    assert outcome.exit_code == 0, outcome.output
    written = load_config(folder / "config.yaml")
    assert written.data.root == photos
    assert written.data.manifest == photos / "m.csv"


def test_a_folder_named_like_a_ready_made_config_does_not_hide_it(folder):
    (folder / "digits").mkdir()
    assert find_config("digits") == PROJECT / "configs" / "digits.yaml"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_config_that_may_not_be_read_is_named(folder, a_file):
    path = a_file("seed: 1")
    Path(path).chmod(0)
    assert "cannot be read" in the_mistake("run", path)


# --- mistakes in the data ---------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist_files(tmp_path):
    """A small data set in MNIST's files: 40 training images of each class and 20 test images."""
    root = tmp_path / "data"
    root.mkdir()
    for prefix, count in (("train", 400), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 256, (count, 12, 12))
        (root / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (root / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return root


def on_mnist(root: Path, *overrides: str) -> tuple[str, ...]:
    settings = ("data.name=mnist", f"data.root={root}", *overrides)
    return ("run", "digits", *(word for setting in settings for word in ("--set", setting)))


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_a_missing_data_file_is_named_with_the_way_to_get_it(file, folder, mnist_files):
    (mnist_files / file).unlink()
    line = the_mistake(*on_mnist(mnist_files))
    assert file in line
    assert "data.download: true" in line


def test_missing_test_labels_are_a_mistake_before_anything_is_trained(pretended, mnist_files):
    """That they are there can be known without reading them; after minutes of training it is too late."""
    (mnist_files / "t10k-labels-idx1-ubyte").unlink()
    outcome = invoke(*on_mnist(mnist_files))
    assert pretended == []
    assert outcome.exit_code == 2
    assert "t10k-labels-idx1-ubyte" in outcome.stderr


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="truncated"),
        pytest.param(lambda content: content + b"x", id="too long"),
        pytest.param(lambda content: b"<html>" + content, id="not idx"),
        pytest.param(lambda content: b"", id="empty"),
    ],
)
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_a_damaged_data_file_is_named(file, damage, folder, mnist_files):
    path = mnist_files / file
    path.write_bytes(damage(path.read_bytes()))
    line = the_mistake(*on_mnist(mnist_files))
    assert str(path) in line
    assert "damaged" in line


def test_a_truncated_gzip_file_is_named(folder, mnist_files):
    plain = mnist_files / "train-images-idx3-ubyte"
    packed = gzip.compress(plain.read_bytes())
    plain.unlink()
    (mnist_files / f"{plain.name}.gz").write_bytes(packed[: len(packed) // 2])
    assert f"{plain.name}.gz" in the_mistake(*on_mnist(mnist_files))


def test_a_data_root_that_does_not_exist_is_named(folder, tmp_path):
    assert str(tmp_path / "nowhere") in the_mistake(*on_mnist(tmp_path / "nowhere"))


def test_a_data_root_that_is_a_file_is_named(folder, mnist_files):
    assert "is a file" in the_mistake(*on_mnist(mnist_files / "train-images-idx3-ubyte"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["split.labeled_per_class=30", "split.validation_per_class=11"], "only 40 images"),
        (["split.labeled_per_class=30", "split.validation_per_class=10"], "take all 400 images"),
    ],
)
def test_more_labels_than_there_are_images_is_a_mistake(overrides, said, folder, mnist_files):
    assert said in the_mistake(*on_mnist(mnist_files, *overrides))


def test_a_class_with_too_few_images_is_named(folder, mnist_files):
    labels = np.arange(400) % 10
    labels[labels == 7] = 3
    labels[:5] = 7
    (mnist_files / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    line = the_mistake(*on_mnist(mnist_files))
    assert "class '7'" in line
    assert "only 5 images" in line


# --- mistakes with the store ------------------------------------------------------------------------------------------


def test_a_folder_named_like_the_store_is_a_mistake(folder):
    (folder / "mlflow.db").mkdir()
    assert "is a folder" in the_mistake("run", "digits", left=("mlflow.db",))


def test_a_file_that_is_no_database_is_a_mistake_and_left_alone(folder):
    (folder / "mlflow.db").write_text("my shopping list", encoding="utf-8")
    assert "not an SQLite database" in the_mistake("run", "digits", left=("mlflow.db",))
    assert (folder / "mlflow.db").read_text(encoding="utf-8") == "my shopping list"


@pytest.mark.parametrize("command", [["run", "digits"], ["runs"], ["status", "digits"]])
def test_a_database_of_something_else_is_a_mistake_and_left_alone(command, folder):
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as theirs, theirs:
        theirs.execute("CREATE TABLE recipes (name TEXT)")
    before = (folder / "mlflow.db").read_bytes()
    assert "'recipes'" in the_mistake(*command, left=("mlflow.db",))
    assert (folder / "mlflow.db").read_bytes() == before


def test_a_file_named_like_the_artifact_folder_is_a_mistake(folder):
    (folder / "mlartifacts").write_text("", encoding="utf-8")
    assert "mlartifacts" in the_mistake("run", "digits", left=("mlartifacts",))


def test_a_store_in_a_folder_that_does_not_exist_is_a_mistake(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/to/be/found/mlflow.db")
    assert "/nowhere/to/be/found" in the_mistake("run", "digits")


def test_a_server_that_does_not_answer_is_a_mistake(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "http://127.0.0.1:9" in the_mistake("run", "digits")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_working_folder_without_permission_to_write_is_a_mistake(folder):
    folder.chmod(0o500)
    try:
        assert "no permission" in the_mistake("run", "digits")
    finally:
        folder.chmod(0o700)


def test_a_mistake_really_ends_the_process_with_status_two_and_one_line(folder, a_file):
    """Once through the installed command: what a shell sees."""
    command = [str(Path(sys.executable).with_name("semisup")), "run", a_file("joint: {alpha_finl: 1}")]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG)
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    assert list(folder.iterdir()) == []


# --- a run that goes well ---------------------------------------------------------------------------------------------


@pytest.fixture
def pretended(store, monkeypatch):
    """The flow replaced by one that says which config it was given, and ends at once; no server is started for it."""
    import flows.pipeline.flow
    import flows.start.server

    given: list[PipelineConfig] = []

    def pipeline(config: PipelineConfig, force: list[str], overrides: list[str]) -> dict[str, object]:
        given.append(config)
        return FIGURES

    monkeypatch.setattr(flows.pipeline.flow, "pipeline", pipeline)
    monkeypatch.setattr(flows.start.server, "begin_prefect_api", lambda: None)
    monkeypatch.setattr(flows.start.launch, "ensure_prefect_api", lambda **_: None)
    return given


def test_the_flow_is_given_the_file_with_the_overrides_on_top(pretended, a_file):
    path = a_file("seed: 5\njoint: {alpha_final: 0.25, epochs: 7}", "mine.yaml")
    outcome = invoke("run", path, "--set", "joint.alpha_final=0.5", "--set", "model.width=0.5")
    assert outcome.exit_code == 0
    (config,) = pretended
    assert (config.name, config.seed) == ("mine", 5)
    assert (config.joint.alpha_final, config.joint.epochs, config.model.width) == (0.5, 7, 0.5)
    assert config.baseline == PipelineConfig().baseline


def test_with_json_stdout_is_one_json_object_on_one_line(pretended):
    outcome = invoke("run", "digits", "--json")
    assert outcome.exit_code == 0
    (line,) = outcome.stdout.splitlines()
    assert json.loads(line) == FIGURES


def test_without_json_a_table_the_report_and_the_next_command_are_printed(pretended):
    outcome = invoke("run", "digits")
    assert outcome.exit_code == 0
    for said in ("80.0%", "75.0% … 85.0%", "90.0%", "+10.0%", "student better", "50.0%", "semisup ui", "[old]"):
        assert said in outcome.stdout
    assert FIGURES["report"] in outcome.stdout


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_the_path_of_the_report_is_never_broken_over_two_lines(width, pretended):
    outcome = invoke("run", "digits", env={"COLUMNS": width})
    assert FIGURES["report"] in outcome.stdout


def test_a_threshold_that_smoothing_can_never_reach_is_a_warning_on_stderr(pretended):
    settings = ("--set", "baseline.label_smoothing.epsilon=0.1", "--set", "pseudo_label.threshold=0.95")
    outcome = invoke("run", "digits", *settings, "--json")
    assert outcome.exit_code == 0
    (warning,) = [line for line in outcome.stderr.splitlines() if line.startswith("warning: ")]
    assert "pseudo_label.threshold=0.95" in warning
    assert "0.91" in warning  # 0.9 + 0.1 / 10
    assert len(outcome.stdout.splitlines()) == 1


def test_an_ordinary_run_has_no_warning(pretended):
    assert "warning" not in invoke("run", "digits").stderr


def test_a_bug_that_runs_out_of_file_is_not_taken_for_an_interruption(pretended, monkeypatch):
    def bug(*_: object) -> None:
        raise EOFError("a file of ours ended too early")

    monkeypatch.setattr("flows.pipeline.flow.pipeline", bug)
    with pytest.raises(EOFError, match="too early"):
        invoke("run", "digits")


@pytest.mark.parametrize("name", ["digits", "digits_bagging", "mnist_method2"])
def test_what_a_run_imports_while_it_waits_is_there(name):
    modules = modules_of(load_config(find_config(name), []))
    assert [module for module in modules if find_spec(module) is None] == []


def test_an_interruption_ends_with_status_130_and_one_line(pretended, monkeypatch):
    import flows.pipeline.flow

    def interrupted(config: PipelineConfig, force: list[str], overrides: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flows.pipeline.flow, "pipeline", interrupted)
    outcome = invoke("run", "digits", "--json")
    assert outcome.exit_code == 130
    assert outcome.stdout == ""
    assert outcome.stderr.splitlines()[-1].startswith("interrupted")


@pytest.mark.prefect
def test_a_whole_run_prints_plain_lines_on_stderr_and_json_on_stdout(finished_run):
    assert len(finished_run.stdout.splitlines()) == 1
    result = finished_run.result
    assert 0 <= result["baseline_test_accuracy"] <= 1
    lines = finished_run.stderr.splitlines()
    for stage in ("split", "baseline", "pseudo_label", "joint", "keep", "labels", "evaluate"):
        assert any(re.fullmatch(rf"{stage}: done in [\d.]+ s", line) for line in lines), stage
    assert "\x1b" not in finished_run.stderr


@pytest.mark.prefect
def test_neither_prefect_nor_mlflow_speak_on_the_screen_of_a_run(finished_run):
    stages = (
        "split",
        "baseline",
        "pseudo_label",
        "joint",
        "keep",
        "labels",
        "evaluate",
        "promote",
        "finish",
        "semisup ",
        "the student is the champion",
        "warning: split.validation_per_class=5: there are 50",  # ours, and true
    )
    assert [line for line in finished_run.stderr.splitlines() if not line.startswith(stages)] == []


# --- other commands ---------------------------------------------------------------------------------------------------


def test_version_prints_the_version():
    outcome = invoke("--version")
    assert (outcome.exit_code, outcome.stdout) == (0, f"semisup {semisup.__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("-h",)])
def test_help_shows_every_command_and_examples_that_work(arguments):
    outcome = invoke(*arguments)
    assert outcome.exit_code == 0
    text = " ".join(outcome.stdout.split())
    for said in (
        "run",
        "stage",
        "status",
        "runs",
        "show",
        "compare",
        "serve",
        "deploy",
        "configs",
        "ui",
        "--version",
        "semisup run digits",
        "--set data.root=",
    ):
        assert said in text


def test_help_on_run_shows_its_options_and_an_example():
    text = " ".join(invoke("run", "--help").stdout.split())
    for said in ("--set", "KEY=VALUE", "--json", "semisup run digits"):
        assert said in text


def test_configs_lists_every_file_with_its_first_line():
    outcome = invoke("configs")
    assert outcome.exit_code == 0
    listed = [" ".join(line.split()) for line in outcome.stdout.splitlines()]
    for path in CONFIGS:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# ")
        assert f"{path.stem} {first[2:]}" in listed


def test_configs_takes_one_line_each_in_a_pipe():
    outcome = invoke("configs", env={"COLUMNS": ""})
    assert len(outcome.stdout.splitlines()) == 1 + len(CONFIGS)


def test_every_listed_config_is_valid_and_found_by_its_name():
    for path in CONFIGS:
        kind = RegressionConfig if path.stem == "diabetes" else PipelineConfig
        assert load_kind(kind, find_config(path.stem)).name == path.stem


def test_keys_lists_every_key_with_its_default_and_its_meaning():
    outcome = invoke("configs", "--keys")
    assert outcome.exit_code == 0
    rows = {line.split()[0]: line for line in outcome.stdout.splitlines() if line and not line.startswith(" ")}
    sections = {key.rpartition(".")[0] for key in keys()}
    for key in set(keys()) - sections:
        assert key in rows
    # Read from the printed page: a key, its default, and words of its documentation.
    assert re.match(r"joint\.alpha_final\s+1\.0\s+α_f: weight", rows["joint.alpha_final"])
    assert re.match(r"data\.root\s+unset\s+Folder", rows["data.root"])


@pytest.mark.parametrize("width", ["60", "80", "200"])
def test_no_word_in_square_brackets_is_eaten_from_the_keys(width):
    expected = re.findall(r"\[[^\]]*\]", " ".join(field.description or "" for field in all_fields()))
    printed = "".join(invoke("configs", "--keys", env={"COLUMNS": width}).stdout.split())
    assert all("".join(word.split()) in printed for word in expected)


def all_fields():
    def fields(section):
        for field in section.model_fields.values():
            yield field
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation)

    return list(fields(PipelineConfig))


def test_the_keys_that_others_rely_on_are_there():
    expected = {"seed", "data.name", "data.root", "data.download", "split.labeled_per_class"}
    expected |= {"split.validation_per_class", "baseline.epochs", "pseudo_label.threshold", "joint.epochs"}
    assert expected | {"joint.alpha_final"} <= set(keys())


HEAVY = ("torch", "torchvision", "prefect", "mlflow", "pandas", "matplotlib", "sklearn", "scipy", "pydantic", "numpy")


@pytest.mark.parametrize(
    ("arguments", "begins", "by_typer"),
    [
        (["--help"], "Usage", set()),
        (["--version"], "semisup ", set()),
        (["benchmark", "digits", "--seeds", "5-2"], "error: --seeds 5-2", {"pydantic"}),
    ],
)
def test_help_version_and_a_mistake_in_seeds_import_nothing_heavy(arguments, begins, by_typer):
    script = (
        "import sys\nfrom flows.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print(*set({HEAVY!r}) & set(sys.modules), file=sys.stderr)"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LONG)
    *said, modules = outcome.stderr.splitlines()
    assert set(modules.split()) <= by_typer
    assert any(line.strip().startswith(begins) for line in [*said, *outcome.stdout.splitlines()])


def test_ui_without_a_store_is_a_mistake_that_says_how_to_get_one(folder):
    line = the_mistake("ui")
    assert "semisup run digits" in line


def test_ui_of_a_server_is_a_mistake_that_says_where_to_look(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:hunter2@127.0.0.1:9")
    assert "hunter2" not in the_mistake("ui")


def test_ui_on_a_port_in_use_is_a_mistake(store):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        outcome = invoke("ui", "--port", port)
    assert outcome.exit_code == 2
    assert f"--port {port}" in outcome.stderr


def test_ui_serves_the_store_of_this_folder_on_the_loopback_address_only(store, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execvp", lambda file, arguments: called.append((file, arguments)))
    assert invoke("ui", "--port", "54321").exit_code == 0
    ((file, arguments),) = called
    assert arguments[0] == file
    options = dict(itertools.pairwise(arguments))
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "54321"
    assert options["--backend-store-uri"] == f"sqlite:///{store.resolve()}/mlflow.db"


def test_ui_names_the_table_of_the_newest_pipelines_experiment_and_without_one_the_list_of_experiments(
    store, monkeypatch
):
    monkeypatch.setattr(os, "execvp", lambda file, arguments: None)
    pages = "http://127.0.0.1:54321/#/experiments"
    assert invoke("ui", "--port", "54321").stderr.endswith(f"{pages}?workflowType=machine_learning\n")
    tracker = Tracker.open("newest", store)
    tracker.show_figures()
    with tracker.run("digits", {"stage": "pipeline"}):
        pass
    table = f"{pages}/{tracker.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=semisup"
    assert invoke("ui", "--port", "54321").stderr.endswith(f"{table}\n")


def test_the_ready_made_configs_are_what_the_readme_and_the_issue_call_them():
    assert {"digits", "mnist", "mnist_method1", "mnist_method2"} <= {path.stem for path in CONFIGS}
    assert yaml.safe_load((PROJECT / "configs" / "digits.yaml").read_text(encoding="utf-8"))["data"]["name"] == "digits"


def test_a_config_that_lies_here_is_a_near_name_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.yaml").write_text("seed: 1\n", encoding="utf-8")
    for typed in ("photo", "photos"):
        assert the_mistake("run", typed, left=("photos.yaml",)).endswith("did you mean 'photos.yaml'?")
    assert the_mistake("run", "digit", left=("photos.yaml",)).endswith("did you mean 'digits'?")
    assert "is no name" in the_mistake("run", " ", left=("photos.yaml",))
