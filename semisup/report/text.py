"""How figures are written in sentences: percentages, intervals, p-values, durations."""

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from semisup.evaluation.keeping import times_held_out
from semisup.plots.choice import PROBES, WAYS
from semisup.wording import counted

UNKNOWN = "–"
MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|~$&"})


def percent(fraction: float | None) -> str:
    """A fraction as "97.1 %", with a no-break space; None as a dash. One decimal is what test images can tell apart."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.1f}\u00a0%"


def estimate(interval: Mapping[str, float]) -> tuple[str, str]:
    """An estimate and its interval."""
    low, high = 100 * interval["low"], 100 * interval["high"]
    return percent(interval["estimate"]), f"{low:.1f}\u00a0to\u00a0{high:.1f}\u00a0%"


def points(difference: float) -> str:
    """A signed difference in percentage points, with a true minus sign and no minus on a rounded zero."""
    text = f"{100 * difference:+.1f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def p_value(p: float) -> str:
    """ "p < 0.001", "p = 0.021" or "p = 0.34": two significant digits, and no false precision in the tail."""
    if p < 0.001:
        return "p\u00a0<\u00a00.001"
    if p < 0.0995:
        return f"p\u00a0=\u00a0{p:.2g}"
    return f"p\u00a0=\u00a0{p:.2f}" if p < 0.995 else "p\u00a0=\u00a01"


def shift(comparison: Mapping[str, Any]) -> str:
    """The paired difference of two models with its interval and McNemar's p, as a clause."""
    difference = comparison["difference"]
    return (
        f"the difference is {points(difference['estimate'])}\u00a0percentage points, 95\u00a0% interval "
        f"{points(difference['low'])} to {points(difference['high'])}; "
        f"McNemar {p_value(comparison['mcnemar']['p_value'])}"
    )


def duration(seconds: float) -> str:
    """ "1.5 s", "1 min 23 s" or "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes}\u00a0min" if hours else f"{minutes}\u00a0min {rest}\u00a0s"


def training_sentence(training: Mapping[str, Any]) -> str:
    """How a training ended, and which weights it kept."""
    if training.get("fit") == "probe":
        return _probe_sentence(training)
    if "fit" in training:
        who = "Student" if training["fit"] == "last_2_student" else "Baseline"
        pseudo = f" and {counted(training['pseudo_labels'], 'pseudo-label')}" if "pseudo_labels" in training else ""
        return (
            f"{who}: {WAYS[training['fit']]}, trained on all {counted(training['labels'], 'label')}{pseudo}; "
            f"{duration(training['seconds'])}."
        )
    end = (
        f"Stopped early after epoch {training['stopped_epoch']} of at most {training['max_epochs']}"
        if training["stopped_early"]
        else f"Ran {counted(training['stopped_epoch'], 'epoch')}"
    )
    if "steps" in training:
        end += f" and {counted(training['steps'], 'step')}"
    why = "the last one" if training.get("keep") == "last" else f"the best by validation {training['monitor']}"
    return (
        f"{end}, {duration(training['seconds'])}; kept the weights of epoch {training['best_epoch']}, {why} "
        f"(validation loss {training['best_validation_loss']:.3f}\u00a0nats, "
        f"accuracy {percent(training['best_validation_accuracy'])})."
    )


def _probe_sentence(training: Mapping[str, Any]) -> str:
    pseudo, who = "", "Baseline"
    if "pseudo_labels" in training:
        who = "Student"
        pseudo = (
            f" and {counted(training['pseudo_labels'], 'pseudo-label')}, accepted or not, which by their confidence "
            f"weigh as much as {training['pseudo_label_weight']:,.0f} sure ones"
        )
    return (
        f"{who}: a logistic regression (C = {training['inverse_regularization']:g}) on frozen features, "
        f"of {counted(training['labels'], 'label')}{pseudo}; {duration(training['seconds'])}."
    )


def choice_sentence(choice: Mapping[str, Any]) -> str:
    """What the held-out labels are for."""
    compared = {way["name"] for way in choice["ways"]} - {*PROBES}
    optimistic = " They were chosen on these labels, so their figures are a little optimistic." if compared else ""
    best, student = (WAYS[model if choice[model] == "probe" else choice[model]] for model in ("baseline", "student"))
    return (
        f"Each of {counted(choice['kept']['images'], 'label')} was held out {times_held_out(choice['kept'])}, and "
        f"every way to "
        "learn was asked about those that it had not seen. The best of those that learn from labels alone is the "
        f"baseline ({best}); the best of those that learn from the graph's labels, too, is the student ({student})."
        f"{optimistic} In the end both learn from every label."
    )


def choice_rows(choice: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """A row for each way to learn: what it is, held-out labels right, their interval, CPU seconds; or why not."""
    seconds = choice["cpu_seconds"]
    rows = [
        (
            WAYS[way["name"]],
            percent(way["accuracy"]),
            f"{100 * way['low']:.1f} to {percent(way['high'])}",
            f"{seconds[way['name']]:.1f}",
        )
        for way in choice["ways"]
    ]
    return rows + [
        (WAYS[name], UNKNOWN, f"left out: {why}", f"some {seconds[name]:,.0f}" if seconds[name] >= 0.5 else UNKNOWN)
        for name, why in choice["left_out"].items()
    ]


def code_in_html(sentence: str) -> Markup:
    """A sentence whose `commands` are set as code."""
    parts = sentence.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def code_in_markdown(sentence: str) -> Markup:
    """The same: what is between backticks stays as it is, all else is escaped."""
    parts = sentence.split("`")
    return Markup("`").join(
        Markup(part) if number % 2 else Markup(escape_markdown(part)) for number, part in enumerate(parts)
    )


def escape_markdown(value: Any) -> Any:
    """Text that Markdown shows as it is; what is `Markup` already passes."""
    return value if isinstance(value, Markup) else re.sub(r"[\r\n]+", " ", str(value)).translate(MARKDOWN_SIGNS)
