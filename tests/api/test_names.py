"""`import semisup` is quick, every name is there, and a user's own file type-checks."""

import doctest
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import semisup as ss

PROJECT = Path(__file__).parents[2]
HEAVY = ("torch", "pandas", "numpy", "mlflow", "sklearn", "pydantic", "prefect")


def test_importing_it_loads_nothing_heavy():
    code = f"import sys, semisup; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_listed():
    assert set(ss.__all__) <= set(dir(ss))
    for name in ss.__all__:
        assert getattr(ss, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'FixMatsch'"):
        ss.FixMatsch  # noqa: B018


def test_policies_are_the_librarys_own():
    from semisup.pseudo_labels.policies.fixmatch import FixMatch

    assert ss.FixMatch is FixMatch


@pytest.mark.parametrize("module", ["semisup", "semisup.api.classifier", "semisup.api.data", "semisup.api.policies"])
def test_the_examples_in_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
    assert found.attempted > 0


USERS_FILE = """
import numpy as np
import semisup as ss

classifier = ss.PseudoLabelClassifier(ss.FixMatch(0.95), budget="60s", random_state=0)
X = np.zeros((4, 8, 8), dtype=np.uint8)
fitted: ss.PseudoLabelClassifier = classifier.fit(X, [0, 1, -1, -1], groups=[0, 1, 2, 2])
reveal_type(fitted.predict_proba(X))
reveal_type(fitted.labeled_iter_)
reveal_type(ss.load("model").save("other"))
data = ss.Dataset.from_folder("photos", size=(32, 32))
result = ss.run("digits", data=data, seed=3)
reveal_type(result.metrics.student.value)
reveal_type(result.pseudo_labels)
reveal_type(result.model.predict(X))
ss.PseudoLabelClassifier(budget=60)
ss.FixMatch("sure")
"""


def test_a_users_file_type_checks_and_mistakes_in_it_are_found(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(USERS_FILE, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--cache-dir",
        str(tmp_path / "cache"),
        file.name,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    revealed = [line.split('"')[1] for line in lines if "Revealed type" in line]
    for text, expected in zip(
        revealed, ("float64", "signedinteger", "pathlib.Path", "float", "DataFrame", "str_"), strict=True
    ):
        assert expected in text, done.stdout
    errors = [line for line in lines if line.startswith("error")]
    assert len(errors) == 2, done.stdout
    assert '"int"; expected "str | None"' in errors[0]
    assert '"str"; expected "float"' in errors[1]


@pytest.mark.slow
def test_a_wheel_holds_the_marker_for_types_and_the_ready_made_configs(tmp_path):
    build = [sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", str(tmp_path), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"semisup/py.typed", "semisup/configs/digits.yaml", "semisup/api/classifier.py"} <= set(names)
    assert not any(name.startswith("flows/configs") for name in names)
