"""Memory that a process has let go of, and that the system still counts as its own."""

import ctypes

import pyarrow as pa


def give_back() -> None:
    """Return what is free within this process to the system, as far as its allocators can.

    Tables of a million rows leave hundreds of megabytes that are kept for later tables, and a limit of a container, or
    `top`, takes them for used.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries have none
    if trim is not None:
        trim(0)
