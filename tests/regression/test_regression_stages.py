"""The two stages of a regression, as plain functions: what they leave, and that they leave the same bits again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from sklearn.linear_model import LinearRegression

from semisup.config.regression import RegressionConfig
from semisup.lineage.fingerprints import effective_config, manifest_of
from semisup.pipeline.log import Silence
from semisup.pipeline.specs import SPECS, load_stage
from semisup.regression import Rows, load_rows
from semisup.stages.regression import evaluate as regression_evaluate
from semisup.stages.regression import fit as regression_fit
from semisup.system.json_files import read_json

CONFIG = RegressionConfig.model_validate(
    {
        "seed": 3,
        "model": {"hidden": [16], "dropout": 0.1},
        "train": {"epochs": 12, "early_stopping": {"patience": 3}, "disturb_value": {"rate": 30, "scale": 0.2}},
        "runtime": {"device": "cpu", "threads": 1},
    }
)


class Log(Silence):
    def __init__(self):
        self.lines, self.figures, self.epochs = [], {}, []

    def info(self, message):
        self.lines.append(message)

    def metrics(self, values, step=None):
        self.figures |= values if step is None else {}
        self.epochs += [step] if step is not None else []


def run_both(root: Path, config: RegressionConfig = CONFIG) -> tuple[Path, Path, Log]:
    fit, evaluate, log = root / "fit", root / "evaluate", Log()
    fit.mkdir(parents=True)
    evaluate.mkdir()
    load_stage("regression_fit")(config, {}, fit, log)
    load_stage("regression_evaluate")(config, {"regression_fit": fit}, evaluate, log)
    return fit, evaluate, log


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The folders of both stages and what they said, once; to be read only."""
    return run_both(tmp_path_factory.mktemp("regression"))


def test_the_stages_leave_their_files_and_no_others(left):
    fit, evaluate, _ = left
    pictures = {"loss_curves.png"}
    tables = {"rows.parquet", "history.parquet", "model.json", "weights.safetensors", "training.json", "timings.json"}
    assert {path.name for path in fit.iterdir()} == tables | pictures
    assert {path.name for path in evaluate.iterdir()} == {"predictions.parquet", "metrics.json", "residuals.png"}


def test_the_same_config_leaves_the_same_bytes_timings_apart(left, tmp_path):
    fit, evaluate, _ = left
    again = run_both(tmp_path)
    for folder, repeated in zip((fit, evaluate), again[:2], strict=True):
        assert {**manifest_of(folder), "timings.json": ""} == {**manifest_of(repeated), "timings.json": ""}


def test_the_fit_opens_no_test_row(monkeypatch, tmp_path):
    def no_test_rows(part):
        assert part == "pool", "a test row was opened"
        return load_rows(part)

    monkeypatch.setattr(regression_fit, "load_rows", no_test_rows)
    (tmp_path / "fit").mkdir()
    regression_fit.run(CONFIG, {}, tmp_path / "fit", Silence())


def test_the_standardization_is_of_the_training_rows_alone(left):
    rows, pool = pd.read_parquet(left[0] / "rows.parquet"), load_rows("pool")
    scaling, training = read_json(left[0] / "model.json")["scaling"], (rows["role"] == "train").to_numpy()
    assert rows["role"].value_counts().to_dict() == {"train": 284, "validation": 70}
    np.testing.assert_allclose(scaling["feature_mean"], pool.features[training].mean(axis=0))
    np.testing.assert_allclose(scaling["feature_std"], pool.features[training].std(axis=0))
    assert scaling["target_mean"] == pytest.approx(pool.targets[training].mean())


def test_what_the_validation_rows_hold_besides_the_epoch_changes_nothing(left, monkeypatch, tmp_path):
    # Their features and targets are shifted: the weights after the first epoch must not notice.
    def shifted(part):
        rows = load_rows(part)
        held_out = regression_fit.roles_of(CONFIG, rows) == "validation"
        return Rows(rows.features + 5 * held_out[:, None], rows.targets + 99 * held_out, rows.ids)

    one_epoch = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"epochs": 1})})
    for name, loader in (("plain", load_rows), ("shifted", shifted)):
        monkeypatch.setattr(regression_fit, "load_rows", loader)
        (tmp_path / name).mkdir()
        regression_fit.run(one_epoch, {}, tmp_path / name, Silence())
    plain, other = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("plain", "shifted"))
    assert plain == other


def test_the_figures_are_scikit_learns_on_the_predictions_that_were_left(left):
    predictions, metrics = pd.read_parquet(left[1] / "predictions.parquet"), read_json(left[1] / "metrics.json")
    assert tuple(predictions["id"]) == load_rows("test").ids
    np.testing.assert_array_equal(predictions["truth"], load_rows("test").targets)
    for model in ("network", "linear", "mean"):
        found, truth, predicted = metrics["models"][model], predictions["truth"], predictions[model]
        assert found["mae"]["estimate"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted))
        assert found["rmse"]["estimate"] == pytest.approx(sklearn.metrics.root_mean_squared_error(truth, predicted))
        assert found["r2"]["estimate"] == pytest.approx(sklearn.metrics.r2_score(truth, predicted))
        assert all(figure["low"] <= figure["estimate"] <= figure["high"] for figure in found.values())


def test_linear_regression_and_mean_learn_from_the_training_rows_alone(left):
    rows, pool, test = pd.read_parquet(left[0] / "rows.parquet"), load_rows("pool"), load_rows("test")
    training, predictions = (rows["role"] == "train").to_numpy(), pd.read_parquet(left[1] / "predictions.parquet")
    expected = LinearRegression().fit(pool.features[training], pool.targets[training]).predict(test.features)
    np.testing.assert_allclose(predictions["linear"], expected)
    np.testing.assert_allclose(predictions["mean"], pool.targets[training].mean())


def test_a_network_that_was_trained_beats_the_mean_and_every_epoch_is_logged(left):
    metrics, log = read_json(left[1] / "metrics.json"), left[2]
    assert metrics["differences"]["mean"]["verdict"] == "network better"
    training = read_json(left[0] / "training.json")
    assert log.epochs == list(range(1, training["stopped_epoch"] + 1))
    assert log.figures["network_mae"] == metrics["models"]["network"]["mae"]["estimate"]
    assert log.figures["mae_difference_linear_low"] == metrics["differences"]["linear"]["low"]
    assert log.figures["best_epoch"] == training["best_epoch"]


def test_another_seed_draws_other_rows_and_the_same_test_rows(left, tmp_path):
    other = run_both(tmp_path, CONFIG.model_copy(update={"seed": 4}))
    ours, theirs = (pd.read_parquet(folder / "rows.parquet") for folder in (left[0], other[0]))
    assert (ours["role"] != theirs["role"]).any()
    ours, theirs = (pd.read_parquet(folder / "predictions.parquet") for folder in (left[1], other[1]))
    pd.testing.assert_frame_equal(ours[["id", "truth"]], theirs[["id", "truth"]])


def test_a_table_that_is_not_the_one_trained_on_is_noticed(left, monkeypatch, tmp_path):
    rows = load_rows("pool")
    fewer = Rows(rows.features[1:], rows.targets[1:], rows.ids[1:])
    monkeypatch.setattr(regression_evaluate, "load_rows", lambda part: fewer)
    with pytest.raises(AssertionError, match="not those that were trained on"):
        regression_evaluate.run(CONFIG, {"regression_fit": left[0]}, tmp_path, Silence())


def test_the_lineage_of_a_stage_holds_what_can_change_it_and_no_more():
    fit, evaluate = (effective_config(CONFIG, SPECS[name]) for name in ("regression_fit", "regression_evaluate"))
    assert {key.partition(".")[0] for key in fit} == {"seed", "data", "split", "model", "train"}
    assert set(evaluate) == {"seed", "data.name"}
    sections = {section for name in ("regression_fit", "regression_evaluate") for section in SPECS[name].sections}
    assert sections <= set(RegressionConfig.model_fields)
