"""The pipeline upon a frozen network: which labels it uses, what it may see, and that it repeats."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from semisup.checks.ineffective import ineffective_options
from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.sources import source
from semisup.frozen.embedding import rooted
from semisup.frozen.network import ProbedClassifier
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import plan
from semisup.pipeline.specs import load_stage
from semisup.stages.support.features import features_of
from semisup.stages.support.frozen import frozen_pool, read_choice, read_embedding
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.saved import load_model, load_placed
from semisup.system.json_files import read_json

CONFIG: dict[str, Any] = {
    "name": "frozen",
    "recipe": "graph",
    "seed": 3,
    "data": {"name": "digits"},
    "split": {"labeled_per_class": 10},
    "model": {"name": "efficientnet_lite0", "precision": "float32"},
    "runtime": {"device": "cpu", "threads": 1},
}


def config_of(**sections: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(CONFIG | sections)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    return config_of(data={"name": "digits", "cache": str(tmp_path_factory.mktemp("cache"))})


def labels_of(table: pd.DataFrame) -> Mapping[str, int]:
    return dict(zip(table["id"], table["label"], strict=True))


def test_the_recipe_is_the_config_that_it_stands_for():
    given = {key: value for key, value in CONFIG.items() if key != "recipe"}
    spelled = given | {
        "split": {"labeled_per_class": 10, "validation_per_class": 0},
        "model": CONFIG["model"] | {"train": "probe"},
        "pseudo_label": {"teacher": "graph", "threshold": 0.8},
        "joint": {"method": "confidence"},
    }
    asked = config_of().model_dump()
    assert asked | {"recipe": "steps"} == PipelineConfig.model_validate(spelled).model_dump()


def test_what_a_config_says_itself_goes_before_the_recipe():
    split = {"validation_per_class": 3}
    config = config_of(split=split, pseudo_label={"threshold": 0.7}, joint={"method": "threshold"})
    assert (config.pseudo_label.threshold, config.pseudo_label.teacher, config.joint.method) == (
        0.7,
        "graph",
        "threshold",
    )


def test_the_stages_are_in_order_and_every_one_that_learns_knows_what_was_chosen(config):
    steps = {step.name: step for step in plan(config)}
    names = ["split", "choose", "baseline", "pseudo_label", "joint", "keep", "labels", "evaluate", "promote"]
    assert list(steps) == names
    for name in ("baseline", "pseudo_label", "joint", "keep", "evaluate"):
        assert steps[name].upstream["choose"] == "choose"


def test_every_label_is_learned_from_and_judges_once_in_each_repetition(folders):
    split = Split.read(folders["split"] / "split.parquet")
    assert not len(split.ids("validation"))
    held = pd.read_parquet(folders["choose"] / "held_out.parquet")
    for _, repetition in held.groupby("repetition"):
        assert sorted(repetition["id"]) == sorted(split.ids("labeled"))
    assert read_json(folders["baseline"] / "training.json")["labels"] == len(split.ids("labeled")) == 100


def test_the_figures_of_the_choice_are_those_of_the_held_out_table(folders):
    held, choice = pd.read_parquet(folders["choose"] / "held_out.parquet"), read_choice(folders["choose"])
    assert [way["name"] for way in choice["ways"]] == ["baseline", "student", "graph"]
    for way in choice["ways"]:
        right = held[f"{way['name']}_label"] == held["truth"]
        assert way["accuracy"] == pytest.approx(right.mean())
        assert way["low"] < way["accuracy"] < way["high"]
    assert choice["kept"]["images"] == 100
    assert read_json(folders["evaluate"] / "metrics.json")["kept"] == choice["kept"]


def test_the_embedding_is_that_of_both_models_and_their_logits_are_the_probes(config, folders):
    embedding, images = read_embedding(folders["choose"]), pool_of(config).images[:5]
    for stage in ("baseline", "joint"):
        model = load_model(folders[stage])
        assert isinstance(model, ProbedClassifier)
        assert torch.equal(model.probe.components, embedding.components)
        with torch.inference_mode():
            expected = model.probe.linear(embedding(model.features(images)))
            torch.testing.assert_close(model(images), expected)


def test_the_references_know_the_images_that_ours_know_and_are_judged_on_the_same(folders):
    split, metrics = Split.read(folders["split"] / "split.parquet"), read_json(folders["evaluate"] / "metrics.json")
    found = metrics["references"]
    for role in ("labeled", "unlabeled", "test"):
        assert found[role] == len(split.ids(role))
    assert found["unlabeled_there"] == found["unlabeled"]
    assert len(found["rows"]) == 3
    for row in found["rows"]:
        assert row["low"] < row["estimate"] < row["high"]
        assert row["estimate"] * found["test"] == pytest.approx(round(row["estimate"] * found["test"]))


def test_what_labels_are_worth_is_measured_on_every_label_and_ends_where_the_choice_does(folders):
    worth, choice = read_json(folders["evaluate"] / "metrics.json")["labels_worth"], read_choice(folders["choose"])
    assert worth["images"] == 100
    assert worth["most"] == pytest.approx(choice["ways"][0]["accuracy"])
    assert worth["difference"]["estimate"] == pytest.approx(worth["most"] - worth["half"])
    assert worth["difference"]["low"] < worth["difference"]["estimate"] < worth["difference"]["high"]


def test_the_errors_shown_are_those_of_the_kept_model_that_it_is_surest_of(folders):
    said, kept = pd.read_parquet(folders["evaluate"] / "predictions.parquet"), read_choice(folders["choose"])["kept"]
    wrong = said[said[f"{kept['model']}_label"] != said["truth"]]
    expected = np.sort(wrong[f"{kept['model']}_confidence"])[::-1][:12]
    shown = pd.read_parquet(folders["evaluate"] / "errors.parquet")
    np.testing.assert_array_equal(shown["confidence"], expected)
    assert set(shown["id"]) <= set(wrong["id"])
    with np.load(folders["evaluate"] / "errors.npz") as arrays:
        assert len(arrays["images"]) == len(shown)


def test_neighbors_are_labeled_images_by_the_cosine_of_the_embedding(config, folders):
    split, facts = Split.read(folders["split"] / "split.parquet"), DatasetFacts.read(folders["split"])
    pool = frozen_pool(config, split, facts, Silence())
    points = read_embedding(folders["choose"])(pool.features)
    shown = pd.read_parquet(folders["evaluate"] / "neighbors.parquet")
    images = pool_of(config).images
    with np.load(folders["evaluate"] / "neighbors.npz") as arrays:
        rows = arrays["images"].reshape(6, 5, *images.shape[1:])
    for (asked, *near), (_, lines) in zip(rows, shown.groupby("asked"), strict=True):
        own = next(i for i in split.indices("unlabeled").tolist() if np.array_equal(images[i], asked))
        cosines = (points[pool.labeled] @ points[own]).numpy()
        np.testing.assert_allclose(lines["cosine"], np.sort(cosines)[::-1][:4], rtol=1e-5)
        for image, cosine, label in zip(near, lines["cosine"], lines["neighbor_label"], strict=True):
            (row, *_) = [row for row, i in enumerate(pool.labeled.tolist()) if np.array_equal(images[i], image)]
            assert cosines[row] == pytest.approx(cosine, rel=1e-5)
            assert pool.labels[row] == label


def test_kept_features_give_the_predictions_of_the_whole_network(config, folders):
    predictions = pd.read_parquet(folders["evaluate"] / "predictions.parquet")
    images = images_for_test(config).images[:64]
    with torch.inference_mode():
        said = load_placed(folders["joint"], config)(images).softmax(dim=1).max(dim=1)
    np.testing.assert_array_equal(said.indices, predictions["student_label"][:64])
    np.testing.assert_allclose(said.values, predictions["student_confidence"][:64], atol=1e-4)


def test_the_same_config_leaves_the_same_bits(config, folders, stage_runner, tmp_path):
    again = stage_runner(config, tmp_path, names=("split", "choose", "baseline", "pseudo_label", "joint"))
    for stage, files in {
        "choose": ("embedding.safetensors", "choice.json", "held_out.parquet"),
        "baseline": ("weights.safetensors",),
        "joint": ("weights.safetensors",),
    }.items():
        for file in files:
            assert (again[stage] / file).read_bytes() == (folders[stage] / file).read_bytes(), (stage, file)


def test_the_truth_of_unlabeled_images_decides_nothing(config, folders, stage_runner, tmp_path, monkeypatch):
    from semisup.data import datasets

    pool, split = pool_of(config), Split.read(folders["split"] / "split.parquet")
    hidden = split.indices("unlabeled")
    labels = pool.labels.clone()
    labels[hidden] = datasets.UNLABELED
    hiding = replace(source(config.data.name), pool=lambda _: pool.__class__(**vars(pool) | {"labels": labels}))
    monkeypatch.setattr("semisup.stages.support.images.source", lambda name: hiding)
    names = ("choose", "baseline", "pseudo_label", "joint")
    again = stage_runner(config, tmp_path, names=names, folders={"split": folders["split"]})
    for stage in ("baseline", "joint"):
        file = "weights.safetensors"
        assert (again[stage] / file).read_bytes() == (folders[stage] / file).read_bytes()


def test_a_student_of_scrambled_pseudo_labels_is_another_one(config, folders, stage_runner, tmp_path):
    scrambled = tmp_path / "pseudo_label"
    scrambled.mkdir()
    table = pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")
    table["label"] = (table["label"] + 1) % 10
    table.to_parquet(scrambled / "pseudo_labels.parquet")
    inputs = {name: folders[name] for name in ("split", "choose")} | {"pseudo_label": scrambled}
    again = stage_runner(config, tmp_path / "run", names=("joint",), folders=inputs)
    file = "weights.safetensors"
    assert (again["joint"] / file).read_bytes() != (folders["joint"] / file).read_bytes()


def test_a_student_learns_nothing_from_images_that_are_unknown(config, folders, stage_runner, tmp_path):
    table = pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")
    left_out = np.arange(len(table)) % 2 == 0
    table["reason"] = np.where(left_out, "unknown", table["reason"])
    (tmp_path / "pseudo_label").mkdir()
    table.to_parquet(tmp_path / "pseudo_label" / "pseudo_labels.parquet")
    inputs = {name: folders[name] for name in ("split", "choose")} | {"pseudo_label": tmp_path / "pseudo_label"}
    again = stage_runner(config, tmp_path / "run", names=("joint",), folders=inputs)
    assert read_json(again["joint"] / "training.json")["pseudo_labels"] == (~left_out).sum()


def test_validation_images_stay_apart_and_judge_where_there_are_any(stage_runner, tmp_path):
    config = config_of(
        data={"name": "digits", "cache": str(tmp_path / "cache")},
        split={"labeled_per_class": 10, "validation_per_class": 3},
        model=CONFIG["model"] | {"deskew": True},
    )
    folders = stage_runner(config, tmp_path / "stages")
    split = Split.read(folders["split"] / "split.parquet")
    held = pd.read_parquet(folders["choose"] / "held_out.parquet")
    assert not set(held["id"]) & set(split.ids("validation"))
    kept = read_json(folders["evaluate"] / "metrics.json")["kept"]
    assert (kept["judges"], kept["images"]) == ("validation images", 30)
    images = pool_of(config).images[split.indices("validation")]
    with torch.inference_mode():  # deskewed as in training, or the features would be others
        right = load_placed(folders["joint"], config)(images).argmax(dim=1) == split.labels("validation")
    assert kept["student_validation_accuracy"] == pytest.approx(float(right.double().mean()))
    model, pool = load_placed(folders["joint"], config), pool_of(config)
    with torch.inference_mode():
        whole = model.features(pool.images[:20])
    kept_table = features_of(config, model, pool, "pool", Silence())
    torch.testing.assert_close(whole, kept_table[:20], atol=1e-4, rtol=1e-4)
    assert torch.equal(read_embedding(folders["choose"]).mean, model.probe.mean)
    frozen = frozen_pool(config, split, DatasetFacts.read(folders["split"]), Silence())
    torch.testing.assert_close(frozen.features[:20], whole, atol=1e-4, rtol=1e-4)


def test_a_calibration_is_of_the_graph_that_labels(stage_runner, tmp_path):
    config = config_of(
        data={"name": "digits", "cache": str(tmp_path / "cache")},
        split={"labeled_per_class": 10, "validation_per_class": 2, "calibration_images": 200},
        calibrate={"method": "temperature"},
        pseudo_label={"threshold": {"target_precision": 0.8, "confidence": 0.9, "fallback": 0.9}},
        joint={"method": "threshold"},
    )
    folders = stage_runner(
        config, tmp_path / "stages", names=("split", "choose", "baseline", "calibrate", "pseudo_label")
    )
    table = pd.read_parquet(folders["pseudo_label"] / "pseudo_labels.parquet")
    calibrated = pd.read_parquet(folders["calibrate"] / "calibration.parquet")
    assert set(table["teacher"].str.partition(":")[0]) == {"graph"}
    assert not set(table["id"]) & set(calibrated["id"])
    # Unlabeled and calibration images are alike to a probe: its embedding is that of both, with the labeled ones.
    split = Split.read(folders["split"] / "split.parquet")
    pool = frozen_pool(config, split, DatasetFacts.read(folders["split"]), Silence())
    rows = torch.cat([split.indices(role) for role in ("labeled", "unlabeled", "calibration")])
    mean = rooted(pool.features[rows]).mean(dim=0)
    torch.testing.assert_close(read_embedding(folders["choose"]).mean, mean, atol=1e-5, rtol=1e-4)
    audit = pd.read_parquet(folders["pseudo_label"] / "audit.parquet")
    right = (table["label"].to_numpy() == audit["truth"].to_numpy()).mean()
    assert (calibrated["label"] == calibrated["truth"]).mean() == pytest.approx(
        right, abs=0.12
    )  # 4 of 200's deviations


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"baseline": {"epochs": 3}}, "baseline.epochs=3"),
        ({"baseline": {"optimizer": {"lr": 0.1}}}, "baseline.optimizer is set"),
        ({"joint": {"ramp_end": 3}}, "joint.ramp_end=3"),
        ({"joint": {"mixup": {"alpha": 0.2}}}, "joint.mixup is set"),
    ],
)
def test_what_a_probe_does_not_look_at_is_said_in_one_line(sections, key):
    (line,) = [line for line in ineffective_options(config_of(**sections)) if line.startswith(key)]
    assert "solves for the best probe, without steps" in line
    assert ineffective_options(config_of()) == []


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ({"mirror": True}, "model.mirror=true"),
        ({"center_crop": 24}, "model.center_crop=24"),
        ({"precision": "float32"}, "model.precision='float32'"),
    ],
)
def test_what_only_a_probe_looks_at_is_said_in_one_line(model, key):
    config = PipelineConfig.model_validate({"data": {"name": "cifar10"}, "model": model})
    assert [line for line in ineffective_options(config) if line.startswith(key) and "is no probe" in line]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"recipe": "steps", "split": {"validation_per_class": 0}}, "split.validation_per_class=0 needs features"),
        ({"recipe": "steps", "pseudo_label": {"teacher": "graph"}}, "pseudo_label.teacher='graph' needs features"),
        ({"rounds": 2}, "split.validation_per_class=0 leaves labels that are held out in turn to judge"),
        (
            {"joint": {"alpha_final": 0.5}},
            "split.validation_per_class=0 leaves labels that are held out in turn to judge",
        ),
        ({"recipe": ["graph"]}, "recipe"),
        ({"joint": {"method": "fixmatch"}}, "joint.method='fixmatch', but model.train='probe' trains no student"),
        (
            {"pseudo_label": {"test_time": {"views": 2, "augment": {"shift": 0.1}}}},
            "pseudo_label.test_time.views asks a network several times",
        ),
        (
            {"model": {"name": "efficientnet_lite0", "mirror": True}},
            "model.mirror=true, but a mirrored image of 'digits'",
        ),
        (
            {"model": {"name": "efficientnet_lite0", "center_crop": 8}},
            "model.center_crop=8, but images of 'digits' have a size of their own",
        ),
        (
            {
                "data": {"name": "folder", "root": ".", "size": [64, 48]},
                "model": {"name": "efficientnet_lite0", "center_crop": 48},
            },
            "model.center_crop=48, but data.size=[64, 48] has no more pixels than that; use a larger data.size",
        ),
        ({"model": {"name": "small_cnn"}}, "train='probe', but weights is unset"),
    ],
)
def test_what_does_not_go_with_a_frozen_network_is_refused_in_one_line(sections, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        config_of(**sections)


def test_references_learn_from_every_label_and_of_too_many_images_from_some(config, folders, monkeypatch, tmp_path):
    names = ("split", "choose", "baseline", "pseudo_label", "joint", "keep", "labels")
    inputs = {name: folders[name] for name in names}
    for most, expected in ((150, {"labeled": 100, "unlabeled": 50}), (99, None)):
        monkeypatch.setattr("semisup.stages.final.insights.MOST_LEARNED", most)
        out = tmp_path / str(most)
        out.mkdir()
        load_stage("evaluate")(config, inputs, out, Silence())
        found = read_json(out / "metrics.json").get("references")
        assert (found and {name: found[name] for name in ("labeled", "unlabeled")}) == expected
