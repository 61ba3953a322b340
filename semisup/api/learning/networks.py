"""Networks of images and of vectors, as a classifier keeps them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semisup.api.inputs import arrays
from semisup.api.learning.vectors import View
from semisup.errors import UserError
from semisup.networks.models import build_model
from semisup.training.predict import predict_log_probabilities

HIDDEN = 256
"""Units of the hidden layer of `mlp`, times the width."""
NAMES = {"name": "network", "width": "width", "dropout": "dropout"}
"""Key of a config's section `model` → what the classifier calls it."""
CONFIG_KEY = re.compile(rf"\bmodel\.({'|'.join(NAMES)})(?==)")


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A trained network; of vectors, behind the view that it learned."""

    about: dict[str, Any]
    module: nn.Module
    view: View | None

    def log_probabilities(self, rows: Tensor) -> Tensor:
        """float32 (N, C) of uint8 images (N, C, H, W) or of vectors (N, D)."""
        # In float64 a vector's answer does not depend on those that are asked about with it.
        return predict_log_probabilities(self.module, rows if self.view is None else self.view(rows))

    def description(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"kind": "network", **self.about}

    def tensors(self) -> dict[str, Tensor]:
        """The numbers."""
        view = {} if self.view is None else {"view.shift": self.view.shift, "view.scale": self.view.scale}
        return arrays(self.module.state_dict() | view)


def restore(description: Mapping[str, Any], tensors: dict[str, Tensor]) -> NetworkModel:
    """The model that `description` and `tensors` were asked of."""
    about = {key: value for key, value in description.items() if key != "kind"}
    weights = {name: value for name, value in tensors.items() if not name.startswith("view.")}
    module = build(about, seed=0)
    if "features" not in about:
        module.load_state_dict(weights)
        return NetworkModel(about, module.eval(), None)
    module.double().load_state_dict(weights)
    return NetworkModel(about, module.eval(), View(tensors["view.shift"], tensors["view.scale"], lifted=True))


def build(about: Mapping[str, Any], *, seed: int) -> nn.Module:
    """A fresh network, as `about` describes it; its weights depend on the seed alone.

    Raises:
        UserError: as in :func:`semisup.networks.models.build_model`.
    """
    if "image_shape" in about:
        return _of_images(about, seed)
    features, classes = about["features"], about["num_classes"]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if about["name"] == "linear":
            return nn.Linear(features, classes)
        hidden = max(1, round(HIDDEN * about["width"]))
        dropout = 0.0 if about["dropout"] is None else about["dropout"]
        layers = (nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))
        return nn.Sequential(*layers)


def _of_images(about: Mapping[str, Any], seed: int) -> nn.Module:
    channels, height, breadth = about["image_shape"]
    try:
        return build_model(
            about["name"],
            (channels, height, breadth),
            about["num_classes"],
            mean=about["mean"],
            std=about["std"],
            width=about["width"],
            dropout=about["dropout"],
            seed=seed,
        )
    except UserError as error:  # families of networks name the keys of a config, and here nobody wrote one
        said = CONFIG_KEY.sub(lambda key: NAMES[key[1]], str(error))
        raise UserError(said.replace("=null", "=None")) from error
