"""The page that people read about one run of the pipeline, built from the files that its stages left and nothing else.

`report.html` is one self-contained file; `report.md` says the same with PNG pictures. The same files give the same
bytes.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from semisup import plots

STAGES = ("split", "baseline", "pseudo_label", "joint", "evaluate")
MODELS = {"baseline": "Baseline", "student": "Student"}
UNKNOWN = "–"
MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|~$&"})


@dataclass(frozen=True)
class Artifacts:
    """What the stages left, read into memory."""

    dataset: Mapping[str, Any]
    roles: Mapping[str, int]
    """Role → number of images."""
    training: Mapping[str, Mapping[str, Any]]
    """Stage → its `training.json`, and the `seconds` of its `timings.json`."""
    history: Mapping[str, pd.DataFrame]
    ledger: pd.DataFrame
    summary: Mapping[str, Any]
    correct: NDArray[np.bool_] | None
    """Is each pseudo-label of the ledger right? None where the truth is not known of all."""
    images: NDArray[np.uint8]
    examples: pd.DataFrame
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that is said aloud where it cannot be seen."""

    name: str
    figure: Figure
    label: str


def build_report(
    folders: Mapping[str, Path],
    config: Mapping[str, Any],
    warnings: Sequence[str],
    out_dir: Path,
    *,
    title: str,
    facts: Mapping[str, str],
) -> None:
    """Writes `report.html`, `report.md` and the latter's pictures `figures/*.png` into `out_dir`.

    `folders` says where each stage (split, baseline, pseudo_label, joint, evaluate) left its files; `config` is the
    resolved config as plain values; `warnings` are lines of text; `facts` (commit, seed, versions …) end the page.
    Where the pseudo_label folder holds `audit.parquet` (id, truth; -1 unknown), the histogram tells right from wrong
    and precision is drawn against coverage.

    Raises:
        ValueError: a stage's folder is not given.
        FileNotFoundError: a folder lacks one of its files.
    """
    missing = [stage for stage in STAGES if stage not in folders]
    if missing:
        raise ValueError(f"folders has no {', '.join(missing)}; the report needs {', '.join(STAGES)}")
    artifacts = _read(folders)
    pictures = {picture.name: picture for picture in _draw(artifacts)}
    context = _context(artifacts) | {
        "title": title,
        "warnings": list(warnings),
        "facts": dict(facts),
        "config_yaml": yaml.safe_dump(
            json.loads(json.dumps(dict(config), default=str)), sort_keys=False, allow_unicode=True
        ),
        "pictures": pictures,
    }
    (out_dir / "figures").mkdir(parents=True, exist_ok=True)
    for picture in pictures.values():
        plots.save_png(picture.figure, out_dir / "figures" / f"{picture.name}.png")

    def svg(name: str) -> Markup:
        return Markup(plots.inline_svg(pictures[name].figure, pictures[name].label))

    _render("report.html.jinja", out_dir / "report.html", context | {"svg": svg}, autoescape=True)
    _render("report.md.jinja", out_dir / "report.md", context, finalize=_escape_markdown)


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as "97.1 %", with a no-break space; None as a dash."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.{digits}f}\u00a0%"


def interval_digits(low: float, high: float) -> int:
    """Decimals of a percentage that its interval justifies: two where it is narrower than one point, else one."""
    return 2 if high - low < 0.01 else 1


def p_value(p: float) -> str:
    """ "p < 0.001", "p = 0.021" or "p = 0.34": two significant digits, and no false precision in the tail."""
    if p < 0.001:
        return "p\u00a0<\u00a00.001"
    if p < 0.0995:
        return f"p\u00a0=\u00a0{p:.2g}"
    return f"p\u00a0=\u00a0{p:.2f}" if p < 0.995 else "p\u00a0=\u00a01"


def _read(folders: Mapping[str, Path]) -> Artifacts:
    pseudo_label = folders["pseudo_label"]
    ledger = pd.read_parquet(pseudo_label / "pseudo_labels.parquet")
    with np.load(pseudo_label / "examples.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    roles = pd.read_parquet(folders["split"] / "split.parquet", columns=["role"])["role"].value_counts()
    return Artifacts(
        dataset=_json(folders["split"] / "dataset.json"),
        roles={role: int(roles.get(role, 0)) for role in plots.ROLES},
        training={stage: _training(folders[stage]) for stage in ("baseline", "joint")},
        history={stage: pd.read_parquet(folders[stage] / "history.parquet") for stage in ("baseline", "joint")},
        ledger=ledger,
        summary=_json(pseudo_label / "summary.json"),
        correct=_audit(pseudo_label / "audit.parquet", ledger),
        images=images,
        examples=pd.read_parquet(pseudo_label / "examples.parquet"),
        metrics=_json(folders["evaluate"] / "metrics.json"),
    )


def _training(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = _json(folder / "training.json")
    return summary | {"seconds": _json(folder / "timings.json")["seconds"]}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _audit(path: Path, ledger: pd.DataFrame) -> NDArray[np.bool_] | None:
    if not path.exists() or ledger.empty:
        return None
    truth = pd.read_parquet(path).set_index("id")["truth"].reindex(ledger["id"]).fillna(-1).to_numpy()
    return (ledger["label"].to_numpy() == truth) if (truth >= 0).all() else None


def _draw(artifacts: Artifacts) -> list[Picture]:
    metrics, names = artifacts.metrics, artifacts.dataset["class_names"]
    confidence, accepted = artifacts.ledger["confidence"].to_numpy(), artifacts.ledger["accepted"].to_numpy(dtype=bool)
    threshold, correct, examples = artifacts.summary["threshold"], artifacts.correct, artifacts.examples
    round_number = artifacts.summary["round"]
    student = f"Student round {round_number}" if round_number > 1 else "Student"
    accuracy = {name: _ends(metrics[key]["accuracy"]) for key, name in MODELS.items()}
    pictures = [
        Picture("accuracy", plots.accuracy_comparison(accuracy), "Test accuracy of both models with intervals"),
        _curves(artifacts, "baseline", "Baseline: labels alone"),
        _curves(artifacts, "joint", f"{student}: labels and pseudo-labels"),
        Picture(
            "confidence",
            plots.confidence_histogram(confidence, accepted, threshold, correct),
            f"Histogram of the teacher's confidence on {len(confidence):,} unlabelled images, threshold {threshold:g}",
        ),
        Picture(
            "examples",
            plots.picture_grid(
                artifacts.images,
                examples["label"].to_numpy(),
                examples["confidence"].to_numpy(),
                examples["truth"].to_numpy(),
                examples["group"].tolist(),
                names,
            ),
            f"{len(examples)} unlabelled images with their pseudo-labels: accepted, borderline and rejected",
        ),
        *(
            Picture(
                f"confusion_{key}",
                plots.confusion_matrix(np.array(metrics[key]["confusion"]), names, name),
                f"Confusion matrix of the {name.lower()} on the test images; the per-class table has its figures",
            )
            for key, name in MODELS.items()
        ),
        Picture(
            "class_counts",
            plots.class_counts(_class_counts(artifacts), names),
            "Images per class and role; the table below has the numbers",
        ),
    ]
    if correct is not None:
        figure = plots.coverage_precision(confidence, correct, accepted, threshold)
        pictures.append(Picture("coverage", figure, "Precision of the pseudo-labels against their coverage"))
    return pictures


def _ends(interval: Mapping[str, float]) -> tuple[float, float, float]:
    return interval["estimate"], interval["low"], interval["high"]


def _curves(artifacts: Artifacts, stage: str, title: str) -> Picture:
    training = artifacts.training[stage]
    figure = plots.learning_curves(
        artifacts.history[stage], training["best_epoch"], training["stopped_epoch"], training["stopped_early"], title
    )
    return Picture(f"curves_{stage}", figure, f"Learning curves. {title}. {_training_sentence(training)}")


def _class_counts(artifacts: Artifacts) -> dict[str, Sequence[int] | None]:
    """Role → images per class, None where the truth is not known of every image."""
    known = artifacts.dataset["class_counts"]
    counts: dict[str, Sequence[int] | None] = {
        role: known[role] if known.get(role) and sum(known[role]) == artifacts.roles[role] else None
        for role in ("labeled", "validation", "unlabeled")
    }
    return counts | {"test": [row["support"] for row in artifacts.metrics["student"]["per_class"]]}


def _context(artifacts: Artifacts) -> dict[str, Any]:
    return {
        "verdict": _verdict(artifacts.metrics),
        "verdict_kind": artifacts.metrics["verdict"].split()[0],
        "cards": _cards(artifacts),
        "training": {stage: _training_sentence(values) for stage, values in artifacts.training.items()},
        "audited": artifacts.correct is not None,
        "truth_known": artifacts.summary["precision"] is not None,
        "rounds": _rounds_sentence(artifacts.summary),
        "rounds_table": _rounds_table(artifacts.summary),
        "accepted_table": _accepted_table(artifacts),
        "class_table": _class_table(artifacts.metrics),
        "counts_table": _counts_table(artifacts),
        "discordant": _discordant_sentence(artifacts.metrics),
        "data": _data_sentence(artifacts),
    }


def _verdict(metrics: Mapping[str, Any]) -> str:
    baseline, student, difference = (
        metrics["baseline"]["accuracy"],
        metrics["student"]["accuracy"],
        metrics["difference"],
    )
    digits = max(interval_digits(model["low"], model["high"]) for model in (baseline, student))
    shift = interval_digits(difference["low"], difference["high"])
    student_text, baseline_text = percent(student["estimate"], digits), percent(baseline["estimate"], digits)
    evidence = (
        f"the difference is {_points(difference['estimate'], shift)}\u00a0percentage points, 95\u00a0% interval "
        f"{_points(difference['low'], shift)} to {_points(difference['high'], shift)}; "
        f"McNemar {p_value(metrics['mcnemar']['p_value'])}"
    )
    match metrics["verdict"]:
        case "student better":
            opening = f"The student is better: {student_text} against {baseline_text} of the test images right"
        case "baseline better":
            opening = f"The baseline is better: {baseline_text} against {student_text} of the test images right"
        case _:
            opening = (
                f"No difference shown: the student gets {student_text} of the test images right, "
                f"the baseline {baseline_text}"
            )
    return f"{opening} ({evidence})."


def _points(difference: float, digits: int) -> str:
    """A signed difference in percentage points, with a true minus sign and no minus on a rounded zero."""
    text = f"{100 * difference:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _cards(artifacts: Artifacts) -> list[dict[str, str]]:
    summary, roles, metrics = artifacts.summary, artifacts.roles, artifacts.metrics
    cards = [
        {
            "name": f"{name} test accuracy",
            "value": _estimate(metrics[key]["accuracy"])[0],
            "note": f"95\u00a0% interval {_estimate(metrics[key]['accuracy'])[1]}",
        }
        for key, name in MODELS.items()
    ]
    cards.append(
        {
            "name": "Pseudo-label coverage",
            "value": percent(summary["coverage"]),
            "note": f"{summary['accepted']:,} of {summary['unlabeled']:,} unlabelled images, "
            f"confidence ≥\u00a0{summary['threshold']:g}",
        }
    )
    precision = {"name": "Pseudo-label precision", "value": UNKNOWN, "note": "the truth is not known"}
    if summary["precision"] is not None:
        ends = {"estimate": summary["precision"], "low": summary["precision_low"], "high": summary["precision_high"]}
        value, interval = _estimate(ends)
        precision |= {"value": value, "note": f"95\u00a0% interval {interval}"}
    elif summary["accepted"] == 0:
        precision["note"] = "no pseudo-label was accepted"
    used = f"{roles['labeled'] + roles['validation']:,}"
    labels = f"{roles['labeled']:,} labelled + {roles['validation']:,} validation"
    return [*cards, precision, {"name": "Labels used", "value": used, "note": labels}]


def _estimate(interval: Mapping[str, float]) -> tuple[str, str]:
    """An estimate and its interval, both with the decimals that the interval justifies."""
    digits = interval_digits(interval["low"], interval["high"])
    low, high = 100 * interval["low"], 100 * interval["high"]
    return percent(interval["estimate"], digits), f"{low:.{digits}f}\u00a0to\u00a0{high:.{digits}f}\u00a0%"


def _training_sentence(training: Mapping[str, Any]) -> str:
    end = (
        f"Stopped early after epoch {training['stopped_epoch']} of at most {training['max_epochs']}"
        if training["stopped_early"]
        else f"Ran all {training['stopped_epoch']} epochs"
    )
    return (
        f"{end}, {_duration(training['seconds'])}; kept the weights of epoch {training['best_epoch']}, the best by "
        f"validation {training['monitor']} (loss {training['best_validation_loss']:.3f}\u00a0nats, "
        f"accuracy {percent(training['best_validation_accuracy'])})."
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes}\u00a0min" if hours else f"{minutes}\u00a0min {rest}\u00a0s"


def _discordant_sentence(metrics: Mapping[str, Any]) -> str:
    test = metrics["mcnemar"]
    return (
        f"Of {metrics['total']:,} test images, {test['only_student_right']:,} are right with the student only and "
        f"{test['only_baseline_right']:,} with the baseline only; McNemar's exact test asks whether a fair coin would "
        f"split them so unevenly ({p_value(test['p_value'])}). Macro F1: baseline "
        f"{percent(metrics['baseline']['macro_f1'])}, student {percent(metrics['student']['macro_f1'])}."
    )


def _data_sentence(artifacts: Artifacts) -> str:
    dataset, (channels, height, width) = artifacts.dataset, artifacts.dataset["image_shape"]
    color = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    return (
        f"{dataset['name']}: {dataset['pool_size']:,} images to learn from and {dataset['test_size']:,} test images, "
        f"{len(dataset['class_names'])} classes, {color}, {height}\u00a0×\u00a0{width}\u00a0pixels."
    )


def _rounds_sentence(summary: Mapping[str, Any]) -> str:
    """What the last of several rounds changed; "" where there was only one."""
    number, total = summary["round"], summary["unlabeled"]
    if number == 1:
        return ""
    return (
        f"This is round {number} of self-training: the student of round {number - 1} labelled every unlabelled image "
        f"anew, and a fresh student learned from its labels. {summary['flipped']:,} of {total:,} labels "
        f"({percent(summary['flipped'] / total)}) are others than in round {number - 1}; "
        f"{summary['newly_accepted']:,} images were accepted for the first time. The pseudo-labels below and the "
        "student are those of this round."
    )


def _rounds_table(summary: Mapping[str, Any]) -> list[list[str]]:
    """Round, pseudo-labels accepted, of these for the first time, labels changed since the round before, precision."""
    return [
        [
            str(line["round"]),
            f"{line['accepted']:,}",
            f"{line['newly_accepted']:,}",
            f"{line['flipped']:,}" if line["round"] > 1 else UNKNOWN,
            percent(line["precision"]),
        ]
        for line in summary["rounds"]
    ]


def _accepted_table(artifacts: Artifacts) -> list[list[str]]:
    """Class, pseudo-labels accepted, their share of all accepted, precision."""
    summary = artifacts.summary
    rows = zip(
        artifacts.dataset["class_names"], summary["accepted_per_class"], summary["precision_per_class"], strict=True
    )
    return [[name, f"{n:,}", percent(n / max(summary["accepted"], 1)), percent(right)] for name, n, right in rows]


def _class_table(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Class, test images, then precision, recall and F1 of baseline and student; a dash where there is no image."""
    table = []
    for rows in zip(metrics["baseline"]["per_class"], metrics["student"]["per_class"], strict=True):
        support = rows[0]["support"]
        figures = [
            percent(row[figure] if support else None) for figure in ("precision", "recall", "f1") for row in rows
        ]
        table.append([rows[0]["name"], f"{support:,}", *figures])
    return table


def _counts_table(artifacts: Artifacts) -> list[list[str]]:
    """Class, then its images per role; the last row has the totals."""
    counts = _class_counts(artifacts)
    rows = [
        [name, *(UNKNOWN if values is None else f"{values[index]:,}" for values in counts.values())]
        for index, name in enumerate(artifacts.dataset["class_names"])
    ]
    return [*rows, ["All", *(f"{artifacts.roles[role]:,}" for role in counts)]]


def _render(
    template: str,
    path: Path,
    context: Mapping[str, Any],
    *,
    autoescape: bool = False,
    finalize: Callable[[Any], Any] | None = None,
) -> None:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    path.write_text(environment.get_template(template).render(context), encoding="utf-8")


def _escape_markdown(value: Any) -> Any:
    """Text that Markdown shows as it is; what is `Markup` already passes."""
    return value if isinstance(value, Markup) else re.sub(r"[\r\n]+", " ", str(value)).translate(MARKDOWN_SIGNS)
