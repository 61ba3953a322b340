"""What MLflow's page of an experiment is told about its runs."""

import json

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from semisup.tracking.places.pages import NOTE_TAG, NOTES_BEFORE, VIEW_TAG
from semisup.tracking.tracker import Tracker


@pytest.fixture
def tracker(store) -> Tracker:
    return Tracker.open("tests", store)


def test_an_experiment_has_a_view_with_the_key_figures_and_a_note_that_leads_to_it(tracker):
    tracker.show_figures()
    tags = tracker.experiment_tags(tracker.experiment_id)
    view = json.loads(tags[VIEW_TAG])
    columns = [
        "metrics.`baseline_test_accuracy`",
        "metrics.`student_test_accuracy`",
        "metrics.`coverage`",
        "metrics.`precision`",
        "tags.`verdict`",
        "tags.`set`",
    ]
    assert view["selectedColumns"] == columns
    assert view["columnOrder"] == [*view["columnWidths"]] == ["tags.`verdict`", *columns[:4], "tags.`set`", "duration"]
    place = tracker.table().partition("#/")[2]
    assert tags[NOTE_TAG].startswith(f"[The runs](#/{place})")
    assert place.endswith(f"viewStateShareKey={VIEW_TAG.rpartition('.')[2]}")


@pytest.mark.parametrize("theirs", ["Ask Ada before you delete anything.", ""], ids=["written", "emptied"])
def test_what_somebody_else_has_set_stays(tracker, theirs):
    tracker.client.set_experiment_tag(tracker.experiment_id, NOTE_TAG, theirs)
    tracker.client.set_experiment_tag(tracker.experiment_id, VIEW_TAG, "{}")
    tracker.show_figures()
    tags = tracker.experiment_tags(tracker.experiment_id)
    assert (tags[NOTE_TAG], tags[VIEW_TAG]) == (theirs, "{}")


def test_a_view_of_before_that_nobody_has_changed_is_replaced(tracker):
    tracker.show_figures()
    now = tracker.experiment_tags(tracker.experiment_id)[VIEW_TAG]
    columns = json.loads(now)["selectedColumns"]
    for known in (columns, columns[:-1]):  # without an order, and before that without "set"
        before = json.dumps({"selectedColumns": known})
        tracker.client.set_experiment_tag(tracker.experiment_id, VIEW_TAG, before)
        tracker.show_figures()
        assert tracker.experiment_tags(tracker.experiment_id)[VIEW_TAG] == now


def test_a_note_of_before_is_replaced_unless_somebody_has_added_to_it(tracker):
    tracker.show_figures()
    now = tracker.experiment_tags(tracker.experiment_id)[NOTE_TAG]
    before = NOTES_BEFORE[0].format(view=tracker.table().partition("#/")[2])
    for known, left in ((before, now), (f"{before}Ask Ada.", f"{before}Ask Ada.")):
        tracker.client.set_experiment_tag(tracker.experiment_id, NOTE_TAG, known)
        tracker.show_figures()
        assert tracker.experiment_tags(tracker.experiment_id)[NOTE_TAG] == left


def test_who_may_not_write_them_runs_without_and_is_led_to_no_view(tracker, monkeypatch):
    def refuse(*_: object) -> None:
        raise MlflowException("Permission denied")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    tracker.show_figures()
    assert VIEW_TAG not in tracker.experiment_tags(tracker.experiment_id)
    assert tracker.table().endswith("/runs?workflowType=machine_learning")
