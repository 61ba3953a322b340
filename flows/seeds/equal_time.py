"""Supervised training for as long as all of a pipeline's training takes: what pseudo-labels must be better than."""

from semisup.budget import Budget
from semisup.config import PipelineConfig
from semisup.errors import UserError


def overrides_for(seconds: float) -> tuple[str, ...]:
    """Changes that give the baseline all of the CPU time; the student then takes one step, and nobody looks at it.

    Labels alone are learned by heart when time is long: the epoch of the highest validation accuracy is kept, of equals
    that of the least loss. By the loss alone it would often be the first one, as docs/results/recipes.md shows.
    """
    return (
        f"baseline.budget={round(seconds, 3)}s",
        "baseline.epochs=20",
        "baseline.early_stopping.keep=best",
        "baseline.early_stopping.monitor=accuracy",
        "baseline.early_stopping.min_delta=0",
        "baseline.early_stopping.patience=1000",
        "rounds=1",
        "joint.budget=1 steps",
        "joint.epochs=1",
        "joint.ramp_start=0",
        "joint.ramp_end=0",
    )


def training_seconds(config: PipelineConfig) -> float:
    """CPU seconds in which baseline and students train.

    Raises:
        UserError: the config does not say so.
    """
    seconds = []
    for stage, text in (("baseline", config.baseline.budget), ("joint", config.joint.budget)):
        budget = Budget.parse(text) if text else None
        if budget is None or budget.unit != "CPU seconds":
            raise UserError(
                f"--equal-time, but {stage}.budget={text or 'unset'}; give baseline.budget and joint.budget in CPU "
                "time, such as 60s"
            )
        seconds.append(budget.amount)
    return seconds[0] + config.students * seconds[1]
