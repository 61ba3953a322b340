"""Commands about what earlier pipelines left: `runs`, `show`, `compare`."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.start.exits import AsJson, duration, print_table, user_mistakes_in_one_line

FIGURES = (
    ("baseline_test_accuracy", "Baseline, test accuracy"),
    ("student_test_accuracy", "Student, test accuracy"),
    ("test_accuracy_difference", "Student − baseline"),
    ("mcnemar_p", "McNemar p, student against baseline"),
    ("pseudo_label_coverage", "Pseudo-labels accepted"),
    ("pseudo_label_precision", "Pseudo-labels right"),
    ("certified_threshold", "Certified threshold"),
    ("baseline_compound_accuracy", "Baseline, compound images"),
    ("student_compound_accuracy", "Student, compound images"),
    ("compound_accuracy_difference", "Student − baseline, compound images"),
)
PLAIN = ("mcnemar_p", "certified_threshold")
"""Figures that are no shares."""
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or its beginning (`semisup runs`).")]


def runs(
    config: Annotated[str | None, typer.Option(help="Only pipelines of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest ones.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the pipelines in the store with their key figures."""
    with user_mistakes_in_one_line():
        from flows.store.history import pipelines
        from semisup.tracking.tracker import Tracker

        found = pipelines(Tracker.existing(Path.cwd()), limit, config)
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not found:
        typer.echo("no pipeline has run here yet; `semisup run digits` is a start", err=True)
        return
    rows = [
        (
            run["run_id"][:8],
            run["config"],
            run["seed"],
            run["status"].lower(),
            f"{duration(time.time() - run['started'])} ago",
            duration(run["seconds"]),
            _percent(run, "baseline_test_accuracy"),
            _percent(run, "student_test_accuracy"),
            run["verdict"] or run["error"],
        )
        for run in found
    ]
    columns = ["run", "config", "seed", "status", "started", "took", "baseline", "student", "verdict"]
    print_table(columns, rows, right=["seed", "took", "baseline", "student"])


def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Everything about one run, of a pipeline or of a stage."""
    with user_mistakes_in_one_line():
        from flows.store.history import detail
        from semisup.tracking.tracker import Tracker

        tracker = Tracker.existing(Path.cwd())
        found = detail(tracker, tracker.find(run_id))
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


def compare(first: RunId, second: RunId, as_json: AsJson = False) -> None:
    """Two pipelines side by side, and their students' paired test."""
    with user_mistakes_in_one_line():
        from flows.store.history import compare as compare_runs
        from semisup.system.own_files import temporary_folder
        from semisup.tracking.tracker import Tracker

        tracker = Tracker.existing(Path.cwd())
        with temporary_folder() as scratch:
            found = compare_runs(tracker, tracker.find(first), tracker.find(second), scratch)
    if as_json:
        typer.echo(json.dumps(found))
        return
    _print_comparison(found)


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
        f"Students on {which} {test['test_images']:,} test images: second − first "
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
