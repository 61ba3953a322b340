"""The section about the data: which images there are, in which roles."""

from typing import Any

from semisup import plots
from semisup.report.artifacts import Artifacts
from semisup.report.text import UNKNOWN


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it."""
    return {
        "data": _sentence(artifacts),
        "counts_heads": [plots.ROLES[role] for role in artifacts.class_counts()],
        "counts_table": _counts_table(artifacts),
    }


def _sentence(artifacts: Artifacts) -> str:
    dataset, (channels, height, width) = artifacts.dataset, artifacts.dataset["image_shape"]
    color = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    return (
        f"{dataset['name']}: {dataset['pool_size']:,} images to learn from and {dataset['test_size']:,} test images, "
        f"{len(dataset['class_names'])} classes, {color}, {height}\u00a0×\u00a0{width}\u00a0pixels."
    )


def _counts_table(artifacts: Artifacts) -> list[list[str]]:
    """Class, then its images per role; the last row has the totals."""
    counts = artifacts.class_counts()
    rows = [
        [name, *(UNKNOWN if values is None else f"{values[index]:,}" for values in counts.values())]
        for index, name in enumerate(artifacts.class_names)
    ]
    return [*rows, ["All", *(f"{artifacts.roles[role]:,}" for role in counts)]]
