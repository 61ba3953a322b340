"""What a pipeline run ends with, as JSON, as a table and as Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StageResult:
    """One stage: its MLflow run, how long it took, its figures."""

    run_id: str
    seconds: float
    figures: Mapping[str, float]
    reused: bool = False


@dataclass(frozen=True)
class PipelineResult:
    """All stages of one pipeline run."""

    run_id: str
    seconds: float
    stages: Mapping[str, StageResult]
    verdict: str
    report: str
    """Where the report is: a path for a local store, else an MLflow address."""
    page: str
    """Address of the run's page in MLflow."""

    def figures(self) -> dict[str, float]:
        """The key figures: fractions, and a p-value. Precision is absent where the truth is unknown."""
        evaluate, pseudo = self.stages["evaluate"].figures, self.stages["pseudo_label"].figures
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
