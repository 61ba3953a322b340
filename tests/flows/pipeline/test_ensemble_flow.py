"""An ensemble through flow and command line: members at the same time, found again, and how they end."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from typer.testing import CliRunner

import flows
from flows.cli import app
from flows.deployments import deployments
from flows.parallel.members import check_cluster, run_at_once
from flows.pipeline.ensemble import ensemble
from flows.pipeline.results import StageResult
from flows.pipeline.reuse import Reference, lineage_for
from flows.pipeline.stage_flow import stage
from flows.pipeline.survey import survey
from semisup.config import PipelineConfig, RuntimeConfig
from semisup.errors import UserError
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import ensemble_plan
from semisup.pipeline.specs import load_stage
from semisup.stages.preflight.check import DataDigests, check
from semisup.tracking.tracker import Tracker
from tests.flows.interrupting import interrupted
from tests.variants import changed

pytestmark = [
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
MEMBERS = ("member-1", "member-2", "member-3")


@pytest.fixture(scope="module")
def three(tiny_config) -> PipelineConfig:
    return changed(tiny_config, ensemble={"members": 3}, runtime={"parallel_members": 2})


# --- fingerprints -----------------------------------------------------------------------------------------------------


def fingerprints(config: PipelineConfig) -> dict[str, str]:
    """Of every step of the ensemble's plan, as if each step left the same whatever it was made from."""
    return {
        step.name: lineage_for(
            step,
            config,
            {role: Reference("run", f"digest of {source}") for role, source in step.upstream.items()},
            DataDigests("pool", "test"),
        ).fingerprint
        for step in ensemble_plan(config)
    }


def test_every_member_has_a_fingerprint_of_its_own(three):
    found = fingerprints(three)
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize(
    ("sections", "kept"),
    [
        ({"ensemble": {"members": 5}}, True),
        ({"ensemble": {"combine": "vote"}}, True),
        ({"runtime": {"parallel_members": 7}}, True),
        ({"ensemble": {"method": "boosting"}}, False),
        ({"baseline": {"epochs": 24}}, False),
        ({"seed": 4}, False),
    ],
)
def test_members_are_kept_when_their_number_or_combination_changes_and_not_when_their_training_does(
    sections, kept, three
):
    before, after = fingerprints(three), fingerprints(changed(three, **sections))
    assert {before[name] == after[name] for name in MEMBERS} == {kept}


def test_a_cluster_without_the_extra_for_it_is_one_line(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "flows.parallel.dask", raising=False)
    monkeypatch.delattr(flows, "dask_tasks", raising=False)
    with pytest.raises(UserError, match=r"^runtime.dask='tcp://a:1' needs packages .*pip install .* '\.\[dask\]'"):
        check_cluster(RuntimeConfig(dask="tcp://a:1"), ensemble_plan(three))


def test_boosting_asks_for_no_cluster_for_its_members_wait_for_each_other(three):
    chain = three.model_copy(update={"ensemble": three.ensemble.model_copy(update={"method": "boosting"})})
    check_cluster(RuntimeConfig(dask="tcp://127.0.0.1:9"), ensemble_plan(chain))  # nobody is there


# --- the flow ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(prefect_server, workplace, three) -> tuple[Path, dict[str, Any]]:
    """`semisup ensemble` with members in two processes, once: its store's folder, and the JSON that it printed."""
    with workplace(three) as (folder, config):
        outcome = CliRunner().invoke(app, ["ensemble", str(config), "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return folder, json.loads(outcome.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.prefect
def test_members_trained_at_the_same_time_have_the_bits_of_members_trained_in_turn(finished, three, tmp_path):
    folder, result = finished
    tracker = Tracker.existing(folder)
    runs = {name: tracker.get(result["stages"][name]["run_id"]) for name in MEMBERS}
    assert len({run.tags["pid"] for run in runs.values()}) == 2
    assert_bits_of_members_trained_here(three, result, tracker, tmp_path)


def assert_bits_of_members_trained_here(config, result, tracker, scratch):
    """The members of a flow's result, against the stage called in this process, one member after the other."""
    split = tracker.artifacts(result["stages"]["split"]["run_id"], scratch)
    for number, name in enumerate(MEMBERS, start=1):
        out_dir = scratch / name
        out_dir.mkdir()
        load_stage("member", number=number)(config, {"split": split}, out_dir, Silence())
        theirs = tracker.artifacts(result["stages"][name]["run_id"], scratch) / "weights.safetensors"
        assert theirs.read_bytes() == (out_dir / "weights.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.prefect
def test_every_member_is_a_run_within_the_flows_run_and_all_are_complete(finished):
    folder, result = finished
    tracker = Tracker.existing(folder)
    for step in result["stages"].values():
        run = tracker.get(step["run_id"])
        assert run.tags["mlflow.parentRunId"] == result["run_id"]
        assert run.complete
    assert tracker.get(result["run_id"]).complete
    assert tracker.search("attributes.status = 'RUNNING'") == []


@pytest.mark.slow
@pytest.mark.prefect
def test_the_result_says_who_is_better_and_what_each_side_cost(finished, tmp_path):
    folder, result = finished
    evaluate = Tracker.existing(folder).artifacts(result["stages"]["evaluate_ensemble"]["run_id"], tmp_path)
    metrics = json.loads((evaluate / "metrics.json").read_text(encoding="utf-8"))
    for name in ("baseline", "ensemble"):
        assert result[f"{name}_test_accuracy"] == metrics[name]["accuracy"]["estimate"]
        assert result[f"{name}_test_accuracy_low"] == metrics[name]["accuracy"]["low"]
    assert result["mean_member_test_accuracy"] == metrics["mean_member_accuracy"]
    assert (result["mcnemar_p"], result["verdict"]) == (metrics["mcnemar"]["p_value"], metrics["verdict"])
    seconds = json.loads((evaluate / "timings.json").read_text(encoding="utf-8"))
    assert {name: result[f"{name}_training_seconds"] for name in ("baseline", "ensemble")} == seconds


@pytest.mark.slow
@pytest.mark.prefect
def test_a_second_run_reuses_everything_and_one_more_member_is_trained_alone(in_its_folder, finished, three):
    again = ensemble(three)
    assert all(step["reused"] for step in again["stages"].values())
    more = ensemble(changed(three, ensemble={"members": 4}))
    new = {name for name, step in more["stages"].items() if not step["reused"]}
    assert new == {"member-4", "ensemble", "evaluate_ensemble"}


@pytest.mark.slow
@pytest.mark.prefect
def test_a_pipeline_that_the_ensemble_teaches_finds_its_members_and_a_stage_alone_finds_its_inputs(
    in_its_folder, finished, three
):
    taught = changed(three, pseudo_label={"teacher": "ensemble"})
    states = survey(taught, check(taught).digests, in_its_folder)
    assert {states[name].standing for name in ("split", "baseline", *MEMBERS, "ensemble")} == {"fresh"}
    assert states["pseudo_label"].standing == "missing"
    for name in ("member-2", "evaluate_ensemble"):  # also with a config whose teacher is another one
        assert stage(name, three)["run_id"] == finished[1]["stages"][name]["run_id"]


def test_a_teacher_that_is_an_ensemble_is_served_member_by_member_and_on_its_own(three):
    names = [deployment.full_name for deployment in deployments(three, "tiny", None)]
    assert not any("ensemble" in name or "member" in name for name in names)
    taught = changed(three, pseudo_label={"teacher": "ensemble"})
    names = [deployment.full_name for deployment in deployments(taught, "tiny", None)]
    assert {"semisup-ensemble/tiny", "semisup-stage/tiny-member-3", "semisup-stage/tiny-ensemble"} <= set(names)


# --- how members end --------------------------------------------------------------------------------------------------


@task
def fail_or_wait(seconds: float) -> StageResult:
    if not seconds:
        raise UserError("this member diverged; use a smaller learning rate")
    time.sleep(seconds)
    return StageResult("run", "digest", seconds, {})


@pytest.mark.slow
@pytest.mark.prefect
@pytest.mark.usefixtures("prefect_server")
def test_the_first_failure_is_raised_and_ends_the_others(store):
    @flow
    def members() -> list[StageResult]:
        return run_at_once([(fail_or_wait, {"seconds": 3600}), (fail_or_wait, {"seconds": 0})], RuntimeConfig())

    with pytest.raises(UserError, match="this member diverged"):
        members()


ENDLESS = """
name: endless
model: {width: 0.5}
split: {labeled_per_class: 5, validation_per_class: 5}
baseline: {epochs: 2000, batch_size: 25, early_stopping: {patience: 2000}}
ensemble: {members: 2}
runtime: {device: cpu, threads: 1}
tracking: {system_metrics: false}
"""


@pytest.mark.slow
@pytest.mark.prefect
def test_ctrl_c_while_members_are_trained_leaves_all_runs_killed_and_says_so_in_one_line(store, tmp_path):
    (tmp_path / "endless.yaml").write_text(ENDLESS, encoding="utf-8")
    _, stderr = interrupted(["ensemble", str(tmp_path / "endless.yaml")], store, tmp_path, training="member")
    runs = Tracker.existing(store).search("tags.stage LIKE '%'")
    statuses = {run.tags["step"]: run.status for run in runs}
    killed = dict.fromkeys(("ensemble-flow", "member-1", "member-2"), "KILLED")
    assert statuses == killed | {"split": "FINISHED", "baseline": "FINISHED"}
    assert "Traceback" not in stderr
    assert "KILLED in MLflow" in stderr.splitlines()[-1]
