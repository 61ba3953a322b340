"""Stage `split`: gives every image exactly one role."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.datasets import UNLABELED, ImageSet, digest, list_test_ids
from semisup.data.split import ROLES, ROLES_WITH_LABELS, Split, draw_roles, long_tail
from semisup.randomness import numpy_generator
from semisup.stages import StageLog
from semisup.stages.files import DatasetFacts, pool_of


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `split.parquet`, `dataset.json` and `class_counts.png`."""
    from semisup.plots import class_counts, save_png  # only now: `semisup status` looks at splits and draws nothing

    pool = pool_of(config)
    test_ids = list_test_ids(config.data.name, config.data.root, config.data.download)
    split = plan(config, pool, test_ids)
    facts = describe(config, pool, split)
    split.write(out_dir / "split.parquet")
    facts.write(out_dir)
    save_png(class_counts(facts.class_counts, facts.class_names), out_dir / "class_counts.png")
    sizes = {role: size for role in ROLES if (size := len(split.ids(role)))}
    log.metrics(
        {f"{role}_images": size for role, size in sizes.items()}
        | {
            f"{role}_per_class.{name}": count
            for role, counts in facts.class_counts.items()
            for name, count in zip(facts.class_names, counts, strict=True)
        }
    )
    log.info(", ".join(f"{size:,} {role}" for role, size in sizes.items()) + f" images of {facts.num_classes} classes")


def plan(config: PipelineConfig, pool: ImageSet, test_ids: tuple[str, ...]) -> Split:
    """The split of a config, decided by its seed.

    Raises:
        UserError: as in :func:`semisup.data.split.draw_roles` and :func:`semisup.data.split.long_tail`.
    """
    labels = pool.labels.numpy()
    roles = draw_roles(
        labels,
        pool.class_names,
        labeled_per_class=long_tail(
            config.split.labeled_per_class, config.split.imbalance_ratio, len(pool.class_names)
        ),
        validation_per_class=config.split.validation_per_class,
        calibration_images=config.split.calibration_images,
        rng=numpy_generator(config.seed, "split"),
    )
    return Split.build(pool.ids, labels, roles, test_ids)


def describe(config: PipelineConfig, pool: ImageSet, split: Split) -> DatasetFacts:
    """Facts about the data set; the normalisation looks at no validation and no test image."""
    mean, std = channel_statistics(pool.images[torch.cat([split.indices("labeled"), split.indices("unlabeled")])])
    counts: dict[str, Sequence[int]] = {
        role: np.bincount(truth[truth != UNLABELED], minlength=pool.num_classes).tolist()
        for role in (*ROLES_WITH_LABELS, "unlabeled")
        if len(truth := pool.labels[split.indices(role)].numpy())
    }
    return DatasetFacts(
        name=config.data.name,
        digest=digest(pool),
        class_names=list(pool.class_names),
        image_shape=pool.image_shape,
        mean=mean,
        std=std,
        pool_size=len(pool),
        test_size=len(split.ids("test")),
        class_counts=counts,
    )


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """(mean, standard deviation) per channel of uint8 images (N, C, H, W), on the 0..1 scale.

    Taken from the histogram of the 256 values: exact, and without a float copy of the data set.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        shares = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        shares /= shares.sum()
        mean = float((shares * values).sum())
        means.append(mean)
        stds.append(float((shares * (values - mean) ** 2).sum().sqrt()))
    return means, stds
