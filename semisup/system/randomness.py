"""Every random choice has a generator of its own, derived from the one seed of the config."""

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose, such as "baseline/augment".

    Hashing keeps purposes independent: adding a random choice somewhere never changes another one's draws.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}".encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, purpose: str, device: torch.device | None = None) -> torch.Generator:
    """A torch generator for one purpose on one device (default: CPU)."""
    return torch.Generator(device or torch.device("cpu")).manual_seed(derive_seed(seed, purpose))


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(derive_seed(seed, purpose))
