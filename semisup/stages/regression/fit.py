"""Stage `regression_fit`: draws training and validation rows and trains the network. It opens no test row."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
from numpy.typing import NDArray

from semisup.config import PipelineConfig
from semisup.config.regression import RegressionConfig
from semisup.pipeline.log import StageLog
from semisup.plots import loss_curves, save_png
from semisup.regression.network import Scaling, build_regressor
from semisup.regression.rows import Rows, draw_roles, load_rows
from semisup.regression.training import Examples, train_regressor
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import WEIGHTS
from semisup.system.json_files import write_json
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.early_stopping import BestEpoch
from semisup.wording import counted


def run(config: RegressionConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `rows.parquet`, the best epoch's weights with `model.json`, the history and its curves.

    `rows.parquet` holds id and role (train, validation, unused) of every row of the pool, in its order.
    """
    device = pick_device(PipelineConfig(runtime=config.runtime))
    pool = load_rows("pool")
    roles = roles_of(config, pool)
    pd.DataFrame({"id": pool.ids, "role": roles}).to_parquet(out_dir / "rows.parquet", index=False)
    training, validation = roles == "train", roles == "validation"
    scaling = Scaling.of(Rows(pool.features[training], pool.targets[training], tuple(np.array(pool.ids)[training])))
    model = build_regressor(**config.model.model_dump(), scaling=scaling, seed=derive_seed(config.seed, "weights"))
    fit = train_regressor(
        model.to(device),
        config.train,
        Examples.of(pool, training, device),
        Examples.of(pool, validation, device),
        seed=derive_seed(config.seed, "regression_fit"),
        on_epoch=lambda record: _report(record, config.train.epochs, log),
    )
    _save_model(config, scaling, fit, out_dir)
    _save_history(config, fit, out_dir, log)
    log.info(f"{counted(training.sum(), 'training row')}, {counted(validation.sum(), 'validation row')}")


def roles_of(config: RegressionConfig, pool: Rows) -> NDArray[np.object_]:
    """The role (N,) of each row of the pool, decided by the config's seed.

    Raises:
        UserError: as in :func:`semisup.regression.rows.draw_roles`.
    """
    rng = numpy_generator(config.seed, "split")
    return draw_roles(len(pool), config.split.train_rows, config.split.validation_rows, rng)


def _report(record: Mapping[str, float], epochs: int, log: StageLog) -> None:
    epoch = int(record["epoch"])
    log.metrics({name: value for name, value in record.items() if name != "epoch"}, step=epoch)
    note = f"validation loss {record['validation_loss']:.3f}, mean absolute error {record['validation_mae']:.2f}"
    log.progress(epoch, epochs, f"loss {record['train_loss']:.3f}, {note}")


def _save_model(config: RegressionConfig, scaling: Scaling, fit: BestEpoch, out_dir: Path) -> None:
    """The network can be built again from `model.json` alone: the next reader's config may be another."""
    description = config.model.model_dump(mode="json") | {"stage": "regression_fit", "scaling": asdict(scaling)}
    write_json(out_dir / "model.json", description)
    # Written by Python: safetensors' own writer reports a full disk as an error of no kind that could be recognized.
    weights = {name: value.contiguous() for name, value in fit.weights.items()}
    (out_dir / WEIGHTS).write_bytes(safetensors.torch.save(weights))


def _save_history(config: RegressionConfig, fit: BestEpoch, out_dir: Path, log: StageLog) -> None:
    """Leaves `history.parquet`, `training.json`, `loss_curves.png` and `timings.json`, which alone holds seconds."""
    history = pd.DataFrame(fit.history).astype({"epoch": int})
    seconds = history.pop("seconds")
    best = history.loc[history["epoch"] == fit.best_epoch].iloc[0]
    figures = {
        "best_epoch": fit.best_epoch,
        "stopped_epoch": len(history),
        "best_validation_loss": float(best["validation_loss"]),
        "best_validation_mae": float(best["validation_mae"]),
    }
    history.to_parquet(out_dir / "history.parquet", index=False)
    summary = {"max_epochs": config.train.epochs, "stopped_early": fit.stopped_early}
    write_json(out_dir / "training.json", figures | summary)
    write_json(out_dir / "timings.json", {"seconds": float(seconds.sum()), "epochs": seconds.tolist()})
    save_png(loss_curves(history, fit.best_epoch, fit.stopped_early), out_dir / "loss_curves.png")
    log.metrics(figures)
    ending = (
        f"stopped early after epoch {len(history)}"
        if fit.stopped_early
        else f"ran all {counted(len(history), 'epoch')}"
    )
    log.info(
        f"{ending}; kept epoch {fit.best_epoch} with validation loss {best['validation_loss']:.4f} "
        f"and mean absolute error {best['validation_mae']:.2f}"
    )
