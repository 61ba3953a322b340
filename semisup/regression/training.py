"""DisturbValue, and the training loop: it reads from top to bottom."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from semisup.config.regression import RegressionTrainConfig
from semisup.regression.network import Regressor
from semisup.regression.rows import Rows
from semisup.system.randomness import derive_seed, torch_generator
from semisup.training.batches import ShuffledBatches
from semisup.training.divergence import diverged, optimizer_keys
from semisup.training.early_stopping import BestEpoch, EarlyStopping
from semisup.training.optimization.optimizers import build_optimizer, set_learning_rate
from semisup.training.optimization.schedules import lr_factor


def disturb_values(targets: Tensor, rate: float, noise_std: float, generator: torch.Generator) -> Tensor:
    """DisturbValue: each target of a batch (B,) gets, with a probability of `rate` percent, noise N(0, noise_std²).

    Noise and its places are drawn anew by every call, independently of each other, on the generator's device.
    `noise_std` is in the targets' own units. Where it or the rate is 0, the targets are returned as they are.

    Raises:
        ValueError: rate outside [0, 100], or noise_std negative.
    Source: DisturbLabel (Xie et al. 2016, section 3) carried over to targets that are numbers.
    """
    if not 0 <= rate <= 100:
        raise ValueError(f"rate={rate} percent is outside [0, 100]")
    if noise_std < 0:
        raise ValueError(f"noise_std={noise_std} is negative; use 0 for no noise")
    if rate == 0 or noise_std == 0:
        return targets
    disturbed = torch.rand(targets.shape, generator=generator, device=generator.device) < rate / 100
    noise = torch.randn(targets.shape, generator=generator, device=generator.device) * noise_std
    return targets + (disturbed * noise).to(targets)


@dataclass(frozen=True)
class Examples:
    """Features float32 (N, F) and targets float32 (N,), in their own units, on the device of the network."""

    features: Tensor
    targets: Tensor

    @classmethod
    def of(cls, rows: Rows, chosen: NDArray[np.bool_], device: torch.device) -> "Examples":
        """Some rows of a table; `chosen` is bool (N,)."""
        features, targets = rows.features[chosen], rows.targets[chosen]
        return cls(torch.tensor(features).float().to(device), torch.tensor(targets).float().to(device))


def train_regressor(
    model: Regressor,
    config: RegressionTrainConfig,
    training: Examples,
    validation: Examples,
    *,
    seed: int,
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None,
) -> BestEpoch:
    """Train `model` in place on the device that holds it and the data; return the weights of its best epoch.

    The same arguments give the same bits on a CPU with the same number of threads. `on_epoch` gets each epoch's
    record: epoch (from 1), train_loss (against the disturbed targets) and validation_loss in variances of the training
    targets, validation_mae in the target's units, learning rate, seconds.

    Raises:
        UserError: a loss is no longer finite.
    """
    device, batch_size = training.targets.device, config.batch_size
    steps_per_epoch = math.ceil(len(training.targets) / batch_size)
    optimizer = build_optimizer(model, config.optimizer, fused=device.type in {"cpu", "cuda"})
    total_steps = config.epochs * steps_per_epoch
    stopping = EarlyStopping("loss", config.early_stopping.patience, config.early_stopping.min_delta)
    batches = ShuffledBatches(len(training.targets), batch_size, torch_generator(seed, "batches"))
    noise, variance = torch_generator(seed, "disturb value"), model.target_std**2
    noise_std = config.disturb_value.scale * float(model.target_std)
    history: list[dict[str, float]] = []
    best_weights: dict[str, Tensor] = {}

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Dropout knows no generator but the global ones.
        (torch if device.type == "cuda" else torch.default_generator).manual_seed(derive_seed(seed, "dropout"))
        for epoch in range(1, config.epochs + 1):
            if stopping.should_stop:
                break
            started, total = time.perf_counter(), torch.zeros((), device=device)
            model.train()
            for step in range((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch):
                learning_rate = config.optimizer.lr * lr_factor(config.schedule, step, total_steps, config.epochs)
                set_learning_rate(optimizer, learning_rate)
                rows = next(batches).to(device)
                targets = disturb_values(training.targets[rows], config.disturb_value.rate, noise_std, noise)
                loss = F.mse_loss(model(training.features[rows]), targets) / variance
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()

            model.eval()
            with torch.inference_mode():
                errors = model(validation.features) - validation.targets
            train_loss, validation_loss = float(total) / steps_per_epoch, float(errors.square().mean() / variance)
            if not math.isfinite(train_loss + validation_loss):
                raise diverged(optimizer_keys(config.optimizer, "train."), train_loss, validation_loss, epoch)
            history.append(
                {
                    "epoch": epoch,
                    "train_loss": train_loss,
                    "validation_loss": validation_loss,
                    "validation_mae": float(errors.abs().mean()),
                    "learning_rate": learning_rate,
                    "seconds": time.perf_counter() - started,
                }
            )
            on_epoch(history[-1])
            if stopping.update(epoch, loss=validation_loss, accuracy=0.0):  # there is no accuracy, nor is it monitored
                best_weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    return BestEpoch(best_weights, history, stopping.best_epoch, stopped_early=len(history) < config.epochs)
