"""A loss that is no number is blamed on what is out of the ordinary, and in the stage's own words."""

import math
import re

import pytest
import torch

from semisup.config import PipelineConfig
from semisup.config.files import validate
from semisup.errors import UserError
from semisup.networks.classifier import Preprocess, divisors
from semisup.networks.models import build_model
from semisup.stages.split import channel_statistics, patch_covariance
from semisup.training.divergence import diverged, keys_of, largest_input
from semisup.training.loop import Examples, train

NAN = float("nan")


def config_of(section: str, **changes: object) -> PipelineConfig:
    return validate({section: changes}, source="test")


def blame(config: PipelineConfig, section: str, largest: float | None = 2.0) -> str:
    return str(diverged(keys_of(getattr(config, section)), NAN, 3.0, 7, largest))


@pytest.mark.parametrize(
    ("section", "changes", "named"),
    [
        ("baseline", {"optimizer": {"lr": 1e3}}, "baseline.optimizer.lr=1000.0: "),
        ("baseline", {"optimizer": {"weight_decay": 1e4}}, "baseline.optimizer.weight_decay=10000.0: "),
        ("joint", {"optimizer": {"weight_decay": 1e4}}, "joint.optimizer.weight_decay=10000.0: "),
        ("joint", {"alpha_final": 1e4}, "joint.alpha_final=10000.0: "),
        ("joint", {"method": "soft", "policy": {"temperature": 1e-3}}, "joint.policy.temperature=0.001: "),
        ("joint", {"method": "freematch", "policy": {"fairness_weight": 1e4}}, "joint.policy.fairness_weight="),
    ],
)
def test_the_key_that_is_out_of_the_ordinary_is_named_first_with_its_value_its_stage_and_the_way_out(
    section, changes, named
):
    line = blame(config_of(section, **changes), section)
    assert line.startswith(named)
    assert "the loss is nan in training and 3.0 in validation in epoch 7; training diverged" in line
    assert re.search("; use .*at (most|least) [0-9]", line)
    assert len(line.splitlines()) == 1


def test_of_two_strange_keys_the_stranger_one_comes_first_and_the_other_is_told():
    line = blame(config_of("joint", alpha_final=1e3, optimizer={"weight_decay": 1e4}), "joint")
    assert line.startswith("joint.optimizer.weight_decay=")
    assert line.endswith("also out of the ordinary: joint.alpha_final=1000.0")


def test_a_key_that_the_method_does_not_heed_is_not_blamed():
    policy = {"temperature": 1e-3, "fairness_weight": 1e4}
    assert "policy" not in blame(config_of("joint", method="threshold", policy=policy), "joint")


def test_where_nothing_is_strange_the_learning_rate_is_what_to_try_and_is_not_called_strange():
    line = blame(config_of("baseline"), "baseline")
    assert line.startswith("baseline.optimizer.lr=0.004: ")
    assert "though nothing is out of the ordinary" in line
    assert "use a smaller learning rate" in line


@pytest.mark.parametrize("largest", [1e12, float("inf"), NAN])
def test_a_huge_input_is_named_where_no_key_is_strange(largest):
    line = blame(config_of("baseline"), "baseline", largest)
    assert line.startswith(f"the largest input of the network is {largest:.4g}")
    assert "use a smaller learning rate" not in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"optimizer": {"name": "sgd", "lr": 1e3}}, "baseline.optimizer.lr=1000.0: the loss is "),
        ({"optimizer": {"weight_decay": 1e4}}, "baseline.optimizer.weight_decay=10000.0: the loss is "),
    ],
)
def test_a_training_that_really_diverges_names_its_key(changes, named):
    config = config_of("baseline", epochs=3, schedule={"name": "constant"}, **changes).baseline
    model = build_model("seed_cnn", (1, 8, 8), 3, mean=[0.5], std=[0.25], seed=0, batch_norm=False)
    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    examples = Examples(images, torch.arange(32) % 3)
    with pytest.raises(UserError) as error:
        train(model, config, examples, examples, num_classes=3, steps_per_epoch=20, seed=0)
    assert str(error.value).startswith(named)


def test_the_largest_input_is_that_of_the_normalized_pixels():
    images = torch.full((4, 1, 8, 8), 127, dtype=torch.uint8)
    images[2, 0, 3, 3] = 255
    model = build_model("seed_cnn", (1, 8, 8), 3, mean=[0.2], std=[0.1], seed=0)
    assert largest_input(model, images) == pytest.approx((1 - 0.2) / 0.1, rel=1e-5)
    assert largest_input(torch.nn.Linear(2, 3), torch.tensor([[1.0, -70.0]])) == 70


@pytest.mark.parametrize("value", [0, 17, 255])
def test_a_constant_channel_gives_finite_numbers_whatever_a_later_image_holds(value):
    preprocess = Preprocess([value / 255], [0.0])
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    seen = preprocess(images)
    assert seen.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(seen.flatten(), (torch.arange(256.0) - value) / 255)


def test_a_deviation_of_a_step_or_more_is_left_as_it_is():
    assert divisors([0.0, 1e-9, 1 / 256, 1 / 255, 0.3]) == [1, 1, 1, 1 / 255, 0.3]


def test_a_channel_that_is_constant_in_all_images_trains_and_its_patches_have_a_covariance():
    images = torch.randint(0, 256, (48, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 2] = 0
    mean, std = channel_statistics(images, torch.arange(48))
    assert std[2] == 0
    covariance = torch.tensor(patch_covariance(images, torch.arange(48), mean, std))
    assert covariance.isfinite().all()
    assert (covariance[8:] == 0).all()
    model = build_model("small_cnn", (3, 8, 8), 3, mean=mean, std=std, seed=0)
    examples = Examples(images, torch.arange(48) % 3)
    config = config_of("baseline", epochs=2).baseline
    result = train(model, config, examples, examples, num_classes=3, steps_per_epoch=3, seed=0)
    assert all(math.isfinite(record["train_loss"]) for record in result.history)
    assert all(weight.isfinite().all() for weight in result.weights.values())
