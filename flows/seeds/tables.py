"""What a benchmark says, as tables and sentences: for the screen and for `benchmark.md`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semisup.evaluation.scores import SIGNIFICANCE_LEVEL
from semisup.wording import counted

DASH = "–"


@dataclass(frozen=True)
class Table:
    """Cells with their headings, a line above and lines below; all columns but the first are aligned to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """The tables of a report: configs, differences, and numbers of labels where they were asked for."""
    seeds = report["seeds"]
    over = f"seeds {seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    yield Table(
        f"Test accuracy in %, mean ± standard deviation over {over}",
        ["config", _supervised(report), "student", "worst seed", "accepted", "of these right", "CPU minutes"],
        [_config(summary) for summary in report["configs"]],
        list(_about_configs(report)),
    )
    yield Table(
        "Differences in percentage points, paired by seed",
        ["second − first", "mean", "95 % interval", "p", "better in", "splits"],
        [
            *(_within(summary, _supervised(report)) for summary in report["configs"]),
            *(_between(found) for found in report["comparisons"]),
        ],
        list(_notes(report)),
    )
    if report["label_efficiency"]:
        yield Table(
            f"Labels saved: {report['config']}, mean test accuracy in % over {over}",
            ["labels", "supervised", "semi-supervised", "difference", "as good, supervised, with"],
            [_point(point) for point in report["label_efficiency"]],
            ["Labeled training images are counted; those that validate or calibrate come on top, on both sides."],
        )


def reuse(report: Mapping[str, Any]) -> str:
    """One sentence about what had to be trained."""
    runs = {row["runs"]["evaluate"]: row["reused"] for row in report["rows"]}
    reused = sum(runs.values())
    if reused == len(runs):
        which = counted(len(runs), "run was", "runs were") if len(runs) == 1 else f"all {len(runs)} runs were"
        return f"Nothing was trained: {which} in the store already."
    return (
        f"{reused} of {len(runs)} runs were in the store already."
        if reused
        else f"{counted(len(runs), 'run')}, all of them new."
    )


def markdown(report: Mapping[str, Any]) -> str:
    """All tables as Markdown."""
    lines = [f"# Benchmark of {report['config']}", ""]
    for table in tables(report):
        lines += [f"{table.title}:", "", _line(table.columns)]
        lines += [_line(["---", *["---:"] * (len(table.columns) - 1)])]
        lines += [*map(_line, table.rows), "", *(f"{note}\n" for note in table.notes)]
    overrides = ", ".join(f"`{override}`" for override in report["overrides"])
    return "\n".join([*lines, *([f"Overrides: {overrides}", ""] if overrides else [])])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _supervised(report: Mapping[str, Any]) -> str:
    return "supervised" if report["equal_time"] else "baseline"


def _about_configs(report: Mapping[str, Any]) -> Iterator[str]:
    if len(report["seeds"]) == 1:
        yield "One seed: nothing can be said about the spread over seeds; use --seeds 3 or more."
    if report["equal_time"]:
        minutes = ", ".join(
            DASH if summary["supervised_cpu_minutes"] is None else f"{summary['supervised_cpu_minutes']:.2f}"
            for summary in report["configs"]
        )
        yield (
            "Supervised: the same net and views, labels alone, for the CPU time in which baseline and students train, "
            f"and the epoch of highest validation accuracy. With the other stages it took {minutes} CPU minutes."
        )


def _config(summary: Mapping[str, Any]) -> list[str]:
    student = summary["student"]
    return [
        summary["config"],
        _spread(summary["baseline"]),
        _spread(student),
        f"{_percent(student['worst'])} (seed {student['worst_seed']})",
        _percent(summary["pseudo_label_coverage"], ".1f"),
        _percent(summary["pseudo_label_precision"]),
        DASH if summary["cpu_minutes"] is None else f"{summary['cpu_minutes']:.2f}",
    ]


def _within(summary: Mapping[str, Any], supervised: str) -> list[str]:
    return [f"{summary['config']}: student − {supervised}", *_difference(summary["difference"]), "same"]


def _between(found: Mapping[str, Any]) -> list[str]:
    same, seeds = sum(found["same_splits"]), len(found["same_splits"])
    splits = "same" if same == seeds else "others" if not same else f"same in {same} of {seeds}"
    return [f"students: {found['config']} − {found['against']}", *_difference(found["difference"]), splits]


def _difference(found: Mapping[str, Any]) -> list[str]:
    interval, p_value = DASH, DASH
    if found["p_value"] is not None:
        interval = f"{100 * found['low']:+.2f} … {100 * found['high']:+.2f}"
        p_value = f"{found['p_value']:.2g}"
    ties = f", equal in {found['ties']}" if found["ties"] else ""
    return [f"{100 * found['mean']:+.2f}", interval, p_value, f"{found['wins']} of {found['seeds']}{ties}"]


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    if len(report["seeds"]) == 1:
        yield "One seed: a difference without an interval; whether it is more than chance cannot be said."
        return
    yield (
        "Interval and p: paired t-test over seeds, all on the same test images. They are about other splits and "
        f"initial weights, not about other test images; p < {SIGNIFICANCE_LEVEL:g} is called a difference."
    )
    differences = [found["difference"] for found in (*report["configs"], *report["comparisons"])]
    if any(found["p_value"] is None for found in differences):
        yield "No interval where all seeds have the same difference: it is by chance that they do; take more seeds."
    for found in report["comparisons"]:
        if not all(found["same_splits"]):
            yield (
                f"{found['config']} and {report['config']} do not have the same labeled images for every seed: there "
                "the pairs share the seed's number only, and the luck of the split is part of the difference."
            )
    if len(report["comparisons"]) > 1:
        count = len(report["comparisons"])
        yield f"p is not corrected for {count} comparisons: the best of many looks better than it is."


def _point(point: Mapping[str, Any]) -> list[str]:
    difference = point["difference"]
    return [
        f"{point['labels']:,}",
        _spread(point["baseline"]),
        _spread(point["student"]),
        f"{100 * difference['mean']:+.2f}",
        saved_words(point),
    ]


def saved_words(point: Mapping[str, Any]) -> str:
    """With how many labels supervised training is as good as the student was at one number of them."""
    if point["more_than"] is not None:
        return f"more than {point['more_than']:,}"
    if point["as_good_with"] is None:
        return "none saved: the student is worse"
    return f"{point['as_good_with']:,.0f} (× {point['as_good_with'] / point['labels']:.1f})"


def _spread(found: Mapping[str, Any]) -> str:
    return _percent(found["mean"]) + (f" ± {100 * found['std']:.2f}" if found["std"] is not None else "")


def _percent(value: float | None, spec: str = ".2f") -> str:
    return DASH if value is None else f"{100 * value:{spec}}"
