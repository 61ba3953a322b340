"""Multinomial logistic regression at its optimum, with weighted rows and soft targets."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.system.threads import one_thread

ROWS_AT_A_TIME = 65_536
MOST_ITERATIONS = 1000
TOLERANCE = 1e-6
"""On every number of the mean loss's gradient: probabilities are then those of the optimum to some 1e-5."""


@dataclass(frozen=True, eq=False)
class Probe:
    """logits = points · weight.T + bias.

    Attributes:
        weight: (C, d), float32 or what the points were.
        bias: (C,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Logits (N, C) of points (N, d)."""
        return torch.nn.functional.linear(points, self.weight, self.bias)


def fit_probe(points: Tensor, targets: Tensor, weights: Tensor, inverse_regularization: float) -> Probe:
    """The probe that minimizes C · Σ_i w_i · H(targets_i, softmax(logits_i)) + ½ ‖weight‖², which is convex.

    The bias is not regularized. `scikit-learn`'s `LogisticRegression(C=…)` minimizes the same, but stops early where
    there are few rows of many features.

    Args:
        points: float32 or float64 (N, d), as the probe is then.
        targets: float (N, C), rows that sum to 1.
        weights: float (N,), none negative, at least one positive.
        inverse_regularization: C, above 0: large values trust the rows, small ones keep the weights small.
    """
    from scipy.optimize import minimize  # a third of a second of a command's start

    rows = weights.nonzero().flatten()
    points, targets, weights = points[rows], targets[rows].double(), weights[rows].double()
    classes, width = targets.shape[1], points.shape[1]
    scale = 1 / (inverse_regularization * float(weights.sum()))  # of the mean loss: the tolerance does not depend on N
    weights = weights / weights.sum()

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # Torch multiplies: numpy's threads would spin for many small products.
        parameters = torch.from_numpy(numbers).view(classes, width + 1)
        weight, bias = parameters[:, :width], parameters[:, width]
        gradient = torch.cat([scale * weight, torch.zeros(classes, 1)], dim=1)
        total = 0.5 * scale * float(weight.square().sum())
        for start in range(0, len(points), ROWS_AT_A_TIME):
            part = slice(start, start + ROWS_AT_A_TIME)
            seen = points[part].double()
            logs = torch.addmm(bias, seen, weight.T).log_softmax(dim=1)
            share = weights[part, None]
            total -= float((share * targets[part] * logs).sum())
            error = share * (logs.exp() - targets[part])
            gradient[:, :width] += error.T @ seen
            gradient[:, width] += error.sum(dim=0)
        return total, gradient.flatten().numpy()

    options = {"maxiter": MOST_ITERATIONS, "gtol": TOLERANCE, "ftol": 0, "maxcor": 20}
    with one_thread():
        found = minimize(loss, np.zeros(classes * (width + 1)), jac=True, method="L-BFGS-B", options=options)
    parameters = torch.from_numpy(found.x.reshape(classes, width + 1)).to(points.dtype)
    return Probe(parameters[:, :width].contiguous(), parameters[:, width].contiguous())
