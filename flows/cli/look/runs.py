"""Commands about what earlier pipelines left: `runs`, `show`, `compare`."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.command import Command
from flows.cli.options import AsJson, NewestRun
from flows.cli.printing import duration, print_table
from flows.start.exits import user_mistakes_in_one_line
from flows.start.run_names import briefly_again
from semisup.wording import counted

FIGURES = (
    ("baseline_test_accuracy", "Baseline, test accuracy"),
    ("student_test_accuracy", "Student, test accuracy"),
    ("test_accuracy_difference", "Student − baseline"),
    ("mcnemar_p", "McNemar p, student against baseline"),
    ("pseudo_label_coverage", "Pseudo-labels accepted"),
    ("pseudo_label_precision", "Pseudo-labels right"),
    ("certified_threshold", "Certified threshold"),
    ("fdr_threshold", "Threshold by the FDR"),
    ("baseline_compound_accuracy", "Baseline, compound images"),
    ("student_compound_accuracy", "Student, compound images"),
    ("compound_accuracy_difference", "Student − baseline, compound images"),
)
EXPENDABLE = ("took", "status", "started", "seed", "set")
"""Columns of the list of runs, the one that is missed least first."""
PLAIN = ("mcnemar_p", "certified_threshold", "fdr_threshold")
"""Figures that are no shares."""


def runs(
    config: Annotated[str | None, typer.Option(help="Only pipelines of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest ones.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the pipelines in the store with their key figures."""
    with user_mistakes_in_one_line():
        from flows.store.history import pipelines
        from semisup.tracking.looking import look

        found = pipelines(look(Path.cwd()), limit, config)
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not found:
        typer.echo("no pipeline has run here yet; `semisup run digits` is a start", err=True)
        return
    table = {
        "run": [run["run_id"][:8] for run in found],
        "config": [run["config"] for run in found],
        "seed": [run["seed"] for run in found],
        "set": [briefly_again(run["set"]) for run in found],
        "status": [run["status"].lower() for run in found],
        "started": [f"{duration(time.time() - run['started'])} ago" for run in found],
        "took": [duration(run["seconds"]) for run in found],
        "baseline": [_percent(run, "baseline_test_accuracy") for run in found],
        "student": [_percent(run, "student_test_accuracy") for run in found],
        "verdict": [run["verdict"] or run["error"] for run in found],
    }
    if not any(table["set"]):
        del table["set"]
    rows = list(zip(*table.values(), strict=True))
    print_table(list(table), rows, right=["seed", "took", "baseline", "student"], expendable=EXPENDABLE)


def show(run_id: NewestRun = None, as_json: AsJson = False) -> None:
    """Everything about one run, of a pipeline or of a stage."""
    with user_mistakes_in_one_line():
        from flows.store.history import detail, newest
        from flows.store.named import run_named
        from semisup.tracking.looking import look

        store = look(Path.cwd())
        run = newest(store) if run_id is None else run_named(store, run_id, complete=False)
        found = detail(store, run)
    if run_id is None:
        _say_which("the newest pipeline", found)
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows: list[tuple[str, str]] = []
    for key, value in found.items():
        if any(key.startswith(name) for name, _ in FIGURES):
            continue
        if isinstance(value, Mapping):
            rows += [(f"{key}.{inner}", _text(inner, content)) for inner, content in value.items()]
        elif value not in ("", None, []):
            rows.append((key, _text(key, value)))
    rows += [(label, _with_interval(found, key)) for key, label in FIGURES if key in found]
    print_table(["", ""], rows, show_header=False)


def compare(
    first: Annotated[
        str | None,
        typer.Argument(
            metavar="[FIRST]",
            help="Id of a run, or its beginning, or a config; unset: the newest two.",
            show_default=False,
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Argument(metavar="[SECOND]", help="Another one; unset: the newest beside it.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Two pipelines side by side, and their students' paired test."""
    with user_mistakes_in_one_line():
        from flows.store.history import compare as compare_runs
        from flows.store.history import newest_complete
        from flows.store.named import run_named
        from semisup.system.own_files import temporary_folder
        from semisup.tracking.looking import look

        store = look(Path.cwd())
        given = [run_id for run_id in (first, second) if run_id is not None]
        known = {run_id: run_named(store, run_id) for run_id in dict.fromkeys(given)}  # of each is told once
        named = [known[run_id] for run_id in given]
        if len(named) < 2:
            named += newest_complete(store, 2 - len(named), but=named[0].id if named else "")
        with temporary_folder() as scratch:
            found = compare_runs(store, named[0], named[1], scratch)
    for place, run_id in (("first", first), ("second", second)):
        if run_id is None:
            _say_which(place, found[place])
    if found["first"]["run_id"] == found["second"]["run_id"]:
        typer.echo("first and second are the same run; `semisup runs` lists the others", err=True)
    if as_json:
        typer.echo(json.dumps(found))
        return
    _print_comparison(found)


def _say_which(place: str, run: Mapping[str, Any]) -> None:
    """On stderr, of a run that nobody named."""
    what = " ".join(filter(None, (f"{run['config']}, seed {run['seed']}", briefly_again(run["set"]))))
    typer.echo(f"{place}: run {run['run_id'][:8]}, {what}, {duration(time.time() - run['started'])} ago", err=True)


def _print_comparison(found: Mapping[str, Any]) -> None:
    one, two = found["first"], found["second"]
    rows = [(key, str(a), str(b)) for key, (a, b) in found["config"].items()] or [("config", "the same", "the same")]
    for key, label in FIGURES:
        if key not in one and key not in two:
            continue
        rows.append((label, _with_interval(one, key), _with_interval(two, key)))
    print_table(["", f"first {one['run_id'][:8]}", f"second {two['run_id'][:8]}"], rows)
    test = found["test"]
    if test is None:
        typer.echo("The students were tested on other images; their figures cannot be paired.")
        return
    every = all(test["test_images"] == images for images in test["test_images_of_each"])
    which = "the same" if every else "those that both had of their"
    low, high = test["difference"]["low"], test["difference"]["high"]
    typer.echo(
        f"Students on {which} {counted(test['test_images'], 'test image')}: second − first "
        f"{test['difference']['estimate']:+.1%} (95 % interval {low:+.1%} … {high:+.1%}); right only in the first "
        f"{test['only_first_right']}, only in the second {test['only_second_right']}; "
        f"McNemar p = {test['mcnemar_p']:.3g}: {test['verdict']}"
    )


def _percent(run: Mapping[str, Any], key: str) -> str:
    return f"{run[key]:.1%}" if key in run else ""


def _with_interval(run: Mapping[str, Any], key: str) -> str:
    if key not in run:
        return "–"
    if key in PLAIN:
        return f"{run[key]:.3g}"
    spec = "+.1%" if key.endswith("difference") else ".1%"
    interval = f" ({run[f'{key}_low']:{spec}} … {run[f'{key}_high']:{spec}})" if f"{key}_low" in run else ""
    return f"{run[key]:{spec}}{interval}"


def _text(key: str, value: Any) -> str:
    if key == "started":
        return datetime.fromtimestamp(value).astimezone().isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


COMMANDS = (Command(runs), Command(show, ("semisup show", "semisup show 3f2a")), Command(compare))
