"""`semisup review --audit`: a sample of the accepted labels is drawn, looked at, and becomes the report's headline."""

import json

import numpy as np
import pandas as pd
import pytest

from flows.store.auditing import counted
from semisup.data.roles.annotations import read_annotations
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool
from semisup.delivery.labels_file import Row
from semisup.errors import UserError
from semisup.open_world.audit import audited
from semisup.tracking.tracker import Tracker
from tests.flows.cli.reviewing import review

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def test_an_audit_is_drawn_at_random_from_the_accepted_labels_and_its_annotations_head_the_report(
    rerunnable, finished_run, own_config, tmp_path
):
    run_id = finished_run.result["run_id"]
    told = json.loads(review(run_id, "--audit", 40, "--out", "audit", "--json").stdout)
    drawn = json.loads((rerunnable / "audit" / "audit.json").read_text())
    folder = Tracker.existing(rerunnable).artifacts(finished_run.result["stages"]["labels"]["run_id"], tmp_path)
    table = pd.read_parquet(folder / "pseudo_labels.parquet").set_index("id")
    accepted = table[table["accepted"]]
    assert drawn["accepted"] == told["accepted"] == len(accepted)
    ids = [each["id"] for each in drawn["sample"]]
    assert len(set(ids)) == 40 <= len(accepted)
    assert set(ids) <= set(accepted.index)
    assert [each["label"] for each in drawn["sample"]] == [str(label) for label in accepted.loc[ids, "label"]]

    pool = load_pool("digits")
    truth = dict(zip(pool.ids, pool.labels.tolist(), strict=True))
    annotations = [f"{name},label,{truth[name]},{drawn['audit']}" for name in ids[:30]]
    annotations[3], annotations[7] = f"{ids[3]},none,,{drawn['audit']}", f"{ids[7]},discard,,{drawn['audit']}"
    (rerunnable / "labels.csv").write_text("\n".join(["id,annotation,label,audit", *annotations]), encoding="utf-8")
    said = review("--import", "labels.csv", own_config)
    assert said.exit_code == 0, said.output
    right = sum(truth[name] == table.loc[name, "label"] for name in np.delete(ids[:30], [3, 7]))
    expected = audited(right, 29 - right, 1, len(accepted))
    assert f"{right} right, {29 - right} wrong, 1 that nobody could tell" in said.stdout
    assert f"{expected.low:.1%} to {expected.high:.1%} are right" in said.stdout
    labels = {
        content: annotation.label
        for content, annotation in read_annotations(rerunnable / "tiny-annotations.csv").items()
    }
    assert labels == {name: str(truth[name]) for name in ids[:30]} | {ids[3]: "", ids[7]: ""}

    tracker = Tracker.existing(rerunnable)
    (kept,) = tracker.search(f"tags.stage = 'audit' and tags.reviewed = '{run_id}'")
    assert kept.complete
    assert kept.metrics["precision_low"] == pytest.approx(expected.low)
    (tmp_path / "kept").mkdir()
    report = (tracker.artifacts(kept.id, tmp_path / "kept") / "report.md").read_text()
    (card,) = [line for line in report.splitlines() if line.startswith("| Pseudo-label precision")]
    assert f"audited: of 30 drawn at random {right} right, {29 - right} wrong" in card


def test_an_audit_that_the_store_does_not_know_changes_nothing(rerunnable, finished_run, own_config, tmp_path):
    split = finished_run.result["stages"]["split"]["run_id"]
    folder = Tracker.existing(rerunnable).artifacts(split, tmp_path)
    name = Split.read(folder / "split.parquet").ids("unlabeled")[0]
    before = sorted(file.name for file in rerunnable.iterdir())
    (rerunnable / "labels.csv").write_text(
        f"id,annotation,label,audit\n{name},label,3,0123456789abcdef\n", encoding="utf-8"
    )
    said = review("--import", "labels.csv", own_config)
    assert said.exit_code == 2
    assert "is not in this store" in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert sorted(file.name for file in rerunnable.iterdir()) == sorted([*before, "labels.csv"])


SAMPLE = {"accepted": 500, "sample": [{"id": str(number), "label": "cat"} for number in range(6)]}


def annotated(*annotations):
    return [
        Row("row", str(number), *annotation, "a")
        for number, annotation in enumerate(annotations)
        if annotation is not None
    ]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([("label", "cat")] * 3, (3, 0, 0)),
        ([("label", "cat"), ("label", "dog"), ("none", "")], (1, 2, 0)),
        ([("label", "cat"), ("discard", ""), ("label", "cat")], (2, 0, 1)),
        ([None, ("label", "cat"), None, ("label", "cat")], (2, 0, 2)),  # what was skipped on the way counts
    ],
)
def test_annotations_count_in_the_order_of_the_sample_up_to_the_last_one(annotations, expected):
    assert counted(SAMPLE, annotated(*annotations)) == audited(*expected, accepted=500)


def test_a_row_about_another_image_is_refused():
    with pytest.raises(UserError, match="is not in that audit"):
        counted(SAMPLE, [Row("row 1", "77", "label", "cat", "a")])
