"""Regression on a table: rows and their split, a small network, DisturbValue, training, and what the test rows say.

A target's own units are used throughout; standardization, by statistics of the training rows only, is a part of the
network. Losses are mean squared errors in variances of the training targets: 1 is what their mean would reach.
"""

from semisup.regression.metrics import evaluate_regression, mae_difference, score
from semisup.regression.network import Regressor, Scaling, build_regressor
from semisup.regression.rows import Rows, draw_roles, load_rows
from semisup.regression.training import Examples, disturb_values, train_regressor

__all__ = [
    "Examples",
    "Regressor",
    "Rows",
    "Scaling",
    "build_regressor",
    "disturb_values",
    "draw_roles",
    "evaluate_regression",
    "load_rows",
    "mae_difference",
    "score",
    "train_regressor",
]
