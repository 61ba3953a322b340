"""Commands that only look at what is there import neither MLflow nor Prefect, and torch only where images are read."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from semisup.config.files import to_yaml
from semisup.data.sources import load_pool
from semisup.stages.split import plan

HEAVY = ("mlflow", "prefect", "torch", "sklearn", "matplotlib", "pandas")
CODE = f"""
import sys
from flows.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(*(name for name in {HEAVY} if name in sys.modules))
"""


def imported(*command: str, folder: Path) -> set[str]:
    """Which of the heavy packages a command imports."""
    words = [sys.executable, "-c", CODE, *command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_annotations_about_digits_are_taken_in_without_mlflow_and_prefect(tiny_config, tmp_path):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config), encoding="utf-8")
    name = plan(tiny_config, load_pool("digits"), ()).ids("unlabeled")[0]
    (tmp_path / "labels.csv").write_text(f"id,label\n{name},3\n", encoding="utf-8")
    assert not {"mlflow", "prefect"} & imported("review", "--import", "labels.csv", "tiny.yaml", folder=tmp_path)
    assert (tmp_path / "tiny-annotations.csv").is_file()


def test_configs_are_listed_without_any_of_them(tmp_path):
    assert imported("configs", folder=tmp_path) == set()


@pytest.mark.prefect
def test_runs_are_listed_shown_and_exported_without_torch_and_mlflow(rerunnable, finished_run):
    run_id = finished_run.result["run_id"]
    assert imported("runs", folder=rerunnable) == set()
    assert imported("show", run_id, folder=rerunnable) == set()
    table = ("export", run_id, "--format", "csv", "--out", "labels.csv")
    assert imported(*table, folder=rerunnable) == {"pandas"}


@pytest.mark.prefect
def test_a_status_and_a_prediction_need_torch_and_neither_mlflow_nor_prefect(rerunnable, finished_run, tmp_path):
    config = rerunnable / "tiny.yaml"
    config.write_text(to_yaml(finished_run.config), encoding="utf-8")
    assert imported("status", "tiny.yaml", folder=rerunnable) == {"torch", "pandas"}
    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    words = ("predict", finished_run.result["run_id"], str(tmp_path / "one.png"))
    assert imported(*words, folder=rerunnable) == {"torch", "pandas"}
