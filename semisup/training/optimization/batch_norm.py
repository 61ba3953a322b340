"""Batch norm over the images of all processes: torch's own SyncBatchNorm knows GPUs only."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def with_shared_statistics(model: nn.Module) -> nn.Module:
    """The network with batch norm layers that see the images of all processes of torch's default group.

    Parameters and buffers are the same tensors under the same names.
    """
    if isinstance(model, _BatchNorm) and not isinstance(model, SharedBatchNorm):
        return SharedBatchNorm(model)
    for name, child in model.named_children():
        model.add_module(name, with_shared_statistics(child))
    return model


class SharedBatchNorm(_BatchNorm):
    """Another layer's batch norm, in training by mean and variance of all processes' values (B, C, ...) together.

    Processes may have different numbers of images, but not none.

    Source: Ioffe and Szegedy 2015, algorithm 1; moments of parts put together as by Chan et al. 1979.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self._parameters, self._buffers, self.training = layer._parameters, layer._buffers, layer.training

    def _check_input_dim(self, input: Tensor) -> None:
        """Any."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalized, scaled and shifted values, in the type of the input."""
        if not self.training:
            usual: Tensor = super().forward(input)
            return usual
        values, others = input.float(), [axis for axis in range(input.ndim) if axis != 1]
        count = values.numel() // values.shape[1]
        local_mean, local_variance = values.mean(others), values.var(others, correction=0)
        # One row for each process, all but the own one 0: their sum is everybody's moments.
        place, size = distributed.get_rank(), distributed.get_world_size()
        own = torch.stack([torch.full_like(local_mean, count), local_mean, local_variance])
        everybody = torch.cat(
            [own.new_zeros(place, *own.shape), own[None], own.new_zeros(size - place - 1, *own.shape)]
        )
        counts, means, variances = _Sum.apply(everybody).unbind(1)  # (processes, C) each
        weights = counts / counts.sum(0)
        mean = (weights * means).sum(0)
        variance = (weights * (variances + (means - mean).square())).sum(0)
        self._follow(mean.detach(), variance.detach(), counts[:, 0].detach().sum())

        along = (1, -1, *[1] * (input.ndim - 2))
        scale, shift = torch.rsqrt(variance + self.eps), -mean * torch.rsqrt(variance + self.eps)
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        normalized: Tensor = values * scale.view(along) + shift.view(along)
        return normalized.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Running statistics, with the unbiased variance, as torch's layers keep them."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)


class _Sum(torch.autograd.Function):
    """A sum over the processes; each one's loss depends on it, and so their gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total
