"""Stage `regression_evaluate`: the only place that opens the test rows. Network, linear regression and mean, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from sklearn.linear_model import LinearRegression

from semisup.config import PipelineConfig
from semisup.config.regression import RegressionConfig
from semisup.pipeline.log import StageLog
from semisup.plots import residuals, save_png
from semisup.regression.metrics import evaluate_regression
from semisup.regression.network import Regressor, Scaling, build_regressor
from semisup.regression.rows import FloatArray, load_rows
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import WEIGHTS
from semisup.system.json_files import read_json, write_json
from semisup.system.randomness import derive_seed
from semisup.wording import counted


def run(config: RegressionConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `predictions.parquet` (id, truth and a column per model), `metrics.json` and `residuals.png`.

    Linear regression and mean learn from the training rows and from nothing else. The network has also seen the
    validation rows: they chose its epoch.
    """
    pick_device(PipelineConfig(runtime=config.runtime))  # for its threads: a handful of rows needs no GPU
    pool, test = load_rows("pool"), load_rows("test")
    rows = pd.read_parquet(inputs["regression_fit"] / "rows.parquet")
    assert rows["id"].tolist() == list(pool.ids), "the rows are not those that were trained on"
    training = (rows["role"] == "train").to_numpy()
    features, targets = pool.features[training], pool.targets[training]
    predictions = {
        "network": _predict(_load_model(inputs["regression_fit"]), test.features),
        "linear": LinearRegression().fit(features, targets).predict(test.features),
        "mean": np.full(len(test), targets.mean()),
    }
    pd.DataFrame({"id": test.ids, "truth": test.targets} | predictions).to_parquet(
        out_dir / "predictions.parquet", index=False
    )
    metrics = evaluate_regression(test.targets, predictions, derive_seed(config.seed, "regression_evaluate"))
    write_json(out_dir / "metrics.json", metrics)
    figure = residuals(test.targets, predictions["network"], f"Network on {counted(len(test), 'test row')}")
    save_png(figure, out_dir / "residuals.png")
    _log_figures(metrics, log)


def _load_model(folder: Path) -> Regressor:
    description = read_json(folder / "model.json")
    model = build_regressor(
        description["hidden"],
        Scaling(**description["scaling"]),
        dropout=description["dropout"],
        batch_norm=description["batch_norm"],
        seed=0,
    )
    model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return model


@torch.inference_mode()
def _predict(model: Regressor, features: FloatArray) -> FloatArray:
    predicted: FloatArray = model.eval()(torch.from_numpy(features)).double().numpy()
    return predicted


def _log_figures(metrics: Mapping[str, Any], log: StageLog) -> None:
    intervals = {f"{name}_{key}": value for name, of in metrics["models"].items() for key, value in of.items()}
    intervals |= {f"mae_difference_{name}": value for name, value in metrics["differences"].items()}
    figures: dict[str, float] = {}
    for name, interval in intervals.items():
        figures |= {name: interval["estimate"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    log.metrics(figures)
    errors = {name: figures["mae"]["estimate"] for name, figures in metrics["models"].items()}
    log.info(
        f"mean absolute error on {counted(metrics['total'], 'test row')}: network {errors['network']:.2f}, linear "
        f"regression {errors['linear']:.2f}, mean {errors['mean']:.2f}; network against linear regression: "
        f"{metrics['differences']['linear']['verdict']}"
    )
