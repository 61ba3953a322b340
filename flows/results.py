"""What a pipeline run ends with, as JSON, as a table and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semisup.tracking.stored import StoredRun


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
class PipelineResult:
    """All stages of one pipeline run."""

    run_id: str
    seconds: float
    stages: Mapping[str, StageResult]
    """By name of the step, in the order in which they ran."""
    verdict: str
    report: str
    """Where the report is: a path for a local store, else an MLflow address."""
    page: str
    """Address of the run's page in MLflow."""
    champion: str | None
    """What was decided about the champion, and why; None where nothing was to be decided."""

    def figures(self) -> dict[str, float]:
        """The key figures: fractions, and a p-value. Precision is absent where the truth is unknown."""
        last = [stage for name, stage in self.stages.items() if name.startswith("pseudo_label")][-1]
        evaluate, pseudo = self.stages["evaluate"].figures, last.figures
        names = [
            f"{start}{end}"
            for start in ("baseline_test_accuracy", "student_test_accuracy", "test_accuracy_difference")
            for end in ("", "_low", "_high")
        ]
        figures = {name: evaluate[name] for name in [*names, "mcnemar_p"]}
        return figures | {
            f"pseudo_label_{name}": pseudo[name]
            for name in ("coverage", "precision", "precision_low", "precision_high")
            if name in pseudo
        }

    def as_json(self) -> dict[str, Any]:
        """The one JSON object that `semisup run --json` prints."""
        return {
            "run_id": self.run_id,
            "seconds": round(self.seconds, 3),
            "stages": {
                name: {"run_id": stage.run_id, "seconds": round(stage.seconds, 3), "reused": stage.reused}
                for name, stage in self.stages.items()
            },
            "verdict": self.verdict,
            "champion": self.champion,
            "report": self.report,
            "page": self.page,
            **self.figures(),
        }

    def markdown(self) -> str:
        """The summary table that the flow publishes in Prefect."""
        lines = ["| figure | value | 95 % interval |", "| --- | ---: | ---: |"]
        lines += [f"| {label} | {value} | {interval} |" for label, value, interval in rows(self.as_json())]
        return "\n".join(lines) + "\n"


def rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(label, value, interval) of every line in the result table of a pipeline's JSON result."""

    def interval(name: str, spec: str = ".2%") -> str:
        if f"{name}_low" not in result:
            return ""
        return f"{result[f'{name}_low']:{spec}} … {result[f'{name}_high']:{spec}}"

    table = [
        ("Baseline, test accuracy", f"{result['baseline_test_accuracy']:.2%}", interval("baseline_test_accuracy")),
        ("Student, test accuracy", f"{result['student_test_accuracy']:.2%}", interval("student_test_accuracy")),
        (
            "Difference, student − baseline",
            f"{result['test_accuracy_difference']:+.2%}",
            interval("test_accuracy_difference", "+.2%"),
        ),
        ("McNemar p", f"{result['mcnemar_p']:.3g}", result["verdict"]),
        ("Pseudo-labels accepted", f"{result['pseudo_label_coverage']:.1%}", ""),
    ]
    if "pseudo_label_precision" in result:
        table.append(
            ("Pseudo-labels right", f"{result['pseudo_label_precision']:.2%}", interval("pseudo_label_precision"))
        )
    return table
