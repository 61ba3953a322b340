"""The tutorials' and the README's commands run, one after another, and leave what the pages say."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.documentation.pages import PROJECT, blocks, commands
from tests.waiting import LONG

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
BIN = Path(sys.executable).parent
TUTORIALS = PROJECT / "docs" / "tutorials"
SERVES = "semisup ui"


def run(line: str, folder: Path) -> str:
    """What a command prints, in a folder of its own."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LONG
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def photo(kind: str, rng: np.random.Generator) -> Image.Image:
    """Stripes, checks or discs in two colors."""
    side = 96
    y, x = np.mgrid[:side, :side]
    if kind == "stripes":
        angle = rng.uniform(0, np.pi)
        ink = (x * np.cos(angle) + y * np.sin(angle)) // rng.uniform(4, 8) % 2 == 0
    elif kind == "checks":
        ink = (x // rng.integers(8, 14) + y // rng.integers(8, 14)) % 2 == 0
    else:
        centers = rng.uniform(10, side - 10, (6, 2))
        ink = np.any([(x - a) ** 2 + (y - b) ** 2 < rng.uniform(5, 14) ** 2 for a, b in centers], axis=0)
    pixels = np.where(ink[..., None], rng.integers(0, 255, 3), rng.integers(60, 200, 3)) + rng.normal(
        0, 12, (side, side, 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The folders of the tutorial: five classes' worth of labels, others without, and new ones."""
    rng = np.random.default_rng(0)
    for kind in ("stripes", "checks", "discs"):
        for place, count in ((f"photos/labeled/{kind}", 8), ("photos/unlabeled", 10), ("new_photos", 2)):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                photo(kind, rng).save(tmp_path / place / f"{kind}-{number}.jpg")
    return tmp_path


def test_the_digits_tutorial(tmp_path):
    printed = {line: run(line, tmp_path) for line in commands(TUTORIALS / "digits.md") if line != SERVES}
    shown = [re.split(r"\s{2,}", row)[0] for row in blocks(TUTORIALS / "digits.md", "text")[0].splitlines()[1:]]
    for row in shown:
        assert row in printed["semisup run digits"]
    status = printed["semisup status digits --set pseudo_label.threshold=0.8"]
    standing = dict(re.findall(r"^(\w+) +(fresh|stale) ", status, re.MULTILINE))
    assert standing == {
        "split": "fresh",
        "baseline": "fresh",
        "pseudo_label": "stale",
        "joint": "stale",
        "keep": "stale",
        "labels": "stale",
        "evaluate": "stale",
        "promote": "stale",
    }
    runs = [re.split(r"\s{2,}", line) for line in printed["semisup runs"].splitlines()[1:]]
    assert [row[1:5] for row in runs if "threshold" in " ".join(row)] == [
        ["digits", "0", "pseudo_label.threshold=0.8", "finished"]
    ]
    assert [row[1:4] for row in runs if "threshold" not in " ".join(row)] == [["digits", "0", "finished"]]
    (code,) = blocks(TUTORIALS / "digits.md", "python")
    done = run(f"python -W ignore -c {shlex.quote(code)}", tmp_path)
    assert done.split("\n")[0] == "(2, 10)"


def test_the_photos_tutorial_and_the_readmes_three_lines(photos):
    readme = commands(PROJECT / "README.md")
    tutorial = commands(TUTORIALS / "photos.md")
    assert readme == tutorial[: len(readme)]
    newest = ""
    for line in tutorial:
        printed = run(line.replace("RUN", newest), photos)
        if line == "semisup runs":
            newest = printed.splitlines()[1].split()[0]
    with (photos / "labels.csv").open(newline="", encoding="utf-8") as file:
        labeled = list(csv.DictReader(file))
    assert {Path(row["path"]).name for row in labeled} == {path.name for path in (photos / "new_photos").iterdir()}
    assert (photos / "review" / "review.html").exists()


def test_the_tutorial_about_hugging_face(tmp_path):
    rng = np.random.default_rng(0)
    kinds = ("stripes", "checks", "discs")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(kinds))})
    for split, each in (("train", 10), ("unlabeled", 10)):
        rows: dict[str, list] = {"image": [], "label": []}
        for number, kind in enumerate(kinds):
            for _ in range(each):
                buffer = io.BytesIO()
                photo(kind, rng).save(buffer, "JPEG")
                rows["image"].append({"bytes": buffer.getvalue(), "path": None})
                rows["label"].append(number if split == "train" else -1)
        (tmp_path / "pets").mkdir(exist_ok=True)
        data = datasets.Dataset.from_dict(rows, features=features)
        data.to_parquet(tmp_path / "pets" / f"{split}-00000-of-00001.parquet")
    page, newest = TUTORIALS / "hugging-face.md", ""
    for line in commands(page):
        printed = run(line.replace("RUN", newest), tmp_path)
        if line == "semisup runs":
            newest = printed.splitlines()[1].split()[0]
    assert "  name: parquet\n" in (tmp_path / "pets.yaml").read_text()
    (code,) = blocks(page, "python")
    said = run(f"python -W ignore -c {shlex.quote(code)}", tmp_path).splitlines()[-1]
    by_people, now, names = re.fullmatch(r"(\d+) images .* people, (\d+) are labeled now: (.*)", said).groups()
    assert 0 < int(by_people) < int(now) <= 60
    assert names == "checks, discs, stripes"


def test_the_cells_of_the_notebook_run_one_after_another(tmp_path):
    """In one interpreter; what a cell ends with is shown as a notebook would."""
    cells = json.loads((TUTORIALS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    program = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shown = "print(classifier._repr_html_(), run._repr_html_(), run.report._repr_html_())"
    said = run(f"python -W error::UserWarning -c {shlex.quote(chr(10).join([*program, shown]))}", tmp_path)
    shares = [float(share) for share in re.findall(r"([\d.]+)% of 300 test images are right", said)]
    assert len(shares) == 2
    assert min(shares) > 85  # a logistic regression on the 100 labels has some 88
    assert "Model to keep" in said


def test_the_page_about_python_runs_as_written(tmp_path):
    """Its blocks in one interpreter, one after another, as in a notebook."""
    code = "\n".join(blocks(PROJECT / "docs" / "how-to" / "python.md", "python"))
    code = code.replace("configs/digits.yaml", str(PROJECT / "configs" / "digits.yaml"))
    run(f"python -W error::UserWarning -c {shlex.quote(code)}", tmp_path)
    assert (tmp_path / "model").exists()
    assert (tmp_path / "out" / "evaluate" / "metrics.json").exists()
    assert (tmp_path / "out" / "joint" / "weights.safetensors").exists()
