"""The stages of an ensemble as plain functions, and the plan they follow."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from semisup.config import PipelineConfig
from semisup.data.roles.split import Split
from semisup.data.sources import load_pool, load_test
from semisup.evaluation.ensembles import Ensemble
from semisup.lineage.fingerprints import manifest_of, output_digest
from semisup.pipeline.log import Silence, StageLog
from semisup.pipeline.plan import ensemble_plan, independent, plan
from semisup.pipeline.specs import SPECS, STAGES, load_stage
from semisup.stages.support.models.saved import load_model, load_placed
from semisup.system.randomness import derive_seed
from semisup.training.predict import predict_views
from tests.listening import Listener
from tests.variants import changed

MEMBERS = 3
WEAK = {"epochs": 6, "augment": {"rotation": 15, "shift": 0.1, "scale": 0.1, "shear": 0.1}}
"""Training after which errors on the augmented views are left for boosting."""


def run_plan(
    config: PipelineConfig,
    root: Path,
    done: Mapping[str, Path] | None = None,
    only: tuple[str, ...] | None = None,
    log: StageLog | None = None,
) -> dict[str, Path]:
    """The steps of the ensemble's plan as plain functions, but for those `done`; step → its folder."""
    folders = dict(done or {})
    for step in ensemble_plan(config):
        if step.name in folders or (only is not None and step.name not in only):
            continue
        out_dir = root / step.name
        out_dir.mkdir(parents=True)
        inputs = {role: folders[source] for role, source in step.upstream.items()}
        load_stage(step.stage, number=step.number)(config, inputs, out_dir, log or Silence())
        folders[step.name] = out_dir
    return folders


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def bits(folder: Path) -> str:
    """Digest of all that later stages can see."""
    return output_digest(manifest_of(folder))


@pytest.fixture(scope="module")
def bagging_config(tiny_config) -> PipelineConfig:
    return changed(tiny_config, ensemble={"members": MEMBERS})


@pytest.fixture(scope="module")
def boosting_config(tiny_config) -> PipelineConfig:
    return changed(tiny_config, baseline=WEAK, ensemble={"members": MEMBERS, "method": "boosting"})


@pytest.fixture(scope="module")
def shared(stage_folders) -> dict[str, Path]:
    return {name: stage_folders[name] for name in ("split", "baseline")}


@pytest.fixture(scope="module")
def bagged(bagging_config, shared, tmp_path_factory) -> dict[str, Path]:
    """Step → its folder; to be read only."""
    return run_plan(bagging_config, tmp_path_factory.mktemp("bagging"), shared)


@pytest.fixture(scope="module")
def boosted(boosting_config, shared, tmp_path_factory) -> dict[str, Path]:
    """The same of a chain of boosted members; the baseline is a stronger one, which is no matter here."""
    return run_plan(boosting_config, tmp_path_factory.mktemp("boosting"), shared)


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bagging", "boosting"])
@pytest.mark.parametrize("make", [ensemble_plan, plan])
def test_every_step_reads_only_earlier_ones_and_members_are_numbered_from_one(make, method):
    values = {"ensemble": {"members": 4, "method": method}, "pseudo_label": {"teacher": "ensemble"}}
    known = {"champion", "kept"}  # whom `keep` chooses is known once it has run
    steps = make(PipelineConfig.model_validate(values))
    for step in steps:
        assert set(step.upstream.values()) <= known
        assert step.stage in STAGES
        assert step.stage in SPECS
        known.add(step.name)
    assert [(step.name, step.number) for step in steps if step.stage == "member"] == [
        (f"member-{number}", number) for number in range(1, 5)
    ]


def test_bagged_members_stand_together_and_boosted_ones_wait_for_each_other():
    def groups(method: str) -> list[list[str]]:
        config = PipelineConfig.model_validate({"ensemble": {"members": 3, "method": method}})
        return [[step.name for step in group] for group in independent(ensemble_plan(config))]

    members = ["member-1", "member-2", "member-3"]
    ends = [["ensemble"], ["evaluate_ensemble"]]
    assert groups("bagging") == [["split"], ["baseline"], members, *ends]
    assert groups("boosting") == [["split"], ["baseline"], *([name] for name in members), *ends]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"ensemble": {"members": 1}}, "members"),
        ({"ensemble": {"members": 101}}, "members"),
        ({"ensemble": {"members": 2.5}}, "members"),
        ({"ensemble": {"method": "stacking"}}, "method"),
        ({"ensemble": {"combine": "median"}}, "combine"),
        ({"runtime": {"parallel_members": 0}}, "parallel_members"),
        ({"pseudo_label": {"teacher": "ensemble", "max_disagreement": 1.5}}, "max_disagreement"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(sections, said):
    with pytest.raises(ValidationError, match=said):
        PipelineConfig.model_validate(sections)


# --- members ----------------------------------------------------------------------------------------------------------


def test_members_are_the_same_bits_whatever_number_there_is_of_them_and_of_threads(
    bagged, bagging_config, shared, tmp_path
):
    other = changed(bagging_config, ensemble={"members": 7, "combine": "vote"}, runtime={"threads": 2})
    again = run_plan(other, tmp_path, shared, only=("member-2",))
    assert bits(again["member-2"]) == bits(bagged["member-2"])
    assert torch.get_num_threads() == 1


def test_members_differ_in_weights_and_in_their_samples(bagged):
    weights = {(bagged[f"member-{k}"] / "weights.safetensors").read_bytes() for k in (1, 2, 3)}
    left_out = {read_json(bagged[f"member-{k}"] / "member.json")["out_of_bag_images"] for k in (1, 2, 3)}
    assert len(weights) == 3
    assert len(left_out) > 1


def test_out_of_bag_accuracy_is_that_on_the_labeled_images_that_the_sample_left_out(bagged, bagging_config):
    split, pool = Split.read(bagged["split"] / "split.parquet"), load_pool("digits", None, False)
    images, labels = pool.images[split.indices("labeled")], pool.labels[split.indices("labeled")]
    rng = np.random.default_rng(derive_seed(bagging_config.seed, "member 2 bootstrap"))
    left_out = sorted(set(range(50)) - set(rng.integers(50, size=50).tolist()))
    with torch.inference_mode():
        predicted = load_model(bagged["member-2"])(images[left_out]).argmax(dim=1)
    member = read_json(bagged["member-2"] / "member.json")
    assert member["out_of_bag_images"] == len(left_out)
    assert member["out_of_bag_accuracy"] == pytest.approx(accuracy_score(labels[left_out], predicted))


def test_a_member_that_was_interrupted_goes_on_to_the_same_bits(bagged, bagging_config, shared, tmp_path):
    class Cut(Silence):
        def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
            if step == 10:
                raise KeyboardInterrupt

    def train(name: str, log: StageLog) -> Path:
        out_dir = tmp_path / name
        out_dir.mkdir()
        load_stage("member", tmp_path / "checkpoints", 3)(bagging_config, {"split": shared["split"]}, out_dir, log)
        return out_dir

    with pytest.raises(KeyboardInterrupt):
        train("cut", Cut())
    assert list((tmp_path / "checkpoints").rglob("*.ckpt"))
    weights = train("resumed", Silence()) / "weights.safetensors"
    assert weights.read_bytes() == (bagged["member-3"] / "weights.safetensors").read_bytes()


def test_each_boosted_member_raises_the_weights_of_the_views_it_gets_wrong(boosted):
    """SAMME, from the table that each member leaves, by the formula."""
    weights = np.ones(50)
    for number in range(1, MEMBERS + 1):
        table = pd.read_parquet(boosted[f"member-{number}"] / "boosting.parquet")
        member = read_json(boosted[f"member-{number}"] / "member.json")
        wrong = table["wrong"].to_numpy()
        assert 0 < wrong.mean() < 0.9, "nothing to boost; train the members of this test otherwise"
        assert member["error"] == pytest.approx(np.average(wrong, weights=weights))
        assert member["weight"] == pytest.approx(np.log(1 / member["error"] - 1) + np.log(9))
        raised = weights * (1 + wrong * (np.exp(member["weight"]) - 1))
        weights = raised / raised.mean()
        np.testing.assert_allclose(table["weight"], weights, rtol=1e-9)
        assert table["id"].tolist() == Split.read(boosted["split"] / "split.parquet").ids("labeled")


def test_boosted_members_read_the_weights_that_the_one_before_left(boosted, boosting_config, shared, tmp_path):
    """With all weights at 1 in their stead, the second member becomes another one."""
    first = shutil.copytree(boosted["member-1"], tmp_path / "first")
    table = pd.read_parquet(first / "boosting.parquet")
    table.assign(weight=1.0).to_parquet(first / "boosting.parquet", index=False)
    again = run_plan(boosting_config, tmp_path / "again", shared | {"member-1": first}, only=("member-2",))
    assert bits(again["member-2"]) != bits(boosted["member-2"])


def test_a_member_that_fits_every_label_says_that_boosting_adds_nothing(tiny_config, shared, tmp_path):
    config = changed(tiny_config, baseline={"epochs": 60}, ensemble={"method": "boosting", "members": 2})
    ear = Listener()
    folders = run_plan(config, tmp_path, shared, only=("member-1",), log=ear)
    assert read_json(folders["member-1"] / "member.json")["error"] == 0
    assert (pd.read_parquet(folders["member-1"] / "boosting.parquet")["weight"] == 1).all()
    assert any("fits every label" in warning and "baseline.epochs" in warning for warning in ear.warnings)


def test_where_no_member_is_better_than_guessing_all_have_equal_votes_and_the_ensemble_says_so(
    boosted, boosting_config, shared, tmp_path
):
    members = {}
    for name in ("member-1", "member-2", "member-3"):
        members[name] = shutil.copytree(boosted[name], tmp_path / name)
        member = read_json(members[name] / "member.json") | {"weight": 0.0, "error": 0.9}
        (members[name] / "member.json").write_text(json.dumps(member), encoding="utf-8")
    ear = Listener()
    folders = run_plan(boosting_config, tmp_path / "again", shared | members, only=("ensemble",), log=ear)
    ensemble = load_model(folders["ensemble"])
    assert isinstance(ensemble, Ensemble)
    assert ensemble.weights.tolist() == [1, 1, 1]
    assert any("no member is better than guessing" in warning for warning in ear.warnings)


# --- the ensemble -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bagging", "boosting"])
def test_the_ensembles_folder_alone_is_a_model_that_answers_for_all_members(method, bagged, boosted, tmp_path):
    folders = bagged if method == "bagging" else boosted
    moved = shutil.copytree(folders["ensemble"], tmp_path / "moved")
    model, images = load_model(moved), load_test("digits", None, False).images[:64]
    assert isinstance(model, Ensemble)
    assert not model.training
    members = [load_model(folders[f"member-{k}"]) for k in range(1, MEMBERS + 1)]
    weights = [read_json(folders[f"member-{k}"] / "member.json")["weight"] for k in range(1, MEMBERS + 1)]
    with torch.inference_mode():
        answers = torch.stack([member(images).softmax(dim=1) for member in members])
        if method == "boosting":
            answers = torch.nn.functional.one_hot(answers.argmax(dim=2), 10).float()
        expected = torch.tensor(weights)[:, None, None].mul(answers).sum(dim=0) / sum(weights)
        torch.testing.assert_close(model(images).softmax(dim=1), expected, atol=1e-6, rtol=1e-4)


def test_the_ensembles_figures_are_those_of_its_members_on_the_validation_images(bagged):
    split, pool = Split.read(bagged["split"] / "split.parquet"), load_pool("digits", None, False)
    images, truth = pool.images[split.indices("validation")], pool.labels[split.indices("validation")]
    with torch.inference_mode():
        answers = [load_model(bagged[f"member-{k}"])(images).softmax(dim=1).numpy() for k in range(1, MEMBERS + 1)]
    summary = read_json(bagged["ensemble"] / "ensemble.json")
    alone = [accuracy_score(truth, answer.argmax(axis=1)) for answer in answers]
    together = [accuracy_score(truth, np.mean(answers[:size], axis=0).argmax(axis=1)) for size in (1, 2, 3)]
    votes = [np.bincount(row, minlength=10).argmax() for row in np.argmax(answers, axis=2).T]
    assert [member["validation_accuracy"] for member in summary["members"]] == pytest.approx(alone)
    assert summary["mean_member"] == pytest.approx(np.mean(alone))
    assert summary["growth"] == pytest.approx(together)
    assert summary["combined"] == summary["mean"] == pytest.approx(together[-1])
    assert summary["vote"] == pytest.approx(accuracy_score(truth, votes))
    label = np.mean(answers, axis=0).argmax(axis=1)
    spread = np.std([answer[np.arange(len(label)), label] for answer in answers], axis=0).mean()
    assert summary["mean_disagreement"] == pytest.approx(spread, rel=1e-5)


def test_an_ensemble_says_how_long_all_its_members_were_trained(bagged):
    seconds = [read_json(bagged[f"member-{k}"] / "timings.json")["seconds"] for k in range(1, MEMBERS + 1)]
    assert read_json(bagged["ensemble"] / "timings.json") == {"seconds": sum(seconds), "members": seconds}


def test_the_test_figures_are_confirmed_by_scikit_learn_and_scipy(bagged):
    table = pd.read_parquet(bagged["evaluate_ensemble"] / "predictions.parquet")
    metrics = read_json(bagged["evaluate_ensemble"] / "metrics.json")
    truth = load_test("digits", None, False).labels.numpy()
    assert (table["truth"] == truth).all()
    for name in ("baseline", "ensemble"):
        exact = binomtest(int((table[f"{name}_label"] == truth).sum()), len(truth)).proportion_ci(method="exact")
        accuracy = metrics[name]["accuracy"]
        assert accuracy["estimate"] == pytest.approx(accuracy_score(truth, table[f"{name}_label"]))
        assert (accuracy["low"], accuracy["high"]) == pytest.approx((exact.low, exact.high))
    alone = [accuracy_score(truth, table[f"member_{k}_label"]) for k in range(1, MEMBERS + 1)]
    assert metrics["member_accuracies"] == pytest.approx(alone)
    baseline, ensemble = (table[f"{name}_label"] == truth for name in ("baseline", "ensemble"))
    only = int((baseline & ~ensemble).sum()), int((ensemble & ~baseline).sum())
    assert metrics["mcnemar"]["p_value"] == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert (metrics["verdict"] == "no difference shown") == (metrics["mcnemar"]["p_value"] >= 0.05)
    right = table["ensemble_label"] == truth
    assert metrics["disagreement"]["wrong"] == pytest.approx(table.loc[~right, "disagreement"].mean(), rel=1e-5)


def test_test_time_views_are_those_of_every_member_and_of_the_baseline(bagged, bagging_config, tmp_path):
    views = {"views": 3, "augment": {"rotation": 20, "shift": 0.1}}
    config = changed(bagging_config, evaluate={"test_time": views})
    others = {other: folder for other, folder in bagged.items() if other != "evaluate_ensemble"}
    folder = run_plan(config, tmp_path, others)["evaluate_ensemble"]
    table = pd.read_parquet(folder / "predictions.parquet")
    test, ensemble = load_test("digits", None, False), load_placed(bagged["ensemble"], config)
    models = {"baseline": load_placed(bagged["baseline"], config)}
    models |= {f"member_{k}": member for k, member in enumerate(ensemble.members, start=1)}
    seed = derive_seed(config.seed, "test views")
    said = {
        name: predict_views(model, test.images, config.evaluate.test_time, seed=seed).exp()
        for name, model in models.items()
    }
    for name, probabilities in said.items():
        assert (table[f"{name}_label"] == probabilities.argmax(dim=1).numpy()).all()
    together = torch.stack([said[f"member_{k}"] for k in range(1, MEMBERS + 1)]).mean(dim=0)
    assert table["ensemble_confidence"].to_numpy() == pytest.approx(together.max(dim=1).values.numpy(), abs=1e-5)
    once = pd.read_parquet(bagged["evaluate_ensemble"] / "predictions.parquet")
    assert (table["ensemble_confidence"] != once["ensemble_confidence"]).mean() > 0.9


@pytest.mark.parametrize("name", ["member-1", "ensemble", "evaluate_ensemble"])
def test_the_same_inputs_leave_the_same_bits(name, bagged, bagging_config, tmp_path):
    others = {other: folder for other, folder in bagged.items() if other != name}
    again = run_plan(bagging_config, tmp_path, others, only=(name,))
    assert bits(again[name]) == bits(bagged[name])


def test_every_stage_leaves_a_figure_and_no_stage_leaves_nan(bagged):
    pictures = {
        "member-1": "learning_curves",
        "ensemble": "ensemble_growth",
        "evaluate_ensemble": "ensemble_comparison",
    }
    for name, picture in pictures.items():
        assert (bagged[name] / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
