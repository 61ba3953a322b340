"""What a training stage trains: a network on images, or the part of it that learns, on what the rest makes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from semisup.config import AugmentConfig, PipelineConfig, TrainConfig
from semisup.data.augmentation.geometry import all_upright
from semisup.data.datasets import ImageSet
from semisup.data.roles.split import Split
from semisup.data.rows import Images, on_device
from semisup.networks.classifier import Classifier
from semisup.networks.inference.choice import make_ready
from semisup.pipeline.log import StageLog
from semisup.stages.support.features import features_of, fit, views_of
from semisup.training.batches import KeptViews
from semisup.training.loop import Examples


@dataclass(frozen=True, eq=False)
class Learner:
    """What a training stage trains, and what that looks at.

    Attributes:
        train: how it is trained.
        whole: the whole network.
        network: what is trained: the whole network, or the part of it that learns.
        images: the pool.
        seen: (N, ...), what `network` gets to see of the pool: its images, or what the frozen part makes of them.
    """

    config: PipelineConfig
    train: TrainConfig
    whole: Classifier
    network: nn.Module
    images: ImageSet
    seen: Tensor
    log: StageLog

    def shown(self, indices: Tensor, device: torch.device, *views: AugmentConfig) -> Images:
        """What the pool's images at indices (n,) are to the network: as they lie there, or deskewed, into memory.

        Of a network that learns in part, with the `views` that training will ask for.
        """
        plain = on_device(self.seen, indices, device)
        if self.network is self.whole:
            return all_upright(plain) if self.config.model.deskew else plain
        kept = {
            augment: views_of(self.config, self.whole, self.images, indices, self.log, augment=augment).to(device)
            for augment in views
            if not augment.changes_nothing
        }
        return KeptViews(plain, kept) if kept else plain

    def examples(self, split: Split, role: Literal["labeled", "validation"], device: torch.device) -> Examples:
        """The images that training learns from, or those that it watches."""
        views = (self.train.augment,) if role == "labeled" else ()
        return Examples(self.shown(split.indices(role), device, *views), split.labels(role).to(device))

    def weights(self, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole network's, given those of what was trained."""
        if self.network is self.whole:
            return dict(trained)
        body = {name: value.detach().cpu() for name, value in self.whole.state_dict().items()}
        return body | {self.whole.learning_prefix + name: value for name, value in trained.items()}


def learner(
    config: PipelineConfig,
    train: TrainConfig,
    model: Classifier,
    pool: ImageSet,
    log: StageLog,
    *,
    keeps_views: bool = True,
) -> Learner:
    """What is trained of a model on its device: a part of it, on what the rest makes of images, where that is the same.

    It is where every image looks the same at every step. Where images do not, `model.kept_views` views of each may
    stand for all, unless the caller has no use for that.
    """
    same = train.sees_images_as_they_are and (model.frozen or fit(config, model, pool))
    kept = keeps_views and config.model.kept_views > 0
    if not (model.frozen or model.last_blocks) or not (same or kept):
        make_ready(model, pool.image_shape, config.runtime.inference)
        return Learner(config, train, model, model, pool, pool.images, log)
    model.preprocess.deskew = config.model.deskew  # the images are not looked at by anything else
    return Learner(config, train, model, model.learning, pool, features_of(config, model, pool, "pool", log), log)
