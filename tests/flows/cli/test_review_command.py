"""`semisup review`: from a finished run to a page, and from annotations to the split of the next run."""

import json

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from flows.cli import app
from flows.pipeline.survey import survey
from semisup.config.files import load_config
from semisup.data.roles.annotations import read_annotations
from semisup.data.roles.split import Split
from semisup.stages.preflight.check import check
from semisup.tracking.tracker import Tracker
from tests.flows.cli.reviewing import review

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def split(rerunnable, finished_run, tmp_path):
    folder = Tracker.existing(rerunnable).artifacts(finished_run.result["stages"]["split"]["run_id"], tmp_path)
    return Split.read(folder / "split.parquet")


def test_a_review_of_a_pipeline_is_a_folder_with_its_page_and_names_the_next_step(rerunnable, finished_run, split):
    run_id = finished_run.result["run_id"]
    said = review(run_id[:8], "--budget", 7, "--suspects", 0)
    assert said.exit_code == 0, said.output
    assert "semisup review --import labels.csv CONFIG" in said.stdout
    table = pd.read_csv(rerunnable / f"review-{run_id[:8]}" / "candidates.csv")
    assert len(table) == 7
    assert set(table["id"]) <= set(split.ids("unlabeled"))
    again = review(run_id[:8])
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert json.loads(review(run_id, "--budget", 3, "--force", "--json").stdout)["to_label"] == 3


def test_a_review_is_an_mlflow_run_beside_the_pipelines_that_disturbs_none(rerunnable, finished_run, own_config):
    run_id = finished_run.result["run_id"]
    listed = CliRunner().invoke(app, ["runs", "--json"]).stdout
    told = json.loads(review(run_id, "--budget", 5, "--suspects", 0, "--out", "page", "--json").stdout)
    client = MlflowClient(f"sqlite:///{rerunnable / 'mlflow.db'}")
    run, reviewed = client.get_run(told["run_id"]), client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.experiment_id == reviewed.info.experiment_id
    for tag in ("config", "seed", "semisup.version"):
        assert run.data.tags[tag] == reviewed.data.tags[tag]
    assert run.data.tags["mlflow.parentRunId"] == run.data.tags["reviewed"] == run_id
    assert run.data.params == {"budget": "5", "suspects": "0", "groups": "8", "strategy": "clusters"}
    table = pd.read_csv(rerunnable / "page" / "candidates.csv")
    assert run.data.metrics["images_to_label"] == 5
    assert run.data.metrics["labels_to_check"] == 0
    assert run.data.metrics["mean_worth"] == pytest.approx(table["worth"].mean(), rel=1e-4)
    artifacts = Tracker.existing(rerunnable).artifacts(told["run_id"], rerunnable)
    for name in ("review.html", "candidates.csv", "tasks.json", "labels.xml"):
        assert (artifacts / name).read_bytes() == (rerunnable / "page" / name).read_bytes()

    assert CliRunner().invoke(app, ["runs", "--json"]).stdout == listed
    shown = CliRunner().invoke(app, ["show", told["run_id"][:8], "--json"])
    assert json.loads(shown.stdout)["stage"] == "review"
    resolved = load_config(own_config)
    states = survey(resolved, check(resolved).digests, rerunnable)
    assert {state.standing for state in states.values()} == {"fresh"}


def test_a_mistake_in_a_review_leaves_no_run(rerunnable, finished_run):
    before = len(Tracker.existing(rerunnable).search("tags.semisup.version LIKE '%'"))
    said = review(finished_run.result["run_id"], "--budget", 0, "--suspects", 0)
    assert said.exit_code == 2
    assert "no image to ask about" in said.stderr
    assert len(Tracker.existing(rerunnable).search("tags.semisup.version LIKE '%'")) == before


@pytest.mark.parametrize("what", ["joint", "split"])
def test_a_stage_is_no_pipeline_to_review(finished_run, rerunnable, what):
    said = review(finished_run.result["stages"][what]["run_id"])
    assert said.exit_code == 2
    assert "needs a complete pipeline" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_annotations_make_the_split_stale_and_a_second_import_adds_to_them(own_config, split, rerunnable):
    first, second = split.ids("unlabeled")[:2]
    (rerunnable / "labels.csv").write_text(f"id,annotation,label\n{first},label,3\n", encoding="utf-8")
    said = review("--import", "labels.csv", own_config)
    assert said.exit_code == 0, said.output
    assert f"semisup run {own_config} --set data.annotations=tiny-annotations.csv" in said.stdout

    resolved = load_config(own_config, ["data.annotations=tiny-annotations.csv"])
    states = survey(resolved, check(resolved).digests, rerunnable)
    assert (states["split"].standing, states["split"].why) == ("stale", "changed: data set")
    plain = load_config(own_config)
    assert survey(plain, check(plain).digests, rerunnable)["split"].standing == "fresh"

    (rerunnable / "more.csv").write_text(f"id,annotation,label\n{first},label,4\n{second},discard,\n", encoding="utf-8")
    told = json.loads(review("--import", "more.csv", own_config, "--json").stdout)
    assert {name: told[name] for name in ("all", "new", "changed", "same")} == {
        "all": 2, "new": 1, "changed": 1, "same": 0,
    }  # fmt: skip
    annotations = read_annotations(rerunnable / "tiny-annotations.csv")
    assert {content: annotation.label for content, annotation in annotations.items()} == {first: "4", second: ""}


def test_an_import_goes_on_with_the_table_that_earlier_ones_called_otherwise(own_config, split, rerunnable):
    first, second = split.ids("unlabeled")[:2]
    (rerunnable / "labels.csv").write_text(f"id,annotation,label\n{first},label,3\n", encoding="utf-8")
    assert review("--import", "labels.csv", own_config).exit_code == 0
    (rerunnable / "tiny-annotations.csv").rename(rerunnable / "tiny-answers.csv")
    (rerunnable / "labels.csv").write_text(f"id,annotation,label\n{second},label,3\n", encoding="utf-8")
    told = json.loads(review("--import", "labels.csv", own_config, "--json").stdout)
    assert (told["annotations"], told["all"]) == ("tiny-answers.csv", 2)
    assert not (rerunnable / "tiny-annotations.csv").exists()


def test_a_mistake_in_an_import_is_one_line_and_writes_nothing(own_config, split, rerunnable):
    before = sorted(file.name for file in rerunnable.iterdir())
    for held_out, what in ((split.ids("validation")[0], "validation"), (split.ids("test")[0], "test")):
        (rerunnable / "labels.csv").write_text(
            f"id,label\n{split.ids('unlabeled')[0]},3\n{held_out},3\n", encoding="utf-8"
        )
        said = review("--import", "labels.csv", own_config)
        assert said.exit_code == 2
        assert f"is a {what} image" in said.stderr
        assert len(said.stderr.splitlines()) == 1
    everything = "".join(f"{name},discard,\n" for name in split.ids("unlabeled"))
    (rerunnable / "labels.csv").write_text(f"id,annotation,label\n{everything}", encoding="utf-8")
    said = review("--import", "labels.csv", own_config)
    assert said.exit_code == 2
    assert "no unlabeled image" in said.stderr
    assert sorted(file.name for file in rerunnable.iterdir()) == sorted([*before, "labels.csv"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["abc", "--set", "seed=1"], "--set seed=1"),
        (["tiny.yaml", "--import", "x.csv", "--out", "y"], "--out does not go with --import"),
        (["tiny.yaml", "--import", "x.csv"], "--import x.csv does not exist"),
    ],
)
def test_options_that_do_not_go_together_are_told(store, arguments, why):
    said = review(*arguments)
    assert said.exit_code == 2
    assert why in said.stderr
