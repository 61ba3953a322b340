"""Command `export`: pseudo-labels as a data set for other tools."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, RunId
from flows.cli.printing import print_table
from flows.start.exits import user_mistakes_in_one_line
from semisup.errors import UserError
from semisup.wording import counted

if TYPE_CHECKING:
    from semisup.config import PipelineConfig
    from semisup.delivery.chosen import Report

Format = Literal["csv", "parquet", "imagefolder", "huggingface", "webdataset", "coco", "fiftyone", "labelstudio"]
TABLES = ("csv", "parquet")


@dataclass(frozen=True)
class _Wanted:
    """What the command line asks for."""

    format: Format
    out: Path
    min_confidence: float
    with_labeled: bool
    link: bool
    force: bool


def export(
    run_id: RunId,
    *,
    format: Annotated[Format, typer.Option("--format", help="What the other tool reads.")],
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="File or folder to write; unset: export-RUN, in this folder.")
    ] = None,
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Leave out less sure pseudo-labels.")] = 0.0,
    with_labeled: Annotated[bool, typer.Option("--with-labeled", help="The labeled images as well.")] = False,
    link: Annotated[
        bool, typer.Option("--link/--copy", help="imagefolder: links to your files instead of copies.")
    ] = False,
    data_root: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the images are now; unset: where the run found them.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an export that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the accepted pseudo-labels of a run as a data set.

    A table, folders, a data set for Hugging Face, WebDataset, COCO or FiftyOne, or tasks for Label Studio. Validation,
    calibration and test images never go out.
    """
    with user_mistakes_in_one_line():
        from flows.store.named import run_id_named

        run_id = run_id_named(run_id)
        suffix = f".{format}" if format in TABLES else ""
        named = out if out is not None else Path(f"export-{run_id[:8]}{suffix}")
        wanted = _Wanted(format, named, min_confidence, with_labeled, link, force)
        _check(wanted)
        report, gone, note = _export(run_id, wanted, data_root)
    if gone:
        files = counted(len(gone), "file is", "files are")
        warning = f"{files} gone or changed since the run and left out, such as {gone[0]}"
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    if report.symbolic_links:
        links = counted(report.symbolic_links, "link is", "links are")
        warning = f"{links} symbolic; semisup itself does not follow those out of a folder"
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    if as_json:
        values = {"out": str(named), "images": report.images, "classes": dict(report.classes), "left_out": len(gone)}
        typer.echo(json.dumps(values))
        return
    rows = [(name, f"{count:,}") for name, count in report.classes.most_common()]
    print_table(["class", "images"], [*rows, ("all", f"{report.images:,}")], right=["images"])
    typer.echo(f"wrote {named}{note}")


def _check(wanted: _Wanted) -> None:
    from semisup.delivery.tables import check_out, check_suffix

    check_out(wanted.out, force=wanted.force)
    if wanted.format in TABLES:
        check_suffix(wanted.out)
        if wanted.out.suffix.lower() != f".{wanted.format}":
            raise UserError(f"--out {wanted.out} is no .{wanted.format}; name it so, or use another --format")
    if wanted.link and wanted.format != "imagefolder":
        raise UserError(f"--link, but --format {wanted.format} has nothing to link; use imagefolder")


def _export(run_id: str, wanted: _Wanted, data_root: Path | None) -> "tuple[Report, Sequence[str], str]":
    """What was written, the paths of files that are gone, and what to do with it."""

    from flows.store.exportable import find_labels
    from semisup.data.facts import DatasetFacts
    from semisup.delivery.chosen import choose, export_table
    from semisup.system.own_files import temporary_folder

    with temporary_folder() as scratch:
        found = find_labels(run_id, scratch)
        chosen = choose(
            found.split, found.pseudo_labels, min_confidence=wanted.min_confidence, with_labeled=wanted.with_labeled
        )
        facts = DatasetFacts.read(found.split)
    if wanted.format in TABLES and (wanted.format, facts.name) != ("parquet", "parquet"):
        return export_table(chosen, wanted.out), (), ""

    from semisup.delivery import export as exporting
    from semisup.delivery.sent import Sources

    sources = Sources(with_root(found.config, data_root), facts)
    about: dict[str, Any] = {"run": found.run_id, "format": wanted.format, "images": len(chosen)}
    note = ""
    match wanted.format:
        case "csv" | "parquet":  # beside the Parquet files that the images are in it would be taken for one of them
            exporting.check_outside(wanted.out, sources.root)
            report = export_table(chosen, wanted.out)
        case "imagefolder":
            report = exporting.export_imagefolder(
                chosen, sources, wanted.out, link=wanted.link, force=wanted.force, about=about
            )
        case "labelstudio":
            report = exporting.export_labelstudio(chosen, sources, wanted.out, force=wanted.force, about=about)
            advice = exporting.served_images(sources.served_root(chosen["path"]), wanted.out).advice
            note = f": labels.xml is the labeling interface, tasks.json to be imported; type\n{advice}"
        case "huggingface" | "webdataset" | "coco" | "fiftyone":
            from semisup.delivery import packed

            form = packed.FORMS[wanted.format]
            report = packed.export_packed(form, chosen, sources, wanted.out, force=wanted.force, about=about)
    return report, sources.gone, note


def with_root(config: "PipelineConfig", root: Path | None) -> "PipelineConfig":
    """The config with the images where they are now."""
    if root is None:
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"root": root, "url": None})})


COMMANDS = (
    Command(export, ("semisup export 3f2a --format imagefolder --out dataset --with-labeled --min-confidence 0.99",)),
)
