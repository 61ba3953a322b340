"""Memory that a process has let go of and that the system still counts as its own, and Python's search for cycles."""

import atexit
import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

LARGEST_KEPT = 32 * 2**20
"""Bytes; glibc takes no larger threshold."""
MOST_KEPT = 128 * 2**20
"""Bytes; more than a step of the usual networks lets go of."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


@cache
def keep_for_reuse() -> None:
    """From now on this process keeps tensors' memory that is let go of, for the next tensors: a setting of glibc.

    Left to itself, glibc returns a step's activations to the system, and the next step gets them back page by page,
    each zeroed first: 4 to 9 % of a light network's step. What was kept goes back by :func:`give_back`.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST_KEPT)
        set_option(M_TRIM_THRESHOLD, MOST_KEPT)


def give_back() -> None:
    """Return what is free within this process to the system, as far as its allocators can.

    Tables of a million rows leave hundreds of megabytes that are kept for later tables, and a limit of a container, or
    `top`, takes them for used.
    """
    import pyarrow as pa  # who only trains, as on a machine without it, needs none

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries have none
    if trim is not None:
        trim(0)


@contextmanager
def uncollected() -> Iterator[None]:
    """Python's collector of cycles rests, in all threads of the process, while much is imported.

    The imports of a command make half a million objects, nearly all of which stay; looking through them again and again
    is a fifth of their time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_to_the_end() -> None:
    """The collector does not look at what there is by now until the process exits; a full look takes half a second.

    It must then, or nanobind, as in Triton, reports every one of its objects on the screen.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)
