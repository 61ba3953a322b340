"""Every figure of the project, in one quiet house style.

Matplotlib's object API only: each function returns a `Figure` that belongs to its caller; pyplot is never imported.
Rates come in as fractions and are drawn as percentages. Blue and orange are told apart by color-blind readers, and
a line style, a hatch or a word always says the same as the color.
"""

from semisup.plots.calibration import certificate_walk, reliability_diagram
from semisup.plots.choice import worth_of_ways
from semisup.plots.data import ROLES, class_counts
from semisup.plots.drift import answer_drift
from semisup.plots.ensembles import ensemble_comparison, ensemble_growth
from semisup.plots.evaluation import accuracy_comparison, compound_grid, confusion_matrix
from semisup.plots.pseudo_labels import (
    confidence_histogram,
    coverage_precision,
    group_grid,
    neighbor_grid,
    picture_grid,
)
from semisup.plots.regression import loss_curves, residuals
from semisup.plots.style import inline_svg, save_png
from semisup.plots.training import learning_curves

__all__ = [
    "ROLES",
    "accuracy_comparison",
    "answer_drift",
    "certificate_walk",
    "class_counts",
    "compound_grid",
    "confidence_histogram",
    "confusion_matrix",
    "coverage_precision",
    "ensemble_comparison",
    "ensemble_growth",
    "group_grid",
    "inline_svg",
    "learning_curves",
    "loss_curves",
    "neighbor_grid",
    "picture_grid",
    "reliability_diagram",
    "residuals",
    "save_png",
    "worth_of_ways",
]
