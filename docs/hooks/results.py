"""Tables of what was measured, from `benchmarks/results/*.json`, each with the command that makes it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs.hooks.tables import table as markdown_table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A file of results: how it was made, and which of its columns are shown under which name."""

    command: str
    columns: Mapping[str, str] | None = None
    """Name in the file → name on the page; None: all that are no lists."""
    shape: Callable[[Sequence[Row]], Sequence[Row]] | None = None
    """Puts rows together differently; None: as they are."""


def _with_range(rows: Sequence[Row]) -> list[Row]:
    """Of a speed beside its goal: the median with its range, and whether it is as wished."""
    return [
        {
            "what": row["what"],
            "goal": row["goal"],
            "measured": f"{_short(row['median'])} ({_short(row['lowest'])} … {_short(row['highest'])})",
            "turns": row["turns"],
            "the time before": row["median before"],
            "": "met" if row["goal met"] == "yes" else "**missed**",
        }
        for row in rows
    ]


def _figures(rows: Sequence[Row]) -> list[Row]:
    """Of crashes and damage: single figures; a list of problems is told by its length."""
    found: list[Row] = []
    for row in rows:
        name, value = row["figure"], row["value"]
        if isinstance(value, dict):
            found += [{"what": f"{name}: {key}", "seen": inner} for key, inner in value.items()]
        else:
            found.append({"what": name, "seen": len(value) if isinstance(value, list) else value})
    return found


def _beside_the_hash(rows: Sequence[Row]) -> list[Row]:
    """Of copies: a row for each question, with what the hash alone answers beside what the whole rule does."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        column = "by the hash alone" if row["rule"] == "hash" else "by both"
        found.setdefault(row["what"], {"what": row["what"], "of": ""}).update({column: row["found"]})
        if "of" in row:
            found[row["what"]]["of"] = row["of"]
    return [{key: row[key] for key in ("what", "of", "by the hash alone", "by both")} for row in found.values()]


def _by_seed(rows: Sequence[Row]) -> list[Row]:
    """Test accuracy in % of every seed, both sides."""

    def listed(row: Row, side: str) -> str:
        return ", ".join(f"{100 * seed[side]:.2f}" for seed in row["by seed"] if side in seed)

    return [
        {"data, labels, time": row["setting"], "semisup": listed(row, "ours"), "supervised": listed(row, "supervised")}
        for row in rows
    ]


def _with_peers(rows: Sequence[Row]) -> list[Row]:
    """The settings in which scikit-learn was measured; how many seeds stands above the table."""
    return [
        {key: value.removesuffix(", 5 seeds") if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
        if "LabelSpreading" in row
    ]


LONG_TAILS = {
    "baseline": "labels alone",
    "no alignment": "no alignment",
    "labeled": "`labeled`",
    "uniform": "`uniform`",
    "estimated": "`estimated`",
    "given": "`given`: the true shares",
    "AdaMatch": "AdaMatch",
    "logit adjustment": "logit adjustment",
    "estimated − no alignment": "`estimated` − no alignment",
    "error of labeled shares": "error of the labels' shares, points",
    "error of estimated shares": "error of the estimate, points",
    "shares inside their intervals": "true shares inside 95 % intervals, %",
}


def _worlds_across(rows: Sequence[Row]) -> list[Row]:
    """Of long tails: a row for each target, and a column for each data set and pool, of which there are fewer."""
    named = {row["world"].replace(", 100,", ","): row for row in rows if ", 100," in row["world"]}
    return [{"": shown} | {world: row[key] for world, row in named.items()} for key, shown in LONG_TAILS.items()]


def _named(*columns: str | tuple[str, str]) -> dict[str, str]:
    """Name in the file → name on the page, in the order of the table; a name alone is both."""
    return dict((column, column) if isinstance(column, str) else column for column in columns)


PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "scikit-learn", "pydantic", "pillow", "timm")
ACCURACY = "python -m benchmarks.few_labels.accuracy --data-root data"
PHOTOGRAPHS = {
    "photographs": "",
    "labels a class": "labels",
    "logistic regression": "logistic regression",
    "self-training": "self-training",
    "label spreading": "label spreading",
    "baseline": "semisup, supervised",
    "kept": "semisup, kept model",
    "kept − best peer": "kept − best",
    "ratio": "CPU ÷ plain",
}
SOURCES: dict[str, Source] = {
    "accuracy": Source(
        ACCURACY,
        _named(
            ("setting", "data, labels, CPU time"),
            "seeds",
            ("ours", "semisup"),
            "worst seed",
            ("CPU s", "CPU seconds"),
            "supervised",
            ("its CPU s", "its CPU seconds"),
            ("gain", "gain, 95 % interval over seeds"),
        ),
    ),
    "accuracy/peers": Source(
        ACCURACY,
        {
            "setting": "data, labels, CPU time",
            "LabelSpreading": "`LabelSpreading`",
            "SelfTraining": "`SelfTrainingClassifier`, SVC",
            "ours": "semisup",
        },
        shape=_with_peers,
    ),
    "accuracy/seeds": Source(ACCURACY, shape=_by_seed),
    "augmentation": Source("python -m benchmarks.speed.augmentation"),
    "classifier": Source(
        "python -m benchmarks.few_labels.classifier",
        _named("method", "input", "test accuracy, %", "worst seed", ("CPU s", "CPU seconds")),
    ),
    "compute": Source("python -m benchmarks.speed.compute"),
    "copies": Source("python -m benchmarks.robustness.copies", shape=_beside_the_hash),
    "faults_caches": Source("python -m benchmarks.robustness.faults caches", shape=_figures),
    "faults_configs": Source("python -m benchmarks.robustness.faults configs --count 1000", shape=_figures),
    "faults_kills": Source("python -m benchmarks.robustness.faults kills --count 100 --each 5", shape=_figures),
    "faults_layouts": Source("python -m benchmarks.robustness.faults layouts", shape=_figures),
    "faults_moved": Source("python -m benchmarks.robustness.faults moved --count 10", shape=_figures),
    "faults_together": Source("python -m benchmarks.robustness.faults together --count 20", shape=_figures),
    "fine_tuning": Source("python -m benchmarks.suite fine_tuning", shape=_with_range),
    "images": Source("python -m benchmarks.reading.images --data-root data"),
    "images_memory": Source("python -m benchmarks.reading.images --data-root data"),
    "large_jpegs": Source("python -m benchmarks.reading.large_jpegs --before EARLIER_CHECKOUT", shape=_with_range),
    "soak": Source("python -m benchmarks.robustness.soak --minutes 120 --every 1", shape=_figures),
    "sources": Source("python -m benchmarks.reading.sources --data-root photos/trash"),
    "sources_s3": Source("python -m benchmarks.reading.sources --data-root photos/trash --s3", shape=_with_range),
    "inference": Source("python -m benchmarks.suite inference", shape=_with_range),
    "long_tails": Source(
        "python -m benchmarks.pools.long_tails --data-root data --seeds 3 --imbalance 100", shape=_worlds_across
    ),
    "kept_epoch": Source(
        "python -m benchmarks.few_labels.kept_epoch cifar trash flowers",
        _named(
            "images",
            ("validation a class", "validation images a class"),
            ("loss", "least loss"),
            ("accuracy", "highest accuracy"),
            ("loss after temperature", "least loss after temperature scaling"),
            ("accuracy, then loss after temperature", "highest accuracy, then that"),
            "last epoch",
            "best by test images",
        ),
    ),
    "matrix": Source("python -m benchmarks.robustness.matrix", _named("versions", "Python", "tests", *PACKAGES)),
    "million": Source("python -m benchmarks.commands.million --folder big"),
    "open_world": Source(
        "python -m benchmarks.pools.open_world flowers trash --data-root data",
        _named(
            "data",
            "unknown in the pool",
            ("certified by calibration images alone", "certified, untested pool"),
            ("precision then", "precision then, %"),
            "pool found to differ",
            "certified",
            ("precision of certified", "precision of certified, %"),
            ("AUROC of unknown", "AUROC of unknown, %"),
            ("told of 40 unknown images", "AUROC of who is told of 40, %"),
            ("unknown found", "unknown found, %"),
            "pools with groups",
            "groups",
            ("of one class", "a group's images of one class, %"),
            ("classes found by groups", "classes found by groups, %"),
            ("false alarms", "false alarms, %"),
            ("precision without what is called unknown", "precision without unknown, %"),
        ),
    ),
    "looks": Source("SEMISUP_BEFORE=../before/.venv/bin/semisup python -m benchmarks.suite looks", shape=_with_range),
    "peak_memory": Source("python -m benchmarks.suite peak_memory", shape=_with_range),
    "photographs": Source("python -m benchmarks.few_labels.photographs trash flowers", PHOTOGRAPHS),
    "photographs_one_network": Source(
        "python -m benchmarks.few_labels.photographs trash flowers --network efficientnet_lite0", PHOTOGRAPHS
    ),
    "photographs_cifar10": Source(
        "python -m benchmarks.few_labels.photographs cifar10 --labels 4 25 400 --splits 3 --test 1000 --side 206 "
        '--center-crop 160 --peers "logistic regression" --result photographs_cifar10',
        {name: shown for name, shown in PHOTOGRAPHS.items() if name not in {"self-training", "label spreading"}},
    ),
    "photographs_keeping": Source(
        "python -m benchmarks.few_labels.photographs trash flowers cifar10 mnist --labels 3 5 10 20 --splits 13 "
        "--keeping",
        _named("photographs", "labels a class", "baseline", "student", ("kept", "kept model"), "kept − baseline"),
    ),
    "policies": Source(
        "python -m benchmarks.few_labels.policies --data-root data --seeds 3",
        _named(
            "method",
            ("student", "test accuracy, %"),
            "worst seed",
            ("CPU s", "CPU seconds"),
            ("seeds", "seed by seed"),
        ),
    ),
    "processes": Source("python -m benchmarks.suite processes", shape=_with_range),
    "pseudo_label_growth": Source("python -m benchmarks.speed.pseudo_label_pass --growth"),
    "pseudo_label_pass": Source("python -m benchmarks.suite pseudo_label_pass", shape=_with_range),
    "suspects": Source(
        "python -m benchmarks.few_labels.suspects cifar10/train annotations.csv --seed 20",
        _named(
            "images",
            ("wrong", "wrong labels, %"),
            ("model right", "model right, %"),
            ("ours, precision", "ours: precision"),
            ("ours, recall", "recall"),
            ("ours, F1", "F1"),
            ("cleanlab, precision", "cleanlab: precision"),
            ("cleanlab, recall", "its recall"),
            ("cleanlab, F1", "its F1"),
            ("ratio", "F1 ÷ its F1"),
        ),
    ),
    "review": Source("python -m benchmarks.few_labels.review mnist --data-root data"),
    "start_up": Source("python -m benchmarks.suite start_up", shape=_with_range),
    "step_overhead": Source("python -m benchmarks.suite step_overhead", shape=_with_range),
}
"""By the file's name, and behind a slash which of its tables."""


def table(name: str) -> str:
    """The table of that name, with its command and what its benchmark notes.

    Raises:
        LookupError: there is none.
    """
    source = source_of(name)
    document = json.loads((RESULTS / f"{name.partition('/')[0]}.json").read_text(encoding="utf-8"))
    rows: Sequence[Row] = (source.shape or list)(document["rows"])
    columns = source.columns or _columns(rows)
    cells = [[_text(row.get(key, "–")) for key in columns] for row in rows]
    first = next(iter(columns))
    figures = [
        shown
        for key, shown in columns.items()
        if any(_is_figure(row.get(key)) for row in rows) and (key != first or not isinstance(rows[0][key], str))
    ]
    made = document["machine"]
    about = f"`{source.command}`: {document['note']}. torch {made['torch']}, threads: {made['threads']}."
    return f"{markdown_table(list(columns.values()), cells, figures)}\n\n{about}\n{{ .source }}"


def studies(names: str) -> str:
    """The tables of studies whose names begin with one of these."""
    wanted = tuple(f"study_{name}" for name in names.split())
    found = [path.stem for path in sorted(RESULTS.glob("study_*.json")) if path.stem.startswith(wanted)]
    if not found:
        raise LookupError(f"no study begins with {names}")
    return "\n\n".join(f"### `{name.removeprefix('study_')}`\n\n{table(name)}" for name in found)


def source_of(name: str) -> Source:
    """How the table of that name is made.

    Raises:
        LookupError: there is none.
    """
    if name.startswith("study_"):
        note = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["note"]
        (seeds,) = re.findall(r"(\d+) seeds", note)
        return Source(f"python -m benchmarks.studies {name.removeprefix('study_')} --seeds {seeds} --data-root data")
    if name not in SOURCES:
        raise LookupError(f"no results are called {name!r}; there are {', '.join(SOURCES)}")
    return SOURCES[name]


def _columns(rows: Sequence[Row]) -> dict[str, str]:
    return {key: key for row in rows for key, value in row.items() if not isinstance(value, list)}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return _short(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(value: float) -> str:
    """Four figures that count, with commas: 37,408; 12.25; 0.0125."""
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value[:1] in "0123456789+-−≤≥" and value != "")
