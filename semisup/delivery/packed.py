"""Pseudo-labels as data sets that other libraries load: Hugging Face's Parquet, WebDataset's tars, COCO and FiftyOne.

All of them hand over the encoded images as they are, never a path: what `datasets` writes for images that are files
names their absolute paths, which mean nothing elsewhere.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from semisup.data.own_images.reading.decode import size_of
from semisup.delivery.chosen import Report
from semisup.delivery.export import folder_written
from semisup.delivery.sent import Sent, Sources

ROWS_A_GROUP = 100
"""As `datasets` has it for images: what is read to look at one of them."""
BYTES_A_SHARD = 500_000_000


@dataclass(frozen=True)
class Labeled:
    """An image with all that goes out with it."""

    sent: Sent
    label: str
    number: int
    """Of the class, in the order of the run's classes."""
    about: dict[str, Any]
    """path, source, confidence (None of labels that people gave)."""


Form: TypeAlias = Callable[[Iterator[Labeled], Path, Sequence[str]], None]
"""Writes images into a folder that is there and empty; the last argument names the classes."""


def export_packed(
    write: Form, chosen: pd.DataFrame, sources: Sources, out: Path, *, force: bool, about: dict[str, Any]
) -> Report:
    """What was chosen, as a folder in one of the forms below.

    Raises:
        UserError: as in :func:`folder_written` and :class:`Sources`.
    """
    report, class_names = Report(), sources.facts.class_names
    with folder_written(out, sources.root, force=force, about=about) as aside:
        write(_labeled(chosen, sources, class_names, report), aside, class_names)
    return report


def huggingface(images: Iterator[Labeled], out: Path, class_names: Sequence[str]) -> None:
    """`data/train-*.parquet` with the columns image (bytes and path), label, confidence and source.

    `datasets.load_dataset(out)` gives a split `train` with an `Image` and a `ClassLabel`, without any further word.
    """
    (out / "data").mkdir()
    shards = [*_shards(images, out / "data", _schema(class_names))]
    for number, shard in enumerate(shards):
        shard.rename(shard.with_name(f"train-{number:05}-of-{len(shards):05}.parquet"))


def webdataset(images: Iterator[Labeled], out: Path, class_names: Sequence[str]) -> None:
    """`train-00000.tar` and so on with, for each image, its file, its class's number (`.cls`) and `.json`; and
    `classnames.txt`. Names of samples are numbers: WebDataset cuts names at their first dot.
    """
    written, shards = BYTES_A_SHARD, list[tarfile.TarFile]()
    try:
        for key, image in enumerate(images):
            if written >= BYTES_A_SHARD:
                for shard in shards[-1:]:
                    shard.close()
                shards.append(tarfile.open(out / f"train-{len(shards):05}.tar", "w"))  # noqa: SIM115 -- below
                written = 0
            facts = json.dumps({"label": image.label, **image.about}, ensure_ascii=False)
            extension = Path(image.sent.name).suffix.lower()
            for suffix, content in (
                (extension, image.sent.content),
                (".cls", str(image.number).encode()),
                (".json", facts.encode()),
            ):
                member = tarfile.TarInfo(f"{key:09}{suffix}")
                member.size, member.mode = len(content), 0o644
                shards[-1].addfile(member, io.BytesIO(content))
                written += len(content)
    finally:
        for shard in shards:
            shard.close()
    (out / "classnames.txt").write_text("\n".join(class_names) + "\n", encoding="utf-8")


def coco(images: Iterator[Labeled], out: Path, class_names: Sequence[str]) -> None:
    """`data/` and `labels.json`, one annotation an image, whose box is all of it; `score` is the confidence."""
    files, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    (out / "data").mkdir()
    for number, image in enumerate(images, start=1):
        (out / "data" / image.sent.name).write_bytes(image.sent.content)
        width, height = size_of(image.sent.content)
        files.append({"id": number, "file_name": image.sent.name, "width": width, "height": height})
        annotation: dict[str, Any] = {"id": number, "image_id": number, "category_id": image.number + 1, "iscrowd": 0}
        annotation |= {"bbox": [0, 0, width, height], "area": width * height}
        score = image.about["confidence"]
        annotations.append(annotation if score is None else annotation | {"score": score})
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    _write_json(out / "labels.json", {"images": files, "annotations": annotations, "categories": categories})


def fiftyone(images: Iterator[Labeled], out: Path, class_names: Sequence[str]) -> None:
    """A FiftyOneImageClassificationDataset: `data/` and `labels.json`."""
    labels = dict[str, int]()
    (out / "data").mkdir()
    for image in images:
        (out / "data" / image.sent.name).write_bytes(image.sent.content)
        labels[Path(image.sent.name).stem] = image.number
    _write_json(out / "labels.json", {"classes": list(class_names), "labels": labels})


def _labeled(chosen: pd.DataFrame, sources: Sources, class_names: Sequence[str], report: Report) -> Iterator[Labeled]:
    """Image after image, each under a name of its own, counted in the report before it is handed out."""
    place = {name: number for number, name in enumerate(class_names)}
    taken = set[str]()
    for sent in sources(chosen):
        row = chosen.iloc[sent.row]
        confidence = None if pd.isna(row["confidence"]) else float(row["confidence"])
        about = {"path": row["path"], "source": row["source"], "confidence": confidence}
        stem, number = Path(sent.name).stem, 1
        while stem.casefold() in taken:  # copies of one file
            number += 1
            stem = f"{Path(sent.name).stem}-{number}"
        taken.add(stem.casefold())
        name = f"{stem}{Path(sent.name).suffix}"
        report.images += 1
        report.classes[row["label"]] += 1
        yield Labeled(sent._replace(name=name), row["label"], place[row["label"]], about)


def _schema(class_names: Sequence[str]) -> pa.Schema:
    """Columns, and what `datasets` wants to be told of them."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
        "confidence": {"dtype": "float64", "_type": "Value"},
        "source": {"dtype": "string", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [("image", image), ("label", pa.int64()), ("confidence", pa.float64()), ("source", pa.string())]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _shards(images: Iterator[Labeled], folder: Path, schema: pa.Schema) -> Iterator[Path]:
    """Files of at most about BYTES_A_SHARD each, as they are done."""
    rows, written, writer = list[dict[str, Any]](), 0, None
    try:
        for image in images:
            if writer is None:
                path = folder / f"part-{image.sent.row:09}.parquet"
                writer, written = pq.ParquetWriter(path, schema), 0
            rows.append(
                {
                    "image": {"bytes": image.sent.content, "path": image.about["path"]},
                    "label": image.number,
                    "confidence": image.about["confidence"],
                    "source": image.about["source"],
                }
            )
            written += len(image.sent.content)
            full = written >= BYTES_A_SHARD
            if full or len(rows) == ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
            if full:
                writer.close()
                writer = None
                yield path
        if writer is not None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
            writer.close()
            writer = None
            yield path
    finally:
        if writer is not None:
            writer.close()


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


FORMS: Mapping[str, Form] = {"huggingface": huggingface, "webdataset": webdataset, "coco": coco, "fiftyone": fiftyone}
"""By the names that `semisup export --format` has for them."""
