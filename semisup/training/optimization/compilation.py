"""A network's forward and backward pass as compiled code (torch.compile), where the machine can make it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from semisup.errors import UserError


def compiled(model: nn.Module) -> nn.Module:
    """The same parameters behind a compiled forward pass; `model` itself stays as it is, and so do its keys.

    Dropout draws what it would draw without: only rounding tells the two apart.
    """
    # It looks for a CUDA toolkit, and says so on the screen of whoever has no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    wrapped = torch.compile(model, options={"fallback_random": True})
    assert isinstance(wrapped, nn.Module)
    return wrapped


@contextmanager
def compiler_mistakes() -> Iterator[None]:
    """What goes wrong in compiling is something that a person can mend, or do without.

    Raises:
        UserError: torch could not compile.
    """
    try:
        yield
    except RuntimeError as error:
        dynamo = sys.modules.get("torch._dynamo.exc")  # seconds to import, and loaded where something was compiled
        if dynamo is None or not isinstance(error, dynamo.TorchDynamoException):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"runtime.compile=true, but torch cannot compile the network here ({reason}); it needs a C++ compiler "
            "(Debian's package g++), on a GPU also Triton: install it, or leave the key out"
        ) from None
