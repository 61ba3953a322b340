"""Everything that changes while training runs, as one value that can be saved and put back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from semisup.budget import Clock
from semisup.pseudo_labels import State
from semisup.training.early_stopping import EarlyStopping


class Source(Protocol):
    """Something that draws random numbers for every batch, such as an `ImageStream`."""

    def state(self) -> dict[str, Any]:
        """What decides every batch to come."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""


@dataclass
class TrainingState:
    """What a training consists of at the end of an epoch: put back, it continues with the same bits.

    Torch's global generators, from which dropout draws, belong to it; they are read and set where they are.
    """

    device: torch.device
    model: nn.Module
    optimizer: Optimizer
    clock: Clock
    ema: AveragedModel | None
    stopping: EarlyStopping
    sources: Sequence[Source]
    mixup_rng: np.random.Generator
    policy_state: State
    steps: int = 0
    """Steps done, whatever the clock counts."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One record per epoch that is complete."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, not copied: write them before the next step changes them."""
        return {
            "device": self.device.type,
            "epoch": len(self.history),
            "steps": self.steps,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clock": self.clock.state(),
            "ema": self.ema.state_dict() if self.ema else None,
            "stopping": self.stopping.state(),
            "sources": [source.state() for source in self.sources],
            "mixup_rng": self.mixup_rng.bit_generator.state,
            "global_rng": torch.default_generator.get_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "policy_state": self.policy_state,
            "history": self.history,
            "best_weights": self.best_weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned in a training with the same arguments; tensors may come from the CPU."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.restore(state["clock"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.stopping.restore(state["stopping"])
        for source, saved in zip(self.sources, state["sources"], strict=True):
            source.restore(saved)
        self.mixup_rng.bit_generator.state = state["mixup_rng"]
        torch.default_generator.set_state(state["global_rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self.policy_state = {name: value.to(self.device) for name, value in state["policy_state"].items()}
        self.steps, self.history, self.best_weights = state["steps"], state["history"], state["best_weights"]
