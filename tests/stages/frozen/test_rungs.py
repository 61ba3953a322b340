"""`recipe: auto`: held-out labels say which rung the baseline stands on, and every label is learned from in the end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.lineage.fingerprints import manifest_of, output_digest
from semisup.networks.models import build_model
from semisup.pipeline.log import Silence
from semisup.pseudo_labels import TABLE_FILE
from semisup.stages import rungs
from semisup.stages.choose import run as choose
from semisup.stages.rungs import (
    RUNGS,
    STRENGTH,
    STUDENT,
    Comparison,
    Labeled,
    PseudoLabeled,
    begin_as_probe,
    fit_on_rung,
    on_rung,
)
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json

NAME = "timm:test_efficientnet"


@pytest.fixture(scope="module")
def weights(weights_of: Callable[[str], Path]) -> Path:
    """Of random numbers: no probe is good at them, so that it pays to train more."""
    return weights_of(NAME)


@pytest.fixture(scope="module")
def config(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "recipe": "auto",
            "data": {"name": "digits", "cache": str(tmp_path_factory.mktemp("cache"))},
            "split": {"labeled_per_class": 6},
            "model": {"name": NAME, "weights": str(weights)},
            "choose": {"budget": "1h"},
            "baseline": {"budget": "4 steps"},
            "joint": {"budget": "4 steps"},
            "runtime": {"device": "cpu", "threads": 1},
        }
    )


def test_the_last_layer_begins_as_a_regression_on_what_it_gets_to_see():
    """Of a network with batch norms, asked as a whole, against scikit-learn on standardized features."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5), torch.nn.BatchNorm1d(5), torch.nn.ReLU())
    network = torch.nn.Sequential(body, torch.nn.Linear(5, 3)).eval()
    images, labels = torch.randn(60, 3, 2, 2), torch.arange(60) % 3
    images += labels[:, None, None, None]
    begin_as_probe(network[1], network, images, labels, 3)
    points = StandardScaler().fit_transform(body(images).detach().numpy().astype(float))
    theirs = LogisticRegression(C=STRENGTH, tol=1e-10, max_iter=10_000).fit(points, labels.numpy())
    assert np.allclose(network(images).softmax(dim=1).detach(), theirs.predict_proba(points), atol=5e-3)


@pytest.fixture(scope="module")
def labeled(config: PipelineConfig, folders: dict[str, Path]) -> Labeled:
    split = Split.read(folders["split"] / "split.parquet")
    return Labeled.of(config, split, DatasetFacts.read(folders["split"]))


def test_every_rung_is_in_the_table_with_its_interval_and_its_seconds(folders):
    choice, timings = read_json(folders["choose"] / "choice.json"), read_json(folders["choose"] / "timings.json")
    assert [way["name"] for way in choice["ways"]] == ["baseline", "student", "graph", *RUNGS]
    for way in choice["ways"]:
        assert way["low"] <= way["accuracy"] <= way["high"]
        assert way["images"] == 60
        assert timings["cpu_seconds"][way["name"]] > 0
    report = (folders["evaluate"] / "report.md").read_text(encoding="utf-8")
    assert "last blocks, labels alone" in report
    assert "network from scratch" in report
    assert "chosen on these labels, so their figures are a little optimistic" in report


def test_both_models_are_the_rungs_with_most_held_out_labels_right_and_know_every_label(folders):
    choice = read_json(folders["choose"] / "choice.json")
    worth = {way["name"]: way["accuracy"] for way in choice["ways"]}
    students = {"probe": worth.pop("student"), STUDENT: worth.pop(STUDENT)}
    baselines = {"probe": worth.pop("baseline")} | {name: worth[name] for name in ("last_2", "all", "scratch")}
    for model, tables in (("baseline", baselines), ("student", students)):
        assert tables[choice[model]] == max(tables.values())
        assert choice["kept"][f"{model}_validation_accuracy"] == pytest.approx(tables[choice[model]])
    for stage, model in (("baseline", "baseline"), ("joint", "student")):
        training = read_json(folders[stage] / "training.json")
        assert training["fit"] == choice[model]
        assert training["labels"] == 60


@pytest.mark.parametrize("name", ["last_2", STUDENT])
def test_a_model_above_the_probe_is_the_whole_network_and_predicts_what_was_learned(
    config, folders, labeled, tmp_path, name
):
    pseudo_labels = pd.read_parquet(folders["pseudo_label"] / TABLE_FILE) if name == STUDENT else None
    rungs.climb(config, name, folders, tmp_path, Silence(), pseudo_labels=pseudo_labels)
    pseudo, purpose = None, "baseline"
    if pseudo_labels is not None:
        told = (torch.from_numpy(pseudo_labels[key].to_numpy().copy()) for key in ("index", "label", "confidence"))
        rows, labels, confidence = told
        pseudo, purpose = PseudoLabeled.of(config, rows, labeled.facts, labels, confidence), "student"
    model, asked = load_model(tmp_path), torch.arange(5)
    said = fit_on_rung(on_rung(config, name), labeled, Silence(), purpose, asked=asked, pseudo=pseudo).said
    torch.testing.assert_close(model(labeled.images.images[:5]).log_softmax(dim=1), said, rtol=1e-2, atol=1e-2)


def test_a_held_out_label_decides_nothing_about_its_own_image(config, labeled):
    rung = on_rung(config, "last_2")
    held = torch.arange(60) % 3 == 0
    asked = held.nonzero().flatten()
    said = fit_on_rung(rung, labeled, Silence(), "fold", among=~held, asked=asked).said
    wrong = labeled.labels.clone()
    wrong[held] = (wrong[held] + 1) % 10
    other = Labeled(labeled.facts, labeled.images, wrong)
    again = fit_on_rung(rung, other, Silence(), "fold", among=~held, asked=asked).said
    assert torch.equal(said, again)


THIRDS = [torch.arange(60) % 3 == number for number in range(3)]


def test_a_rung_that_the_budget_does_not_hold_is_named_with_its_estimate_and_not_trained(config, labeled, monkeypatch):
    seconds = {"last_2": 0.1, "all": 100.0}
    monkeypatch.setattr(Comparison, "_seconds", lambda self, config, said: seconds[config.model.train])
    few = config.model_copy(update={"choose": config.choose.model_copy(update={"budget": "30s"})})
    compared = Comparison(few, labeled, THIRDS, Silence())
    found = compared.hold_out("last_2")
    assert found.log_probabilities is not None
    torch.testing.assert_close(found.log_probabilities.exp().sum(dim=2), torch.ones(1, 60))
    left_out = compared.hold_out("all")
    assert left_out.log_probabilities is None
    assert left_out.seconds == pytest.approx(300)
    assert left_out.why_not == "it does not fit choose.budget"  # how far depends on the machine


def test_a_rung_whose_loss_diverges_in_a_fold_is_left_out_and_the_next_one_is_trained(config, labeled, monkeypatch):
    monkeypatch.setattr(Comparison, "_seconds", lambda *_: 0.1)
    wild = config.baseline.model_copy(update={"optimizer": config.baseline.optimizer.model_copy(update={"lr": 1e30})})
    compared = Comparison(config.model_copy(update={"baseline": wild}), labeled, THIRDS, Silence())
    before, left_out = compared.left, compared.hold_out("all")
    assert left_out.log_probabilities is None
    assert "baseline.optimizer.lr" in left_out.why_not
    assert compared.left == before - left_out.seconds < before
    compared.config = config
    assert compared.hold_out("all").log_probabilities is not None


def test_a_choice_is_the_same_however_many_seconds_it_took(config, folders, monkeypatch, tmp_path):
    few = config.model_copy(update={"choose": config.choose.model_copy(update={"budget": "1s"})})
    for number, seconds in enumerate((1e3, 2e3)):
        monkeypatch.setattr(Comparison, "_seconds", lambda *_, seconds=seconds: seconds)
        (tmp_path / str(number)).mkdir()
        choose(few, {"split": folders["split"]}, tmp_path / str(number), Silence())
    one, other = (manifest_of(tmp_path / str(number)) for number in range(2))
    assert output_digest(one) == output_digest(other)
    left_out = read_json(tmp_path / "0" / "choice.json")["left_out"]
    assert left_out == dict.fromkeys(RUNGS, "it does not fit choose.budget")
    assert read_json(tmp_path / "1" / "timings.json")["cpu_seconds"]["all"] == pytest.approx(3 * 2e3)


def test_a_student_that_the_choice_did_not_judge_has_no_held_out_accuracy(config, folders, tmp_path):
    pseudo_labels = pd.read_parquet(folders["pseudo_label"] / TABLE_FILE)
    two = config.model_copy(update={"rounds": 2})
    for name, asked in (("judged", config), ("not judged", two)):
        (tmp_path / name).mkdir()
        rungs.climb(asked, STUDENT, folders, tmp_path / name, Silence(), pseudo_labels=pseudo_labels)
        assert ("held_out_accuracy" in read_json(tmp_path / name / "training.json")) == (name == "judged")


def test_a_network_that_cannot_be_cut_goes_without_that_rung(config, labeled, tmp_path):
    file = tmp_path / "w.pth"
    model = build_model("small_cnn", (3, 8, 8), 7, mean=[0.5] * 3, std=[0.5] * 3, seed=11)
    torch.save(model.backbone.state_dict(), file)
    other = config.model_copy(
        update={"model": config.model.model_copy(update={"name": "small_cnn", "weights": str(file)})}
    )
    compared = Comparison(other, labeled, THIRDS, Silence())
    assert "use head or all" in compared.hold_out("last_2").why_not
    assert compared.hold_out("all").log_probabilities is not None


def test_without_auto_no_rung_is_asked(config, folders, monkeypatch, tmp_path):
    monkeypatch.setattr(Comparison, "hold_out", lambda *_: pytest.fail("a rung was trained"))
    values = config.model_dump() | {"recipe": "steps"}
    values["model"]["train"] = "probe"
    choose(PipelineConfig.model_validate(values), {"split": folders["split"]}, tmp_path, Silence())
    choice = read_json(tmp_path / "choice.json")
    assert (choice["baseline"], choice["student"], choice["left_out"]) == ("probe", "probe", {})


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"choose": {"budget": "100 steps"}}, "only time can be compared"),
        ({"choose": {"budget": "soon"}}, "is not understood"),
        ({"baseline": {"early_stopping": {"keep": "best"}}}, "none is left that could say which epoch"),
        ({"baseline": {"mixup": {"alpha": 0.2}}}, "trains on kept views, and mixes none"),
        ({"joint": {"method": "soft"}}, "trains no student step by step"),
    ],
)
def test_a_mistake_of_the_recipe_is_one_line(sections, line):
    with pytest.raises(ValueError, match=line):
        PipelineConfig.model_validate({"recipe": "auto", "model": {"name": "efficientnet_lite0"}} | sections)
