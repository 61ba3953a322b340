"""Optimizers by hand, against torch's own, and without torch's compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from semisup.config import OptimizerConfig
from semisup.training.optimization.optimizers import build_optimizer
from tests.waiting import LONG


class Net(nn.Module):
    """A matrix, a filter, and what must never be decayed: biases and a normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.linear = nn.Linear(2, 2)


def test_weight_decay_acts_on_matrices_and_filters_only():
    net = Net()
    optimizer = build_optimizer(net, OptimizerConfig(weight_decay=0.3), fused=False)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = {name: decay[id(p)] for name, p in net.named_parameters()}
    assert {name for name, value in named.items() if value == 0.3} == {"conv.weight", "linear.weight"}
    assert {value for name, value in named.items() if name not in {"conv.weight", "linear.weight"}} == {0.0}


def test_every_trainable_parameter_is_in_the_optimizer_once_and_no_frozen_one():
    net = Net()
    net.conv.weight.requires_grad_(False)
    optimizer = build_optimizer(net, OptimizerConfig(), fused=False)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters() if p is not net.conv.weight)


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW)])
def test_the_name_chooses_the_optimizer_and_its_constants_arrive(name, kind):
    config = OptimizerConfig(name=name, lr=0.25, betas=(0.8, 0.9), momentum=0.7)
    optimizer = build_optimizer(Net(), config, fused=False)
    assert type(optimizer).__base__ is kind
    assert all(group["lr"] == 0.25 for group in optimizer.param_groups)
    assert name == "sgd" or all(tuple(group["betas"]) == (0.8, 0.9) for group in optimizer.param_groups)
    assert name != "sgd" or all(group["momentum"] == 0.7 for group in optimizer.param_groups)


def two_steps(config: OptimizerConfig, *, fused: bool = False) -> list[float]:
    """A 1×1 matrix from 1.0 after each of two steps with gradient 1."""
    linear = nn.Linear(1, 1, bias=False)
    nn.init.ones_(linear.weight)
    optimizer = build_optimizer(linear, config, fused=fused)
    values = []
    for _ in range(2):
        linear.weight.grad = torch.ones(1, 1)
        optimizer.step()
        values.append(linear.weight.item())
    return values


@pytest.mark.parametrize("fused", [False, True])
def test_sgd_steps_with_nesterov_momentum(fused):
    # v = 1, then 0.5·1 + 1 = 1.5; each step goes lr · (gradient + momentum · v).
    first = 1 - 0.1 * (1 + 0.5 * 1)
    second = first - 0.1 * (1 + 0.5 * 1.5)
    config = OptimizerConfig(name="sgd", lr=0.1, momentum=0.5, weight_decay=0)
    assert two_steps(config, fused=fused) == pytest.approx([first, second])


def test_sgd_without_momentum_is_plain_gradient_descent():
    config = OptimizerConfig(name="sgd", lr=0.1, momentum=0, weight_decay=0)
    assert two_steps(config) == pytest.approx([0.9, 0.8])


def test_adamw_decays_the_weight_itself_and_adam_the_gradient():
    # With a constant gradient Adam's step is lr; AdamW first shrinks the weight by lr · weight_decay.
    first = 1 * (1 - 0.1 * 0.5) - 0.1
    options = {"lr": 0.1, "weight_decay": 0.5}
    assert two_steps(OptimizerConfig(name="adamw", **options))[0] == pytest.approx(first, abs=1e-6)
    assert two_steps(OptimizerConfig(name="adam", **options))[0] == pytest.approx(1 - 0.1, abs=1e-6)


def trained(optimizer: Optimizer, net: nn.Module, steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(4, 2, generator=generator)).square().sum().backward()
        optimizer.step()
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW)])
def test_steps_have_the_bits_of_torchs_own_optimizer_also_after_its_state_was_read_back(name, kind, fused):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    config = OptimizerConfig(name=name, lr=0.1, weight_decay=0.01)
    options = {"momentum": config.momentum, "nesterov": True} if name == "sgd" else {"betas": config.betas}
    their_optimizer = kind(theirs.parameters(), lr=0.1, weight_decay=0.01, fused=fused, **options)
    optimizer = build_optimizer(ours, config, fused=fused)
    assert torch.equal(*trained(optimizer, ours, 3), *trained(their_optimizer, theirs, 3))
    resumed = build_optimizer(ours, config, fused=fused)
    resumed.load_state_dict(optimizer.state_dict())
    assert torch.equal(*trained(resumed, ours, 3), *trained(their_optimizer, theirs, 3))


def test_a_step_takes_the_loss_of_a_closure_as_torchs_own_do():
    linear = nn.Linear(2, 1, bias=False)
    optimizer = build_optimizer(linear, OptimizerConfig(), fused=False)

    def closure() -> float:
        return 1.25

    linear.weight.grad = torch.ones_like(linear.weight)
    assert optimizer.step(closure) == 1.25


def test_a_step_keeps_gradients_on_for_what_comes_after_it():
    linear = nn.Linear(2, 2)
    optimizer = build_optimizer(linear, OptimizerConfig(), fused=False)
    trained(optimizer, linear, 1)
    assert torch.is_grad_enabled()
    assert all(p.requires_grad and p.is_leaf for p in linear.parameters())


def test_no_stage_loads_torchs_compiler(tmp_path):
    """Seconds before the first epoch, and 180 MB."""
    script = f"""
import sys
from pathlib import Path
from semisup.config.files import load_config
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import inputs_of, plan
from semisup.pipeline.specs import load_stage
settings = ["baseline.epochs=1", "joint.epochs=1", "joint.ramp_end=1", "joint.ema_decay=0.9"]
config = load_config(Path("configs/digits.yaml"), settings)
folders = {{}}
for step in plan(config):
    inputs = inputs_of(step, config, folders)
    folders[step.name] = folder = Path({str(tmp_path)!r}) / step.name
    folder.mkdir()
    if step.stage != "promote":
        load_stage(step.stage, number=step.number)(config, inputs, folder, Silence())
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=LONG)
