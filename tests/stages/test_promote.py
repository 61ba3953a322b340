"""Promotion: every rule, with predictions made by hand so that scipy's binomial test knows the p-value."""

import json
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.stages.promote import ABOUT, Champion, Decision, decide, run
from tests.listening import Listener

CLASSES = ("cat", "dog", "emu")
IMAGES = 40
IDS = [f"toy/{number:02d}" for number in range(IMAGES)]
TRUTH = np.arange(IMAGES) % 3


def wrong_on(*images: int) -> np.ndarray:
    """Labels that are right but for these images."""
    labels = TRUTH.copy()
    labels[list(images)] = (labels[list(images)] + 1) % 3
    return labels


def evaluated(*, student: np.ndarray, baseline: np.ndarray) -> pd.DataFrame:
    """What `evaluate` leaves."""
    columns = {"id": IDS, "truth": TRUTH, "baseline_label": baseline, "baseline_confidence": 0.9}
    return pd.DataFrame(columns | {"student_label": student, "student_confidence": 0.9})


def champion_with(labels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"id": IDS, "truth": TRUTH, "label": labels})


def decided(
    predictions: pd.DataFrame,
    champion: pd.DataFrame | None = None,
    *,
    kept: Literal["student", "baseline"] = "student",
    validation_lead: float = 0.0,
) -> Decision:
    reigning = None if champion is None else Champion(champion, CLASSES)
    return decide(predictions, CLASSES, reigning, kept, validation_lead=validation_lead, registered="toys")


def p_of(only_one: int, only_other: int) -> Any:
    """The exact two-sided p-value, from scipy."""
    return pytest.approx(float(binomtest(only_one, only_one + only_other).pvalue))


BAD, GOOD = wrong_on(*range(10)), wrong_on(10)
"""10 errors and 1 error on different images: 10 against 1, p = 2 · 12 / 2^11 = 0.0117."""
FAIR = wrong_on(*range(4))
"""4 errors: against GOOD 4 to 1, p = 2 · 6 / 2^5 = 0.375."""


# --- without a champion -----------------------------------------------------------------------------------------------


def test_without_a_champion_a_better_student_is_promoted():
    decision = decided(evaluated(student=GOOD, baseline=BAD))
    assert (decision.promoted, decision.model, decision.challenger) == (True, "student", "student")
    assert decision.mcnemar_p == p_of(10, 1) == pytest.approx(24 / 2**11)
    assert decision.against == "baseline"
    assert decision.difference is not None
    assert decision.difference.estimate == pytest.approx(9 / 40)
    assert decision.difference.low > 0
    assert "no champion before; this student is better than this baseline, p = 0.012" in decision.reason


@pytest.mark.parametrize(("student", "baseline"), [(FAIR, GOOD), (GOOD, FAIR)])
def test_without_a_champion_and_a_difference_the_student_is_promoted(student, baseline):
    decision = decided(evaluated(student=student, baseline=baseline))
    assert (decision.promoted, decision.model) == (True, "student")
    assert decision.mcnemar_p == p_of(4, 1) == pytest.approx(0.375)
    assert "no difference shown between this student and this baseline, p = 0.38" in decision.reason


def test_without_a_champion_a_kept_baseline_is_promoted():
    decision = decided(evaluated(student=BAD, baseline=GOOD), kept="baseline")
    assert (decision.promoted, decision.model, decision.challenger) == (True, "baseline", "baseline")
    assert decision.against == "student"
    assert decision.mcnemar_p == p_of(10, 1)
    assert decision.difference is not None
    assert decision.difference.estimate == pytest.approx(9 / 40)  # the challenger's minus the other's
    assert decision.challenger_accuracy.estimate == pytest.approx(39 / 40)
    assert "this baseline is better than this student" in decision.reason


# --- nobody who loses is crowned --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["student", "baseline"])
@pytest.mark.parametrize("lead", [-0.2, 0.0, 0.2])
def test_the_first_champion_is_never_one_that_the_test_shows_to_be_worse(kept, lead):
    loser, winner = {kept: BAD}, {"student" if kept == "baseline" else "baseline": GOOD}
    decision = decided(evaluated(**loser, **winner), kept=kept, validation_lead=lead)
    assert (decision.promoted, decision.model, decision.challenger) == (False, None, kept)
    assert decision.mcnemar_p == p_of(10, 1)
    assert decision.against == next(iter(winner))
    assert decision.reason.endswith("nobody is crowned")


def test_what_validation_chose_and_the_test_refused_is_said():
    reason = decided(evaluated(student=BAD, baseline=GOOD), validation_lead=0.1).reason
    assert "validation images chose the student, but on the test images this baseline is better" in reason
    assert "use more to validate with" in reason


@pytest.mark.parametrize("champion", [None, wrong_on(*range(20))])
def test_who_is_behind_on_validation_and_on_test_is_not_crowned_however_little_that_shows(champion):
    new = evaluated(student=FAIR, baseline=GOOD)  # 4 errors against 1: p = 0.375
    reigning = None if champion is None else champion_with(champion)  # both of them beat it
    decision = decided(new, reigning, validation_lead=-0.01)
    assert (decision.promoted, decision.model, decision.against) == (False, None, "baseline")
    assert "on the validation images by 1.0% and on the test images by 7.5% (p = 0.38)" in decision.reason
    assert decided(new, reigning, validation_lead=0.0).promoted
    assert decided(evaluated(student=GOOD, baseline=FAIR), reigning, validation_lead=-0.01).promoted


def test_a_student_that_beats_the_champion_and_loses_to_its_own_baseline_leaves_the_champion():
    weak = champion_with(wrong_on(*range(20)))
    decision = decided(evaluated(student=BAD, baseline=GOOD), weak)
    assert decided(evaluated(student=BAD, baseline=BAD), weak).promoted
    assert not decision.promoted
    assert decision.reason.endswith("the champion stays")


@given(
    st.integers(0, 2**IMAGES - 1),
    st.integers(0, 2**IMAGES - 1),
    st.floats(-1, 1),
    st.sampled_from(["student", "baseline"]),
)
def test_no_crowned_model_has_lost_either_comparison(student_errors, baseline_errors, lead, kept):
    errors = {"student": student_errors, "baseline": baseline_errors}
    labels = {name: wrong_on(*(i for i in range(IMAGES) if bits >> i & 1)) for name, bits in errors.items()}
    decision = decided(evaluated(**labels), kept=kept, validation_lead=lead)
    other = "baseline" if kept == "student" else "student"
    only_ours, only_theirs = (errors[other] & ~errors[kept]).bit_count(), (errors[kept] & ~errors[other]).bit_count()
    shown = only_ours + only_theirs > 0 and binomtest(only_ours, only_ours + only_theirs).pvalue < 0.05
    loses = only_ours < only_theirs and (shown or lead < 0)
    assert decision.promoted is not loses


def test_where_nobody_is_crowned_no_predictions_are_left_for_a_champion(tmp_path):
    new = evaluated(student=BAD, baseline=GOOD)
    decision, predictions, ear = promoted_in(tmp_path, new)
    assert not decision["promoted"]
    assert predictions is None
    assert ear.lines == [decision["reason"], ABOUT]


def test_without_a_champion_nothing_is_counted_for_one():
    decision = decided(evaluated(student=GOOD, baseline=BAD))
    assert (decision.only_champion_right, decision.only_challenger_right) == (None, None)


# --- with a champion --------------------------------------------------------------------------------------------------


def test_a_student_shown_to_be_better_than_the_champion_is_promoted():
    decision = decided(evaluated(student=GOOD, baseline=FAIR), champion_with(BAD))
    assert (decision.promoted, decision.model, decision.against) == (True, "student", "champion")
    assert decision.mcnemar_p == p_of(10, 1)
    assert (decision.only_champion_right, decision.only_challenger_right) == (1, 10)
    assert decision.reason == "this student is better than the champion, p = 0.012"


def test_a_better_looking_student_is_not_promoted_while_no_difference_is_shown():
    decision = decided(evaluated(student=GOOD, baseline=FAIR), champion_with(FAIR))
    assert (decision.promoted, decision.model, decision.against) == (False, None, "champion")
    assert decision.mcnemar_p == p_of(4, 1)
    assert (decision.only_champion_right, decision.only_challenger_right) == (1, 4)
    assert decision.difference is not None
    assert decision.difference.estimate == pytest.approx(3 / 40)
    assert decision.reason == "no difference shown between this student and the champion, p = 0.38; the champion stays"


def test_a_better_champion_stays():
    decision = decided(evaluated(student=BAD, baseline=BAD), champion_with(GOOD))
    assert (decision.promoted, decision.model) == (False, None)
    assert decision.mcnemar_p == p_of(1, 10)
    assert decision.difference is not None
    assert decision.difference.high < 0
    assert decision.reason == "the champion is better than this student, p = 0.012; the champion stays"


def test_the_kept_baseline_is_the_challenger():
    decision = decided(evaluated(student=BAD, baseline=GOOD), champion_with(wrong_on(*range(9))), kept="baseline")
    assert (decision.promoted, decision.model, decision.challenger) == (True, "baseline", "baseline")
    assert decision.mcnemar_p == p_of(9, 1) == pytest.approx(22 / 2**10)


@pytest.mark.parametrize("kept", ["student", "baseline"])
def test_no_test_image_decides_who_is_the_challenger(kept):
    worse, better = evaluated(student=BAD, baseline=GOOD), evaluated(student=GOOD, baseline=BAD)
    assert {decided(predictions, kept=kept).challenger for predictions in (worse, better)} == {kept}


@pytest.mark.parametrize(("errors", "promoted"), [(5, False), (6, True)])
def test_the_border_of_promotion_is_five_percent(errors, promoted):
    # Right on k images more and nowhere worse: p = 2 / 2^k, 0.0625 for five and 0.03125 for six.
    decision = decided(evaluated(student=TRUTH, baseline=TRUTH), champion_with(wrong_on(*range(errors))))
    assert decision.mcnemar_p == pytest.approx(2 / 2**errors)
    assert decision.promoted is promoted


def test_identical_predictions_leave_the_champion():
    decision = decided(evaluated(student=FAIR, baseline=FAIR), champion_with(FAIR))
    assert (decision.promoted, decision.model, decision.mcnemar_p) == (False, None, 1.0)
    assert (decision.only_champion_right, decision.only_challenger_right) == (0, 0)
    assert "same label" in decision.reason
    assert "the champion stays" in decision.reason


def test_images_are_matched_by_id_whatever_the_order_of_rows():
    new, old = evaluated(student=GOOD, baseline=FAIR), champion_with(BAD)
    shuffled = old.sample(frac=1, random_state=0).reset_index(drop=True)
    assert shuffled["id"].tolist() != IDS
    assert decided(new, shuffled) == decided(new, old)


# --- a champion of other images ---------------------------------------------------------------------------------------


def others(change: str) -> pd.DataFrame:
    champion = champion_with(BAD)
    match change:
        case "fewer images":
            return champion.iloc[:-1]
        case "more images":
            return pd.concat([champion, champion.tail(1).assign(id="toy/more")], ignore_index=True)
        case "many more images":
            return champion.iloc[:4]  # of the challenger's they are a tenth
        case "another image":
            return champion.replace({"id": {"toy/07": "toy/other"}})
        case "mostly others":
            return champion.assign(id=[*champion["id"][: len(champion) // 2 - 1], *others_ids(len(champion) // 2 + 1)])
        case _:
            return champion.assign(truth=np.where(champion["id"] == "toy/07", 2, champion["truth"]))


def others_ids(count: int) -> list[str]:
    return [f"others/{number}" for number in range(count)]


@pytest.mark.parametrize("change", ["mostly others", "another truth"])
def test_a_champion_tested_on_other_images_stays_and_the_way_out_is_said(change):
    decision = decided(evaluated(student=GOOD, baseline=FAIR), others(change))
    assert (decision.promoted, decision.model, decision.against) == (False, None, None)
    assert (decision.mcnemar_p, decision.difference, decision.only_champion_right) == (None, None, None)
    assert "cannot be compared" in decision.reason
    assert "promote.model='toys'" in decision.reason
    assert "choose another promote.model" in decision.reason
    assert "\n" not in decision.reason


@pytest.mark.parametrize("change", ["fewer images", "more images", "many more images", "another image"])
def test_where_test_images_came_or_went_those_that_both_had_decide(change):
    new, champion = evaluated(student=GOOD, baseline=FAIR), others(change)
    both = sorted({*new["id"]} & {*champion["id"]})
    ours, theirs = new[new["id"].isin(both)], champion[champion["id"].isin(both)]
    alone = decided(ours, theirs)
    decision = decided(new, champion)
    assert decision.compared_images == len(both) == alone.compared_images
    for figure in ("promoted", "mcnemar_p", "difference", "only_champion_right", "only_challenger_right"):
        assert getattr(decision, figure) == getattr(alone, figure)
    assert f"on the {len(both)} test images that both had" in decision.reason
    assert "both had" not in alone.reason


# --- the stage --------------------------------------------------------------------------------------------------------


def promoted_in(
    folder: Path,
    predictions: pd.DataFrame,
    champion: Path | None = None,
    config: PipelineConfig | None = None,
    *,
    kept: str = "student",
    classes: tuple[str, ...] = CLASSES,
) -> tuple[dict[str, Any], Any, Listener]:
    """(decision, predictions if any are left, what was said) of the stage, run in a folder of its own."""
    (folder / "evaluate").mkdir(parents=True)
    predictions.to_parquet(folder / "evaluate" / "predictions.parquet")
    validated = {"student_validation_accuracy": 0.5, "baseline_validation_accuracy": 0.5}
    metrics = {"kept": {"model": kept, **validated}, "student": {"per_class": [{"name": name} for name in classes]}}
    (folder / "evaluate" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    out, ear = folder / "promote", Listener()
    out.mkdir()
    inputs = {"evaluate": folder / "evaluate"} | ({"champion": champion} if champion else {})
    run(config or PipelineConfig(), inputs, out, ear)
    decision = json.loads((out / "decision.json").read_text(encoding="utf-8"))
    left = out / "predictions.parquet"
    return decision, pd.read_parquet(left) if left.exists() else None, ear


def test_a_reign_of_three_pipelines(tmp_path):
    """Each next pipeline is judged against what the one before left, whoever won there."""
    first, predictions, ear = promoted_in(tmp_path / "1", evaluated(student=BAD, baseline=BAD))
    assert first["model"] == "student"
    assert ear.figures["promoted"] == 1
    pd.testing.assert_frame_equal(predictions, champion_with(BAD))

    second, predictions, ear = promoted_in(
        tmp_path / "2", evaluated(student=wrong_on(*range(8)), baseline=BAD), tmp_path / "1" / "promote"
    )
    assert (second["promoted"], second["model"]) == (False, None)  # 2 to 0: p = 0.5
    assert ear.figures["promoted"] == 0
    assert ear.figures["mcnemar_p"] == pytest.approx(0.5)
    assert ear.lines == [second["reason"], ABOUT]
    pd.testing.assert_frame_equal(predictions, champion_with(BAD))

    third, predictions, ear = promoted_in(
        tmp_path / "3", evaluated(student=GOOD, baseline=BAD), tmp_path / "2" / "promote"
    )
    assert (third["promoted"], third["only_challenger_right"], third["only_champion_right"]) == (True, 10, 1)
    assert ear.figures["test_accuracy_difference"] == pytest.approx(9 / 40)
    pd.testing.assert_frame_equal(predictions, champion_with(GOOD))


def renumbered(predictions: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The same answers about the same images, where the classes stand in another order."""
    place = np.array([classes.index(name) for name in CLASSES])
    numbers = [name for name in predictions if name.endswith("label") or name == "truth"]
    return predictions.assign(**{name: place[predictions[name]] for name in numbers})


@pytest.mark.parametrize("classes", [("emu", "dog", "cat"), ("ant", "cat", "cow", "dog", "emu")])
def test_a_champion_is_compared_by_the_names_of_classes_whose_numbers_have_shifted(tmp_path, classes):
    new = evaluated(student=GOOD, baseline=FAIR)
    plain, _, _ = promoted_in(tmp_path / "1", evaluated(student=BAD, baseline=BAD))
    before, _, _ = promoted_in(tmp_path / "2", new, tmp_path / "1" / "promote")
    after, _, _ = promoted_in(tmp_path / "3", renumbered(new, classes), tmp_path / "1" / "promote", classes=classes)
    assert plain["promoted"]
    assert after == before
    assert (after["promoted"], after["only_challenger_right"], after["only_champion_right"]) == (True, 10, 1)
    # And back again, where a class is gone that the champion may have named.
    back, _, _ = promoted_in(tmp_path / "4", evaluated(student=GOOD, baseline=FAIR), tmp_path / "3" / "promote")
    assert "give every test image the same label" in back["reason"]


def test_a_label_of_a_class_that_is_gone_is_wrong_and_no_other_class(tmp_path):
    of_five = champion_with(np.where(np.arange(IMAGES) < 10, 4, TRUTH))  # calls ten images what is no class any more
    new, classes = evaluated(student=TRUTH, baseline=TRUTH), ("cat", "dog", "emu", "fox", "gnu")
    decision = decide(new, CLASSES, Champion(of_five, classes), "student", validation_lead=0, registered="toys")
    assert (decision.only_challenger_right, decision.only_champion_right) == (10, 0)


def test_a_champion_of_classes_of_which_each_side_lacks_some_cannot_be_compared():
    new = evaluated(student=GOOD, baseline=FAIR)
    decision = decide(
        new,
        CLASSES,
        Champion(champion_with(BAD), ("cat", "dog", "fox")),
        "student",
        validation_lead=0,
        registered="toys",
    )
    assert not decision.promoted
    assert (
        "promote.model='toys': its champion knows other classes, so the figures cannot be compared" in decision.reason
    )


def with_fox(labels, known):
    """Of four classes: the images of before and, of the last class, twelve more, of which `known` are told."""
    fox = pd.DataFrame({"id": [f"fox{n}" for n in range(12)], "truth": 3, "baseline_label": 0, "student_label": 0})
    fox.loc[: known - 1, ["baseline_label", "student_label"]] = 3
    return pd.concat([evaluated(student=labels, baseline=labels), fox], ignore_index=True)


@pytest.mark.parametrize(
    ("labels", "known", "promoted", "said"),
    [
        (GOOD, 12, True, "is better than the champion, p = 0.00049, on the"),
        (GOOD, 2, True, "no difference shown .* it knows 'fox', which the champion does not"),
    ],
)
def test_test_images_of_a_class_that_the_champion_does_not_know_count_as_wrong_and_it_goes_unless_it_is_better(
    *, labels, known, promoted, said
):
    """McNemar's exact p of 12 against 0 is 2 / 2^12."""
    champion = Champion(champion_with(GOOD), CLASSES)
    decision = decide(
        with_fox(labels, known), (*CLASSES, "fox"), champion, "student", validation_lead=0, registered="toys"
    )
    assert decision.promoted == promoted
    assert re.search(said, decision.reason)
    assert "test images that both had and 12 of classes that the champion does not know" in decision.reason
    assert decision.compared_images == IMAGES + 12
    assert decision.only_challenger_right == known


@pytest.mark.parametrize("known", [0, 12])
def test_whatever_else_it_knows_a_model_that_is_worse_at_the_classes_of_both_does_not_replace_the_champion(known):
    champion = Champion(champion_with(GOOD), CLASSES)
    decision = decide(
        with_fox(BAD, known), (*CLASSES, "fox"), champion, "student", validation_lead=0, registered="toys"
    )
    assert not decision.promoted
    assert (decision.compared_images, decision.only_champion_right, decision.only_challenger_right) == (IMAGES, 10, 1)
    assert re.search("the champion is better than this student, .* that both had; the champion stays", decision.reason)


def test_a_class_without_a_test_image_speaks_for_nobody():
    lost = wrong_on(*range(5), 10)
    new = evaluated(student=lost, baseline=lost)
    champion = Champion(champion_with(GOOD), CLASSES)
    decision = decide(new, (*CLASSES, "fox"), champion, "student", validation_lead=0, registered="toys")
    assert not decision.promoted
    assert decision.mcnemar_p == pytest.approx(2 / 2**5)


def test_the_champion_that_stays_keeps_the_names_of_its_own_labels(tmp_path):
    classes = ("ant", *CLASSES)
    promoted_in(tmp_path / "1", evaluated(student=GOOD, baseline=BAD))
    new = renumbered(evaluated(student=BAD, baseline=BAD), classes)
    decision, predictions, _ = promoted_in(tmp_path / "2", new, tmp_path / "1" / "promote", classes=classes)
    assert not decision["promoted"]
    pd.testing.assert_frame_equal(predictions, champion_with(GOOD))
    assert json.loads((tmp_path / "2" / "promote" / "classes.json").read_text()) == list(CLASSES)


def test_the_predictions_of_a_promoted_baseline_are_the_baselines(tmp_path):
    decision, predictions, _ = promoted_in(tmp_path, evaluated(student=BAD, baseline=GOOD), kept="baseline")
    assert decision["model"] == "baseline"
    pd.testing.assert_frame_equal(predictions, champion_with(GOOD))


def test_an_evaluation_that_chose_no_model_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "metrics.json").write_text("{}", encoding="utf-8")
    evaluated(student=GOOD, baseline=BAD).to_parquet(tmp_path / "evaluate" / "predictions.parquet")
    with pytest.raises(UserError, match="run `evaluate` again"):
        run(PipelineConfig(), {"evaluate": tmp_path / "evaluate"}, tmp_path, Listener())


def test_the_decision_has_all_its_keys_in_every_case(tmp_path):
    new = evaluated(student=GOOD, baseline=FAIR)
    alone, _, _ = promoted_in(tmp_path / "alone", new)
    against, _, _ = promoted_in(tmp_path / "against", new, tmp_path / "alone" / "promote")
    others("mostly others").to_parquet(tmp_path / "predictions.parquet")
    incomparable, predictions, ear = promoted_in(tmp_path / "incomparable", new, tmp_path)
    assert set(alone) == set(against) == set(incomparable)
    assert alone["challenger_accuracy"]["estimate"] == pytest.approx(39 / 40)
    assert alone["test_images"] == 40
    assert predictions["id"].tolist() == others("mostly others")["id"].tolist()  # the champion's own, unchanged
    assert "mcnemar_p" not in ear.figures


@pytest.mark.parametrize(("model", "name"), [(None, "pipeline"), ("other model", "other model")])
def test_the_registered_model_is_called_by_its_own_name_or_else_the_pipelines(tmp_path, model, name):
    others("mostly others").to_parquet(tmp_path / "predictions.parquet")
    config = PipelineConfig.model_validate({"name": "pipeline", "promote": {"model": model}})
    decision, _, _ = promoted_in(tmp_path / "run", evaluated(student=GOOD, baseline=FAIR), tmp_path, config)
    assert f"promote.model='{name}'" in decision["reason"]


def test_the_tiny_pipelines_student_is_the_first_champion(stage_folders):
    decision = json.loads((stage_folders["promote"] / "decision.json").read_text(encoding="utf-8"))
    metrics = json.loads((stage_folders["evaluate"] / "metrics.json").read_text(encoding="utf-8"))
    assert decision["promoted"]
    assert decision["model"] == ("baseline" if metrics["verdict"] == "baseline better" else "student")
    assert decision["mcnemar_p"] == pytest.approx(metrics["mcnemar"]["p_value"])
    accuracy = metrics[decision["model"]]["accuracy"]
    assert decision["challenger_accuracy"] == accuracy
    predictions = pd.read_parquet(stage_folders["promote"] / "predictions.parquet")
    assert (predictions["truth"] == predictions["label"]).mean() == pytest.approx(accuracy["estimate"])
