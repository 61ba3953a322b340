"""Training in bfloat16: the network computes in it, and everything around it stays in float32."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisup.config import TrainConfig
from semisup.data.sources import load_test
from semisup.networks.models import build_model
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.stages.support.files import load_model
from semisup.training.loop import Examples, UnlabeledTerm, train
from semisup.training.optimization.precision import computing_in, has_bfloat16
from semisup.training.predict import predict_log_probabilities
from tests.variants import changed

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = 3
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
