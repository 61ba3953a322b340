"""One training in several processes: each works on its part of every batch, and all of them know every logit.

The loss of a step is taken from the logits of the whole batch, in every process alike. So policies, figures and early
stopping see what one process alone would see, and only what is dear is divided: views, forward and backward passes.

Source of data-parallel training: torch's DistributedDataParallel, which averages the gradients of the parameters.
"""

import os
import sys
import warnings
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from semisup.training.optimization.batch_norm import with_shared_statistics

Value = TypeVar("Value")
Gradients = tuple[Tensor | None, ...]


class ProcessGroup(Protocol):
    """The processes of one training, as the loop sees them from one of them."""

    @property
    def rank(self) -> int:
        """This process, from 0; that one writes and tells."""

    @property
    def size(self) -> int:
        """How many they are."""

    def share(self, count: int) -> slice:
        """Which of `count` things in a row are this process's."""

    def prepare(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """(the network, whose batch norm sees all processes' images; what to call for a forward pass with gradients).

        Both hold the same parameters, which are those of `model`.
        """

    def gather(self, values: Tensor, *counts: int) -> Tensor:
        """Rows (Σ counts, ...) of all processes in the order of the batches, from the own ones (b, ...).

        The batches, of `counts` images each, follow one another, in `values` by their shares. The gradient of a loss
        that every process computes from the result is right once the parameters' gradients are averaged.
        """

    def total(self, value: Tensor) -> Tensor:
        """Sum over the processes, the same bits in each."""

    def from_first(self, value: Value | None) -> Value | None:
        """The first process's value: numbers, texts, tensors on the CPU and containers of them."""

    def summed(self, value: float) -> float:
        """Sum of every process's number."""

    def of_first(self, value: float) -> float:
        """The first process's number."""


class Alone:
    """A training in this process."""

    rank, size = 0, 1

    def share(self, count: int) -> slice:
        """All of them."""
        return slice(0, count)

    def prepare(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """The network as it is, twice."""
        return model, model

    def gather(self, values: Tensor, *counts: int) -> Tensor:
        """The values."""
        return values

    def total(self, value: Tensor) -> Tensor:
        """The value."""
        return value

    def from_first(self, value: Value | None) -> Value | None:
        """The value."""
        return value

    def summed(self, value: float) -> float:
        """The number."""
        return value

    def of_first(self, value: float) -> float:
        """The number."""
        return value


ALONE = Alone()


@dataclass(frozen=True)
class Processes:
    """The processes of torch's default group, which must be there; `device` is this one's."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def of_the_group(cls, device: torch.device) -> "Processes":
        """All of them."""
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    def share(self, count: int) -> slice:
        """As even as can be; the first ones have one more."""
        least, more = divmod(count, self.size)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def prepare(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """The network with other batch norm layers, and torch's DistributedDataParallel around it."""
        model = with_shared_statistics(model)
        devices = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            # Another name for it is coming, which torch before 2.15 does not know.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            return model, DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)

    def gather(self, values: Tensor, *counts: int) -> Tensor:
        """A sum over the processes, where each has its own rows and 0 elsewhere: exact, and shares may differ."""
        starts = [sum(counts[:place]) for place in range(len(counts))]
        shares = [self.share(count) for count in counts]
        rows = torch.cat(
            [torch.arange(start + share.start, start + share.stop) for start, share in zip(starts, shares, strict=True)]
        )
        gathered: Tensor = _Gather.apply(values, rows.to(values.device), sum(counts), self.size)
        return gathered

    def total(self, value: Tensor) -> Tensor:
        """An all-reduce."""
        total = value.clone()
        distributed.all_reduce(total)
        return total

    def from_first(self, value: Value | None) -> Value | None:
        """A broadcast."""
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def summed(self, value: float) -> float:
        """An all-reduce."""
        return float(self.total(torch.tensor(value, dtype=torch.float64, device=self.device)))

    def of_first(self, value: float) -> float:
        """An all-reduce, too."""
        return self.summed(value if self.rank == 0 else 0.0)


def end_process(status: int = 0) -> NoReturn:
    """End this process of several at once; what it was to write must be written.

    Threads of torch's group may ask for the interpreter's lock while Python ends, which now and then aborts a process
    whose work is done ("terminate called without an active exception").
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Gather(torch.autograd.Function):
    """`Processes.gather`. Backwards every process has the whole gradient, of which its own rows are its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, count: int, size: int) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = size
        whole = values.new_zeros(count, *values.shape[1:])
        whole[rows] = values
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (rows,) = ctx.saved_tensors
        return gradient[rows] * ctx.size, None, None, None  # DistributedDataParallel will divide by the size
