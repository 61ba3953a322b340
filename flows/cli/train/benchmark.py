"""The command that runs configs over seeds and compares them."""

import json
from typing import Annotated

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, ConfigName, Overrides
from flows.cli.printing import duration, print_page, print_table
from flows.seeds.names import seeds_of
from flows.start.exits import end_orderly_on_sigterm, user_mistakes_in_one_line
from semisup import __version__
from semisup.errors import UserError

PARALLEL = 2


def benchmark(
    config: ConfigName,
    *,
    seeds: Annotated[str, typer.Option(metavar="N|N-N", help="Seeds 0 … N−1, or a range of them, such as 5-9.")] = "5",
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="CONFIG", help="Run this config too and compare its students; may be repeated."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Also run CONFIG with so many labeled training images: what do they save?"),
    ] = None,
    equal_time: Annotated[
        bool,
        typer.Option(
            "--equal-time", help="Give supervised training the CPU time of baseline and students together: other runs."
        ),
    ] = False,
    overrides: Overrides = None,
    parallel: Annotated[
        int | None, typer.Option(metavar="N", help=f"Processes at a time, of one thread each; unset: {PARALLEL}.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Run them on the Dask cluster of this scheduler, such as tcp://host:8786."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a config over seeds, and compare it with others.

    Mean and spread; student against baseline and config against config, seed by seed; how many labels are saved. Runs
    that are in the store already are read, not repeated; after an interruption, the same command goes on.
    """
    with user_mistakes_in_one_line():
        if parallel is not None and parallel < 1:
            raise UserError(f"--parallel {parallel}: at least one process has to work")
        if parallel is not None and dask is not None:
            raise UserError(
                f"--parallel {parallel}: with --dask, the workers' threads say how many runs work at a time; "
                "leave it out"
            )
        wanted = seeds_of(seeds)
        from flows.parallel.cluster import Cluster
        from flows.seeds.plan import planned
        from flows.start.display import looking

        end_orderly_on_sigterm()
        cluster = Cluster.of_option(dask) if dask is not None else None
        with looking(f"{config}: looking at configs and data"):
            plan = planned(
                config, compare or [], wanted, labels, overrides or [], equal_time=equal_time, cluster=cluster
            )
        from flows.seeds.benchmark import benchmark as run
        from flows.start import display

        at_once = parallel or PARALLEL
        where = f"on the cluster {dask}" if dask else f"{at_once} processes at a time"
        with display.shown() as screen:
            screen.line(f"semisup {__version__}: benchmark of {plan.main.name}, {where}")
            report = run(plan, at_once, cluster)
    if as_json:
        typer.echo(json.dumps(report))
        return
    from flows.seeds.tables import reuse, tables

    for table in tables(report):
        print_table(table.columns, table.rows, right=table.columns[1:], title=table.title)
        for note in table.notes:
            typer.echo(note)
        typer.echo()
    typer.echo(f"{reuse(report)} It took {duration(report['seconds'])}.")
    typer.echo(f"Files:  {report['artifacts']}")
    print_page(report["page"])


COMMANDS = (Command(benchmark, ("semisup benchmark digits --seeds 5 --compare my.yaml --labels 50,100,200,500",)),)
