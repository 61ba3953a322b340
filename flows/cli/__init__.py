"""The command line `semisup`: thin. Heavy imports are inside the commands, so that --help answers at once."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import benchmark as cli_benchmark
from flows.cli import doctor as cli_doctor
from flows.cli import ensemble as cli_ensemble
from flows.cli import export as cli_export
from flows.cli import init as cli_init
from flows.cli import predict as cli_predict
from flows.cli import regress as cli_regress
from flows.cli import review as cli_review
from flows.cli import runs as cli_runs
from flows.cli import serve as cli_serve
from flows.cli import stages as cli_stages
from flows.start.exits import (
    USER_MISTAKE,
    AsJson,
    Commands,
    ConfigName,
    Overrides,
    duration,
    examples,
    print_page,
    print_table,
    user_mistakes_in_one_line,
)
from semisup import __version__
from semisup.ready_made import place_of_images

app = typer.Typer(
    cls=Commands,
    help="Semi-supervised pseudo-labeling for images: few labels, many images, one honest comparison.",
    epilog=examples(
        "semisup run digits",
        "semisup run configs/mnist.yaml --set data.root=data --set seed=1",
        "semisup status digits",
        "semisup stage joint digits",
        "semisup runs",
        "semisup ui",
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes are half of the time that --help takes
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"semisup {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Semi-supervised pseudo-labeling for images: few labels, many images, one honest comparison."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(USER_MISTAKE)


@app.command(epilog=examples("semisup run digits", "semisup run my.yaml --set joint.alpha_final=0.5 --force joint"))
def run(
    config: ConfigName,
    overrides: Overrides = None,
    force: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Run this stage anew, and what then is stale; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline and compare student with baseline.

    A stage whose result is in the store already is reused; after a crash, the same command goes on where it was. Of a
    folder of images it is `init` and `run` in one.
    """
    with user_mistakes_in_one_line():
        from flows.start.preparation import known_stages, modules_of, prepare

        forced = known_stages(force or [])
        if (folder := place_of_images(config)) is not None:
            config = str(cli_init.config_of(folder))
        resolved, _ = prepare(config, overrides or [], own_server=True)
        from flows.pipeline.flow import pipeline
        from flows.start.launch import launch

        about = f"{resolved.name}, seed {resolved.seed}"
        result = launch(lambda: pipeline(resolved, forced), about, meanwhile=modules_of(resolved))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print_result(result)


app.command(epilog=examples("semisup init photos --out photos.yaml"))(cli_init.init)
app.command(epilog=examples("semisup predict models:/photos@champion new_photos --out labels.csv"))(cli_predict.predict)
app.command(
    epilog=examples("semisup export 3f2a --format imagefolder --out dataset --with-labeled --min-confidence 0.99")
)(cli_export.export)
app.command(epilog=examples("semisup review 3f2a --budget 50", "semisup review --import labels.csv photos.yaml"))(
    cli_review.review
)
app.command(epilog=examples("semisup benchmark digits --seeds 5 --compare my.yaml --labels 50,100,200,500"))(
    cli_benchmark.benchmark
)
app.command(epilog=examples("semisup ensemble digits_bagging --set ensemble.members=7"))(cli_ensemble.ensemble)
app.command(epilog=examples("semisup stage joint digits --upstream pseudo_label=RUN_ID --force"))(cli_stages.stage)
app.command()(cli_stages.status)
app.command()(cli_stages.reap)
app.command(epilog=examples("semisup doctor", "semisup doctor --json"))(cli_doctor.doctor)
app.command(epilog=examples("semisup regress diabetes --set seed=1"))(cli_regress.regress)
app.command()(cli_runs.runs)
app.command()(cli_runs.show)
app.command()(cli_runs.compare)
app.command(epilog=examples("semisup serve digits --cron '0 3 * * *' --timezone Europe/Berlin"))(cli_serve.serve)
app.command(epilog=examples("semisup deploy digits --pool semisup --cron '0 3 * * *'"))(cli_serve.deploy)


@app.command()
def configs(
    show_keys: Annotated[bool, typer.Option("--keys", help="List every key with its default instead.")] = False,
) -> None:
    """List the ready-made configs, one line each."""
    if show_keys:
        from semisup.config import describe_keys

        print_table(["key", "default", "meaning"], list(describe_keys()))
    else:
        from semisup.ready_made import list_configs

        print_table(["config", "what it is"], list_configs())


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback address.")] = 5000,
) -> None:
    """Serve MLflow's pages for this folder's store on 127.0.0.1."""
    with user_mistakes_in_one_line():
        from flows.start.mlflow_ui import command
        from semisup.tracking.places.store import FOR_TRAINING

        arguments = command(Path.cwd(), port)
    typer.echo(
        f"MLflow: http://127.0.0.1:{port}/#/experiments?{FOR_TRAINING}, up in half a minute (Ctrl-C ends it)", err=True
    )
    os.execvp(arguments[0], arguments)


def _print_result(result: Mapping[str, Any]) -> None:
    from flows.pipeline.results import rows

    reused = sum(stage["reused"] for stage in result["stages"].values())
    note = f"; {reused} of {len(result['stages'])} stages reused" if reused else ""
    title = f"Result after {duration(result['seconds'])}{note}"
    print_table(["", "value", "95 % interval"], rows(result), right=["value"], title=title)
    if result["champion"]:
        typer.echo(f"Champion: {result['champion']}")
    typer.echo(f"Report: {result['report']}")
    print_page(result["page"])


if __name__ == "__main__":
    sys.exit(app())
