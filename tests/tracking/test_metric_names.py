"""Whatever a class is called, its figures have a name that MLflow takes, and one of their own."""

import re

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from semisup.config.files import validate
from semisup.data.own_images import forget
from semisup.lineage.fingerprints import MANIFEST
from semisup.pipeline.specs import load_stage
from semisup.tracking.run import LONGEST_KEY, points
from semisup.tracking.tracker import Tracker
from tests.data.corpus import encoded, photo, put
from tests.listening import Listener

ODD = ["../../evil", "a//b", "shoes/", "/", "..", ".", "a#b?c", "_2f_", "a_2f/", "a/2f_", "", " ", "x" * 300, "=1"]
names = st.text() | st.text(alphabet="_2f/. a#", max_size=8) | st.sampled_from(ODD)


def key(name: str) -> str:
    (point,) = points({f"labeled_per_class.{name}": 1.0})
    return point.key


@given(names)
def test_mlflow_takes_the_name_of_a_figure_of_any_class(name):
    _validate_metric_name(key(name))
    assert len(key(name)) <= LONGEST_KEY
    assert "/" not in key(name)


@given(names, names)
@example("a_2f/", "a/2f_")
@example("/", "_2f_")
@example("x" * 300, "x" * 301)
def test_different_classes_have_figures_of_different_names(first, second):
    assert (key(first) == key(second)) == (first == second)


@given(names)
def test_the_class_can_be_told_from_the_name_of_its_figure(name):
    spelled = key(name).partition(".")[2]
    if len(key(name)) < LONGEST_KEY:
        assert re.sub("_([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), spelled) == name


@pytest.mark.parametrize("name", ["train_loss", "top_2_accuracy", "drift.confidence", "rejected.below_threshold"])
def test_figures_of_our_own_are_called_as_they_are(name):
    assert points({name: 1.0})[0].key == name


def test_a_split_of_any_classes_and_files_is_logged_whole_and_read_back(store, tmp_path):
    classes = [name for name in ODD if name.strip() and len(name) < 300] + ["x" * 260]
    rows = []
    for number, name in enumerate(classes):
        for image in range(3):
            file = f"-{number} #{image}?=.png"
            put(tmp_path / "photos" / file, encoded(photo(3 * number + image, 8, 8), "PNG"))
            rows.append((file, name, "test" if image == 2 else ""))
    put(tmp_path / "photos" / "=new#.png", encoded(photo(999, 8, 8), "PNG"))
    put(tmp_path / "photos" / "=broken#.png", b"x")
    rows += [("=new#.png", "", ""), ("=broken#.png", "", "")]
    pd.DataFrame(rows, columns=["path", "label", "role"]).to_csv(tmp_path / "m.csv", index=False)
    data = {"name": "folder", "root": tmp_path / "photos", "manifest": tmp_path / "m.csv", "size": 8, "max_broken": 0.1}
    split = {"labeled_per_class": "all", "validation_per_class": 1}
    config = validate({"data": data | {"cache": tmp_path / "cache"}, "split": split}, source="test")
    out, log = tmp_path / "out", Listener()
    out.mkdir()
    forget()
    load_stage("split")(config, {}, out, log)
    forget()
    tracker = Tracker.open("tests", store)
    with tracker.run("split", {}) as run:
        run.log_metrics(log.figures)
        run.log_outputs(out)
    logged = tracker.client.get_run(run.id).data.metrics
    assert len([name for name in logged if name.startswith("labeled_per_class.")]) == len(classes)
    assert all(re.fullmatch(r"[a-z_.]+", file.name) for file in out.rglob("*")), "no name of a user's is a file's"
    back = tracker.artifacts(run.id, tmp_path / "scratch")
    assert {file.name for file in back.iterdir()} == {file.name for file in out.iterdir()} >= {MANIFEST}
