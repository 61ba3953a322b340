"""Tasks in processes of this machine, mostly members of an ensemble: how they begin, what they say, and how they end.

The processes are Prefect's (`ProcessPoolTaskRunner`): spawned, not forked, since MLflow and torch have threads. What is
added here is how they end: with Ctrl-C, SIGTERM, a parent that is killed, or when nobody wants their result any more.
"""

import contextvars
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ProcessPoolTaskRunner

from flows.start import display
from flows.start.exits import TERMINATED

SECONDS_TO_END = 10.0
"""For a process that has been asked to end; then it is killed."""
SECONDS_BETWEEN_LOOKS = 0.2
Result = TypeVar("Result")
Call = tuple[Task[..., Result], Mapping[str, Any]]
"""A task and its parameters."""
Hear = Callable[..., None]
"""Is told (stage, what kind of news, and the news)."""


class ProcessKilledError(Exception):
    """A process ended before its task did."""


def run_in_processes(
    calls: Sequence[Call[Result]],
    processes: int,
    hear: Hear,
    *,
    folder: Path | None = None,
    wanted: Callable[[], bool] = lambda: True,
    seconds_to_end: float = SECONDS_TO_END,
) -> list[Result]:
    """The results of the tasks, in their order; at most so many of them run at a time, in this folder or the current.

    The first failure ends the others, which go on from their checkpoints another time; so does `wanted`, once it says
    no.

    Raises:
        ProcessKilledError: a process was killed, or ended because nobody wants the results; or whatever a task raises.
    """
    spawning: Any = multiprocessing.get_context("spawn")
    news, (end, wish) = spawning.Queue(), spawning.Pipe(duplex=False)
    initial = (news, end, folder or Path.cwd(), seconds_to_end)
    with (
        _passed_on(news, hear, wish, wanted),
        _Processes(max_workers=processes, initializer=_begin_process, initargs=initial) as runner,
    ):
        try:
            return _results(runner, calls, processes)
        except BaseException as error:  # while a task is under way, the runner would wait for its end, however long
            wish.close()
            if isinstance(error, BrokenProcessPool):
                raise ProcessKilledError from None
            raise


@contextmanager
def _passed_on(news: Any, hear: Hear, wish: Connection, wanted: Callable[[], bool]) -> Iterator[None]:
    """What the processes say is passed on until the block ends. They end when `wish` is closed."""
    stopped = threading.Event()
    listener = threading.Thread(target=_listen, args=(news, hear, wish, wanted, stopped), daemon=True)
    listener.start()
    try:
        yield
    finally:
        stopped.set()
        listener.join()
        news.close()
        wish.close()


def _listen(news: Any, hear: Hear, wish: Connection, wanted: Callable[[], bool], stopped: threading.Event) -> None:
    while True:
        last_look = stopped.is_set()
        try:
            hear(*news.get(timeout=SECONDS_BETWEEN_LOOKS))
        except queue.Empty:
            if last_look:
                return
        if not wanted():
            wish.close()


class _Processes(ProcessPoolTaskRunner):
    """Prefect's runner, whose thread that passes on logs and events knows which server this process talks to.

    That is a setting of the context, which threads do not inherit: Prefect would start a second server for them.
    """

    def __enter__(self) -> Self:
        self._context = contextvars.copy_context()
        return super().__enter__()

    def _forward_subprocess_messages(self) -> None:
        self._context.run(super()._forward_subprocess_messages)

    def _stop_message_forwarding(self) -> None:
        """A process that was ended while it wrote to the queue holds its lock for ever; our end shall not wait."""
        if self._subprocess_message_queue is not None:
            self._subprocess_message_queue.cancel_join_thread()
        super()._stop_message_forwarding()


def _results(runner: ProcessPoolTaskRunner, calls: Sequence[Call[Result]], processes: int) -> list[Result]:
    """Never more tasks are handed over than there are processes: one that is asked to end shall not begin another."""
    waiting = list(enumerate(calls))
    running: dict[PrefectFuture[Result], int] = {}
    results: dict[int, Result] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            number, (task, parameters) = waiting.pop(0)
            with _ctrl_c_is_for_the_parent():
                running[runner.submit(task, dict(parameters))] = number
        future = next(iter(as_completed(list(running))))
        results[running.pop(future)] = future.result()
    return [results[number] for number in range(len(calls))]


@contextmanager
def _ctrl_c_is_for_the_parent() -> Iterator[None]:
    """A terminal sends SIGINT to every process; those that begin here never see it, and their parent ends them.

    It is blocked rather than ignored: the thread that starts them inherits the mask and hands it on, and this process
    loses no Ctrl-C.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


# --- in such a process ------------------------------------------------------------------------------------------------


def _begin_process(news: Any, end: Connection, folder: Path, seconds_to_end: float) -> None:
    os.chdir(folder)  # a worker of a cluster stands elsewhere
    display.replace(_Relay(news))
    signal.signal(signal.SIGTERM, partial(_terminated, news, seconds_to_end))
    threading.Thread(target=_end_with_wish, args=(end,), daemon=True).start()


class _Terminated(SystemExit):
    """Ends the task in order, so that MLflow hears of it, and then the process.

    A pool's process sends the parent whatever a task raises and asks for another one; the parent's pool falls silent
    when that is a SystemExit. So the process ends at the moment of sending: a pool knows what to do when one dies.
    """

    def __reduce__(self) -> NoReturn:
        os._exit(TERMINATED)


def _terminated(news: Any, seconds_to_end: float, *_: object) -> NoReturn:
    news.cancel_join_thread()  # a parent that reads no more must not hold up the end
    if_it_hangs = threading.Timer(seconds_to_end, os.kill, (os.getpid(), signal.SIGKILL))
    if_it_hangs.daemon = True
    if_it_hangs.start()
    raise _Terminated(TERMINATED)


def _end_with_wish(end: Connection) -> None:
    """The other end of the pipe is the parent's alone: it is closed on purpose, or by the system when it is killed."""
    with suppress(EOFError):
        end.recv()
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class _Relay:
    """A display that tells the parent's process."""

    news: Any
    stage: str = ""

    def begin(self, stage: str) -> None:
        """Remember whose news it is."""
        self.stage = stage

    def line(self, text: str, *, warning: bool = False) -> None:
        """Pass on."""
        self.news.put((self.stage, "line", text, warning))

    def progress(self, done: int, total: int, note: str) -> None:
        """Pass on."""
        self.news.put((self.stage, "progress", done, total, note))

    def end(self, stage: str, seconds: float, *, reused: str = "") -> None:
        """Pass on."""
        self.news.put((stage, "end", seconds, reused))
