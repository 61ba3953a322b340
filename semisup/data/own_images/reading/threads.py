"""Work that threads do ahead of whoever takes it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
TASKS_AHEAD = 2
"""For each worker: so many tasks are done, or being done, that nobody has taken yet."""


def worked_ahead(work: Callable[[Task], Result], tasks: Iterable[Task], workers: int | None = None) -> Iterator[Result]:
    """What `work` makes of every task, in their order; no more tasks are taken up than threads can be busy with.

    There are as many `workers` as cores, where their number is not given. Threads, not processes: Pillow decodes
    without Python's lock, and a caller's own script need not be importable.
    """
    workers = workers or len(os.sched_getaffinity(0))
    ahead: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        try:
            for task in tasks:
                ahead.append(threads.submit(work, task))
                if len(ahead) > TASKS_AHEAD * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
