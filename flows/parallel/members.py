"""The members of a bagging ensemble, several at the same time: in processes here, or on a Dask cluster.

Threads would not do: dropout draws from torch's global generator, and members in one process would draw from each
other's numbers.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flows.parallel.check import check
from flows.parallel.cluster import Cluster
from flows.parallel.processes import Call, Hear, ProcessKilledError, Result, run_in_processes
from flows.start import display
from semisup.config import RuntimeConfig
from semisup.errors import UserError
from semisup.pipeline.plan import Step


def check_cluster(runtime: RuntimeConfig, steps: Sequence[Step]) -> None:
    """Make sure that a cluster on which some of the steps are to run is there.

    Raises:
        UserError: as in :func:`flows.parallel.check.check`.
    """
    members = [step for step in steps if step.stage == "member"]
    if runtime.dask is None or not members or any("previous" in step.upstream for step in members):
        return  # each member of a boosting ensemble waits for the one before
    check(_cluster(runtime.dask))


def _cluster(address: str) -> Cluster:
    return Cluster(address, f"runtime.dask={address!r}", "member")


def at_once(members: int, runtime: RuntimeConfig) -> int:
    """How many of so many members are trained at the same time; a cluster knows itself how many it has room for."""
    return members if runtime.dask else min(members, runtime.parallel_members)


def run_at_once(calls: Sequence[Call[Result]], runtime: RuntimeConfig) -> list[Result]:
    """The results of the tasks, in their order. The first failure ends the others.

    Raises:
        UserError: a process was killed, or the cluster cannot be used; or whatever a task raises.
    """
    with _shown(len(calls)) as hear:
        if runtime.dask:
            from flows.parallel.dask import run_on_dask

            return run_on_dask(calls, _cluster(runtime.dask), hear)
        try:
            return run_in_processes(calls, at_once(len(calls), runtime), hear)
        except ProcessKilledError:
            raise UserError(
                f"runtime.parallel_members={runtime.parallel_members}: a member's process was killed, perhaps for want "
                "of memory; use fewer at a time and run again"
            ) from None


@contextmanager
def _shown(members: int) -> Iterator[Hear]:
    """Shows what the members say, their progress as that of one stage."""
    started = time.perf_counter()
    display.current().begin("members")
    yield _Together(members).hear
    display.current().end("members", time.perf_counter() - started)


@dataclass
class _Together:
    """Several members' news as those of one stage."""

    members: int
    shares: dict[str, float] = field(default_factory=dict)
    """Of each member's way, how much is done."""

    def hear(self, stage: str, kind: str, *said: Any) -> None:
        match kind, said:
            case "line", (text, warning):
                display.current().line(f"{stage}: {text}", warning=warning)
            case "progress", (done, total, note):
                self._move(stage, done / total, note)
            case "end", (seconds, reused):
                end = f"reused run {reused[:8]}" if reused else f"done in {seconds:.1f} s"
                display.current().line(f"{stage}: {end}")
                self._move(stage, 1.0, end)

    def _move(self, stage: str, share: float, note: str) -> None:
        self.shares[stage] = share
        done = round(100 * sum(self.shares.values()) / self.members)
        display.current().progress(done, 100, f"% of the way, {stage}: {note}")
