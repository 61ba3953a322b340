"""Command `predict`: what a finished model says of any images."""

import json
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson
from flows.cli.printing import print_table
from flows.start.exits import user_mistakes_in_one_line
from semisup.errors import UserError
from semisup.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from semisup.delivery.image_files import ImageFiles
    from semisup.delivery.predict import Predictor

FIRST_ROWS = 10
MOST_CLASSES_SHOWN = 40


@dataclass
class _Seen:
    """What is kept of all rows: how many, of which class, and the first ones."""

    rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    a_reason: str = ""
    first: list[Mapping[Any, Any]] = field(default_factory=list)

    def add(self, part: "pd.DataFrame") -> None:
        """Count a batch."""
        self.rows += len(part)
        self.classes.update(part["label"].dropna())
        broken = part[part["reason"] != ""]
        self.broken += len(broken)
        if len(broken) and not self.a_reason:
            self.a_reason = f"{broken['path'].iloc[0]} is {broken['reason'].iloc[0]}"
        self.first += part.head(FIRST_ROWS - len(self.first)).to_dict("records")


def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A run's id, models:/NAME@champion, a config (its champion; without one, its newest complete "
            "pipeline), or a folder with weights.safetensors.",
        ),
    ],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH…", help="Image files, folders, or a table with a column `path`."),
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Table to write, .csv or .parquet.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=100_000, help="Images in memory at a time.")] = 256,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many of the likeliest classes; by itself 5 where there are more than 50."),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: CUDA where it is present.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Write over a table that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say of any images what class they are, and how surely.

    Nothing is kept but the table; a file that cannot be read has its reason there. Confidence is calibrated where the
    run fitted a temperature (`calibrate.method: temperature`), which the column `temperature` tells.
    """
    with user_mistakes_in_one_line():
        if not paths:
            raise UserError(f"PATH is missing; name what to predict, such as: semisup predict {model} new_photos")
        model = model_of_config(model)
        if out is not None:
            from semisup.delivery.tables import check_out, check_suffix

            check_suffix(out)
            check_out(out, force=force)
        from semisup.delivery.image_files import ImageFiles

        files = ImageFiles.of(paths)
        predictor = _load(model, device)
        seen = _predict_all(predictor, files, out, batch_size, top)
    for what, count in sorted(files.passed_over.items()):
        typer.secho(f"passed over: {count:,} {what}", fg="yellow", err=True)
    if seen.broken:
        which = f"{seen.broken:,} of {counted(seen.rows, 'file')} {'has' if seen.broken == 1 else 'have'}"
        warning = f"warning: {which} no prediction; one of them: {seen.a_reason}"
        typer.secho(warning, fg="yellow", err=True)
    if as_json:
        typer.echo(json.dumps(_as_json(seen, predictor, out)))
        return
    if out is None:
        _print_first(seen)
    _print_classes(seen)
    if out is not None:
        typer.echo(f"wrote {out}, {counted(seen.rows, 'row')}")


def model_of_config(model: str) -> str:
    """As :func:`flows.store.named.model_named`, of the store of this folder.

    Raises:
        UserError: the config cannot be read, or has never been run to its end here.
    """
    from flows.store.named import is_place_of_a_model, model_named
    from semisup.tracking.looking import look

    return model if is_place_of_a_model(model) else model_named(look(Path.cwd()), model)


def _load(model: str, device: Literal["auto", "cpu", "cuda"]) -> "Predictor":
    import torch

    from flows.store.served import find_model
    from semisup.delivery.predict import Predictor
    from semisup.system.own_files import temporary_folder

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch finds no CUDA device; use auto or cpu")
    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    with temporary_folder() as scratch:
        found = find_model(model, scratch)
        predictor = Predictor.load(found.folder, found.temperature, torch.device(chosen))
    said = "not calibrated" if found.temperature is None else f"calibrated, temperature {found.temperature:.3f}"
    typer.echo(f"{found.words}, {counted(len(predictor.class_names), 'class')}; confidence {said}", err=True)
    return predictor


def _predict_all(
    predictor: "Predictor", files: "ImageFiles", out: Path | None, batch_size: int, top: int | None
) -> _Seen:
    from semisup.delivery.predict import column_types, predict
    from semisup.delivery.tables import table_written
    from semisup.system.user_cache import user_cache

    seen, total = _Seen(), files.count()
    predictor.hasten(total, user_cache())
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of files that it reads all the same
        table = None
        if out is not None:
            table = stack.enter_context(table_written(out, column_types(predictor.class_names, top)))
        for part in _shown(predict(predictor, files, batch_size=batch_size, top=top), total):
            seen.add(part)
            if table is not None:
                table.append(part)
        if seen.broken == seen.rows:
            none = "the one file cannot" if seen.rows == 1 else f"none of {seen.rows:,} files can"
            raise UserError(f"{none} be read: {seen.a_reason}; name other files")
    return seen


def _shown(parts: "Iterator[pd.DataFrame]", total: int) -> "Iterator[pd.DataFrame]":
    """The parts, while stderr tells how far they are."""
    from flows.start.display import shown

    started, done = time.perf_counter(), 0
    with shown() as screen:
        screen.begin("predict")
        for part in parts:
            yield part
            done += len(part)
            screen.progress(done, total, "images")
        screen.end("predict", time.perf_counter() - started)


def _as_json(seen: _Seen, predictor: "Predictor", out: Path | None) -> dict[str, object]:
    return {
        "rows": seen.rows,
        "broken": seen.broken,
        "classes": {name: seen.classes[name] for name in predictor.class_names},
        "temperature": predictor.temperature,
        "out": None if out is None else str(out),
    }


def _print_first(seen: _Seen) -> None:
    columns = ["path", "label", "confidence"] + ["reason"] * any(row["reason"] for row in seen.first)
    rows = [
        (str(row["path"]), "–", "", str(row["reason"]))
        if row["reason"]
        else (str(row["path"]), str(row["label"]), f"{row['confidence']:.1%}", "")
        for row in seen.first
    ]
    if seen.rows > len(rows):
        rows.append((f"… {seen.rows - len(rows):,} more (--out FILE writes all)", "", "", ""))
    print_table(columns, [row[: len(columns)] for row in rows], right=["confidence"])


def _print_classes(seen: _Seen) -> None:
    shown = seen.classes.most_common(MOST_CLASSES_SHOWN)
    rows = [(name, f"{count:,}", f"{count / (seen.rows - seen.broken):.1%}") for name, count in shown]
    if len(seen.classes) > len(shown):
        rows.append((f"… {len(seen.classes) - len(shown):,} more", "", ""))
    print_table(["class", "images", "share"], rows, right=["images", "share"])


COMMANDS = (Command(predict, ("semisup predict models:/photos@champion new_photos --out labels.csv",)),)
