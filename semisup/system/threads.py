"""How many threads compute: small products are faster by one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch and the linear algebra of numpy and scipy compute in one thread; also a decorator.

    Thousands of small products would each wake the others, which wait for the next one at full speed: on two busy cores
    that takes thirty times the processor time, in torch as in scipy's solvers, and in scikit-learn, which calls these.
    And the bits do not depend on the number of threads.
    """
    import scipy.linalg  # noqa: F401  # only libraries that are there are limited, and this one brings its own

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
