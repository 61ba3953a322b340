"""Training in bfloat16: the network computes in it, and everything around it stays in float32."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisup.config import PipelineConfig, Precision, TrainConfig
from semisup.data.sources import load_test
from semisup.networks.models import build_model
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.stages.support.models.saved import load_model
from semisup.training.loop import Examples, UnlabeledTerm, train
from semisup.training.optimization.precision import computing_in, depthwise_in_float32, has_bfloat16
from semisup.training.predict import predict_log_probabilities
from tests.variants import changed

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = 3
CPU = torch.device("cpu")
generator = torch.Generator().manual_seed(0)
LABELED = Examples(
    torch.randint(0, 256, (12, 1, 8, 8), generator=generator, dtype=torch.uint8), torch.arange(12) % CLASSES
)


class Watched(nn.Module):
    """A network that notes the type of every product it makes."""

    def __init__(self, precisions: list[torch.dtype]) -> None:
        super().__init__()
        self.precisions = precisions
        self.network = build_model("small_cnn", (1, 8, 8), CLASSES, mean=[0.5], std=[0.3], width=0.5, seed=0)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        self.precisions.append(logits.dtype)
        return logits

    def __deepcopy__(self, memo: object) -> "Watched":  # for a moving average that notes in the same list
        copy = Watched(self.precisions)
        copy.load_state_dict(self.state_dict())
        return copy


class Probe:
    uses_predictions = True
    uses_labeled_predictions = False

    def __init__(self) -> None:
        self.seen: list[torch.dtype] = []

    def init(self, num_unlabeled: int, num_classes: int) -> dict[str, Tensor]:
        return {}

    def update(self, state: dict[str, Tensor], probabilities: Tensor, indices: Tensor):
        self.seen.append(probabilities.dtype)
        return state, probabilities, torch.ones(len(indices))

    def extra_loss(self, state, logits, weights, indices) -> None:
        return None


def fit(model: nn.Module, precision: str, *, teacher: str = "self", mixup: float = 0.0) -> Probe:
    config = TrainConfig.model_validate(
        {"epochs": 2, "batch_size": 6, "precision": precision, "mixup": {"alpha": mixup}, "ema_decay": 0.5}
    )
    probe = Probe()
    unlabeled = UnlabeledTerm(LABELED.images, probe, 6, 1.0, 0, 0, mixup > 0, False, teacher=teacher, view="clean")
    train(model, config, LABELED, LABELED, num_classes=CLASSES, steps_per_epoch=2, seed=0, unlabeled=unlabeled)
    return probe


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("teacher", ["self", "ema"])
def test_student_teacher_and_validation_compute_in_it_and_policies_and_weights_are_float32(precision, teacher):
    model = Watched([])
    probe = fit(model, precision, teacher=teacher)
    assert len(model.precisions) == 2 * (2 * 2 + 1)  # two epochs of two steps with a teacher's look, and a validation
    assert set(model.precisions) == {getattr(torch, precision)}
    assert set(probe.seen) == {torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_the_first_loss_is_that_of_a_network_rounded_to_bfloat16():
    """With a rate of nearly zero the loss is that of the initial weights: rounded, and near the exact one."""
    config = TrainConfig.model_validate(
        {"epochs": 1, "batch_size": 12, "optimizer": {"lr": 1e-12, "weight_decay": 0.0}, "precision": "bfloat16"}
    )
    model = Watched([])
    result = train(model, config, LABELED, LABELED, num_classes=CLASSES, steps_per_epoch=1, seed=0)
    with torch.no_grad():
        exact = F.cross_entropy(model.network.train()(LABELED.images), LABELED.labels).item()
        with torch.autocast("cpu", torch.bfloat16):
            rounded = F.cross_entropy(model.network(LABELED.images).float(), LABELED.labels).item()
    assert abs(rounded - exact) > 1e-4  # or the two could not be told apart
    assert result.history[0]["train_loss"] == pytest.approx(rounded, abs=abs(rounded - exact) / 4)


def test_digits_learned_in_bfloat16_are_told_apart_as_well_and_all_that_is_kept_and_predicted_is_float32(
    tiny_config, stage_folders, tmp_path
):
    test = load_test("digits")
    images, labels = test.images, test.labels
    accuracies = {}
    for precision in ("float32", "bfloat16"):
        config = changed(tiny_config, baseline={"precision": precision})
        (out_dir := tmp_path / precision).mkdir()
        load_stage("baseline")(config, {"split": stage_folders["split"]}, out_dir, Silence())
        model = load_model(out_dir)
        history = pd.read_parquet(out_dir / "history.parquet")
        assert np.isfinite(history[["train_loss", "validation_loss"]]).all(axis=None)
        assert {value.dtype for value in model.parameters()} == {torch.float32}
        predicted = predict_log_probabilities(model, images)
        assert predicted.dtype == torch.float32
        with torch.no_grad():
            torch.testing.assert_close(predicted, model(images).log_softmax(dim=1))
        accuracies[precision] = (predicted.argmax(dim=1) == labels).float().mean().item()
    assert accuracies["float32"] > 0.8
    assert accuracies["bfloat16"] == pytest.approx(accuracies["float32"], abs=0.05)
    kept = stage_folders["baseline"] / "weights.safetensors"  # made by a config that says nothing of precision
    assert kept.read_bytes() == (tmp_path / "float32" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_has_it(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    lower = computing_in("auto", torch.device("cpu"))
    images = torch.ones(2, 2)
    with lower:
        assert (images @ images).dtype == (torch.bfloat16 if expected else torch.float32)


def test_a_torch_that_does_not_know_its_processor_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16(torch.device("cpu"))


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolutions_have_the_gradients_of_float32_but_for_the_rounding_of_what_they_get(stride):
    convolution = nn.Conv2d(16, 16, 3, stride, padding=1, groups=16)
    images = torch.randn(4, 16, 9, 9).to(memory_format=torch.channels_last).bfloat16()

    def gradients(precision: Precision, seen: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
        seen = seen.clone().requires_grad_()
        convolution.zero_grad()
        with depthwise_in_float32(convolution, precision, CPU), computing_in(precision, CPU):
            answers = convolution(seen)
        answers.float().square().sum().backward()
        assert seen.grad is not None
        assert convolution.weight.grad is not None
        return seen.grad.float(), convolution.weight.grad.clone(), answers.dtype

    exact_seen, exact_weight, _ = gradients("float32", images.float())
    seen, weight, kind = gradients("bfloat16", images)
    assert kind == torch.bfloat16
    assert weight.dtype == torch.float32
    for ours, theirs in ((seen, exact_seen), (weight, exact_weight)):
        assert (ours - theirs).norm() < 0.01 * theirs.norm()  # bfloat16 has 8 bits
    assert "forward" not in vars(convolution)


def test_other_convolutions_and_float32_are_left_alone():
    plain, depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
    network = nn.Sequential(plain, depthwise)
    with depthwise_in_float32(network, "bfloat16", CPU):
        assert ["forward" in vars(module) for module in network] == [False, True]
    with depthwise_in_float32(network, "float32", CPU):
        assert ["forward" in vars(module) for module in network] == [False, False]


@pytest.mark.parametrize(
    ("model", "precision", "channels_last"),
    [
        ({"name": "small_cnn"}, "float32", False),
        ({"name": "timm:resnet18"}, "float32", False),
        ({"name": "efficientnet_lite0"}, "auto", True),
        ({"name": "efficientnet_lite0", "train": "last_2"}, "auto", True),
        ({"name": "efficientnet_lite0", "train": "head"}, "float32", True),
        ({"name": "torchvision:resnet18", "weights": "DEFAULT"}, "auto", True),
        ({"name": "small_cnn", "weights": "earlier.safetensors"}, "float32", False),
    ],
)
def test_pretrained_networks_of_photographs_are_trained_in_what_the_processor_has(model, precision, channels_last):
    config = PipelineConfig.model_validate({"model": model})
    assert (config.baseline.precision, config.joint.precision) == (precision, precision)
    assert config.channels_last == channels_last


def test_whoever_names_a_precision_or_a_layout_gets_it():
    config = PipelineConfig.model_validate(
        {
            "model": {"name": "efficientnet_lite0"},
            "baseline": {"precision": "float32"},
            "runtime": {"channels_last": False},
        }
    )
    assert (config.baseline.precision, config.joint.precision) == ("float32", "auto")
    assert not config.channels_last
    assert config == PipelineConfig.model_validate(config.model_dump())
