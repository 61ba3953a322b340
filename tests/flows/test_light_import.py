"""Answers about a data set that never changes are taken in without MLflow, which takes seconds to import."""

import subprocess
import sys

from semisup.config.files import to_yaml
from semisup.data.sources import load_pool
from semisup.stages.split import plan

CODE = """
import sys
from flows.cli import app
try:
    app(["review", "--import", "labels.csv", "tiny.yaml"])
except SystemExit as end:
    assert not end.code, end.code
print("mlflow" in sys.modules, "prefect" in sys.modules)
"""


def test_answers_about_digits_are_taken_in_without_mlflow_and_prefect(tiny_config, tmp_path):
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config), encoding="utf-8")
    name = plan(tiny_config, load_pool("digits"), ()).ids("unlabeled")[0]
    (tmp_path / "labels.csv").write_text(f"id,label\n{name},3\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False", done.stdout
    assert (tmp_path / "tiny-answers.csv").is_file()
