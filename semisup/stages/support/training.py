"""What the two training stages leave behind in the same way."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from semisup.config import TrainConfig
from semisup.pipeline.log import StageLog
from semisup.plots import learning_curves, save_png
from semisup.system.json_files import write_json
from semisup.training.checkpoints import Checkpoints
from semisup.training.loop import TrainingResult
from semisup.wording import counted


class EpochReporter:
    """Logs the record of each epoch and moves the progress display; says where a resumed training goes on.

    A resumed training tells its restored epochs once more, for a fresh run to hold their figures. The display has shown
    them before the crash.
    """

    def __init__(self, log: StageLog, epochs: int) -> None:
        self.log, self.epochs, self.restored = log, epochs, 0

    def on_resume(self, epoch: int) -> None:
        """Training goes on after this epoch."""
        self.restored = epoch
        self.log.info(f"resumed after epoch {epoch} of {self.epochs} from a checkpoint")

    def on_epoch(self, record: dict[str, float]) -> None:
        """An epoch has ended, now or before a crash."""
        epoch = int(record["epoch"])
        self.log.metrics({name: value for name, value in record.items() if name != "epoch"}, step=epoch)
        if epoch >= self.restored:
            self.log.progress(
                epoch,
                self.epochs,
                f"loss {record['train_loss']:.3f}, validation loss {record['validation_loss']:.3f}, "
                f"validation accuracy {record['validation_accuracy']:.1%}",
            )


def open_checkpoints(folder: Path | None, device: torch.device, log: StageLog) -> Checkpoints | None:
    """The checkpoints of one kind of device in a folder, None without one.

    Generators of a GPU cannot go on on a CPU. Each has its own, so that a start without the GPU does not delete what
    the next one with it needs. Who calls the stage deletes the folder once its results are safe.
    """
    return Checkpoints(folder / device.type, log.warning) if folder else None


def save_training(
    result: TrainingResult, config: TrainConfig, out_dir: Path, log: StageLog, title: str, **more: Any
) -> dict[str, Any]:
    """Leaves `history.parquet`, `training.json`, `learning_curves.png` and `timings.json`; what is in the second.

    `more` goes into the second as well. Only the last one holds seconds, so that the same training leaves the same
    bytes in all the others.
    """
    history = pd.DataFrame(result.history).astype({"epoch": int})
    seconds = history.pop("seconds")
    best = history.loc[history["epoch"] == result.best_epoch].iloc[0]
    stopped_epoch = int(history["epoch"].max())
    summary: dict[str, Any] = {
        "best_epoch": result.best_epoch,
        "stopped_epoch": stopped_epoch,
        "max_epochs": config.epochs,
        "stopped_early": result.stopped_early,
        "monitor": config.early_stopping.monitor,
        "keep": config.early_stopping.keep,
        "steps": int(history["steps"].max()),
        "budget": config.budget,
        "best_validation_loss": float(best["validation_loss"]),
        "best_validation_accuracy": float(best["validation_accuracy"]),
    }
    if "alpha" in history and (history["alpha"] > 0).any():
        complete = history[history["alpha"] == history["alpha"].max()]
        summary["unlabeled_share"] = float(complete["unlabeled_share"].mean())
        summary["mask_rate"] = float(history.loc[history["alpha"] > 0, "mask_rate"].min())
    summary |= more
    history.to_parquet(out_dir / "history.parquet", index=False)
    write_json(out_dir / "training.json", summary)
    write_json(out_dir / "timings.json", {"seconds": float(seconds.sum()), "epochs": seconds.tolist()})
    figure = learning_curves(history, result.best_epoch, stopped_epoch, result.stopped_early, title)
    save_png(figure, out_dir / "learning_curves.png")
    log.metrics(
        {
            "best_epoch": result.best_epoch,
            "stopped_epoch": stopped_epoch,
            "best_validation_loss": float(best["validation_loss"]),
            "best_validation_accuracy": float(best["validation_accuracy"]),
        }
    )
    ending = (
        f"stopped early after epoch {stopped_epoch}"
        if result.stopped_early
        else f"ran {counted(stopped_epoch, 'epoch')}, {counted(summary['steps'], 'step')}"
    )
    log.info(
        f"{ending}; kept epoch {result.best_epoch} with validation loss {best['validation_loss']:.4f} "
        f"and accuracy {best['validation_accuracy']:.1%}"
    )
    return summary
