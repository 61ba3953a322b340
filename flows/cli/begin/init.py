"""Command `init`: look through a folder of one's own images, and write a config for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.command import Command
from flows.cli.printing import duration, print_table
from flows.start.exits import named_config, user_mistakes_in_one_line
from semisup.errors import UserError
from semisup.ready_made import config_beside
from semisup.tracking.places.redaction import without_logins
from semisup.wording import counted

if TYPE_CHECKING:
    from semisup.config import DataConfig, PipelineConfig
    from semisup.data.roles.split import Role
    from semisup.stages.preflight.check import Checked

MOST_ROWS = 40
FEW_TEST_IMAGES = 100
"""Of fewer, an accuracy around 90 % has a 95 % interval of more than 12 points."""
REST = 45
"""Seconds of a run that learns from frozen features, beside those that the network looks at images: starting, learning,
the report and what MLflow keeps, measured with 361 photographs on one processor at rest."""


def init(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER",
            help="With labeled/<class>/ and unlabeled/, or train/; or s3://BUCKET/PREFIX; unset: that of --manifest.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The config to write.")] = Path("config.yaml"),
    manifest: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CSV, Parquet, JSON Lines, or its URL: columns path, label, perhaps role."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where decoded images are kept.")] = None,
    max_broken: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Largest share of files that cannot be read.")
    ] = 0.1,
    force: Annotated[bool, typer.Option("--force", help="Write over a config that is there.")] = False,
) -> None:
    """Look through a folder of your images and write a config for it.

    The config is for `semisup run`; what is in the folder is reported. Every image is decoded once, for the runs to
    come as well.
    """
    with user_mistakes_in_one_line():
        if out.exists() and not force:
            raise UserError(f"--out {out} is there already; name another file, or write over it with --force")
        if not out.absolute().parent.is_dir():
            raise UserError(f"--out {out}: there is no folder {str(out.parent)!r}; make it, or name another file")
        if folder is None and manifest is None:
            raise UserError("FOLDER is missing; name the folder with your images, or a table: --manifest photos.csv")
        table = None if manifest is None else _place(manifest)
        images = _beside(table) if folder is None and table is not None else _place(str(folder))
        if isinstance(images, Path) and not images.expanduser().exists():
            raise UserError(f"FOLDER {images} does not exist; name the folder with your images")
        from flows.start.display import looking

        with looking(f"init: looking through {without_logins(str(images))}", lasting=True) as look_away:
            from flows.start.preparation import decoding_line
            from semisup.data.own_images import survey, write_config

            with decoding_line(before=look_away) as say:
                found = survey(images, table, cache, say, max_broken=max_broken)
        with looking(f"init: checking that a run can take {out.name}", lasting=True):
            text = write_config(found)
            config, checked = _check(text, out.name)
            warnings = [*found.warnings(), *few_test_images(checked.images["test"], config.data)]
            classes, facts = found.classes(), found.facts()
        with looking("init: measuring how long a run takes on this machine", lasting=True):
            takes = _takes(config, len(found.own.pool) + len(found.own.test), found.own.pool.image_shape)
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {out} cannot be written: {error.strerror}; name another file") from None
    _print(classes, facts)
    for warning in warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    typer.echo(_labels(checked.images, all_hidden=not found.unlabeled))
    typer.echo(takes)
    typer.echo(f"wrote {out}; look it over, then: semisup run {out}")


def _place(named: str) -> Path | str:
    """A folder, or a URL: a path would lose one of its two slashes."""
    return named if "://" in named else Path(named)


def _beside(table: Path | str) -> Path | str:
    """What the paths in a table are relative to."""
    return table.parent if isinstance(table, Path) else table.rpartition("/")[0]


def config_of(place: Path) -> Path:
    """The config beside a folder of images, or a file that holds them, made by :func:`init` where it is missing.

    Raises:
        UserError: it is there, and is for other images.
    """
    if (out := config_beside(place)).exists():
        return named_config(str(place))
    init(str(place), out=out)
    return out


def _check(text: str, name: str) -> "tuple[PipelineConfig, Checked]":
    """Make sure that `semisup run` takes the config, called so: what it cannot be made for is said now.

    Raises:
        UserError: it does not.
    """
    from semisup.config.files import load_config
    from semisup.stages.preflight.check import check
    from semisup.system.own_files import temporary_folder

    with temporary_folder() as scratch:
        file = scratch / name
        file.write_text(text, encoding="utf-8")
        config = load_config(file)
        return config, check(config)


def few_test_images(count: int, data: "DataConfig") -> list[str]:
    """A warning where so many test images of one's own say little, with the interval of a model that is right in nine
    of ten."""
    from semisup.data.roles.few_tests import more_test_images
    from semisup.evaluation.scores import accuracy_interval

    if not 0 < count < FEW_TEST_IMAGES:
        return []
    right = round(0.9 * count)
    found = accuracy_interval(right, count)
    return [
        f"{counted(count, 'test image remains, which says', 'test images remain, which say')} little: {right:,} of "
        f"{count:,} right would mean an accuracy from "
        f"{found.low:.0%} to {found.high:.0%} (95 % interval); {more_test_images(data)}"
    ]


def _labels(images: "Mapping[Role, int]", *, all_hidden: bool) -> str:
    """What becomes of the images in a run, in one sentence."""
    learned, validating, unlabeled = (images.get(role, 0) for role in ("labeled", "validation", "unlabeled"))
    learned_from = f"{counted(learned, 'label is', 'labels are')} learned from"
    used = f"{learned_from}, {counted(validating, 'chooses', 'choose')} the best epoch"
    if not validating:
        used = f"{learned_from}, and {'judges' if learned == 1 else 'judge'} what each way to learn is worth"
    if not all_hidden:
        return f"a run as configured: {used}; {counted(unlabeled, 'image is', 'images are')} used without a label"
    return (
        f"no image is without a label, so a run as configured hides some: {used}; {unlabeled:,} are hidden "
        "(split.labeled_per_class); put images without a label into unlabeled/, and all labels are used"
    )


def _takes(config: "PipelineConfig", images: int, shape: tuple[int, int, int]) -> str:
    """How long a run will take, in one sentence."""
    from semisup.stages.preflight.estimate import estimate

    found = estimate(config, images, shape)
    if found.looking is not None:
        rest = REST * found.held_up
        seconds = found.looking + rest
        about = f"{seconds:.0f} s" if seconds < 120 else duration(seconds)  # no 1 min that is made of 80 s
        return (
            f"a run takes about {about} on this machine, as busy as it is now: "
            f"{found.looking / images:.2g} s to look at each of {counted(images, 'image')}, and {rest:.0f} s to start, "
            f"to learn and to report ({REST} s on a machine at rest)"
        )
    assert found.training is not None, "the config that init writes has a budget of time"
    return f"a run takes {duration(found.training)} of CPU time for both trainings (budget), and some for the rest"


def _print(classes: list[tuple[str, int, int, int]], facts: list[tuple[str, str]]) -> None:
    columns = ["class", "to learn from", "validation", "test"]
    rows = [(name, *(f"{count:,}" for count in counts)) for name, *counts in classes[:MOST_ROWS]]
    if len(classes) > MOST_ROWS:
        rows.append((f"… {len(classes) - MOST_ROWS:,} more", "", "", ""))
    rows.append(("all", *(f"{sum(counts):,}" for counts in list(zip(*classes, strict=True))[1:])))
    print_table(columns, rows, right=columns[1:])
    print_table(["", ""], facts, show_header=False)


COMMANDS = (Command(init, ("semisup init photos --out photos.yaml",)),)
