"""Images with the same bytes that are said to be of different classes: one of their labels is wrong."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semisup.data.datasets import UNLABELED
from semisup.data.roles.known_roles import contents_of
from semisup.wording import counted

FILE = "contradictions.csv"
"""Of a split, where there are any."""


def contradictions(ids: Sequence[str], labels: NDArray[np.int64], class_names: Sequence[str]) -> pd.DataFrame:
    """A row with id and class for each of N images, of which another one has the content and not the label.

    `ids` (N,) are "path@hash", `labels` (N,) what is thought of them now, annotations of people included; images
    without a label contradict nobody. Rows of one content follow each other, that of the earliest image first.
    """
    known = np.flatnonzero(labels != UNLABELED)
    said = pd.DataFrame({"row": known, "content": contents_of(ids)[known], "label": labels[known]})
    kinds = said.drop_duplicates(["content", "label"])
    disputed = kinds.loc[kinds["content"].duplicated(), "content"]
    found = said[said["content"].isin(disputed)]
    first = found.groupby("content")["row"].transform("min")
    found = found.assign(first=first).sort_values(["first", "row"])
    return pd.DataFrame(
        {"id": [ids[row] for row in found["row"]], "class": [class_names[label] for label in found["label"]]}, dtype=str
    )


def contradiction_warnings(found: pd.DataFrame, *, listed: bool) -> list[str]:
    """What a table of :func:`contradictions` asks attention for, in one line; nothing of an empty one.

    `listed`: does FILE hold it?
    """
    if not len(found):
        return []
    contents = contents_of(found["id"].tolist())
    first = found[contents == contents[0]].drop_duplicates("class")
    shown = " and ".join(
        f"{image.rpartition('@')[0]!r} ({name})" for image, name in zip(first["id"], first["class"], strict=True)
    )
    count = len(np.unique(contents))
    which = "the files" if count == 1 else f"{counted(count, 'image')} are of several classes at once: the files"
    more = f" ({FILE} names all)" if listed and count > 1 else ""
    return [
        f"{which} {shown} are the same, but of different classes{more}; delete those that are wrong, or annotate them"
    ]
