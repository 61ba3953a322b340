"""An ensemble on its own, as a Prefect flow: members are trained and held against the baseline on the test images."""

from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.parallel.members import check_cluster
from flows.pipeline.flow import checked_config, open_store, run_steps, verdict_of
from flows.pipeline.reaper import reap_at_start
from flows.pipeline.recorder import publish_markdown
from flows.pipeline.results import FlowResult, compared, last_tags
from flows.start.launch import Begun
from flows.start.run_names import named_by_parameters
from flows.start.workplace import scratch_folder
from semisup.config import PipelineConfig
from semisup.pipeline.plan import ensemble_plan
from semisup.pipeline.specs import StageName
from semisup.tracking.places.failures import store_failures
from semisup.wording import counted

FLOW = "ensemble-flow"
"""What the flow's own run is tagged with, where a stage's run has its stage."""
FIGURES = (
    "baseline_test_accuracy",
    "baseline_test_accuracy_low",
    "baseline_test_accuracy_high",
    "mean_member_test_accuracy",
    "lowest_member_test_accuracy",
    "highest_member_test_accuracy",
    "ensemble_test_accuracy",
    "ensemble_test_accuracy_low",
    "ensemble_test_accuracy_high",
    "test_accuracy_difference",
    "test_accuracy_difference_low",
    "test_accuracy_difference_high",
    "mcnemar_p",
    "baseline_training_seconds",
    "ensemble_training_seconds",
)


@flow(name="semisup-ensemble", flow_run_name=named_by_parameters(ending="-ensemble"), validate_parameters=True)
def ensemble(
    config: PipelineConfig, force: list[StageName] | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Split, baseline, the members of `ensemble`, their combination, and the test images; the result as JSON values.

    Steps whose result is in the store already are reused, those of a pipeline with the same config among them.

    Args:
        config: Everything that decides the run.
        force: Stages to run anew even though their result is there, such as `member`.
        overrides: What the command line set on top of the config's file, as `key=value`: the config holds it, and names
            of runs tell it.
    """
    begun = Begun.now(config, overrides)
    checked = checked_config(config)
    tracker = open_store(config.tracking.experiment)
    with store_failures(tracker.uri):
        reap_at_start(tracker, config, get_run_logger())
        with scratch_folder(config):  # looked at before a run is written: a mistake leaves none
            pass
        steps = ensemble_plan(config)
        check_cluster(config.runtime, steps)
        with tracker.run(name := begun.name("-ensemble"), begun.tags(stage=FLOW, step=FLOW)) as run:
            run.log_config(config)
            run.log_dataset(config, checked.digests.version)
            stages = run_steps(tracker, config, checked.digests, steps, run, force=force or [])
            verdict = verdict_of(tracker, stages["evaluate_ensemble"])
            result = _Result(run.id, begun.seconds, stages, config, verdict, tracker.link(run.id))
            run.rename(f"{compared(result.figures(), 'ensemble', verdict)} % {name}")
            described = begun.described(result.markdown())
            tracker.show_figures()
            run.conclude(result.figures(), last_tags(verdict, stages), described)
    publish_markdown(key="semisup-ensemble-summary", markdown=described, description=config.name)
    return result.as_json()


@dataclass(frozen=True)
class _Result(FlowResult):
    config: PipelineConfig
    verdict: str
    page: str

    def figures(self) -> dict[str, float]:
        figures = self.stages["evaluate_ensemble"].figures
        return {name: figures[name] for name in FIGURES}

    def as_json(self) -> dict[str, Any]:
        how = self.config.ensemble
        told = self.told(method=how.method, members=how.members)
        return told | {"verdict": self.verdict, "page": self.page} | self.figures()

    def markdown(self) -> str:
        lines = ["| figure | value | 95 % interval |", "| --- | ---: | --- |"]
        lines += [f"| {label} | {value} | {interval} |" for label, value, interval in rows(self.as_json())]
        return "\n".join(lines) + "\n"


def rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(label, value, interval) of every line in the result table of the flow's JSON result.

    The mean of the members has no interval, for they answer the same images: the lowest and the highest stand there.
    """

    def shares(name: str, low: str = "", high: str = "", spec: str = ".1%") -> str:
        return f"{result[low or f'{name}_low']:{spec}} … {result[high or f'{name}_high']:{spec}}"

    members, method = result["members"], result["method"]
    return [
        ("Baseline, test accuracy", f"{result['baseline_test_accuracy']:.1%}", shares("baseline_test_accuracy")),
        (
            f"A member alone, mean of {members}",
            f"{result['mean_member_test_accuracy']:.1%}",
            f"members {shares('', 'lowest_member_test_accuracy', 'highest_member_test_accuracy')}",
        ),
        (f"Ensemble ({method})", f"{result['ensemble_test_accuracy']:.1%}", shares("ensemble_test_accuracy")),
        (
            "Difference, ensemble − baseline",
            f"{result['test_accuracy_difference']:+.1%}",
            shares("test_accuracy_difference", spec="+.1%"),
        ),
        ("McNemar p", f"{result['mcnemar_p']:.3g}", result["verdict"]),
        ("Training, baseline", f"{result['baseline_training_seconds']:.1f} s", "one model"),
        (
            "Training, ensemble",
            f"{result['ensemble_training_seconds']:.1f} s",
            f"sum of {counted(members, 'member')}, each on one CPU thread",
        ),
    ]
