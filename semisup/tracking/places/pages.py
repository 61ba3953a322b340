"""MLflow's pages: their addresses, and how they show the runs of an experiment."""

import json
from collections.abc import Mapping, Sequence

FOR_TRAINING = "workflowType=machine_learning"
"""In an address: the pages for training runs, not those for language models."""
VIEW = "semisup"
VIEW_TAG, NOTE_TAG = f"mlflow.sharedViewState.{VIEW}", "mlflow.note.content"
"""Tags of an experiment: a view of its table of runs that an address may name, and the lines above that table."""
METRICS = ("baseline_test_accuracy", "student_test_accuracy", "coverage", "precision")
TAGS = ("verdict", "set")
"""Columns of the view; MLflow's own choice of columns has no figure in it."""
WIDTHS = {
    "tags.`verdict`": 150,
    "metrics.`baseline_test_accuracy`": 180,
    "metrics.`student_test_accuracy`": 180,
    "metrics.`coverage`": 100,
    "metrics.`precision`": 100,
    "tags.`set`": 200,
    "duration": 80,
}
"""Columns in their order, behind a run's name and when it began, which stay in front; width in pixels. In MLflow's own
order the verdict is the last but one, and below a width of 1,700 the assistant's panel covers it."""
TAGS_BEFORE = (("verdict",), ("verdict", "set"))
"""Of views that earlier versions made, without an order of columns, which this one replaces."""
NOTE = """\
[The runs](#/{view}) · in %: accuracy of baseline↗student, pseudo-labels accepted/right

With these figures the name of every finished pipeline begins. The arrow is the verdict on the test images:
↗ student better, ↘ baseline better, → no difference shown. A question mark: the truth is not known.

A bare `mlflow ui` opens MLflow's pages for language models, which show nothing of a training. The link above, or
"Model training" at the top left, opens those for training; `semisup ui` prints the same address.
"""
NOTES_BEFORE = (
    "In %: accuracy of baseline↗student, pseudo-labels accepted/right · [as columns](#/{view})\n"
    "\n"
    "With these figures the name of every finished pipeline begins. The arrow is the verdict on the test images:\n"
    "↗ student better, ↘ baseline better, → no difference shown. A question mark: the truth is not known.\n",
)


def run_page(experiment_id: str, run_id: str) -> str:
    """Of a run, as it follows the `#/` of an address."""
    return f"experiments/{experiment_id}/runs/{run_id}?{FOR_TRAINING}"


def runs_page(experiment_id: str, tags: Mapping[str, str]) -> str:
    """Of the runs of an experiment with these tags: with their key figures, where it has our view of them."""
    view = f"&viewStateShareKey={VIEW}" if VIEW_TAG in tags else ""
    return f"experiments/{experiment_id}/runs?{FOR_TRAINING}{view}"


def page_tags(experiment_id: str) -> dict[str, str]:
    """Tags of an experiment that make its page show the figures of its runs, and say what they are.

    The note is for those who come without an address of ours: MLflow shows its first line above the table, and above
    each of its pages for language models, with which an experiment opens in MLflow 3.17.
    """
    view = {VIEW_TAG: json.dumps(_columns(TAGS) | {"columnOrder": [*WIDTHS], "columnWidths": WIDTHS})}
    return view | {NOTE_TAG: NOTE.format(view=runs_page(experiment_id, view))}


def is_ours_of_before(name: str, value: str, experiment_id: str) -> bool:
    """Is this tag of an experiment a view or note that an earlier version made, and nobody has changed?"""
    view = runs_page(experiment_id, {VIEW_TAG: value})
    views = (json.dumps(_columns(tags)) for tags in TAGS_BEFORE)
    before = {VIEW_TAG: views, NOTE_TAG: (note.format(view=view) for note in NOTES_BEFORE)}
    return value in set(before.get(name, ()))


def _columns(tags: Sequence[str]) -> dict[str, object]:
    return {"selectedColumns": [f"metrics.`{name}`" for name in METRICS] + [f"tags.`{name}`" for name in tags]}
