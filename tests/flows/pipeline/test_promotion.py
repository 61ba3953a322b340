"""The champion through flow and registry: crowned once, beaten only by a better one, teacher of the next run."""

import logging

import pandas as pd
import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

import flows.pipeline.promotion
from flows.cli.use.predict import model_of_config
from flows.pipeline.flow import pipeline
from flows.pipeline.results import StageResult
from flows.pipeline.reuse import Reference
from flows.pipeline.steps import Wanted, run_step
from semisup.config.files import to_yaml
from semisup.errors import UserError
from semisup.pipeline.plan import Step
from semisup.stages.preflight.check import check
from semisup.tracking.champions import champion
from semisup.tracking.tracker import Tracker
from tests.variants import STEPS, changed

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def versions(tracker: Tracker, name: str) -> list[str]:
    return [str(version.version) for version in tracker.client.search_model_versions(f"name='{name}'")]


def test_the_first_student_is_crowned_and_its_version_says_where_it_came_from(finished_run, rerunnable):
    tracker = Tracker.existing(rerunnable)
    reigning = champion(tracker, "tiny")
    assert reigning is not None
    stages = finished_run.result["stages"]
    assert (reigning.run_id, reigning.promoted_by) == (stages["joint"]["run_id"], stages["promote"]["run_id"])
    assert reigning.predecessor == ""
    said = "the student is the champion, version 1 of tiny (there was no champion before; "
    assert finished_run.result["champion"].startswith(said)


def test_a_config_names_its_champion_and_without_one_its_newest_pipeline(
    finished_run, rerunnable, tiny_config, tmp_path
):
    file = tmp_path / "tiny.yaml"
    file.write_text(to_yaml(tiny_config), encoding="utf-8")
    assert model_of_config(str(file)) == "models:/tiny@champion"
    Tracker.existing(rerunnable).client.delete_registered_model("tiny")
    assert model_of_config(str(file)) == finished_run.result["run_id"]
    assert model_of_config("3f2a") == "3f2a"
    file.write_text("name: other\n", encoding="utf-8")
    with pytest.raises(UserError, match="type first: semisup run"):
        model_of_config(str(file))


def test_deciding_again_makes_no_second_version(rerunnable, tiny_config):
    tracker = Tracker.existing(rerunnable)
    for force in ([], ["promote"], ["joint"]):
        pipeline(tiny_config, force=force)
        assert versions(tracker, "tiny") == ["1"]


def test_a_crash_between_the_decision_and_the_crown_is_mended_by_the_next_run(rerunnable, tiny_config):
    """The registry as it was before the champion: the promote run is complete, the model not registered."""
    tracker = Tracker.existing(rerunnable)
    tracker.client.delete_registered_model("tiny")
    result = pipeline(tiny_config)
    assert all(stage["reused"] for stage in result["stages"].values())
    assert champion(tracker, "tiny") is not None
    assert versions(tracker, "tiny") == ["1"]


def test_a_student_that_is_not_shown_to_be_better_leaves_the_champion_and_says_why(rerunnable, tiny_config):
    tracker = Tracker.existing(rerunnable)
    result = pipeline(changed(tiny_config, joint={"epochs": 5}))
    assert "p = " in result["champion"]
    assert "version" not in result["champion"]  # nobody was crowned
    assert versions(tracker, "tiny") == ["1"]
    again = pipeline(changed(tiny_config, joint={"epochs": 5}))
    assert again["champion"] == result["champion"]
    assert again["stages"]["promote"]["reused"]


@pytest.mark.slow
def test_a_better_student_beats_the_champion_and_is_not_judged_against_itself_afterwards(rerunnable, tiny_config):
    tracker = Tracker.existing(rerunnable)
    better = changed(
        tiny_config, split={"labeled_per_class": 40}, baseline={"epochs": 40}, joint={"epochs": 20, "ramp_end": 5}
    )
    result = pipeline(better)
    # What the paired test says of the two on the same images decides; here it is clear enough to be beyond doubt.
    old, new = (
        pd.read_parquet(tracker.artifacts(run_id, rerunnable) / "predictions.parquet").set_index("id")
        for run_id in (champion_of_version(tracker, "1"), result["stages"]["promote"]["run_id"])
    )
    assert (new["label"] == new["truth"]).mean() > (old["label"] == old["truth"]).mean() + 0.03
    reigning = champion(tracker, "tiny")
    assert reigning is not None
    assert (reigning.version, reigning.run_id) == ("2", result["stages"]["joint"]["run_id"])
    again = pipeline(better)
    assert all(stage["reused"] for stage in again["stages"].values())
    assert again["champion"].startswith("the student is the champion already, version 2 of tiny (")
    assert versions(tracker, "tiny") == ["2", "1"]


def champion_of_version(tracker: Tracker, version: str) -> str:
    return str(tracker.client.get_model_version("tiny", version).tags["promoted_by"])


@pytest.mark.slow
def test_a_champion_whose_training_run_was_deleted_for_good_is_replaced_by_the_next_run(rerunnable, tiny_config):
    tracker = Tracker.existing(rerunnable)
    reigning = champion(tracker, "tiny")
    assert reigning is not None
    SqlAlchemyStore(tracker.uri, str(rerunnable / "mlartifacts"))._hard_delete_run(reigning.run_id)
    again = pipeline(tiny_config)
    assert not again["stages"]["joint"]["reused"]
    assert again["champion"].startswith("the student is the champion, version 2 of tiny (")
    now = champion(tracker, "tiny")
    assert now is not None
    assert (now.version, now.run_id) == ("2", again["stages"]["joint"]["run_id"])
    other = pipeline(changed(tiny_config, joint={"epochs": 5}))
    assert not other["stages"]["promote"]["reused"]
    assert versions(tracker, "tiny")[-1] == "1"


@pytest.mark.slow
def test_the_champion_teaches_the_next_run_and_without_one_the_baseline_does(finished_run, rerunnable, tiny_config):
    started_from_it = pipeline(changed(tiny_config, pseudo_label={"teacher": "champion"}))
    tracker = Tracker.existing(rerunnable)
    labels = tracker.get(started_from_it["stages"]["pseudo_label"]["run_id"])
    assert labels.tags["upstream.teacher"] == finished_run.result["stages"]["joint"]["run_id"]
    pseudo_labels = pd.read_parquet(tracker.artifacts(labels.id, rerunnable) / "pseudo_labels.parquet")
    assert set(pseudo_labels["teacher"].str.partition(":")[0]) == {"student"}

    nobody = changed(tiny_config, pseudo_label={"teacher": "champion"}, promote={"model": "nobody yet"})
    labels = tracker.get(pipeline(nobody)["stages"]["pseudo_label"]["run_id"])
    assert labels.tags["upstream.teacher"] == finished_run.result["stages"]["baseline"]["run_id"]


@pytest.mark.slow
def test_a_champion_of_another_split_is_told_to_flatter_the_validation_figures(rerunnable, tiny_config, caplog):
    champions = changed(tiny_config, pseudo_label={"teacher": "champion"}, promote={"enabled": False})
    pipeline(champions)
    assert "other splits" not in caplog.text
    pipeline(changed(champions, seed=11, promote={"enabled": False, "model": "tiny"}))
    assert "pseudo_label.teacher='champion' has learned from other splits" in caplog.text


def test_rounds_chain_teacher_labels_student(rerunnable, tiny_config):
    result = pipeline(changed(tiny_config, rounds=2))
    assert list(result["stages"]) == [*STEPS[:4], "pseudo_label-2", "joint-2", *STEPS[4:]]
    assert {name for name, stage in result["stages"].items() if stage["reused"]} == set(STEPS[:4])
    tracker = Tracker.existing(rerunnable)
    tags = {name: tracker.get(stage["run_id"]).tags for name, stage in result["stages"].items()}
    ids = {name: stage["run_id"] for name, stage in result["stages"].items()}
    assert tags["pseudo_label-2"]["upstream.teacher"] == ids["joint"]
    assert tags["pseudo_label-2"]["upstream.previous"] == ids["pseudo_label"]
    assert tags["evaluate"]["upstream.joint"] == ids["joint-2"]
    assert tags["joint-2"]["stage"] == "joint"


@pytest.mark.slow
def test_a_pipeline_that_promotes_nobody_leaves_the_registry_alone(store, tiny_config, monkeypatch):
    monkeypatch.setattr("semisup.tracking.model.crown", lambda *_, **__: pytest.fail("nobody was to be crowned"))
    result = pipeline(changed(tiny_config, promote={"enabled": False}))
    assert "promote" not in result["stages"]
    assert result["champion"] is None


def test_a_champion_that_was_crowned_while_another_was_decided_on_is_not_overthrown_unseen(rerunnable, tiny_config):
    """Two pipelines that end at the same time: the slower one judged its student against nobody."""
    tracker = Tracker.existing(rerunnable)
    before = champion(tracker, "tiny")
    assert before is not None
    result = pipeline(changed(tiny_config, joint={"epochs": 5}, promote={"enabled": False}))
    evaluate = tracker.get(result["stages"]["evaluate"]["run_id"])
    step = Step("promote", "promote", {"evaluate": "evaluate"})
    upstream = {"evaluate": Reference(evaluate.id, evaluate.tags["output_digest"])}
    wanted = Wanted(step, tiny_config, upstream, check(tiny_config).digests, parent_run_id=None, force=False)
    late = run_step(wanted, logging.getLogger("test"))
    models = {
        name: StageResult.of(tracker.get(evaluate.tags[f"upstream.{role}"]), 0.0)
        for name, role in (("student", "joint"), ("baseline", "baseline"))
    }
    assert "another champion" in flows.pipeline.promotion.apply_decision(tracker, tiny_config, late, models)
    assert champion(tracker, "tiny") == before
