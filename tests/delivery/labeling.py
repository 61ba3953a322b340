"""What exports are made of: a split of one's own images, and labels for those that have none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from semisup.config import PipelineConfig
from semisup.config.files import validate
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import forget
from semisup.data.roles.split import Split
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import load_stage
from semisup.pseudo_labels.table import Selection, build_table


@contextmanager
def split_and_labeled(data: Mapping[str, Any], folder: Path) -> Iterator[tuple[PipelineConfig, Path, Path]]:
    """(config, folder of split, folder of pseudo-labels) of images in a section `data`, cached below the folder."""
    config = validate(
        {
            "data": {**data, "cache": folder / "cache"},
            "split": {"labeled_per_class": "all", "validation_per_class": 1},
            "runtime": {"threads": 1},
        },
        source="test",
    )
    forget()
    split, pseudo_labels = folder / "split", folder / "labels"
    split.mkdir()
    pseudo_labels.mkdir()
    load_stage("split")(config, {}, split, Silence())
    table, facts = Split.read(split / "split.parquet"), DatasetFacts.read(split)
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.2] * facts.num_classes, len(table.ids("unlabeled"))).astype(np.float32)
    labels = build_table(
        table.ids("unlabeled"),
        table.indices("unlabeled").numpy(),
        probabilities,
        selection=Selection(0.5),
        teacher="baseline:0123",
    )
    labels.to_parquet(pseudo_labels / "pseudo_labels.parquet", index=False)
    yield config, split, pseudo_labels
    forget()
