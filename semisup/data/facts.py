"""What is known about a data set without reading it. Light: torch is not imported."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FACTS = "dataset.json"


@dataclass(frozen=True)
class DatasetFacts:
    """What later stages need to know about the data without reading it: `dataset.json` of the split stage."""

    name: str
    digest: str
    class_names: Sequence[str]
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    mean: Sequence[float]
    """Per channel, on the 0..1 scale, over the labeled and unlabeled images alone."""
    std: Sequence[float]
    patch_covariance: Sequence[Sequence[float]]
    """(K, K), of the K = 4C numbers of a normalized patch of 2×2 pixels, over such images."""
    pool_size: int
    test_size: int
    class_counts: Mapping[str, Sequence[int]]
    """Role → images per class; for unlabeled images an audit from the truth."""
    own_images: bool | None = None
    """Are they files of one's own, whose ids hold their path? None: of a split made before it was kept."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def write(self, folder: Path) -> None:
        """Save as `dataset.json`."""
        text = json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"
        (folder / FACTS).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, split_folder: Path) -> "DatasetFacts":
        """Read back."""
        values = json.loads((split_folder / FACTS).read_text(encoding="utf-8"))
        return cls(**values | {"image_shape": tuple(values["image_shape"])})
