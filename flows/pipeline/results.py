"""What a flow ends with, and a pipeline as JSON, as a table and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semisup.tracking.places.stored import StoredRun

SINGLE = ("baseline_test_accuracy", "student_test_accuracy", "test_accuracy_difference")
COMPOUND = ("baseline_compound_accuracy", "student_compound_accuracy", "compound_accuracy_difference")

VALIDATION = ("student_kept", "baseline_validation_accuracy", "student_validation_accuracy")
CPU_SECONDS = "cpu_seconds"
"""What the processors worked for a stage; of a reused one, what they once did."""
UNKNOWN = "?"
AFTERWARDS = ("keep", "calibrate-kept", "labels", "evaluate", "promote")
"""Steps that make no model, but judge or ask those that are there."""


@dataclass(frozen=True)
class StageResult:
    """One step: its MLflow run, what it left, how long it took, its figures."""

    run_id: str
    output_digest: str
    seconds: float
    figures: Mapping[str, float]
    reused: bool = False

    @classmethod
    def of(cls, run: StoredRun, seconds: float) -> "StageResult":
        """A finished run that is reused; `seconds` is what finding and checking it took."""
        return cls(run.id, run.tags["output_digest"], seconds, run.metrics, reused=True)


@dataclass(frozen=True)
class FlowResult:
    """What every flow ends with: its MLflow run, how long it took, its steps."""

    run_id: str
    seconds: float
    stages: Mapping[str, StageResult]
    """By name of the step, in the order in which they ran."""

    def told(self, **about: Any) -> dict[str, Any]:
        """How the JSON object begins that a command prints; `about` stands before the steps."""
        stages = {
            name: {"run_id": stage.run_id, "seconds": round(stage.seconds, 3), "reused": stage.reused}
            for name, stage in self.stages.items()
        }
        return {"run_id": self.run_id, "seconds": round(self.seconds, 3), **about, "stages": stages}


@dataclass(frozen=True)
class PipelineResult(FlowResult):
    """That of a pipeline."""

    verdict: str
    report: str
    """Where the report is: a path for a local store, else an MLflow address."""
    page: str
    """Address of the run's page in MLflow."""
    champion: str | None
    """What was decided about the champion, and why; None where nothing was to be decided."""

    def figures(self) -> dict[str, float]:
        """The key figures: fractions, a p-value, and the CPU seconds of all stages that make the model.

        Those of pseudo-labels are of the final ones, which the kept model gave. Absent are the precision where the
        truth is unknown, a threshold that was not found, accuracies on compound images where none were asked for,
        and CPU seconds where a reused stage did not yet count them.
        """
        evaluate, labels = self.stages["evaluate"].figures, self.stages["labels"].figures
        figures = {name: evaluate[name] for name in [*_with_ends(*SINGLE), "mcnemar_p"]}
        figures |= {
            f"pseudo_label_{name}": labels[name] for name in ["coverage", *_with_ends("precision")] if name in labels
        }
        calibrate = self.stages.get("calibrate-kept")
        if calibrate is not None and calibrate.figures.get("certified"):
            figures["certified_threshold"] = calibrate.figures["threshold"]
        if calibrate is not None and calibrate.figures.get("fdr_controlled"):
            figures["fdr_threshold"] = calibrate.figures["threshold"]
        making = [step.figures for name, step in self.stages.items() if name not in AFTERWARDS]
        if all(CPU_SECONDS in step for step in making):
            figures[CPU_SECONDS] = round(sum(step[CPU_SECONDS] for step in making), 3)
        figures |= {name: evaluate[name] for name in VALIDATION if name in evaluate}
        return figures | {name: evaluate[name] for name in _with_ends(*COMPOUND) if name in evaluate}

    def as_json(self) -> dict[str, Any]:
        """The one JSON object that `semisup run --json` prints."""
        return self.told() | {
            "verdict": self.verdict,
            "champion": self.champion,
            "report": self.report,
            "page": self.page,
            **self.figures(),
        }

    @property
    def headline(self) -> str:
        """Test accuracies, verdict, coverage and precision, in percent: MLflow shows 17 letters of a run's name."""
        labels = self.pseudo_labels
        right = f"{100 * labels['precision']:.0f}" if "precision" in labels else UNKNOWN
        return f"{compared(self.figures(), 'student', self.verdict)} {100 * labels['coverage']:.0f}/{right} %"

    @property
    def pseudo_labels(self) -> dict[str, float]:
        """Coverage and, where the truth is known, precision; so short a name heads a column of MLflow's table."""
        figures = self.stages["labels"].figures
        return {name: figures[name] for name in ("coverage", "precision") if name in figures}

    @property
    def kept(self) -> StageResult:
        """The stage that trained the model that the validation images, or held-out labels, speak for."""
        student = [step for name, step in self.stages.items() if name.startswith("joint")][-1]
        return student if self.figures().get("student_kept", 1.0) else self.stages["baseline"]

    def markdown(self) -> str:
        """The summary table that the flow publishes in Prefect and in MLflow."""
        lines = ["| figure | value | 95 % interval |", "| --- | ---: | ---: |"]
        lines += [f"| {label} | {value} | {interval} |" for label, value, interval in rows(self.as_json())]
        return "\n".join(lines) + "\n"

    def links(self, kept: str, table: str) -> str:
        """Where more is to be seen, a line for pages elsewhere: `kept` is the kept model's run, `table` all runs."""
        places = f"[This run in MLflow]({self.page}) · [the model to keep]({kept}) · [all runs]({table})"
        return f"{places} · report: `{self.report}`\n"


def compared(figures: Mapping[str, float], other: str, verdict: str) -> str:
    """Test accuracies of baseline and another model in percent, between them an arrow that tells the verdict."""
    arrow = {f"{other} better": "↗", "baseline better": "↘"}.get(verdict, "→")
    return f"{100 * figures['baseline_test_accuracy']:.1f}{arrow}{100 * figures[f'{other}_test_accuracy']:.1f}"


def last_tags(verdict: str, stages: Mapping[str, StageResult]) -> dict[str, str]:
    """What the run of a flow says of itself at its good end."""
    return {
        "verdict": verdict,
        "reused": " ".join(n for n, stage in stages.items() if stage.reused),
        "complete": "true",
    }


def rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(label, value, interval) of every line in the result table of a pipeline's JSON result."""

    def interval(name: str, spec: str = ".1%") -> str:
        if f"{name}_low" not in result:
            return ""
        return f"{result[f'{name}_low']:{spec}} … {result[f'{name}_high']:{spec}}"

    def share(label: str, name: str, spec: str = ".1%") -> tuple[str, str, str]:
        return label, f"{result[name]:{spec}}", interval(name, spec)

    table = [
        share("Baseline, test accuracy", "baseline_test_accuracy"),
        share("Student, test accuracy", "student_test_accuracy"),
        share("Difference, student − baseline", "test_accuracy_difference", "+.1%"),
        ("McNemar p", f"{result['mcnemar_p']:.3g}", result["verdict"]),
        *_kept(result),
        ("Pseudo-labels accepted", f"{result['pseudo_label_coverage']:.1%}", ""),
    ]
    if "pseudo_label_precision" in result:
        table.append(share("Pseudo-labels right", "pseudo_label_precision"))
    if "certified_threshold" in result:
        table.append(("Certified threshold", f"{result['certified_threshold']:g}", ""))
    if "fdr_threshold" in result:
        table.append(("Threshold by the FDR", f"{result['fdr_threshold']:g}", ""))
    if "baseline_compound_accuracy" in result:
        table += [
            share("Baseline, compound images", "baseline_compound_accuracy"),
            share("Student, compound images", "student_compound_accuracy"),
            share("Difference, compound images", "compound_accuracy_difference", "+.1%"),
        ]
    return table


def _kept(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Which model the validation images, or labels that were held out in turn, speak for."""
    if "student_kept" not in result:  # evaluated before it was asked
        return []
    judges = "held-out labels" if "choose" in result["stages"] else "validation"
    figures = [f"{name} {result[f'{name}_validation_accuracy']:.1%}" for name in ("baseline", "student")]
    return [("Model to keep", "student" if result["student_kept"] else "baseline", f"{judges}: " + ", ".join(figures))]


def _with_ends(*names: str) -> list[str]:
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
