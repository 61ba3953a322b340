"""What a training stage trains: a network on images, or where only its last layer learns, that on features of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from semisup.config import PipelineConfig, TrainConfig
from semisup.data.augmentation.geometry import all_upright
from semisup.data.datasets import ImageSet
from semisup.data.roles.split import Split
from semisup.data.rows import Images, on_device
from semisup.networks.classifier import Classifier
from semisup.networks.heads import head_name
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import features_of
from semisup.training.loop import Examples


@dataclass(frozen=True, eq=False)
class Learner:
    """What a training stage trains, and what that looks at.

    Attributes:
        whole: the whole network.
        network: what is trained: the whole network, or its last layer alone.
        pool: uint8 (N, C, H, W), the pool's images, or float32 (N, D), their features.
        deskews: do images have to be made upright for it?
    """

    whole: Classifier
    network: nn.Module
    pool: Tensor
    deskews: bool

    def shown(self, indices: Tensor, device: torch.device) -> Images:
        """What the pool's images at indices (n,) are to the network: as they lie there, or deskewed, into memory."""
        images = on_device(self.pool, indices, device)
        return all_upright(images) if self.deskews else images

    def examples(self, split: Split, role: Literal["labeled", "validation"], device: torch.device) -> Examples:
        """The images that training learns from, or those that it watches."""
        return Examples(self.shown(split.indices(role), device), split.labels(role).to(device))

    def weights(self, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole network's, given those of what was trained."""
        if self.network is self.whole:
            return dict(trained)
        head = f"backbone.{head_name(self.whole.backbone)}."
        body = {name: value.detach().cpu() for name, value in self.whole.state_dict().items()}
        return body | {head + name: value for name, value in trained.items()}


def learner(config: PipelineConfig, train: TrainConfig, model: Classifier, pool: ImageSet, log: StageLog) -> Learner:
    """What is trained of a model on its device: its last layer, on features, where that comes to the same."""
    if not (model.frozen and train.sees_images_as_they_are):
        return Learner(model, model, pool.images, config.model.deskew)
    model.preprocess.deskew = config.model.deskew  # the images are not looked at by anything else
    return Learner(model, model.head, features_of(config, model, pool, "pool", log), deskews=False)
