"""Stage `promote`: does the new model become the champion? It opens no image, only what `evaluate` predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.evaluation.scores import (
    SIGNIFICANCE_LEVEL,
    Interval,
    Labels,
    accuracy_interval,
    mcnemar,
    paired_difference,
    renumbered,
)
from semisup.pipeline.log import StageLog
from semisup.pipeline.plan import CHAMPION
from semisup.system.json_files import read_json, write_json
from semisup.wording import counted

Model: TypeAlias = Literal["student", "baseline"]
ABOUT = "this is about these trained networks; `semisup benchmark` asks what a method is worth over seeds"
CLASSES = "classes.json"
NO_CLASS = -1
"""The label of an image of a class that the champion does not know: whatever it said, it would be wrong."""
MOST_NAMED = 5


@dataclass(frozen=True)
class Decision:
    """Who is the champion from now on, and why: `decision.json`."""

    challenger: Model
    """The one of the two that the validation images speak for (`kept` in `metrics.json`)."""
    challenger_accuracy: Interval
    test_images: int
    reason: str
    """One sentence for people, without its full stop."""
    promoted: bool = False
    model: Model | None = None
    """The challenger if it was promoted, else None."""
    against: Literal["champion"] | Model | None = None
    """Whom the challenger was compared with: the champion; the other model, where there is none or that one won; None:
    nobody."""
    mcnemar_p: float | None = None
    """Of the exact two-sided test, as all figures below None where nothing could be compared."""
    compared_images: int | None = None
    """Test images on which champion and challenger were compared, None without a champion or a comparison."""
    only_champion_right: int | None = None
    """Test images, None without a champion; so is the next one."""
    only_challenger_right: int | None = None
    difference: Interval | None = None
    """Accuracy of the challenger minus that of whom it was compared with."""


@dataclass(frozen=True, eq=False)
class Champion:
    """How the champion did on the test images of its time."""

    predictions: pd.DataFrame
    """id, truth, label, in any order."""
    classes: Sequence[str]
    """The names of these labels; where a class was added since, the same numbers mean others now."""

    @classmethod
    def read(cls, folder: Path, classes: Sequence[str]) -> "Champion":
        """Of a `promote` run's folder; one that does not name its classes had these."""
        file = folder / CLASSES
        named = read_json(file) if file.exists() else classes
        return cls(pd.read_parquet(folder / "predictions.parquet"), named)

    def write(self, folder: Path) -> None:
        """Save for the next one that is judged against it."""
        self.predictions.to_parquet(folder / "predictions.parquet", index=False)
        write_json(folder / CLASSES, list(self.classes))

    def numbered_as(self, classes: Sequence[str]) -> pd.DataFrame | None:
        """Its predictions with the numbers of these classes, −1 for one that is not among them.

        None where both have classes that the other has not: they answered different questions.
        """
        if not (set(self.classes) <= set(classes) or set(classes) <= set(self.classes)):
            return None
        truth, label = (
            renumbered(self.predictions[column].to_numpy(), self.classes, classes) for column in ("truth", "label")
        )
        return self.predictions.assign(truth=truth, label=label)


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `decision.json`, and of the champion from now on, if any, `predictions.parquet` (id, truth, label) and
    `classes.json`, the names of its labels.

    `champion` among the inputs is the folder of the `promote` run that made the present champion.

    The test answers for one comparison. Who promotes again and again on the same test images selects on them: each
    time a model that is no better has up to a 5 % chance of being promoted, and a champion's test accuracy is that of
    a winner, so it is optimistic. A figure to quote needs test images that have decided nothing.
    """
    tested = pd.read_parquet(inputs["evaluate"] / "predictions.parquet")
    metrics = read_json(inputs["evaluate"] / "metrics.json")
    if (kept := metrics.get("kept")) is None:
        raise UserError(
            "that evaluation dates from before the model to keep was chosen on validation images; run `evaluate` again"
        )
    names = [row["name"] for row in metrics["student"]["per_class"]]
    champion = Champion.read(inputs[CHAMPION], names) if CHAMPION in inputs else None
    lead = kept["student_validation_accuracy"] - kept["baseline_validation_accuracy"]
    decision = decide(
        tested,
        names,
        champion,
        kept["model"],
        validation_lead=lead if kept["model"] == "student" else -lead,
        registered=config.promote.model or config.name,
        judges=kept.get("judges", "validation images"),
    )
    best = champion
    if decision.promoted:
        best = Champion(tested[["id", "truth"]].assign(label=tested[f"{decision.model}_label"]), names)
    write_json(out_dir / "decision.json", asdict(decision))
    if best is not None:
        best.write(out_dir)
    log.metrics(_figures(decision))
    log.info(decision.reason)
    log.info(ABOUT)


def decide(
    tested: pd.DataFrame,
    classes: Sequence[str],
    champion: Champion | None,
    kept: Model,
    *,
    validation_lead: float,
    registered: str,
    judges: str = "validation images",
) -> Decision:
    """The challenger becomes the champion where it loses to nobody: not to the other model, not to the champion.

    To the other model it loses where the paired test on the test images shows that one to be better, or where it is
    behind on the validation images and on the test images. The champion has to be shown to be worse, but for one that
    does not know a class: see :func:`_against_champion`.

    Args:
        tested: id, truth, baseline_label, student_label of the test images.
        classes: the names of their labels.
        champion: None: there is none. The two are compared on the images that both were tested on, and on those of
            classes that the champion does not know.
        kept: the challenger, as validation images chose it. Chosen on the test images it would be the winner of two,
            and its test accuracy optimistic.
        validation_lead: its accuracy on the validation images minus the other's.
        registered: Name of the registered model, for the reason.
        judges: what chose the challenger, for the reason.
    """
    truth, labels = tested["truth"].to_numpy(), tested[f"{kept}_label"].to_numpy()
    other: Model = "baseline" if kept == "student" else "student"
    right = accuracy_interval(int((labels == truth).sum()), len(truth))
    decision = Decision(kept, right, len(truth), reason="")

    between = _compare(decision, other, truth, tested[f"{other}_label"].to_numpy(), labels)
    if defeat := _defeat(between, validation_lead, judges):
        stays = "nobody is crowned" if champion is None else "the champion stays"
        return replace(between, reason=f"{defeat}; {stays}")
    if champion is None:
        reason = f"there was no champion before; {between.reason}"
        return replace(between, promoted=True, model=kept, reason=reason)
    return _against_champion(decision, tested, classes, champion, registered)


def _defeat(between: Decision, validation_lead: float, judges: str) -> str:
    """How the challenger lost to the other model, "" where it did not: `between` compares them on the test images."""
    challenger, other, difference = between.challenger, between.against, between.difference
    assert difference is not None
    assert between.mcnemar_p is not None
    if difference.estimate < 0 and validation_lead < 0:
        return (
            f"the {challenger} has fewer images right than the {other}, on the {judges} by "
            f"{-validation_lead:.1%} and on the test images by {-difference.estimate:.1%} (p = {between.mcnemar_p:.2g})"
        )
    if difference.estimate < 0 and between.mcnemar_p < SIGNIFICANCE_LEVEL:
        return f"{judges} chose the {challenger}, but on the test images {between.reason}; use more to validate with"
    return ""


def _against_champion(
    decision: Decision, tested: pd.DataFrame, classes: Sequence[str], champion: Champion, registered: str
) -> Decision:
    """Promoted where the paired test shows the challenger to be better than the champion.

    Where it knows classes that the champion does not, and there are test images of these, about which a champion can
    only be wrong, it is promoted unless the test shows it to be worse: on all images, or on those of the classes that
    both know.
    """
    then = champion.numbered_as(classes)
    common = _in_common(tested, then) if then is not None else None
    if common is None:
        what = "was tested on other images" if then is not None else "knows other classes"
        return replace(
            decision,
            reason=f"promote.model={registered!r}: its champion {what}, so the figures cannot be compared and the "
            "champion stays; choose another promote.model for these images",
        )
    added = [name for name in classes if name not in champion.classes]
    foreign = tested[tested["truth"].isin([classes.index(name) for name in added]) & ~tested["id"].isin(common["id"])]
    asked = pd.concat([common, foreign.assign(label=NO_CLASS)], ignore_index=True)
    if _is_better(*_labels_of(common, decision.challenger)):  # whatever else the challenger knows
        asked, foreign = common, foreign.iloc[:0]
    truth, incumbent, labels = _labels_of(asked, decision.challenger)
    decision = _compare(replace(decision, compared_images=len(asked)), "champion", truth, incumbent, labels)
    if len(common) < max(len(tested), len(champion.predictions)):
        more = f" and {len(foreign):,} of classes that the champion does not know" if len(foreign) else ""
        on = f"on the {counted(len(common), 'test image')} that both had{more}"
        decision = replace(decision, reason=f"{decision.reason}, {on}")
    test = mcnemar(truth, incumbent, labels)
    decision = replace(
        decision, only_champion_right=test.only_first_right, only_challenger_right=test.only_second_right
    )
    if _is_better(truth, labels, incumbent):
        return replace(decision, promoted=True, model=decision.challenger)
    if len(foreign) and not _is_better(truth, incumbent, labels):
        reason = f"{decision.reason}; it knows {', '.join(map(repr, added[:MOST_NAMED]))}, which the champion does not"
        return replace(decision, promoted=True, model=decision.challenger, reason=reason)
    return replace(decision, reason=f"{decision.reason}; the champion stays")


def _labels_of(tested: pd.DataFrame, challenger: Model) -> tuple[Labels, Labels, Labels]:
    """Truth, and what the champion and its challenger said."""
    return tested["truth"].to_numpy(), tested["label"].to_numpy(), tested[f"{challenger}_label"].to_numpy()


def _in_common(tested: pd.DataFrame, champion: pd.DataFrame) -> pd.DataFrame | None:
    """The images on which both were tested, in the order of `tested`, with the champion's `label`.

    None where they are fewer than half of the champion's, or the truth of one is another by now. Of one's own images,
    test images come and go, and a champion shall not reign for ever because they do.
    """
    common = tested.merge(champion, on="id", suffixes=("", "_then"), validate="one_to_one")
    if 2 * len(common) < len(champion) or (common["truth"] != common["truth_then"]).any():
        return None
    return common


def _is_better(truth: Labels, first: Labels, second: Labels) -> bool:
    """Does the exact test show that the first is right more often than the second?"""
    test = mcnemar(truth, first, second)
    return test.p_value < SIGNIFICANCE_LEVEL and test.only_first_right > test.only_second_right


def _compare(
    decision: Decision, against: Literal["champion"] | Model, truth: Labels, opponent: Labels, labels: Labels
) -> Decision:
    """The decision with the figures of the challenger's labels against the opponent's, and what they say."""
    challenger, p_value = decision.challenger, mcnemar(truth, opponent, labels).p_value
    if (opponent == labels).all():
        reason = f"this {challenger} and {_named(against)} give every test image the same label"
    elif _is_better(truth, labels, opponent):
        reason = f"this {challenger} is better than {_named(against)}, p = {p_value:.2g}"
    elif _is_better(truth, opponent, labels):
        reason = f"{_named(against)} is better than this {challenger}, p = {p_value:.2g}"
    else:
        reason = f"no difference shown between this {challenger} and {_named(against)}, p = {p_value:.2g}"
    difference = paired_difference(truth, opponent, labels)
    return replace(decision, reason=reason, against=against, mcnemar_p=p_value, difference=difference)


def _named(model: Literal["champion"] | Model) -> str:
    """There is one champion, but another seed would train another student."""
    return "the champion" if model == "champion" else f"this {model}"


def _figures(decision: Decision) -> dict[str, float]:
    figures = {
        "promoted": float(decision.promoted),
        "challenger_test_accuracy": decision.challenger_accuracy.estimate,
    }
    if decision.mcnemar_p is None or decision.difference is None:
        return figures
    return figures | {
        "mcnemar_p": decision.mcnemar_p,
        "test_accuracy_difference": decision.difference.estimate,
        "test_accuracy_difference_low": decision.difference.low,
        "test_accuracy_difference_high": decision.difference.high,
    }
