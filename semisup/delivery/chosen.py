"""Which images of a finished run go out, with which labels, and the table of them. Light: torch is not imported."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from semisup.config.sources import SOURCES
from semisup.data.facts import DatasetFacts
from semisup.delivery.tables import table_written
from semisup.errors import UserError
from semisup.pseudo_labels import TABLE_FILE
from semisup.wording import counted

PSEUDO, LABELED = "pseudo_label", "labeled"
COLUMNS = ("path", "label", "role", "source", "confidence", "teacher", "id")


@dataclass
class Report:
    """What an export came to."""

    images: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    symbolic_links: int = 0


def choose(
    split_folder: Path, labels_folder: Path, *, min_confidence: float = 0.0, with_labeled: bool = False
) -> pd.DataFrame:
    """The accepted pseudo-labels of at least this confidence, before them perhaps the labeled images.

    Columns: path (of one's own images relative to the data set's root, of others the id), label (the class's name),
    role ("labeled": what `data.manifest` calls an image to learn from), source ("pseudo_label" or "labeled"),
    confidence (calibrated where the run's table is, null for the labeled), teacher ("" for those), id; and index, the
    row in the pool. Validation, calibration and test images never go out.

    Raises:
        UserError: nothing is left.
    """
    facts = DatasetFacts.read(split_folder)
    pseudo_labels = pd.read_parquet(labels_folder / TABLE_FILE)
    kept = pseudo_labels[pseudo_labels["accepted"] & (pseudo_labels["confidence"] >= min_confidence)]
    parts = [kept[["id", "index", "label", "confidence", "teacher"]].assign(source=PSEUDO)]
    if with_labeled:
        from semisup.data.roles.split import Split

        table = Split.read(split_folder / "split.parquet").table
        labeled = table.loc[table["role"] == "labeled", ["id", "index", "label"]]
        parts.insert(0, labeled.assign(confidence=float("nan"), teacher="", source=LABELED))
    chosen = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    if not len(chosen):
        accepted = int(pseudo_labels["accepted"].sum())
        raise UserError(
            f"--min-confidence {min_confidence:g}: none of {counted(accepted, 'pseudo-label')} is that sure; use a "
            "lower one"
            if accepted
            else f"the run accepted none of {counted(len(pseudo_labels), 'pseudo-label')}; use a lower "
            "pseudo_label.threshold"
        )
    own = SOURCES[facts.name].own_images if facts.own_images is None else facts.own_images
    paths = chosen["id"].str.rpartition("@")[0] if own else chosen["id"]
    labels = chosen["label"].map(dict(enumerate(facts.class_names)))
    return chosen.assign(path=paths, label=labels, role=LABELED)[[*COLUMNS, "index"]]


def export_table(chosen: pd.DataFrame, out: Path) -> Report:
    """CSV or Parquet, by the file's name, with COLUMNS; one's own images can be read back with it as `data.manifest`.

    Raises:
        UserError: it cannot be written.
    """
    types = dict.fromkeys(COLUMNS, str) | {"confidence": float}
    with table_written(out, types) as table:
        table.append(chosen)
    return Report(len(chosen), Counter(chosen["label"]))
