"""Engines say what torch says, are asked only where nothing learns, and are chosen by what was measured."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semisup.config import OptimizerConfig, PipelineConfig, TrainConfig
from semisup.data.datasets import ImageSet
from semisup.data.facts import DatasetFacts
from semisup.data.own_images.decoded.cache import KEPT_SPEEDS
from semisup.data.own_images.reading.decode import Target
from semisup.data.sources import source
from semisup.delivery.predict import Predictor
from semisup.errors import UserError
from semisup.frozen.looks import Looks
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.lineage.fingerprints import effective_config
from semisup.networks.classifier import Classifier
from semisup.networks.inference import choice, engine
from semisup.networks.inference.choice import Speeds, choose, predict_by, settle
from semisup.networks.inference.engine import EngineError, OpenVino
from semisup.networks.models import build_model
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import SPECS
from semisup.pseudo_labels.uncertainty import mc_dropout
from semisup.stages.preflight.check import check
from semisup.stages.support.features import features_key, features_of, fit
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.saved import load_model, load_placed, load_predicting, save_model
from semisup.training.loop import Examples, train
from tests.variants import changed

NETWORKS = [
    ("small_cnn", (1, 28, 28), "all"),
    ("seed_cnn", (1, 28, 28), "all"),
    ("resnet18_small", (3, 32, 32), "all"),
    ("efficientnet_lite0", (3, 64, 64), "all"),
    ("efficientnet_lite0", (3, 64, 64), "head"),
    ("efficientnet_lite0", (3, 64, 64), "last_2"),
    ("efficientnet_lite0", (3, 64, 64), "probe"),
    ("efficientnet_lite0+efficientnet_lite2", (3, 64, 64), "probe"),
    ("efficientnet_lite0", (3, 80, 100), "probe of two views"),
    ("timm:vit_tiny_patch16_224", (3, 288, 288), "probe of two views"),
    ("torchvision:resnet18", (3, 64, 64), "head"),
    ("timm:convnext_atto", (3, 64, 64), "last_1"),
    ("timm:vit_tiny_patch16_224", (3, 224, 224), "last_2"),
]
DIGITS = PipelineConfig.model_validate({"data": {"name": "digits"}})


def network_of(name: str, shape: tuple[int, int, int], train: str = "all") -> Classifier:
    halves = [0.5] * shape[0]
    looks = Looks(mirror=True, center_crop=224 * shape[1] // 288 if train.endswith("two views") else None)
    model = build_model(name, looks.shape(shape), 10, mean=halves, std=[value / 2 for value in halves], seed=0)
    if train.startswith("probe"):
        probe = EmbeddedProbe(model.head.in_features, 16, 10)  # type: ignore[arg-type]
        nn.init.normal_(probe.components)
        model = ProbedClassifier.upon(model, probe, looks=looks)
    elif train != "all":
        model.freeze(0 if train == "head" else int(train.removeprefix("last_")))
    return model.eval()


def images_of(shape: tuple[int, int, int], count: int = 5) -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return source("digits").pool(DIGITS.data)


@pytest.fixture
def speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes down what was measured of whatever network is asked about."""
    monkeypatch.setattr(choice, "_key", lambda model, batch: "asked")

    def write(**seconds: float) -> Path:
        (tmp_path / KEPT_SPEEDS).write_text(json.dumps({"asked": seconds}), encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(("name", "shape", "train"), NETWORKS, ids=str)
@torch.inference_mode()
def test_in_float32_logits_and_features_are_torchs_to_a_ten_thousandth_of_the_largest(name, shape, train):
    model, images = network_of(name, shape, train), images_of(shape)
    logits, features = model(images), model.features(images)
    predict_by(model, "openvino")
    for ours, theirs in ((model(images), logits), (model.features(images), features)):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max().clamp(min=1)
    assert torch.allclose(model(images[:1]), model(images)[:1], atol=1e-4 * float(logits.abs().max()))


@pytest.mark.parametrize("learns", ["all", "head", "probe"])
@torch.inference_mode()
def test_bytes_and_their_float32_are_the_same_images_and_deskewed_ones_are_deskewed_once(learns):
    name, shape = ("small_cnn", (1, 28, 28)) if learns == "all" else ("efficientnet_lite0", (1, 32, 32))
    model, images = network_of(name, shape, learns), images_of(shape) // 8
    images[:, :, 6:20, 9:13] = 200  # strokes
    answers = {}
    for deskew in (False, True):
        model.preprocess.deskew = deskew
        predict_by(model, "torch")
        plain = answers[deskew] = model(images)
        predict_by(model, "openvino")
        for seen in (images, images.float()):
            assert (model(seen) - plain).abs().max() <= 1e-4 * plain.abs().max().clamp(min=1)
    assert not torch.allclose(answers[False], answers[True])


def test_in_bfloat16_998_of_1000_images_keep_their_label_where_the_margin_is_above_one_hundredth(digits):
    model = network_of("small_cnn", (1, 8, 8))
    labels = digits.labels
    how = TrainConfig(epochs=4, batch_size=64, optimizer=OptimizerConfig(lr=3e-3))
    few = Examples(digits.images[:64], labels[:64])
    result = train(model, how, Examples(digits.images, labels), few, num_classes=10, steps_per_epoch=20, seed=0)
    model.load_state_dict(result.weights)
    model.eval()
    with torch.inference_mode():
        exact = model(digits.images).softmax(dim=1)
        model.precision = torch.bfloat16
        predict_by(model, "openvino")
        near = model(digits.images)
    assert near.dtype == torch.float32
    assert not torch.equal(near.softmax(dim=1), exact)
    first, second = exact.topk(2, dim=1).values.unbind(1)
    clear = first - second > 0.01
    assert (exact.argmax(1) == labels).float().mean() > 0.8
    assert clear.sum() > 1000
    assert (near.argmax(1) == exact.argmax(1))[clear].float().mean() >= 0.998


def test_a_network_that_is_trained_is_torchs_business():
    model, images = network_of("efficientnet_lite0", (3, 32, 32), "head"), images_of((3, 32, 32))
    predict_by(model, "openvino")
    model.train()
    model(images).sum().backward()
    assert model.head.weight.grad is not None


def test_dropout_on_purpose_draws_anew_whatever_the_engine():
    model = build_model("small_cnn", (1, 8, 8), 10, mean=[0.5], std=[0.5], dropout=0.5, seed=0).eval()
    images = images_of((1, 8, 8))
    plain = mc_dropout(model, images, 4, None, seed=1)
    predict_by(model, "openvino")
    for ours, theirs in zip(mc_dropout(model, images, 4, None, seed=1), plain, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.sum() > 0


def test_what_is_still_to_be_trained_has_no_engine_yet_but_what_is_frozen_has(tmp_path):
    for learns, has_one in (("all", False), ("head", True), ("probe", True), ("last_2", True)):
        model = network_of("efficientnet_lite0", (3, 32, 32), learns)
        settle(model, "openvino", (3, 32, 32), 1, tmp_path)
        assert (model.engine is not None, model.predicted_by) == (has_one, "openvino")


class OfTheBatch(nn.Module):
    """What it says of an image depends on how many there are: a trace takes that number for a constant."""

    def forward(self, seen: Tensor) -> Tensor:
        return seen.flatten(1) / len(seen)


class WithAForeignOperation(nn.Module):
    def forward(self, seen: Tensor) -> Tensor:
        return torch.special.bessel_j0(seen.flatten(1))


@pytest.mark.parametrize("part", [OfTheBatch(), WithAForeignOperation()], ids=["of the batch", "foreign"])
def test_a_network_that_openvino_does_not_understand_is_refused_when_asked_for_and_torchs_by_itself(
    part, tmp_path, monkeypatch
):
    seen = torch.rand(3, 1, 4, 4)
    with pytest.raises(EngineError):
        OpenVino(lambda: part, torch.float32).prepare(seen)
    with pytest.raises(UserError, match=r"^runtime\.inference: .*; use runtime\.inference: torch$"):
        OpenVino(lambda: part, torch.float32)(seen)
    monkeypatch.setattr(choice, "LEAST_WORK", 0.0)
    model = network_of("small_cnn", (1, 8, 8))
    model.backbone = part
    assert choose(model, (1, 8, 8), 10**9, tmp_path) == "torch"


def test_the_faster_one_is_chosen_once_it_has_earned_its_translation():
    speeds = Speeds(torch=0.01, openvino=0.004, translation=3.0)  # even after 3 / 0.006 = 500 images
    assert [speeds.faster(images) for images in (1, 499, 501, 10**6)] == ["torch", "torch", "openvino", "openvino"]
    assert Speeds(torch=0.01, openvino=0.0095, translation=0.0).faster(10**6) == "torch"  # not clearly faster


def test_what_was_measured_once_counts_from_then_on(speeds, monkeypatch):
    monkeypatch.setattr(choice, "measure", lambda model, batch: pytest.fail("it was measured before"))
    model = network_of("small_cnn", (1, 8, 8))
    fast, slow = {"torch": 0.01, "openvino": 0.001}, {"torch": 0.001, "openvino": 0.01}
    assert choose(model, (1, 8, 8), 1000, speeds(**fast, translation=1.0)) == "openvino"
    assert choose(model, (1, 8, 8), 1000, speeds(**slow, translation=1.0)) == "torch"


def test_before_many_images_predict_takes_the_faster_engine_and_says_the_same(speeds):
    images = images_of((1, 8, 8)).numpy()
    names = tuple("0123456789")
    predictor = Predictor(network_of("small_cnn", (1, 8, 8)), names, Target(8, 8, "crop", "gray", None), None)
    plain = predictor.probabilities(images)
    cache = speeds(torch=0.01, openvino=0.001, translation=1.0)  # even after 112 images
    for count, has_one in ((100, False), (200, True)):
        predictor.hasten(count, cache)
        assert isinstance(predictor.model, Classifier)
        assert (predictor.model.engine is not None) == has_one
        assert predictor.probabilities(images) == pytest.approx(plain, abs=1e-5)


def test_little_work_is_torchs_whether_it_was_measured_before_or_not(speeds):
    model = network_of("small_cnn", (1, 8, 8))
    folder = speeds(torch=0.01, openvino=0.001, translation=0.1)  # even after 12 images, two seconds of torch are 200
    for images, name in ((100, "torch"), (199, "torch"), (201, "openvino")):
        assert choose(model, (1, 8, 8), images, folder) == name


@pytest.mark.parametrize(("openvino", "turns"), [(0.3, 2), (0.8, 5), (1.0, 5), (2.0, 2)])
def test_turns_that_agree_beyond_doubt_are_few(openvino, turns, monkeypatch):
    model, batch = network_of("small_cnn", (1, 8, 8)), images_of((1, 8, 8))
    asked: list[bool] = []

    @contextmanager
    def scripted(model):
        def ask(batch, engine):
            asked.append(engine is None)
            return 1.0 if engine is None else openvino

        yield ask

    monkeypatch.setattr(choice, "_asked", scripted)
    speeds = choice.measure(model, batch)
    assert (speeds.torch, speeds.openvino) == (1 / len(batch), openvino / len(batch))
    assert sum(asked) == turns


def test_what_is_measured_is_remembered_and_leaves_the_model_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "LEAST_WORK", 0.0)
    model = network_of("small_cnn", (1, 8, 8)).train()
    choose(model, (1, 8, 8), 10**9, tmp_path)
    (measured,) = json.loads((tmp_path / KEPT_SPEEDS).read_text(encoding="utf-8")).values()
    assert set(measured) == {"torch", "openvino", "translation"}
    assert min(measured.values()) > 0
    assert model.training
    assert model.engine is None


def test_little_work_is_torchs_without_a_look_at_openvino(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "LEAST_WORK", 3600.0)
    monkeypatch.setattr(choice, "measure", lambda model, batch: pytest.fail("nobody waits for that"))
    assert choose(network_of("small_cnn", (1, 8, 8)), (1, 8, 8), 1000, tmp_path) == "torch"
    assert not list(tmp_path.iterdir())


def test_without_openvino_auto_is_torch_and_who_asks_for_it_is_told_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    model = network_of("small_cnn", (1, 8, 8))
    settle(model, "auto", (1, 8, 8), 10**9, tmp_path)
    assert model.predicted_by == "torch"
    with pytest.raises(UserError, match=r"pip install openvino\), or use runtime\.inference: torch$"):
        settle(model, "openvino", (1, 8, 8), 1, tmp_path)


def test_openvino_is_imported_without_its_telemetry():
    code = (
        "import sys; from semisup.networks.inference.engine import _openvino; _openvino();"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_features_of_another_engine_are_other_features(digits):
    model, keys = network_of("efficientnet_lite0", (1, 8, 8), "head"), set()
    for name in ("torch", "openvino"):
        predict_by(model, name)
        keys.add(features_key(model, digits, "pool"))
    model.precision = torch.bfloat16
    predict_by(model, "openvino")
    assert len(keys | {features_key(model, digits, "pool")}) == 3


def test_a_network_whose_features_fail_keeps_its_engine(digits, monkeypatch):
    model = network_of("efficientnet_lite0", (1, 8, 8), "last_2")
    predict_by(model, "openvino")
    monkeypatch.setattr(Classifier, "seen_by_learning", lambda self, images: torch.cat([]))
    with pytest.raises((RuntimeError, ValueError)):
        fit(DIGITS, model, digits)
    assert model.engine is not None


def test_an_engine_that_is_asked_for_counts_in_fingerprints_and_auto_does_not(tiny_config):
    spec = SPECS["baseline"]
    by_itself = effective_config(tiny_config, spec)
    assert "runtime.inference" not in by_itself
    for name in ("torch", "openvino"):
        asked = effective_config(changed(tiny_config, runtime={"inference": name}), spec)
        assert asked == by_itself | {"runtime.inference": name}


@pytest.fixture(scope="module")
def probed(stage_runner: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[PipelineConfig, dict[str, Path]]:
    """A pipeline whose frozen network OpenVINO computes."""
    config = PipelineConfig.model_validate(
        {
            "recipe": "graph",
            "data": {"name": "digits", "cache": str(tmp_path_factory.mktemp("cache"))},
            "split": {"labeled_per_class": 10},
            "model": {"name": "efficientnet_lite0"},
            "runtime": {"device": "cpu", "threads": 1, "inference": "openvino"},
        }
    )
    return config, stage_runner(config, tmp_path_factory.mktemp("stages"))


def test_the_engine_is_noted_beside_the_weights_and_the_same_one_says_all_that_is_said_of_them(probed):
    config, folders = probed
    auto = changed(config, runtime={"inference": "auto"})
    for stage in ("baseline", "joint"):
        assert json.loads((folders[stage] / "model.json").read_text())["predicted_by"] == "openvino"
        for asked, has_one in ((config, True), (auto, True), (changed(config, runtime={"inference": "torch"}), False)):
            model = load_placed(folders[stage], asked)
            assert isinstance(model, Classifier)
            assert (model.engine is not None) == has_one


def test_the_stages_of_a_pipeline_compute_features_once_and_predict_says_the_same_of_an_image(probed):
    config, folders = probed
    cache = config.data.cache
    assert cache is not None
    tables = [path for path in (cache / "features").iterdir() if path.is_dir()]
    assert len(tables) == 2  # of the pool and of the test
    facts, pool = DatasetFacts.read(folders["split"]), pool_of(config)
    assert facts.pool_size == len(pool)
    placed, loose = (
        load_placed(folders["joint"], config),
        load_predicting(folders["joint"], torch.device("cpu")),
    )
    assert isinstance(placed, Classifier)
    features = features_of(config, placed, pool, "pool", Silence())
    with torch.inference_mode():
        from_features, from_image = placed.head(features[:16]), loose(pool.images[:16])
    torch.testing.assert_close(from_image, from_features, atol=1e-3, rtol=1e-3)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of OpenVINO's is near enough, and wherever that is asked it would be the faster one."""
    monkeypatch.setattr(engine, "FURTHEST", -1.0)
    monkeypatch.setattr(choice, "choose", lambda *_: "openvino")


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("train", ["all", "probe"])
def test_trained_weights_that_openvino_refuses_are_torchs_and_who_asks_for_it_is_told(
    train, probed, tiny_config, stage_runner, tmp_path
):
    config, names = (tiny_config, ("split", "baseline")) if train == "all" else (probed[0], ("split", "choose"))
    config = changed(config, data={"cache": str(tmp_path / "cache")}, runtime={"inference": "auto"})
    folders = stage_runner(config, tmp_path / "auto", (*names, "baseline"))
    assert "predicted_by" not in json.loads((folders["baseline"] / "model.json").read_text())
    asked = changed(config, data={"cache": str(tmp_path / "other")}, runtime={"inference": "openvino"})
    with pytest.raises(UserError, match=r"^runtime\.inference: .*; use runtime\.inference: torch$"):
        stage_runner(asked, tmp_path / "asked", (*names, "baseline"))


def test_a_model_of_openvinos_that_it_refuses_here_is_predicted_by_torch(probed, monkeypatch):
    config, folders = probed
    images = pool_of(config).images[:8]
    monkeypatch.setattr(engine, "FURTHEST", -1.0)
    with torch.inference_mode():
        ours = load_predicting(folders["joint"], torch.device("cpu"))(images)
        torchs = load_placed(folders["joint"], changed(config, runtime={"inference": "torch"}))(images)
    assert torch.equal(ours, torchs)


@pytest.mark.parametrize("train", ["probe", "last_2"])
@torch.inference_mode()
def test_predict_computes_in_the_precision_of_labels_and_temperature(train, probed, tmp_path):
    config = changed(probed[0], runtime={"inference": "torch"}, model={"precision": "bfloat16"})
    config = config.model_copy(update={"model": config.model.model_copy(update={"train": train})})
    facts = DatasetFacts.read(probed[1]["split"])
    model = load_model(probed[1]["joint"]) if train == "probe" else fresh_model(config, facts, "student")
    weights = model.state_dict()
    for name, value in weights.items():
        if name.endswith("running_var"):
            value.fill_(0.1)  # else an untrained network says the same of all images
    save_model(config, facts, weights, tmp_path, stage="joint", predicted_by="torch")
    images = images_of((1, 8, 8))
    plain, labeling, predicting = (
        load_model(tmp_path),
        load_placed(tmp_path, config),
        load_predicting(tmp_path, torch.device("cpu")),
    )
    assert isinstance(plain, Classifier)
    assert isinstance(labeling, Classifier)
    assert isinstance(predicting, Classifier)
    assert predicting.precision == torch.bfloat16
    torch.testing.assert_close(predicting.features(images), labeling.features(images))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(plain.features(images), labeling.features(images))  # in float32


def test_what_computes_in_bfloat16_stays_with_the_engine_that_labeled_by_it(speeds):
    model = network_of("efficientnet_lite0", (1, 8, 8), "probe")
    model.precision = torch.bfloat16
    predictor = Predictor(model, tuple("0123456789"), Target(8, 8, "crop", "gray", None), None)
    predictor.hasten(10**6, speeds(torch=0.01, openvino=0.001, translation=1.0))
    assert model.engine is None


def test_openvino_on_a_gpu_is_refused_before_anything_is_written(tiny_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("auto", "cuda"):
        asked = changed(tiny_config, runtime={"inference": "openvino", "device": device})
        with pytest.raises(UserError, match=r"^runtime\.inference='openvino' computes on a CPU; use runtime\.device"):
            check(asked)


def test_predict_without_openvino_stands_in_with_torch(probed, monkeypatch):
    config, folders = probed
    images = pool_of(config).images[:64]
    with torch.inference_mode():
        there = load_predicting(folders["joint"], torch.device("cpu"))(images)
        monkeypatch.setattr(engine, "find_spec", lambda name: None)
        missing = load_predicting(folders["joint"], torch.device("cpu"))
        assert isinstance(missing, Classifier)
        assert missing.engine is None
        assert (missing(images).argmax(1) == there.argmax(1)).float().mean() > 0.95
