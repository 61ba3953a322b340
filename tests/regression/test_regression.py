"""Regression: its rows, DisturbValue by its distribution, the network, training, and figures against scikit-learn's."""

import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest, kstest, norm
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from semisup.config import flatten
from semisup.config.files import load_config, load_kind, to_yaml
from semisup.config.regression import RegressionConfig, RegressionTrainConfig
from semisup.errors import UserError
from semisup.plots import loss_curves, residuals
from semisup.regression import (
    Examples,
    Rows,
    Scaling,
    build_regressor,
    disturb_values,
    draw_roles,
    evaluate_regression,
    load_rows,
    mae_difference,
    score,
    train_regressor,
)
from semisup.system.randomness import numpy_generator, torch_generator
from tests.mistakes import user_mistake

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch_generator(seed, "test")


# --- rows -------------------------------------------------------------------------------------------------------------


def test_pool_and_test_rows_are_all_rows_of_scikit_learns_data_and_share_none():
    pool, test = load_rows("pool"), load_rows("test")
    assert (len(pool), len(test)) == (354, 88)
    assert not set(pool.ids) & set(test.ids)
    bunch = load_diabetes(scaled=False)
    for rows in (pool, test):
        positions = [int(name.rpartition("/")[2]) for name in rows.ids]
        np.testing.assert_array_equal(rows.features, bunch.data[positions])
        np.testing.assert_array_equal(rows.targets, bunch.target[positions])


def test_the_test_rows_stay_what_they_are():
    # As the shell"s sha256sum and sort pick them; a change would make all figures ever told incomparable.
    ids = load_rows("test").ids
    assert ids[:4] == ("diabetes/001", "diabetes/019", "diabetes/029", "diabetes/037")
    assert ids[-1] == "diabetes/431"


def test_the_digest_changes_with_any_feature_target_or_id():
    rows = some_rows()
    shifted = Rows(rows.features + 1e-9, rows.targets, rows.ids), Rows(rows.features, rows.targets + 1e-9, rows.ids)
    renamed = Rows(rows.features, rows.targets, ("other", *rows.ids[1:]))
    assert rows.digest() == some_rows().digest()
    assert len({table.digest() for table in (rows, *shifted, renamed)}) == 4


@settings(deadline=None, max_examples=50)
@given(st.integers(40, 400), st.integers(10, 20), st.none() | st.integers(20, 20), st.integers(0, 9))
def test_every_row_has_one_role_and_each_role_its_size(size, validation, train, seed):
    roles = draw_roles(size, train, validation, numpy_generator(seed, "split")).tolist()
    wanted = size - validation if train is None else train
    assert (roles.count("validation"), roles.count("train")) == (validation, wanted)
    assert len(roles) == size
    assert roles.count("unused") == size - validation - wanted


def test_fewer_training_rows_leave_the_validation_rows_as_they_are():
    few, all_of_them = (draw_roles(100, train, 30, numpy_generator(1, "split")) for train in (20, None))
    np.testing.assert_array_equal(few == "validation", all_of_them == "validation")
    assert set(np.flatnonzero(few == "train")) < set(np.flatnonzero(all_of_them == "train"))


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (50, 60, r"split.train_rows=50 and split.validation_rows=60 ask for 110 rows, but there are 100"),
        (None, 90, r"split.validation_rows=90 leaves 10 of 100 rows .* use at most 80"),
        (None, 300, r"split.validation_rows=300 leaves 0 of 100 rows"),
    ],
)
def test_too_few_rows_are_refused_in_one_line(train, validation, said):
    with pytest.raises(UserError, match=said):
        draw_roles(100, train, validation, numpy_generator(0, "split"))


# --- DisturbValue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [5.0, 30.0, 80.0])
def test_the_share_of_disturbed_targets_is_binomial_with_the_rate(rate):
    disturbed = disturb_values(torch.zeros(20_000), rate, 1.0, generator()) != 0
    assert binomtest(int(disturbed.sum()), 20_000, rate / 100).pvalue > 0.001


def test_the_noise_is_normal_with_the_standard_deviation_asked_for():
    targets = torch.linspace(-50, 50, 20_000, dtype=torch.float64)
    noise = disturb_values(targets, 40, 2.5, generator()) - targets
    assert kstest(noise[noise != 0].numpy(), norm(0, 2.5).cdf).pvalue > 0.001


def test_which_targets_are_disturbed_does_not_depend_on_their_values_or_on_the_noise():
    noise = disturb_values(torch.zeros(40_000), 50, 1.0, generator())
    first, second = noise[:20_000] != 0, noise[20_000:] != 0
    assert binomtest(int((first & second).sum()), 20_000, 0.25).pvalue > 0.001
    again = disturb_values(torch.full((40_000,), 7.0), 50, 1.0, generator())
    assert torch.equal(again != 7, noise != 0)


@pytest.mark.parametrize(("rate", "noise_std"), [(0, 5.0), (100, 0.0), (0, 0.0)])
def test_a_rate_or_a_noise_of_zero_changes_nothing(rate, noise_std):
    targets = torch.randn(100, generator=generator(1))
    assert torch.equal(disturb_values(targets, rate, noise_std, generator()), targets)


def test_a_rate_of_hundred_disturbs_every_target():
    assert (disturb_values(torch.zeros(1000), 100, 1.0, generator()) != 0).all()


def test_every_batch_gets_a_fresh_draw_and_the_targets_themselves_stay():
    targets, rng = torch.zeros(200), generator()
    first, second = disturb_values(targets, 50, 1.0, rng), disturb_values(targets, 50, 1.0, rng)
    assert not torch.equal(first, second)
    assert not torch.equal(first != 0, second != 0)
    assert torch.equal(targets, torch.zeros(200))
    assert torch.equal(first, disturb_values(targets, 50, 1.0, generator()))


@pytest.mark.parametrize(("rate", "noise_std"), [(-1, 1.0), (100.5, 1.0), (math.nan, 1.0), (50, -0.1)])
def test_impossible_rates_and_noises_are_refused(rate, noise_std):
    with pytest.raises(ValueError, match=r"rate=|noise_std="):
        disturb_values(torch.zeros(3), rate, noise_std, generator())


# --- network and training ---------------------------------------------------------------------------------------------


def some_rows(size: int = 120, seed: int = 5, noise: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    features = rng.normal(3, 10, (size, 4))
    targets = 200 + features @ np.array([3.0, -1.0, 0.5, 0.0]) + rng.normal(0, noise, size)
    return Rows(features, targets, tuple(f"row/{position}" for position in range(size)))


def examples(rows: Rows) -> Examples:
    return Examples.of(rows, np.ones(len(rows), dtype=bool), CPU)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.7, 1e6 + 0.1])
def test_a_constant_is_divided_by_one_though_its_deviation_is_a_rounding_error(value):
    targets = np.full(284, value)
    scaling = Scaling.of(Rows(targets[:, None], targets, tuple(map(str, range(284)))))
    assert scaling.feature_std == [1]
    assert scaling.target_std == 1


def test_the_scaling_is_that_of_scikit_learns_standard_scaler():
    rows = some_rows()
    constant = np.hstack([rows.features, np.full((len(rows), 1), 4.0)])
    scaling = Scaling.of(Rows(constant, rows.targets, rows.ids))
    theirs = StandardScaler().fit(constant)
    np.testing.assert_allclose(scaling.feature_mean, theirs.mean_)
    np.testing.assert_allclose(scaling.feature_std, theirs.scale_)
    assert scaling.target_std == pytest.approx(rows.targets.std())


def test_the_network_is_its_body_on_standardized_features_put_back_into_the_targets_units():
    rows = some_rows()
    model = build_regressor([7], Scaling.of(rows), seed=0)
    standardized = StandardScaler().fit_transform(rows.features)
    with torch.inference_mode():
        body = model.body(torch.from_numpy(standardized).float()).squeeze(1).numpy()
        expected = rows.targets.mean() + rows.targets.std() * body
        np.testing.assert_allclose(model(torch.from_numpy(rows.features)).numpy(), expected, rtol=1e-5)


def test_the_layers_are_those_asked_for_and_the_output_has_no_dropout():
    model = build_regressor([6, 5], Scaling.of(some_rows()), dropout=0.3, batch_norm=True, seed=0)
    one_layer = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert [type(layer).__name__ for layer in model.body] == [*one_layer, *one_layer, "Linear"]
    assert [layer.out_features for layer in model.body if isinstance(layer, torch.nn.Linear)] == [6, 5, 1]


def test_initial_weights_follow_the_seed_and_move_no_global_generator():
    before = torch.default_generator.get_state()
    first, same, other = (
        build_regressor([5], Scaling.of(some_rows()), seed=seed).state_dict()["body.0.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.default_generator.get_state(), before)


def settings_of(**values) -> RegressionTrainConfig:
    defaults = {"epochs": 20, "schedule": {"name": "constant"}}
    return RegressionTrainConfig.model_validate(defaults | values)


def trained(config: RegressionTrainConfig, hidden=(8,), seed=0, dropout=0.0, on_epoch=lambda record: None):
    model = build_regressor(hidden, Scaling.of(some_rows()), dropout=dropout, seed=1)
    rows, held_out = examples(some_rows()), examples(some_rows(size=40, seed=6))
    return model, train_regressor(model, config, rows, held_out, seed=seed, on_epoch=on_epoch)


def test_without_a_hidden_layer_training_finds_the_least_squares_solution():
    config = settings_of(
        epochs=200,
        batch_size=120,
        schedule={"name": "cosine"},
        optimizer={"name": "adam", "lr": 0.2, "weight_decay": 0},
        early_stopping={"patience": 200},
    )
    model, _ = trained(config, hidden=())
    rows = some_rows()
    expected = LinearRegression().fit(rows.features, rows.targets).predict(rows.features)
    with torch.inference_mode():
        np.testing.assert_allclose(model(torch.from_numpy(rows.features)).numpy(), expected, atol=0.02)


def test_the_weights_kept_are_those_of_the_epoch_with_the_least_validation_loss():
    seen = []
    config = settings_of(epochs=60, optimizer={"lr": 0.05}, early_stopping={"patience": 4})
    model, fit = trained(config, hidden=(64,), on_epoch=seen.append)
    losses = [record["validation_loss"] for record in fit.history]
    assert seen == fit.history
    assert fit.best_epoch == 1 + int(np.argmin(losses))
    model.load_state_dict(fit.weights)
    held_out = some_rows(size=40, seed=6)
    with torch.inference_mode():
        predicted = model.eval()(torch.from_numpy(held_out.features)).double().numpy()
    mse = sklearn.metrics.mean_squared_error(held_out.targets, predicted)
    assert min(losses) == pytest.approx(mse / some_rows().targets.var(), rel=1e-4)
    best = fit.history[fit.best_epoch - 1]
    mae = sklearn.metrics.mean_absolute_error(held_out.targets, predicted)
    assert best["validation_mae"] == pytest.approx(mae, rel=1e-4)


def test_training_stops_once_the_patience_is_used_up():
    config = settings_of(epochs=500, optimizer={"lr": 0.05}, early_stopping={"patience": 3})
    _, fit = trained(config)
    assert fit.stopped_early
    assert len(fit.history) == fit.best_epoch + 3


@pytest.mark.parametrize("disturb", [{}, {"rate": 50, "scale": 0.5}])
def test_the_same_seed_trains_the_same_bits_and_another_seed_others(disturb):
    config = settings_of(epochs=3, disturb_value=disturb)
    first, same, other = (trained(config, seed=seed, dropout=0.2)[1].weights for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_noise_of_zero_trains_the_same_bits_as_no_noise():
    plain, silent = (trained(settings_of(epochs=3, disturb_value=d))[1].weights for d in ({}, {"rate": 90, "scale": 0}))
    assert all(torch.equal(plain[name], silent[name]) for name in plain)


def test_the_noise_has_the_scale_times_the_standard_deviation_of_the_training_targets():
    # A network that cannot move sees its loss rise by the variance of the noise: rate · scale², in target variances.
    frozen = {"name": "sgd", "lr": 1e-12, "momentum": 0, "weight_decay": 0}
    quiet, noisy = (
        trained(settings_of(epochs=40, optimizer=frozen, early_stopping={"patience": 40}, disturb_value=d))[1].history
        for d in ({}, {"rate": 50, "scale": 3})
    )
    rise = np.mean([n["train_loss"] - q["train_loss"] for n, q in zip(noisy, quiet, strict=True)])
    assert rise == pytest.approx(0.5 * 3**2, rel=0.1)
    assert [r["validation_loss"] for r in noisy] == pytest.approx([r["validation_loss"] for r in quiet], rel=1e-5)


def test_a_training_that_diverges_says_so_in_one_line():
    config = settings_of(optimizer={"name": "sgd", "lr": 1e3})
    with pytest.raises(UserError, match=r"train\.optimizer\.lr=1000\.0: .* use a smaller learning rate"):
        trained(config)


# --- figures ----------------------------------------------------------------------------------------------------------


def a_test_set(size: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(150, 70, size)
    return truth, truth + rng.normal(5, 40, size)


def test_the_estimates_are_those_of_scikit_learn():
    truth, predicted = a_test_set()
    found = score(truth, predicted, seed=0)
    assert found["mae"].estimate == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted))
    assert found["rmse"].estimate == pytest.approx(sklearn.metrics.root_mean_squared_error(truth, predicted))
    assert found["r2"].estimate == pytest.approx(sklearn.metrics.r2_score(truth, predicted))


def test_the_intervals_are_the_percentiles_of_scikit_learns_figures_on_resampled_rows():
    truth, predicted = a_test_set()
    found, rng = score(truth, predicted, seed=0), np.random.default_rng(99)
    theirs = {
        "mae": sklearn.metrics.mean_absolute_error,
        "rmse": sklearn.metrics.root_mean_squared_error,
        "r2": sklearn.metrics.r2_score,
    }
    drawn = rng.integers(0, len(truth), (2000, len(truth)))
    for name, figure in theirs.items():
        low, high = np.quantile([figure(truth[rows], predicted[rows]) for rows in drawn], [0.025, 0.975])
        tolerance = 0.12 * (high - low)  # of 2,000 resamples
        assert found[name].low == pytest.approx(low, abs=tolerance)
        assert found[name].high == pytest.approx(high, abs=tolerance)


def test_the_interval_of_the_mean_error_agrees_with_the_normal_one_of_many_rows():
    truth, predicted = a_test_set(size=500)
    found, errors = score(truth, predicted, seed=0)["mae"], np.abs(truth - predicted)
    half = norm.ppf(0.975) * errors.std(ddof=1) / math.sqrt(len(errors))
    assert (found.low, found.high) == pytest.approx((errors.mean() - half, errors.mean() + half), abs=0.1 * half)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others():
    truth, predicted = a_test_set()
    assert score(truth, predicted, seed=1) == score(truth, predicted, seed=1)
    assert score(truth, predicted, seed=1) != score(truth, predicted, seed=2)


def test_perfect_predictions_have_intervals_without_width():
    truth, _ = a_test_set()
    for name, expected in (("mae", 0.0), ("rmse", 0.0), ("r2", 1.0)):
        found = score(truth, truth, seed=0)[name]
        assert (found.estimate, found.low, found.high) == (expected, expected, expected)


def test_the_paired_difference_is_narrower_than_the_figures_where_models_err_alike():
    truth, predicted = a_test_set()
    slightly_worse = truth + 1.1 * (predicted - truth)
    difference = mae_difference(truth, predicted, slightly_worse, seed=0)
    assert difference.estimate == pytest.approx(0.1 * np.abs(predicted - truth).mean())
    assert difference.low > 0  # each error is a tenth larger, so every resample says the same
    single = score(truth, predicted, seed=0)["mae"]
    assert difference.high - difference.low == pytest.approx(0.1 * (single.high - single.low))


def test_swapping_the_models_mirrors_their_difference():
    truth, predicted = a_test_set()
    other = a_test_set(seed=3)[1]
    there, back = mae_difference(truth, predicted, other, 0), mae_difference(truth, other, predicted, 0)
    expected = (-back.estimate, -back.high, -back.low)
    assert (there.estimate, there.low, there.high) == pytest.approx(expected, rel=1e-6, abs=0.05)


def test_the_verdict_follows_the_interval_of_the_difference():
    truth, predicted = a_test_set()
    off = truth + 3 * (predicted - truth)
    alike = np.where(np.arange(len(truth)) % 2 == 0, predicted, 2 * truth - predicted)  # errors of the same size
    found = evaluate_regression(truth, {"network": predicted, "far": off, "best": truth, "alike": alike}, seed=0)
    verdicts = {name: difference["verdict"] for name, difference in found["differences"].items()}
    assert verdicts == {"far": "network better", "best": "best better", "alike": "no difference shown"}
    assert found["total"] == len(truth)


@pytest.mark.parametrize(
    ("truth", "predicted", "said"),
    [
        (np.arange(9.0), np.arange(9.0), "9 rows are too few"),
        (np.arange(20.0), np.arange(19.0), r"shape \(19,\)"),
        (np.ones(20), np.arange(20.0), "all targets are 1.0"),
    ],
)
def test_figures_that_mean_nothing_are_refused(truth, predicted, said):
    with pytest.raises(ValueError, match=said):
        score(truth, predicted, seed=0)


# --- config -----------------------------------------------------------------------------------------------------------


def write(tmp_path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_config_survives_being_written_and_read(tmp_path):
    config = RegressionConfig.model_validate(
        {"seed": 4, "model": {"hidden": [3, 2]}, "train": {"disturb_value": {"rate": 30, "scale": 0.2}}}
    )
    assert load_kind(RegressionConfig, write(tmp_path, to_yaml(config))) == config


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        RegressionConfig().seed = 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {disturb_value: {rate: 101}}", ["train.disturb_value.rate=101", "100"]),
        ("train: {disturb_value: {scale: -1}}", ["train.disturb_value.scale=-1", "0"]),
        ("train: {disturb_valu: {rate: 1}}", ["train.disturb_valu", "did you mean 'train.disturb_value'"]),
        ("train: {early_stopping: {monitor: accuracy}}", ["monitor='accuracy'", "'loss'"]),
        ("train: {epochs: 5, schedule: {milestones: [7]}}", ["milestones holds 7", "epochs=5"]),
        ("model: {batch_norm: true}\ntrain: {batch_size: 1}", ["model.batch_norm=true", "train.batch_size=1"]),
        ("split: {train_rows: 5}", ["split.train_rows=5", "20"]),
        ("split: {validation_rows: 2}", ["split.validation_rows=2", "10"]),
        ("quux: 1", ["unknown key 'quux'", "`semisup regress diabetes --keys`"]),
        ("data: {name: digits}", ["data.name='digits'", "diabetes"]),
    ],
)
def test_a_mistake_is_one_line_with_the_key_the_rule_and_the_way_out(text, said, tmp_path):
    with user_mistake() as caught:
        load_kind(RegressionConfig, write(tmp_path, f"task: regression\n{text}"))
    assert all(word in str(caught.value) for word in said)


def test_each_kind_of_config_names_the_command_of_the_other(tmp_path):
    with pytest.raises(UserError, match="task: regression is no pipeline of images; use `semisup regress`"):
        load_config(write(tmp_path, "task: regression\nquux: 1"))
    with pytest.raises(UserError, match=r"without `task: regression` .* use `semisup run`"):
        load_kind(RegressionConfig, write(tmp_path, "joint: {epochs: 3}"))


def test_every_key_is_documented():
    def undocumented(kind, prefix=""):
        for name, field in kind.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from undocumented(inner, f"{prefix}{name}.")
            elif not field.description:
                yield prefix + name

    assert list(undocumented(RegressionConfig)) == []
    assert "train.disturb_value.rate" in flatten(RegressionConfig())


# --- figures to look at -----------------------------------------------------------------------------------------------


def test_the_residual_plot_draws_every_row_three_times_and_the_lines_of_perfection():
    truth, predicted = a_test_set(size=30)
    against_truth, against_predicted, quantiles = residuals(truth, predicted, "title").axes
    np.testing.assert_array_equal(against_truth.lines[1].get_xydata(), np.column_stack([predicted, truth]))
    np.testing.assert_array_equal(
        against_predicted.lines[1].get_xydata(), np.column_stack([predicted, truth - predicted])
    )
    assert sorted(truth - predicted) == pytest.approx(quantiles.lines[1].get_ydata())
    assert against_truth.get_xlim() == against_truth.get_ylim()  # so that the diagonal is one
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in (against_truth, against_predicted, quantiles))


def test_the_loss_curves_mark_the_epoch_kept_and_the_end():
    import pandas as pd

    history = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [1, 0.6, 0.5], "validation_loss": [0.9, 0.7, 0.8]})
    (axes,) = loss_curves(history, best_epoch=2, stopped_early=True).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["weights kept (epoch 2)"] == [[2, 0.7]]
    assert [x for x, _ in drawn["stopped early (epoch 3)"]] == [3, 3]
