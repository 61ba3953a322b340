"""Command `review`: asks a person about the images that are most worth it, and takes annotations in."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, Overrides
from flows.start.exits import user_mistakes_in_one_line
from semisup.errors import UserError
from semisup.wording import counted

if TYPE_CHECKING:
    from flows.store.annotating import Imported
    from flows.store.auditing import Concluded
    from semisup.delivery.page.annotate import Written
    from semisup.delivery.page.audit import WrittenAudit


def review(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CONFIG",
            help="A pipeline's run, or a config: its newest complete pipeline; with --import, a config.",
        ),
    ],
    *,
    budget: Annotated[int, typer.Option(min=0, max=10_000, help="Unlabeled images to be labeled.")] = 50,
    suspects: Annotated[
        int, typer.Option(min=0, max=1000, help="At most so many labeled images whose label looks wrong.")
    ] = 10,
    groups: Annotated[
        int,
        typer.Option(
            min=0, max=100, help="At most so many groups of images that look alike and like none of the classes."
        ),
    ] = 8,
    audit: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="So many accepted labels, drawn at random, to be checked instead."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder to write; unset: review-RUN.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="Take annotations in: the page's CSV, or Label Studio's JSON."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the images are now; unset: where the run found them.")
    ] = None,
    overrides: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a review that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the images most worth a label, or take annotations in.

    Writes a page to label with, a table, and tasks for Label Studio. Validation, calibration and test images are never
    asked about. With --audit, the page asks about a random sample of the accepted labels, and what comes of it holds
    for all of them, whatever the images are like. With --import, the annotations become a part of the config's data
    set: the next run learns from them.
    """
    with user_mistakes_in_one_line():
        if labels is None:
            if overrides:
                raise UserError(
                    f"--set {overrides[0]}: a run keeps the config it had; --set goes with --import and a CONFIG"
                )
            from flows.store.named import run_id_named

            name = run_id_named(name)
            named = out if out is not None else Path(f"{'audit' if audit else 'review'}-{name[:8]}")
            if audit:
                _tell_audit(*_audit(name, named, count=audit, data_root=data_root, force=force), named, as_json)
                return
            _tell_written(
                *_write(name, named, (budget, suspects, groups), data_root=data_root, force=force), named, as_json
            )
        else:
            if out is not None or data_root is not None:
                option = "--out" if out is not None else "--data-root"
                instead = "--set data.annotations=… or --set data.root=…"
                raise UserError(f"{option} does not go with --import; use {instead}")
            if audit:
                raise UserError("--audit does not go with --import: the table says which audit it is of")
            from flows.store.annotating import take_in

            _tell_imported(take_in(labels, name, overrides or []), name, overrides or [], as_json)


def _write(
    run_id: str, out: Path, asked: tuple[int, int, int], *, data_root: Path | None, force: bool
) -> "tuple[Written, str]":
    """What was written, and the id of the MLflow run that says so; asked: images to label, labels to check, groups."""
    import time

    import pandas as pd

    from flows.cli.use.export import with_root
    from flows.start.display import shown
    from flows.store.review_run import record_review
    from flows.store.reviewable import find_review
    from semisup.data.facts import DatasetFacts
    from semisup.data.roles.split import Split
    from semisup.delivery.export import check_folder
    from semisup.delivery.page.annotate import write_review
    from semisup.delivery.page.candidates import STRATEGY, Material
    from semisup.delivery.sent import Sources
    from semisup.delivery.tables import check_out
    from semisup.networks.classifier import Classifier
    from semisup.pseudo_labels import TABLE_FILE
    from semisup.report.advice import first_step
    from semisup.stages.support.models.saved import load_placed
    from semisup.system.json_files import read_json
    from semisup.system.own_files import temporary_folder

    check_out(out, force=force)
    started = time.perf_counter()
    with temporary_folder() as scratch, shown() as screen:
        found = find_review(run_id, scratch)
        config = with_root(found.config, data_root)
        facts = DatasetFacts.read(found.split)
        check_folder(out, Sources(config, facts).root, force=force)
        tables = [pd.read_parquet(folder / TABLE_FILE) for folder in found.tables]
        split = Split.read(found.split / "split.parquet")
        student = load_placed(found.model.folder, config)
        assert isinstance(student, Classifier), "a pipeline keeps one network"
        first = first_step(read_json(found.evaluated / "metrics.json"), read_json(found.labels / "summary.json"))
        labels = pd.read_parquet(found.labels / TABLE_FILE)
        material = Material(config, facts, split, tables, student, found.model.temperature, labels, first)
        budget, suspects, groups = asked
        screen.begin("review")
        written = write_review(
            material,
            out,
            run_id=found.run.id,
            budget=budget,
            suspects=suspects,
            groups=groups,
            force=force,
            on_batch=lambda done, total: screen.progress(done, total, "images"),
        )
        parameters = {"budget": budget, "suspects": suspects, "groups": groups, "strategy": STRATEGY}
        seconds = time.perf_counter() - started
        screen.end("review", seconds)
        return written, record_review(found, written, out, asked=parameters, seconds=seconds)


def _audit(run_id: str, out: Path, *, count: int, data_root: Path | None, force: bool) -> "tuple[WrittenAudit, str]":
    """What was written, and the id of the MLflow run that says so."""
    import time

    import pandas as pd

    from flows.cli.use.export import with_root
    from flows.store.review_run import record_audit
    from flows.store.reviewable import find_review
    from semisup.data.facts import DatasetFacts
    from semisup.delivery.page.audit import write_audit
    from semisup.delivery.tables import check_out
    from semisup.pseudo_labels import TABLE_FILE
    from semisup.system.own_files import temporary_folder

    check_out(out, force=force)
    started = time.perf_counter()
    with temporary_folder() as scratch:
        found = find_review(run_id, scratch)
        config, facts = with_root(found.config, data_root), DatasetFacts.read(found.split)
        table = pd.read_parquet(found.labels / TABLE_FILE)
        written = write_audit(config, facts, table, out, run_id=found.run.id, count=count, force=force)
        return written, record_audit(found, written, out, asked=count, seconds=time.perf_counter() - started)


def _tell_audit(written: "WrittenAudit", recorded: str, out: Path, as_json: bool) -> None:
    counts = {"to_audit": written.images, "accepted": written.accepted, "target": written.target}
    images = f"{written.images:,} of {counted(written.accepted, 'accepted label')}, drawn at random"
    lines = [
        f"{images}: open {out / 'review.html'}",
        "in a browser and label in order; the page says when enough is known. Save its CSV, and type",
        "semisup review --import labels.csv CONFIG",
    ]
    _tell(out, written.gone, recorded, counts=counts, lines=lines, as_json=as_json)


def _tell_written(written: "Written", recorded: str, out: Path, as_json: bool) -> None:
    for note in written.notes:
        typer.secho(note, fg="yellow", err=True)
    named = f", {counted(written.groups, 'group')} of alike images to name" if written.groups else ""
    lines = [
        f"{counted(written.to_label, 'image')} to label, {counted(written.to_check, 'label')} to check{named}: open "
        f"{out / 'review.html'}",
        "in a browser, save its CSV, and type  semisup review --import labels.csv CONFIG",
        "(candidates.csv is the same as a table; tasks.json and labels.xml are for Label Studio: type",
        f"{written.served.advice})",
        f"MLflow keeps all of it as run {recorded}",
    ]
    counts = {"to_label": written.to_label, "to_check": written.to_check, "groups": written.groups}
    _tell(out, written.gone, recorded, counts=counts, lines=lines, as_json=as_json)


def _tell(
    out: Path, gone: Sequence[str], recorded: str, *, counts: Mapping[str, float], lines: Sequence[str], as_json: bool
) -> None:
    """What was written and what is missing, for programs or for people."""
    _warn_of_gone(gone)
    if as_json:
        typer.echo(json.dumps({"out": str(out), **counts, "left_out": len(gone), "run_id": recorded}))
    else:
        typer.echo("\n".join(lines))


def _tell_concluded(concluded: "Concluded") -> None:
    found = concluded.result
    unsure = f", {found.unsure:,} that nobody could tell" if found.unsure else ""
    typer.echo(
        f"audit of run {concluded.reviewed[:8]}: {found.right:,} right, {found.wrong:,} wrong{unsure}; of its "
        f"{counted(found.accepted, 'accepted label')} {found.low:.1%} to {found.high:.1%} are right, 95% sure"
    )
    typer.echo(f"its report says so first: {concluded.report}")


def _as_json(concluded: "Concluded") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(concluded.result) | {
        "run_id": concluded.run_id,
        "reviewed": concluded.reviewed,
        "report": concluded.report,
    }


def _warn_of_gone(paths: Sequence[str]) -> None:
    if paths:
        files = counted(len(paths), "file is", "files are")
        gone = f"{files} gone or changed since the run and left out, such as {paths[0]}"
        typer.secho(f"warning: {gone}", fg="yellow", err=True)


def _tell_imported(imported: "Imported", name: str, overrides: list[str], as_json: bool) -> None:
    names_file = imported.named or not imported.total
    sets = list(overrides) if names_file else [*overrides, f"data.annotations={imported.file}"]
    command = shlex.join(["semisup", "run", name, *(part for each in sets for part in ("--set", each))])
    if as_json:
        typer.echo(
            json.dumps(
                {"annotations": str(imported.file), "all": imported.total, **imported.counts, "next": command}
                | {"new_classes": dict(imported.new_classes)}
                | ({"audit": _as_json(imported.audit)} if imported.audit else {})
            )
        )
        return
    if imported.audit:
        _tell_concluded(imported.audit)
    for folder, images in imported.new_classes.items():
        typer.echo(f"{folder}: a new class, with copies of {counted(images, 'image')}, whose originals may be deleted")
    new, changed, same = (imported.counts[what] for what in ("new", "changed", "same"))
    if not imported.total:
        there = f"{counted(same, 'image is', 'images are')} in the folder of the class already"
        typer.echo(f"the next run learns from them:\n  {command}" if imported.new_classes else there)
        return
    typer.echo(
        f"{imported.file}: {counted(new, 'new annotation')}, "
        f"{counted(changed, 'replaces an older one', 'replace older ones')}, {counted(same, 'was', 'were')} "
        "there already"
    )
    typer.echo(f"{counted(imported.total, 'annotation')} in all; the next run learns from them:\n  {command}")
    if not names_file:
        typer.echo(f"or write `annotations: {imported.file}` below `data:` in your config, and leave that --set out")


COMMANDS = (Command(review, ("semisup review 3f2a --budget 50", "semisup review --import labels.csv photos.yaml")),)
