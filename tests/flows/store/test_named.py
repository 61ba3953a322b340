"""Which run and which model a name means, by whatever it is called."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.store.named import model_named, run_named
from flows.store.served import find_model
from semisup.errors import UserError
from semisup.tracking.looking import look

pytestmark = [
    pytest.mark.prefect,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def names(rerunnable, finished_run, own_config):
    """All that the finished pipeline is called by."""
    return [finished_run.result["run_id"], finished_run.result["run_id"][:8], str(own_config), "tiny"]


@pytest.fixture
def own_config(rerunnable, finished_run):
    from semisup.config.files import to_yaml

    file = rerunnable / "mine.yaml"
    file.write_text(to_yaml(finished_run.config), encoding="utf-8")
    return file


def test_a_pipeline_is_found_by_its_id_its_config_its_name_and_its_champion(rerunnable, finished_run, names):
    store = look(rerunnable)
    for name in (*names, "models:/tiny@champion"):
        assert run_named(store, name).id == finished_run.result["run_id"]


def test_every_command_that_takes_a_run_takes_a_config(rerunnable, finished_run, names, tmp_path):
    run_id = finished_run.result["run_id"]
    for number, name in enumerate(names):
        for arguments in (
            ["show", name, "--json"],
            ["export", name, "--format", "csv", "--out", str(tmp_path / f"{number}.csv"), "--json"],
            ["review", name, "--audit", "3", "--out", str(tmp_path / f"audit{number}"), "--json"],
            ["compare", name, run_id, "--json"],
        ):
            outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert outcome.exit_code == 0, outcome.output
            told = json.loads(outcome.stdout)
            if arguments[0] in {"show", "compare"}:
                assert told.get("first", told)["run_id"] == run_id
            whose = "pipeline" if arguments[0] == "show" else "complete pipeline"
            assert (f"{name}: its newest {whose}, run {run_id[:8]}" in outcome.stderr) == (name not in run_id)
    assert CliRunner().invoke(app, ["review", names[2], "--budget", "2", "--suspects", "0"]).exit_code == 0
    assert (rerunnable / f"review-{run_id[:8]}").is_dir()


def test_what_nothing_is_called_by_is_answered_with_the_nearest(rerunnable):
    with pytest.raises(UserError, match=r"run 'tini' is no run id, no config, .* did you mean 'tiny'\?"):
        run_named(look(rerunnable), "tini")
    with pytest.raises(UserError, match="type first: semisup run"):
        run_named(look(rerunnable), "digits")


def test_a_model_is_told_by_the_run_that_the_list_of_runs_has(rerunnable, finished_run, names, tmp_path):
    store, run_id = look(rerunnable), finished_run.result["run_id"]
    for name in (*names, "models:/tiny@champion"):
        named = name if name.startswith("models:/") else model_named(store, name)
        assert f" of run {run_id[:8]} (" in find_model(named, tmp_path).words
    stage = finished_run.result["stages"]["joint"]["run_id"]
    assert f" of run {stage[:8]} (" in find_model(stage, tmp_path).words  # whoever names a stage knows its id


def test_it_is_said_which_model_a_config_stands_for_and_why(rerunnable, finished_run, names, monkeypatch, capsys):
    store, run_id = look(rerunnable), finished_run.result["run_id"]
    for name in names[2:]:
        assert model_named(store, name) == "models:/tiny@champion"
        assert capsys.readouterr().err == f"{name}: its champion, models:/tiny@champion\n"
    monkeypatch.setattr("flows.store.named.champion", lambda *_: None)
    for name in names[2:]:
        assert model_named(store, name) == run_id
        assert capsys.readouterr().err == f"{name}: no champion, so its newest complete pipeline, run {run_id[:8]}\n"
    run_named(store, "models:/tiny@champion")
    assert capsys.readouterr().err.startswith(f"models:/tiny@champion: made by run {run_id[:8]}, ")


def test_an_audit_of_nothing_is_refused(rerunnable, names):
    outcome = CliRunner().invoke(app, ["review", names[0], "--audit", "0"])
    assert (outcome.exit_code, list(rerunnable.glob("*review-*"))) == (2, [])
    assert "'--audit'" in outcome.stderr
