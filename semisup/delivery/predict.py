"""Predictions for image files of any number, kind and size: threads decode ahead, a batch at a time is in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from semisup.calibration.measures import temper
from semisup.data.own_images.reading.decode import BrokenImageError, Target, decode
from semisup.data.own_images.reading.threads import worked_ahead
from semisup.delivery.image_files import ImageFile
from semisup.errors import UserError, in_one_line
from semisup.networks.classifier import Classifier
from semisup.networks.inference.choice import hasten
from semisup.stages.support.models.saved import WEIGHTS, load_predicting
from semisup.system.json_files import read_json
from semisup.training.predict import predict_log_probabilities

FILES_PER_TASK = 32
MOST_CLASS_COLUMNS = 50
"""With more classes, a table has the likeliest ones only."""
USUAL_TOP = 5
CHANNELS: dict[int, Literal["gray", "rgb"]] = {1: "gray", 3: "rgb"}


@dataclass(frozen=True, eq=False)
class Predictor:
    """A finished model, with all that turns a file into its answer.

    Attributes:
        temperature: divides the logits; None: the model was never calibrated, its confidence is as it says.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    target: Target
    temperature: float | None

    @classmethod
    def load(cls, folder: Path, temperature: float | None, device: torch.device) -> "Predictor":
        """The model that a training stage left in its folder.

        Files are brought to the size, the channels and by the `data.resize` and `data.range` that the model learned
        from; a model of old does not say the latter two, and takes `crop` and none.

        Raises:
            UserError: there is no classifier, or its files are damaged.
        """
        try:
            description = read_json(folder / "model.json")
            if "class_names" not in description:
                raise UserError(f"model {folder}: it is no classifier of images; name another run or folder")
            channels, height, width = description["image_shape"]
            span = description.get("range")
            target = Target(
                height,
                width,
                description.get("resize", "crop"),
                CHANNELS.get(channels, channels),
                None if span is None else (float(span[0]), float(span[1])),
            )
            model = load_predicting(folder, device)
        except FileNotFoundError as error:
            raise UserError(
                f"model {folder}: there is no {Path(error.filename or WEIGHTS).name}; name a folder with {WEIGHTS} and "
                "model.json, or a run"
            ) from None
        except UserError:
            raise
        except Exception as error:  # broken JSON, other keys, damaged weights: what can be wrong is no finite list
            raise UserError(
                f"model {folder}: its files are damaged ({in_one_line(error, 200)}); name another one"
            ) from error
        return cls(model, tuple(description["class_names"]), target, temperature)

    def hasten(self, images: int, cache: Path) -> None:
        """Before so many images: have them predicted by what is faster here, in float32, where the model may be.

        One that OpenVINO predicted when its confidence was judged already is, and one that computes in bfloat16 stays
        with the engine that did, for each rounds it in its own way. What was measured is kept in the folder `cache`.
        """
        model = self.model
        if not isinstance(model, Classifier) or model.precision != torch.float32:
            return
        if model.predicted_by == "torch" and model.is_on_cpu:
            hasten(model, self.target.shape, images, cache)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tempered softmax probabilities (N, classes) of images (N, C, H, W)."""
        log_probabilities = predict_log_probabilities(self.model, torch.from_numpy(images))
        return temper(log_probabilities.numpy(), self.temperature or 1.0)


class _Read(NamedTuple):
    file: ImageFile
    pixels: NDArray[np.uint8] | None
    reason: str


def predict(
    predictor: Predictor, files: Iterable[ImageFile], *, batch_size: int = 256, top: int | None = None
) -> Iterator[pd.DataFrame]:
    """A table for every batch of files, a row for each file in their order; columns as in :func:`column_types`.

    No more than a batch, and what threads have decoded ahead of it, is in memory. A file that is no image has its
    reason instead of a label.
    """
    read = _decoded(files, predictor.target)
    while batch := list(islice(read, batch_size)):
        yield _table(predictor, batch, top)


def column_types(class_names: tuple[str, ...], top: int | None) -> dict[str, type]:
    """Column → str or float, of a table of predictions.

    path, label, confidence (the largest probability); then `probability.<class>` of every class, or with `top` (by
    itself 5 where there are more than 50 classes) label_2, confidence_2 … of the next likely ones; temperature (null:
    never calibrated) and reason ("" where the file could be read).
    """
    likeliest = shown_classes(class_names, top)
    if likeliest is None:
        others: dict[str, type] = {f"probability.{name}": float for name in class_names}
    else:
        others = {
            f"{what}_{place}": kind
            for place in range(2, likeliest + 1)
            for what, kind in (("label", str), ("confidence", float))
        }
    return {"path": str, "label": str, "confidence": float, **others, "temperature": float, "reason": str}


def shown_classes(class_names: tuple[str, ...], top: int | None) -> int | None:
    """How many of the likeliest classes a row tells of; None: all classes, in their order."""
    if top is None:
        return USUAL_TOP if len(class_names) > MOST_CLASS_COLUMNS else None
    return min(top, len(class_names))


def _decoded(files: Iterable[ImageFile], target: Target) -> Iterator[_Read]:
    def tasks() -> Iterator[list[ImageFile]]:
        waiting = iter(files)
        while task := list(islice(waiting, FILES_PER_TASK)):
            yield task

    for done in worked_ahead(lambda task: [_read(file, target) for file in task], tasks()):
        yield from done


def _read(file: ImageFile, target: Target) -> _Read:
    try:
        return _Read(file, decode(Path(file.path).read_bytes(), target).pixels, "")
    except BrokenImageError as error:
        return _Read(file, None, str(error))
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        return _Read(file, None, f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _table(predictor: Predictor, batch: list[_Read], top: int | None) -> pd.DataFrame:
    names = predictor.class_names
    probabilities = np.full((len(batch), len(names)), np.nan, dtype=np.float32)
    readable = [row for row, read in enumerate(batch) if read.pixels is not None]
    if readable:
        images = np.stack([pixels for read in batch if (pixels := read.pixels) is not None])
        probabilities[readable] = predictor.probabilities(images)
    there = np.isin(np.arange(len(batch)), readable)
    likeliest = shown_classes(names, top)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : likeliest or 1]
    columns: dict[str, object] = {"path": [read.file.name for read in batch]}
    for place in range(order.shape[1]):
        suffix = f"_{place + 1}" if place else ""
        label = np.asarray(names, dtype=object)[order[:, place]]
        label[~there] = None
        columns[f"label{suffix}"] = label
        columns[f"confidence{suffix}"] = np.take_along_axis(probabilities, order[:, [place]], axis=1)[:, 0]
    if likeliest is None:
        columns |= {f"probability.{name}": probabilities[:, label] for label, name in enumerate(names)}
    temperature = np.nan if predictor.temperature is None else predictor.temperature
    columns["temperature"] = np.full(len(batch), temperature, dtype=np.float32)
    columns["reason"] = [read.reason for read in batch]
    return pd.DataFrame(columns)
