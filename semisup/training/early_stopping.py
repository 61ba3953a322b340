"""When to stop, and which epoch to keep."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import Tensor


@dataclass(frozen=True)
class BestEpoch:
    """What training left: the best epoch's weights (on the CPU) and how it went."""

    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    """One record per epoch."""
    best_epoch: int
    stopped_early: bool


@dataclass
class EarlyStopping:
    """Follows one validation figure, epoch by epoch (counted from 1).

    The best epoch is the last one that improved on the best before it by more than `min_delta`. Of epochs with
    exactly the same accuracy the one with the least loss is kept: a few hundred validation images make many ties, and
    the first epoch among them is the least sure of itself. Training should stop once `patience` epochs have passed
    without an improvement (a better tie is none). Epochs up to `wait_until` never count toward the patience:
    the semi-supervised loss changes its meaning until its ramp is complete. `keep` "last" takes every epoch for the
    best so far, and never stops: the validation figures are then looked at, and decide nothing.
    """

    monitor: Literal["loss", "accuracy"]
    patience: int
    min_delta: float = 0.0
    wait_until: int = 0
    keep: Literal["best", "last"] = "best"
    best: float | None = None
    best_loss: float | None = None
    best_epoch: int = 0
    epochs_without_improvement: int = field(default=0, init=False)

    def update(self, epoch: int, *, loss: float, accuracy: float) -> bool:
        """Take in an epoch's validation figures; is it the best so far?"""
        value = loss if self.monitor == "loss" else accuracy
        if self.keep == "last":
            self.best, self.best_loss, self.best_epoch = value, loss, epoch
            return True
        improved = self.best is None or self._gain(value) > self.min_delta
        better_tie = self.best_loss is not None and value == self.best and loss < self.best_loss
        if improved or better_tie:
            self.best, self.best_loss, self.best_epoch = value, loss, epoch
        if improved or epoch <= self.wait_until:
            self.epochs_without_improvement = 0
        else:
            self.epochs_without_improvement += 1
        return improved or better_tie

    @property
    def should_stop(self) -> bool:
        """Has the patience run out?"""
        return self.epochs_without_improvement >= self.patience

    def state(self) -> dict[str, Any]:
        """Every field."""
        return asdict(self)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for name, value in state.items():
            setattr(self, name, value)

    def _gain(self, value: float) -> float:
        assert self.best is not None
        return self.best - value if self.monitor == "loss" else value - self.best
