"""What can be known to be wrong before anything is started or written."""

from semisup.checks import config_warnings
from semisup.config import PipelineConfig
from semisup.data.datasets import find_test_labels, list_test_ids
from semisup.errors import UserError
from semisup.models import build_model
from semisup.stages.files import pool_of
from semisup.stages.split import plan


def check(config: PipelineConfig) -> list[str]:
    """Warnings about a config whose data are there, whose split exists and whose model can be built.

    Raises:
        UserError: one of them is not so.
    """
    pool = pool_of(config)
    source = (config.data.name, config.data.root, config.data.download)
    plan(config, pool, list_test_ids(*source))
    find_test_labels(*source)
    channels = pool.image_shape[0]
    build_model(
        config.model.name,
        pool.image_shape,
        pool.num_classes,
        mean=[0.5] * channels,
        std=[0.5] * channels,
        width=config.model.width,
        dropout=config.model.dropout,
        batch_norm=config.model.batch_norm,
        seed=0,
    )
    if config.runtime.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("runtime.device='cuda', but torch finds no CUDA device; use 'auto' or 'cpu'")
    return config_warnings(config, pool.num_classes)
