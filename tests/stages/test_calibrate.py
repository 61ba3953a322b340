"""Stage `calibrate`: which images do what, figures that others confirm, and what is said where nothing is certified."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import beta
from sklearn.metrics import log_loss

from semisup.config import PipelineConfig
from semisup.data.sources import load_pool
from semisup.errors import UserError
from semisup.pipeline.specs import load_stage
from semisup.stages import calibrate
from semisup.stages.calibrate import parts
from semisup.stages.open_world.elsewhere import told_from_elsewhere
from semisup.stages.open_world.promise import why_approximate
from semisup.stages.pseudo_label import selection_of
from semisup.stages.support.models.saved import load_model
from semisup.system.json_files import read_json, write_json
from semisup.system.randomness import numpy_generator
from tests.listening import Listener
from tests.mistakes import user_mistake
from tests.variants import changed

CERTIFIED = {"target_precision": 0.8, "confidence": 0.95, "fallback": 0.97}
"""What a teacher with five labels per class can reach."""


@pytest.fixture(scope="module")
def config(tiny_config: PipelineConfig) -> PipelineConfig:
    """300 calibration images, a quarter of which fit the temperature."""
    return changed(
        tiny_config,
        split={"calibration_images": 300},
        calibrate={"method": "temperature"},
        pseudo_label={"threshold": CERTIFIED},
    )


@pytest.fixture(scope="module")
def folders(config: PipelineConfig, stage_runner: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("calibrate")
    return stage_runner(config, root, ("split", "baseline", "calibrate"))


def calibrated(
    config: PipelineConfig, folders: dict[str, Path], out_dir: Path, teacher: Path | None = None
) -> tuple[dict[str, Any], Listener]:
    """(calibration.json, what the stage said) of one more run of the stage alone."""
    out_dir.mkdir()
    ear = Listener()
    inputs = {"split": folders["split"], "teacher": teacher or folders["baseline"], "baseline": folders["baseline"]}
    load_stage("calibrate")(config, inputs, out_dir, ear)
    return read_json(out_dir / "calibration.json"), ear


def truth_of(table: pd.DataFrame) -> pd.Series:
    pool = load_pool("digits")
    return pd.Series(pool.labels.numpy(), index=pool.ids).loc[table["id"]]


def test_every_calibration_image_is_in_one_part_and_no_other_image_is(config, folders):
    table = pd.read_parquet(folders["calibrate"] / "calibration.parquet")
    split = pd.read_parquet(folders["split"] / "split.parquet")
    assert set(table["id"]) == set(split.loc[split["role"] == "calibration", "id"])
    assert table["part"].value_counts().to_dict() == {"measured": 225, "temperature": 75}
    assert table["truth"].tolist() == truth_of(table).tolist()


def test_confidences_are_the_teachers_own_softmax_and_that_of_its_logits_over_the_temperature(folders):
    table = pd.read_parquet(folders["calibrate"] / "calibration.parquet")
    values, pool = read_json(folders["calibrate"] / "calibration.json"), load_pool("digits")
    rows = pd.Series(range(len(pool.ids)), index=pool.ids).loc[table["id"]]
    with torch.inference_mode():
        logits = load_model(folders["baseline"])(pool.images[rows.tolist()])
    for column, temperature in (("confidence", 1.0), ("calibrated_confidence", values["temperature"])):
        confidence, label = (logits / temperature).softmax(dim=1).max(dim=1)
        np.testing.assert_allclose(table[column], confidence, atol=1e-5)
        assert table["label"].tolist() == label.tolist()
    measured = (table["part"] == "measured").to_numpy()
    truth = table["truth"].to_numpy()
    for when, temperature in (("before", 1.0), ("after", values["temperature"])):
        probabilities = (logits.double() / temperature).softmax(dim=1).numpy()[measured]
        figures = values[when]
        assert figures["nll"] == pytest.approx(log_loss(truth[measured], probabilities, labels=range(10)), rel=1e-4)
        assert figures["accuracy"] == (probabilities.argmax(axis=1) == truth[measured]).mean()
    assert values["images"] == measured.sum()


def test_the_certificate_counts_only_images_that_the_temperature_has_not_seen(folders):
    table = pd.read_parquet(folders["calibrate"] / "calibration.parquet")
    values = read_json(folders["calibrate"] / "calibration.json")
    certificate = values["certificate"]
    assert certificate["certified"]
    measured = table[table["part"] == "measured"]
    accepted = measured[measured["calibrated_confidence"] >= np.float32(values["threshold"])]
    errors = int((accepted["label"] != accepted["truth"]).sum())
    assert (certificate["accepted"], certificate["errors"]) == (len(accepted), errors)
    assert certificate["upper_bound"] == pytest.approx(beta.ppf(0.95, errors + 1, len(accepted) - errors))
    assert certificate["upper_bound"] <= 0.2
    assert certificate["threshold"] == values["threshold"] == float(np.float32(values["threshold"]))
    assert (values["strict"], values["caveats"], values["fallback"]) == (True, [], None)


def test_the_same_inputs_leave_the_same_bytes(config, folders, tmp_path):
    calibrated(config, folders, tmp_path / "again")
    names = {"calibration.json", "calibration.parquet", "reliability.parquet", "reliability.png", "certificate.png"}
    assert {path.name for path in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (folders["calibrate"] / name).read_bytes()


def test_the_reliability_table_holds_every_measured_image_before_and_after(folders):
    table = pd.read_parquet(folders["calibrate"] / "reliability.parquet")
    assert table.groupby("when")["count"].sum().to_dict() == {"before": 225, "after": 225}
    assert len(table) == 20


def test_without_a_temperature_all_images_certify_and_confidence_is_as_it_was(config, folders, tmp_path):
    values, ear = calibrated(changed(config, calibrate={"method": "none"}), folders, tmp_path / "out")
    assert (values["temperature"], values["images"], values["temperature_images"]) == (1.0, 300, 0)
    assert values["before"] == values["after"]
    assert values["certificate"]["images"] == 300
    assert ear.warnings == []


def test_a_plain_threshold_is_left_alone(config, folders, tmp_path):
    values, ear = calibrated(changed(config, pseudo_label={"threshold": 0.8}), folders, tmp_path / "out")
    assert [values[name] for name in ("threshold", "certificate", "fallback")] == [None, None, None]
    assert not (tmp_path / "out" / "certificate.png").exists()
    assert "certified" not in ear.figures


def test_what_is_said_names_the_direction_and_the_figures(config, folders, tmp_path):
    values, ear = calibrated(config, folders, tmp_path / "out")
    (line,) = ear.lines
    assert "confident" in line
    assert "at least 80% of its labels right, 95% sure" in line
    assert ear.figures["certified"] == 1
    assert ear.figures["threshold"] == values["threshold"]
    assert ear.figures["ece_after"] == values["after"]["ece"]


def test_where_nothing_can_be_certified_the_fallback_applies_and_one_line_says_what_would_help(
    config, folders, tmp_path
):
    hopeless = changed(config, pseudo_label={"threshold": CERTIFIED | {"target_precision": 0.999}})
    values, ear = calibrated(hopeless, folders, tmp_path / "out")
    assert not values["certificate"]["certified"]
    assert (values["threshold"], values["fallback"], values["strict"]) == (0.97, 0.97, False)
    (warning,) = [line for line in ear.warnings if "certified" in line]
    for part in ("target_precision=0.999", "lower target_precision", "fallback threshold 0.97 applies"):
        assert part in warning
    assert ear.figures["certified"] == 0


def test_with_fallback_stop_the_run_ends_with_one_line_on_the_way_out(config, folders, tmp_path):
    stopping = changed(config, pseudo_label={"threshold": {"target_precision": 0.999, "fallback": "stop"}})
    with user_mistake() as caught:
        calibrated(stopping, folders, tmp_path / "out")
    assert "target_precision=0.999" in str(caught.value)
    assert "pseudo_label.threshold.fallback" in str(caught.value)


RATE = {"fdr": 0.1, "fallback": 0.97}


def test_a_threshold_by_the_false_discovery_rate_is_that_of_the_images_measured(config, folders, tmp_path):
    values, ear = calibrated(changed(config, pseudo_label={"threshold": RATE}), folders, tmp_path / "out")
    control, table = values["fdr_control"], pd.read_parquet(tmp_path / "out" / "calibration.parquet")
    measured = table[table["part"] == "measured"]
    accepted = measured[measured["calibrated_confidence"] >= np.float32(values["threshold"])]
    errors = int((accepted["label"] != accepted["truth"]).sum())
    assert (control["accepted"], control["errors"], control["images"]) == (len(accepted), errors, 225)
    assert control["estimate"] == pytest.approx((1 + errors) / 226 / control["share"])
    assert (values["fdr_controlled"], values["strict"], values["fallback"]) == (True, True, None)
    assert (values["certificate"], values["classes"], values["certified"]) == (None, None, False)
    assert not (tmp_path / "out" / "certificate.png").exists()
    assert "at most 10% of its labels wrong, on average" in ear.lines[0]
    assert ear.figures["fdr_controlled"] == 1
    assert selection_of(changed(config, pseudo_label={"threshold": RATE}).pseudo_label, values)[1] == "fdr"


def test_a_rate_that_cannot_be_kept_leaves_the_fallback_or_ends_the_run_with_one_line(config, folders, tmp_path):
    hopeless = {"fdr": 0.001, "fallback": 0.97}
    values, ear = calibrated(changed(config, pseudo_label={"threshold": hopeless}), folders, tmp_path / "out")
    assert (values["fdr_controlled"], values["threshold"], values["fallback"]) == (False, 0.97, 0.97)
    (warning,) = [line for line in ear.warnings if "could not be kept" in line]
    for part in ("fdr=0.001", "a higher fdr", "fallback threshold 0.97 applies"):
        assert part in warning
    assert selection_of(changed(config, pseudo_label={"threshold": hopeless}).pseudo_label, values)[1] == "fallback"
    stopping = changed(config, pseudo_label={"threshold": hopeless | {"fallback": "stop"}})
    with pytest.raises(UserError, match=r"fdr=0\.001 could not be kept.*pseudo_label\.threshold\.fallback"):
        calibrated(stopping, folders, tmp_path / "stopping")


def test_the_certificates_of_classes_are_of_the_calibration_images_given_their_label(config, folders):
    table = pd.read_parquet(folders["calibrate"] / "calibration.parquet")
    measured = table[table["part"] == "measured"]
    classes = read_json(folders["calibrate"] / "calibration.json")["classes"]
    assert [row["label"] for row in classes] == list(range(10))
    for row in classes:
        given = measured[measured["label"] == row["label"]]
        if row["threshold"] is not None:
            given = given[given["calibrated_confidence"] >= np.float32(row["threshold"])]
        wrong = int((given["label"] != given["truth"]).sum())
        assert (row["accepted"], row["errors"]) == (len(given), wrong)
    certified = [row for row in classes if row["threshold"] is not None]
    assert certified
    assert all(beta.ppf(0.95, row["errors"] + 1, row["accepted"] - row["errors"]) <= 0.2 for row in certified)


def test_a_student_as_teacher_makes_the_certificate_approximate(config, folders, tmp_path):
    student = tmp_path / "student"
    student.mkdir()
    for path in folders["baseline"].iterdir():
        (student / path.name).write_bytes(path.read_bytes())
    write_json(student / "model.json", read_json(student / "model.json") | {"stage": "joint"})
    values, ear = calibrated(config, folders, tmp_path / "out", student)
    assert not values["strict"]
    assert "the same calibration images" in values["caveats"][0]
    assert "not strictly so" in ear.lines[0]


def model_of(stage: str, folder: Path, **training: Any) -> Path:
    """As a stage would leave a model, without its weights."""
    (folder / "model.json").write_text(json.dumps({"stage": stage}))
    (folder / "training.json").write_text(json.dumps(training))
    return folder


@pytest.mark.parametrize(
    ("keys", "stage", "said"),
    [
        ({}, "baseline", []),
        ({"teacher": "ensemble"}, "ensemble", []),
        ({}, "joint", ["pseudo-labels", "unlabeled images"]),
        ({"teacher": "champion"}, "baseline", ["champion"]),
        ({"unknown": {"false_alarms": 0.05}}, "baseline", ["unknown.false_alarms"]),
        ({"top_share": 0.5}, "baseline", ["top_share"]),
        ({"teacher": "ensemble", "max_disagreement": 0.1}, "ensemble", ["max_disagreement"]),
        ({"share_per_round": 0.2}, "baseline", ["share_per_round"]),
        ({"share_per_round": 0.2}, "joint", ["pseudo-labels", "unlabeled images", "share_per_round"]),
    ],
)
def test_every_reason_why_a_certificate_is_approximate_is_named(keys, stage, said, config, tmp_path):
    caveats = why_approximate(changed(config, pseudo_label=keys), model_of(stage, tmp_path), final=False)
    assert len(caveats) == len(said)
    assert all(word in caveat for word, caveat in zip(said, caveats, strict=True))


def test_a_certificate_of_images_in_groups_is_approximate_for_they_are_alike(config, tmp_path):
    grouped = changed(config, data={"name": "folder", "group": "{patient}/…"})
    (caveat,) = why_approximate(grouped, model_of("baseline", tmp_path), final=True)
    assert "data.group" in caveat


@pytest.mark.parametrize(
    ("keys", "stage", "training", "said"),
    [
        ({}, "baseline", {}, []),
        ({}, "joint", {}, ["pseudo-labels", "unlabeled images"]),
        ({}, "joint", {"learned_from_table": False}, ["unlabeled images"]),
        ({"unknown": {"false_alarms": 0.05}}, "baseline", {}, ["unknown.false_alarms"]),
        ({"top_share": 0.5, "share_per_round": 0.2}, "baseline", {}, []),
        ({"teacher": "champion"}, "joint", {}, ["champion", "unlabeled images"]),
        ({"teacher": "champion"}, "joint", {"learned_from_table": False}, ["unlabeled images"]),
    ],
)
def test_the_certificate_of_the_kept_model_is_strict_only_where_calibration_and_unlabeled_images_are_alike_to_it(
    *, keys, stage, training, said, config, tmp_path
):
    caveats = why_approximate(changed(config, pseudo_label=keys), model_of(stage, tmp_path, **training), final=True)
    assert [word in caveat for word, caveat in zip(said, caveats, strict=True)] == [True] * len(said)


def test_the_temperature_leaves_at_least_one_image_on_either_side(config):
    for share in (0.001, 0.999):
        fits = parts(changed(config, calibrate={"temperature_share": share}), 20)
        assert fits.sum() == (1 if share < 0.5 else 19)
    assert not parts(changed(config, calibrate={"method": "none"}), 20).any()


def test_where_all_images_that_fit_it_are_right_the_temperature_stays_1_and_a_line_says_so(
    config, folders, tmp_path, monkeypatch
):
    split = pd.read_parquet(folders["split"] / "split.parquet")
    labels = torch.tensor(split.loc[split["role"] == "calibration", "label"].tolist())
    logits = torch.cat([8.0 * torch.nn.functional.one_hot(labels, 10), torch.zeros(500, 10)])
    monkeypatch.setattr(calibrate, "predict_views", lambda *_, **__: logits.log_softmax(dim=1))
    values, ear = calibrated(changed(config, pseudo_label={"threshold": 0.9}), folders, tmp_path / "out")
    assert values["temperature"] == 1.0
    assert "are right" in ear.warnings[0]


def test_a_large_pool_is_represented_by_a_random_part(config, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "LARGEST_POOL", 100)
    seen: list[int] = []
    predict = calibrate.predict_views

    def counting(model: Any, images: Any, *arguments: Any, **keywords: Any) -> Any:
        seen.append(len(images))
        return predict(model, images, *arguments, **keywords)

    monkeypatch.setattr(calibrate, "predict_views", counting)
    values, _ = calibrated(config, folders, tmp_path / "out")
    assert seen == [300 + 100]
    shares = [step["share"] for step in values["certificate"]["path"]]
    np.testing.assert_allclose(np.array(shares) * 100, np.round(np.array(shares) * 100))
    assert numpy_generator(config.seed, "calibration pool").random() != numpy_generator(config.seed, "split").random()


def test_a_teacher_of_other_classes_is_refused_before_it_predicts(config, folders, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in folders["baseline"].iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    model = json.loads((other / "model.json").read_text())
    write_json(other / "model.json", model | {"class_names": ["cat", *model["class_names"][1:]]})
    with pytest.raises(UserError, match="cat"):
        calibrated(config, folders, tmp_path / "out", other)


def pool_of_other_images(folders, tmp_path, keep):
    """The inputs with a split of which only these rows are unlabeled."""
    table = pd.read_parquet(folders["split"] / "split.parquet")
    (tmp_path / "split").mkdir()
    for path in folders["split"].iterdir():
        (tmp_path / "split" / path.name).write_bytes(path.read_bytes())
    table[(table["role"] != "unlabeled") | keep(table)].to_parquet(tmp_path / "split" / "split.parquet", index=False)
    return folders | {"split": tmp_path / "split"}


def test_images_drawn_alike_are_compared_and_leave_a_strict_certificate(folders):
    values = read_json(folders["calibrate"] / "calibration.json")
    assert values["certified"]
    assert values["strict"]
    assert not values["compared"]["differ"]
    roles = pd.read_parquet(folders["split"] / "split.parquet")["role"].value_counts()
    assert values["compared"]["calibration_images"] == roles["calibration"]
    assert values["compared"]["pool_images"] == roles["unlabeled"]
    p_values = values["compared"]["p_values"].values()
    assert values["compared"]["p_value"] == min(1, len(p_values) * min(p_values))


def test_where_the_pool_is_another_nothing_is_certified_and_the_stricter_threshold_applies(config, folders, tmp_path):
    truth = dict(zip(load_pool("digits").ids, load_pool("digits").labels.tolist(), strict=True))
    others = pool_of_other_images(folders, tmp_path, lambda table: table["id"].map(truth).isin([1, 8, 9]))
    for number, fallback in enumerate((0.2, 0.97)):
        lower = changed(config, pseudo_label={"threshold": CERTIFIED | {"fallback": fallback}})
        values, ear = calibrated(lower, others, tmp_path / f"out{number}")
        assert values["compared"]["differ"]
        assert (values["certified"], values["strict"]) == (False, False)
        assert values["certificate"]["certified"]  # by the calibration images alone
        assert values["threshold"] == max(fallback, values["certificate"]["threshold"])
        rate, said = calibrated(
            changed(config, pseudo_label={"threshold": {"fdr": 0.2, "fallback": fallback}}),
            others,
            tmp_path / f"rate{number}",
        )
        assert (rate["fdr_controlled"], rate["fdr_control"]["found"]) == (False, True)
        assert any("fdr=0.2 could not be kept: the unlabeled images are not like" in line for line in said.warnings)
        (warning,) = [line for line in ear.warnings if "could not be certified" in line]
        for part in ("not like the calibration images", "--audit", f"{values['threshold']:g} applies"):
            assert part in warning
        assert ear.figures["certified"] == 0
    stopping = changed(config, pseudo_label={"threshold": CERTIFIED | {"fallback": "stop"}})
    with pytest.raises(UserError, match="not like the calibration images"):
        calibrated(stopping, others, tmp_path / "stopping")


def test_with_too_few_images_to_compare_the_certificate_is_not_strict(config, folders, tmp_path):
    first = pool_of_other_images(
        folders, tmp_path, lambda table: table.index.isin(table.index[table["role"] == "unlabeled"][:10])
    )
    values, _ = calibrated(config, first, tmp_path / "out")
    assert (values["compared"], values["strict"]) == (None, False)
    assert "too few" in values["caveats"][0]


@pytest.mark.parametrize(
    ("named", "by_manifest", "said"),
    [
        (0, False, ""),
        (7, False, "7 of 1,000 unlabeled images come from unlabeled/, and no calibration image does"),
        (1000, True, "1,000 of 1,000 unlabeled images are unlabeled in the manifest, and no calibration image is"),
    ],
)
def test_images_of_another_folder_are_counted(named, by_manifest, said):
    assert told_from_elsewhere(named, 1000, by_manifest=by_manifest) == said
