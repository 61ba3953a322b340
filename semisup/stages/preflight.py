"""What can be known to be wrong before anything is started or written."""

from dataclasses import dataclass

import numpy as np

from semisup.checks import config_warnings, too_few_to_certify
from semisup.compound import draw_pairs
from semisup.config import CertifiedThreshold, PipelineConfig
from semisup.data.answers import answers_digest, read_answers
from semisup.data.datasets import digest
from semisup.data.own_images import Progress, forget, own_images
from semisup.errors import UserError
from semisup.lineage import sha256
from semisup.models import build_model
from semisup.pseudo_labels.ups import drops_out
from semisup.stages.files import images_for_test, pool_of
from semisup.stages.split import plan


@dataclass(frozen=True)
class DataDigests:
    """What the data set is, whatever folder it is read from: SHA-256 in hex."""

    pool: str
    test: str
    answers: str = ""
    """Of what people said about single images; "": nothing."""

    @property
    def version(self) -> str:
        """Of the pool and the answers about it."""
        return sha256(f"{self.pool}+{self.answers}".encode()) if self.answers else self.pool

    def seen_by(self, stage: str) -> str:
        """Digest of what a stage reads: the test images matter to `split` (their ids) and where models are tested.

        Answers matter to `split` alone: its table tells later stages what came of them.
        """
        parts = [self.pool]
        if stage in {"split", "evaluate", "evaluate_ensemble"}:
            parts.append(self.test)
        if stage == "split" and self.answers:
            parts.append(self.answers)
        return "+".join(parts)


@dataclass(frozen=True)
class Checked:
    """A config that can run."""

    warnings: list[str]
    digests: DataDigests


def check(config: PipelineConfig, say: Progress = lambda done, total, note: None) -> Checked:
    """Make sure that the data are there, the split exists and the model can be built.

    The test images and labels are hashed here and looked at nowhere but in `evaluate`. Images of one's own are decoded
    here if they are not yet: `say` is told of it.

    Raises:
        UserError: one of them is not so.
    """
    if config.data.name == "folder":
        forget()  # files may have come since an earlier run of this process
        own_images(config.data, say)
    pool, test = pool_of(config), images_for_test(config)
    plan(config, pool, test.ids)
    wanted = config.pseudo_label.threshold
    if (
        isinstance(wanted, CertifiedThreshold)
        and wanted.fallback == "stop"
        and (shortage := too_few_to_certify(config))
    ):
        raise UserError(f"{shortage}, or a number as pseudo_label.threshold.fallback")
    if config.evaluate.compound:
        draw_pairs(test.labels.numpy(), np.random.default_rng(0))  # whether there are any
    channels = pool.image_shape[0]
    model = build_model(
        config.model.name,
        pool.image_shape,
        pool.num_classes,
        mean=[0.5] * channels,
        std=[0.5] * channels,
        width=config.model.width,
        dropout=config.model.dropout,
        batch_norm=config.model.batch_norm,
        deskew=config.model.deskew,
        seed=0,
    )
    passes = config.pseudo_label.uncertainty.passes
    if passes and not drops_out(model):
        raise UserError(
            f"pseudo_label.uncertainty.passes={passes}, but model.name={config.model.name!r} has no dropout, so that "
            "all passes would be equal; set for example model.dropout: 0.2"
        )
    if config.runtime.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("runtime.device='cuda', but torch finds no CUDA device; use 'auto' or 'cpu'")
    digests = DataDigests(digest(pool), digest(test), answers_digest(read_answers(config.data.answers)))
    return Checked(config_warnings(config, pool.num_classes), digests)
