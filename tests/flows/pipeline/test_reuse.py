"""What a second run does again and what it does not; how every stage stands; one stage alone."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flows.pipeline.flow import pipeline
from flows.pipeline.stage_flow import stage
from flows.pipeline.survey import StepState
from flows.pipeline.survey import survey as survey_of
from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.lineage import earlier
from semisup.lineage.code_versions import code_version
from semisup.lineage.fingerprints import sha256
from semisup.pipeline.specs import STAGES
from semisup.stages.preflight.check import check
from semisup.system.processes import process_tags
from semisup.tracking.tracker import Tracker
from tests.mistakes import user_mistake
from tests.variants import STEPS, changed

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def survey(config: PipelineConfig, folder: Path) -> dict[str, StepState]:
    return survey_of(config, check(config).digests, folder)


def reused(result: dict[str, Any]) -> set[str]:
    return {name for name, stage in result["stages"].items() if stage["reused"]}


def standings(config: PipelineConfig, folder: Path) -> dict[str, str]:
    return {name: state.standing for name, state in survey(config, folder).items()}


def ids(finished_run: Any) -> dict[str, str]:
    return {name: stage["run_id"] for name, stage in finished_run.result["stages"].items()}


# --- a second run -----------------------------------------------------------------------------------------------------


def test_a_second_run_reuses_every_stage_and_gives_the_same_figures(finished_run, rerunnable, tiny_config):
    result = pipeline(tiny_config)
    assert reused(result) == set(STEPS)
    assert {name: stage["run_id"] for name, stage in result["stages"].items()} == ids(finished_run)
    timeless = {"run_id", "seconds", "stages", "report", "page", "champion"}
    assert result["champion"].startswith("the student is the champion already, version 1 of tiny")
    assert {k: v for k, v in result.items() if k not in timeless} == {
        k: v for k, v in finished_run.result.items() if k not in timeless
    }
    tracker = Tracker.existing(rerunnable)
    assert len(tracker.search("tags.fingerprint LIKE '%'")) == len(STEPS)
    assert len(tracker.search("tags.stage = 'pipeline'")) == 2


def test_a_store_made_by_the_code_before_a_move_is_reused_as_a_whole_where_it_is_named(
    rerunnable, tiny_config, monkeypatch
):
    before = {name: code_version(name) for name in STAGES}
    moved = {name: sha256(code.encode())[:16] for name, code in before.items()}
    monkeypatch.setattr("semisup.lineage.fingerprints.code_version", moved.__getitem__)
    assert standings(tiny_config, rerunnable) == dict.fromkeys(STEPS, "stale")
    monkeypatch.setattr(earlier, "SAME", {(name, moved[name]): (code,) for name, code in before.items()})
    assert standings(tiny_config, rerunnable) == dict.fromkeys(STEPS, "fresh")
    assert reused(pipeline(tiny_config)) == set(STEPS)


@pytest.mark.usefixtures("rerunnable")
def test_a_changed_threshold_reruns_the_pseudo_labels_and_what_follows_and_nothing_else(tiny_config):
    result = pipeline(changed(tiny_config, pseudo_label={"threshold": 0.7}))
    assert reused(result) == {"split", "baseline"}


@pytest.mark.parametrize(
    ("sections", "not_fresh"),
    [
        ({"pseudo_label": {"threshold": 0.7}}, set(STEPS) - {"split", "baseline"}),
        ({"joint": {"alpha_final": 0.5}}, {"joint", "keep", "labels", "evaluate", "promote"}),
        ({"joint": {"method": "online"}}, {"joint", "keep", "labels", "evaluate", "promote"}),
        ({"baseline": {"epochs": 26}}, set(STEPS) - {"split"}),
        ({"seed": 4}, set(STEPS)),
        ({"split": {"labeled_per_class": 6}}, set(STEPS)),
        ({"tracking": {"experiment": "elsewhere", "system_metrics": True}}, set()),
        ({"runtime": {"threads": 2, "stage_timeout": 99}}, set()),
        ({"pseudo_label": {"batch_size": 64}}, set()),
    ],
)
def test_a_change_makes_stale_what_it_can_reach_and_nothing_else(sections, not_fresh, rerunnable, tiny_config):
    found = standings(changed(tiny_config, **sections), rerunnable)
    assert {name for name, standing in found.items() if standing != "fresh"} == not_fresh


def test_a_comment_in_the_config_makes_nothing_stale(finished_run, rerunnable, tmp_path):
    from semisup.config.files import load_config, to_yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(f"# a thought\n{to_yaml(finished_run.config)}# another\n", encoding="utf-8")
    assert set(standings(load_config(path), rerunnable).values()) == {"fresh"}


def test_a_forced_stage_that_ends_with_the_same_bits_makes_nothing_stale(finished_run, rerunnable, tiny_config):
    result = pipeline(tiny_config, force=["baseline"])
    assert reused(result) == set(STEPS) - {"baseline"}
    old, new = (
        Tracker.existing(rerunnable).get(i)
        for i in (ids(finished_run)["baseline"], result["stages"]["baseline"]["run_id"])
    )
    assert old.id != new.id
    assert old.tags["output_digest"] == new.tags["output_digest"]


def test_other_bits_under_the_same_fingerprint_make_stale_what_was_made_from_them(
    rerunnable, tiny_config, finished_run
):
    """Digests are chained: as if another machine had trained the baseline to weights that differ in the last place."""
    weights = rerunnable / "mlartifacts" / ids(finished_run)["baseline"] / "artifacts" / "training.json"
    values = json.loads(weights.read_text(encoding="utf-8"))
    weights.write_text(json.dumps(values | {"best_validation_loss": 0.123}), encoding="utf-8")
    from semisup.lineage.fingerprints import MANIFEST, manifest_of, output_digest

    manifest = manifest_of(weights.parent)
    kept = json.loads((weights.parent / MANIFEST).read_text(encoding="utf-8"))
    manifest = {name: manifest[name] for name in kept}
    (weights.parent / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    Tracker.existing(rerunnable).client.set_tag(ids(finished_run)["baseline"], "output_digest", output_digest(manifest))
    found = survey(tiny_config, rerunnable)
    assert found["baseline"].standing == "fresh"
    assert found["pseudo_label"].standing == "stale"
    assert "input teacher" in found["pseudo_label"].why


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_run_whose_artifacts_are_damaged_is_not_reused_and_the_stage_says_so(
    damage, finished_run, rerunnable, tiny_config, caplog
):
    weights = rerunnable / "mlartifacts" / ids(finished_run)["joint"] / "artifacts" / "weights.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert "weights.safetensors" in survey(tiny_config, rerunnable)["joint"].why
    result = pipeline(tiny_config)
    assert reused(result) == set(STEPS) - {"joint"}  # the same bits again, so nothing after it is stale
    assert f"run {ids(finished_run)['joint'][:8]} is not reused: weights.safetensors" in caplog.text


def test_a_run_that_is_complete_but_did_not_finish_is_not_reused(finished_run, rerunnable, tiny_config):
    """As a kill between the last tag and the end of the run leaves it, closed by a reaper."""
    Tracker.existing(rerunnable).client.set_terminated(ids(finished_run)["joint"], "KILLED")
    assert standings(tiny_config, rerunnable)["joint"] != "fresh"


def test_a_run_that_finished_but_is_not_complete_is_not_reused(finished_run, rerunnable, tiny_config):
    Tracker.existing(rerunnable).client.delete_tag(ids(finished_run)["joint"], "complete")
    assert standings(tiny_config, rerunnable)["joint"] != "fresh"


# --- how stages stand -------------------------------------------------------------------------------------------------


def test_what_mlflow_gc_took_away_is_made_anew_and_nothing_else(finished_run, rerunnable, tiny_config):
    gone, tracker = ids(finished_run)["joint"], Tracker.open("semisup", rerunnable)
    tracker.client.delete_run(gone)
    collect = [Path(sys.executable).with_name("mlflow"), "gc", "--backend-store-uri", tracker.uri]
    collect += ["--tracking-uri", tracker.uri]
    subprocess.run(collect, check=True, capture_output=True)
    assert not any((rerunnable / "mlartifacts" / gone).rglob("*"))
    assert survey(tiny_config, rerunnable)["joint"].why == "no run with this config in the store"
    result = pipeline(tiny_config)
    assert reused(result) == {*STEPS} - {"joint"}  # it leaves the same bits, so what was made from them stays
    assert result["stages"]["joint"]["run_id"] != gone


def test_an_experiment_that_was_deleted_and_restored_is_reused(finished_run, rerunnable, tiny_config):
    tracker = Tracker.open("semisup", rerunnable)
    tracker.client.delete_experiment(tracker.experiment_id)
    with pytest.raises(
        UserError, match=r"^tracking\.experiment='semisup' was deleted in this store; restore it, or name"
    ):
        Tracker.open("semisup", rerunnable)
    tracker.client.restore_experiment(tracker.experiment_id)
    assert set(standings(tiny_config, rerunnable).values()) == {"fresh"}


def test_in_an_empty_store_every_stage_is_missing(store, tiny_config):
    assert set(standings(tiny_config, store).values()) == {"missing"}


def test_a_stale_stage_says_which_key_changed_from_what_to_what(rerunnable, tiny_config):
    state = survey(changed(tiny_config, pseudo_label={"threshold": 0.7}), rerunnable)["pseudo_label"]
    assert "pseudo_label.threshold 0.8 → 0.7" in state.why


def fake_run(folder: Path, finished_run: Any, name: str, **tags: str) -> str:
    """A RUNNING run with the fingerprint of a stage, whose own finished run is taken away; its id."""
    tracker = Tracker.existing(folder)
    old = tracker.get(ids(finished_run)[name])
    tracker.client.delete_run(old.id)
    kept = {key: old.tags[key] for key in ("fingerprint", "stage", "step", "config", "semisup.version")}
    run = tracker.client.create_run(old.experiment_id, tags=kept | process_tags() | tags)
    return str(run.info.run_id)


@pytest.fixture
def sleeper():
    """The tags of another living process, and the process."""
    code = (
        "import json, time; from semisup.system.processes import *;"
        "print(json.dumps(process_tags()), flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_stage_that_a_living_process_is_at_is_running(finished_run, rerunnable, tiny_config, sleeper):
    tags, process = sleeper
    run_id = fake_run(rerunnable, finished_run, "joint", **tags)
    state = survey(tiny_config, rerunnable)["joint"]
    assert (state.standing, state.run and state.run.id) == ("running", run_id)
    assert str(process.pid) in state.why


def test_a_stage_whose_process_was_killed_is_lost_as_in_the_list_of_runs(
    finished_run, rerunnable, tiny_config, sleeper
):
    tags, process = sleeper
    fake_run(rerunnable, finished_run, "joint", **tags)
    process.kill()
    process.wait()
    state = survey(tiny_config, rerunnable)["joint"]
    assert state.standing == "lost"
    assert "process is gone" in state.why


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_status_says_of_a_stage_how_it_ended_as_the_list_of_runs_does(finished_run, rerunnable, tiny_config, status):
    run_id = fake_run(rerunnable, finished_run, "joint")
    Tracker.existing(rerunnable).client.set_terminated(run_id, status)
    assert survey(tiny_config, rerunnable)["joint"].standing == status.lower()


def test_a_failed_stage_says_with_which_words(finished_run, rerunnable, tiny_config):
    run_id = fake_run(rerunnable, finished_run, "joint", error="the disk is on fire")
    Tracker.existing(rerunnable).client.set_terminated(run_id, "FAILED")
    state = survey(tiny_config, rerunnable)["joint"]
    assert (state.standing, state.why) == ("failed", "the disk is on fire")


def test_a_look_at_the_stages_writes_nothing(rerunnable, tiny_config):
    def everything() -> set[tuple[str, str, str]]:
        tracker = Tracker.existing(rerunnable)
        return {(run.id, run.status, str(sorted(run.tags.items()))) for run in tracker.search("")}

    before = everything()
    survey(tiny_config, rerunnable)
    assert everything() == before


# --- waiting for another process --------------------------------------------------------------------------------------


def test_a_stage_that_another_process_is_at_is_waited_for_and_done_when_that_process_dies(
    finished_run, rerunnable, tiny_config, sleeper
):
    import threading

    tags, process = sleeper
    lost = fake_run(rerunnable, finished_run, "joint", **tags)
    killed_at: list[float] = []

    def kill() -> None:
        killed_at.append(time.time())
        process.kill()

    undertaker = threading.Timer(3.0, kill)
    undertaker.start()
    result = pipeline(tiny_config)
    undertaker.join()
    assert reused(result) == set(STEPS) - {"joint"}
    tracker = Tracker.existing(rerunnable)
    assert tracker.get(result["stages"]["joint"]["run_id"]).started > killed_at[0]  # not while the other lived
    assert tracker.get(lost).status == "KILLED"
    assert tracker.search("attributes.status = 'RUNNING'") == []


# --- one stage alone --------------------------------------------------------------------------------------------------


def test_a_stage_alone_reads_the_newest_matching_runs(finished_run, rerunnable, tiny_config):
    result = stage("joint", changed(tiny_config, joint={"alpha_final": 0.5}))
    assert not result["reused"]
    assert result["upstream"] == {name: ids(finished_run)[name] for name in ("split", "pseudo_label")}


def test_a_stage_alone_whose_result_is_there_is_reused_unless_it_is_forced(finished_run, rerunnable, tiny_config):
    assert stage("pseudo_label", tiny_config)["run_id"] == ids(finished_run)["pseudo_label"]
    again = stage("pseudo_label", tiny_config, force=True)
    assert (again["reused"], again["run_id"] == ids(finished_run)["pseudo_label"]) == (False, False)


def test_a_named_upstream_is_read_instead(finished_run, rerunnable, tiny_config):
    stricter = stage("pseudo_label", changed(tiny_config, pseudo_label={"threshold": 0.95}))
    result = stage("joint", tiny_config, upstream={"pseudo_label": stricter["run_id"][:12]})
    assert result["upstream"]["pseudo_label"] == stricter["run_id"]
    assert not result["reused"]


@pytest.fixture
def other_split(rerunnable, tiny_config) -> str:
    """A run of `split` of the same images with another seed."""
    return str(stage("split", changed(tiny_config, seed=99))["run_id"])


def the_mistake(*arguments: Any, **options: Any) -> str:
    with user_mistake() as caught:
        stage(*arguments, **options)
    return str(caught.value)


def test_a_missing_upstream_is_named_with_the_way_to_get_it(store, tiny_config):
    message = the_mistake("joint", tiny_config)
    for word in ("'split'", "missing", "semisup stage split", "--upstream split=RUN_ID"):
        assert word in message


def test_a_stage_that_does_not_exist_is_named_with_those_that_do(store, tiny_config):
    message = the_mistake("xyz", tiny_config)
    assert "'xyz'" in message
    assert all(name in message for name in STEPS)
    assert "did you mean 'joint'?" in the_mistake("joined", tiny_config)


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ({"pseudo_label": "ffffffff"}, "not in this store"),
        ({"pseudo_label": "nonsense!"}, "no run id"),
        ({"baseline": "0123"}, "does not read 'baseline'"),
    ],
)
def test_an_upstream_that_cannot_be_meant_is_named(upstream, said, rerunnable, tiny_config):
    assert said in the_mistake("joint", tiny_config, upstream=upstream)


def test_an_upstream_of_another_stage_is_refused(finished_run, rerunnable, tiny_config):
    message = the_mistake("joint", tiny_config, upstream={"pseudo_label": ids(finished_run)["baseline"]})
    assert "'baseline', not of pseudo_label" in message


def test_an_upstream_that_is_not_complete_is_refused(finished_run, rerunnable, tiny_config):
    Tracker.existing(rerunnable).client.delete_tag(ids(finished_run)["pseudo_label"], "complete")
    message = the_mistake("joint", tiny_config, upstream={"pseudo_label": ids(finished_run)["pseudo_label"]})
    assert "not complete" in message


def test_an_upstream_of_another_data_set_is_refused(finished_run, rerunnable, tiny_config):
    Tracker.existing(rerunnable).client.set_tag(ids(finished_run)["pseudo_label"], "dataset", "0" * 64)
    message = the_mistake("joint", tiny_config, upstream={"pseudo_label": ids(finished_run)["pseudo_label"]})
    assert "another data set" in message


def test_an_upstream_of_another_split_is_refused(finished_run, rerunnable, tiny_config, other_split):
    """Its pseudo-labels come from a teacher that was trained on what are validation images here."""
    named = {"split": other_split, "pseudo_label": ids(finished_run)["pseudo_label"]}
    assert "another split" in the_mistake("joint", tiny_config, upstream=named)


def test_a_damaged_upstream_is_refused(finished_run, rerunnable, tiny_config):
    run_id = ids(finished_run)["pseudo_label"]
    (rerunnable / "mlartifacts" / run_id / "artifacts" / "summary.json").unlink()
    assert "summary.json is missing" in the_mistake("joint", tiny_config, upstream={"pseudo_label": run_id})
