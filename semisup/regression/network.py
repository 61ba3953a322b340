"""A small network that takes raw rows and answers in the target's own units."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semisup.regression.rows import Rows

ROUNDING = 1e-7
"""Of float32, in which the network gets its rows."""


@dataclass(frozen=True)
class Scaling:
    """Mean and population standard deviation of features (F,) and target; 1 for what is constant."""

    feature_mean: Sequence[float]
    feature_std: Sequence[float]
    target_mean: float
    target_std: float

    @classmethod
    def of(cls, rows: Rows) -> "Scaling":
        """The statistics of some rows, which should be the training rows."""
        return cls(
            rows.features.mean(axis=0).tolist(),
            _divisors(rows.features).tolist(),
            float(rows.targets.mean()),
            float(_divisors(rows.targets)),
        )


def _divisors(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard deviations of columns, and 1 of what is constant but for rounding: 284 times 0.1 has one of 3e-17."""
    std = values.std(axis=0)
    return np.where(std > ROUNDING * np.abs(values).max(axis=0), std, 1.0)


class Regressor(nn.Module):
    """Raw features (B, F) to predictions (B,) in the target's own units: both scalings are part of the network."""

    feature_mean: Tensor
    feature_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, body: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.body = body
        for name, value in asdict(scaling).items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        standardized = (features.float() - self.feature_mean) / self.feature_std
        answers: Tensor = self.body(standardized).squeeze(1)
        return self.target_mean + self.target_std * answers


def build_regressor(
    hidden: Sequence[int], scaling: Scaling, *, dropout: float = 0.0, batch_norm: bool = False, seed: int
) -> Regressor:
    """A fresh perceptron on the CPU, in training mode: linear – batch norm – ReLU – dropout per hidden layer.

    Its weights depend on `seed` alone; no global generator moves. Dropout never acts on the output.
    """
    layers: list[nn.Module] = []
    width = len(scaling.feature_mean)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        for units in hidden:
            layers += [nn.Linear(width, units), *([nn.BatchNorm1d(units)] if batch_norm else []), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
            width = units
        layers.append(nn.Linear(width, 1))
    return Regressor(nn.Sequential(*layers), scaling)
