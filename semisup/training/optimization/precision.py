"""Which numbers a network computes in while it trains."""

from typing import Any

import torch

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
