"""Which numbers a network computes in while it trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from semisup.config import Precision


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Convolutions and matrix products in this precision, all else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=lower(precision, device))


def lower(precision: Precision, device: torch.device) -> bool:
    """Does it come to bfloat16 on this device?"""
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Does the device compute in bfloat16 itself? Where it does not, emulation is slower than float32."""
    if device.type == "cuda":
        supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return supported
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


@contextmanager
def depthwise_in_float32(model: nn.Module, precision: Precision, device: torch.device) -> Iterator[None]:
    """Inside, convolutions of one filter for each channel compute in float32 where the rest does in bfloat16 on a CPU.

    torch has no kernel for their backward pass in bfloat16 there: it takes four times as long as all else of a step of
    an EfficientNet. What goes in and comes out is bfloat16 all the same.
    """
    depthwise = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels
    ]
    if device.type != "cpu" or not lower(precision, device):
        depthwise = []
    for module in depthwise:
        module.forward = MethodType(_in_float32, module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in depthwise:
            del module.forward


def _in_float32(self: nn.Conv2d, images: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        convolved: Tensor = type(self).forward(self, images.float())
    return convolved.to(images.dtype)
