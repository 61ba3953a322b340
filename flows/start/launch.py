"""How a command's flow begins: with Prefect's server at hand, and marked with the process that it lives in."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from prefect import Flow, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Scheduled

from flows.start import display
from flows.start.run_names import in_markdown, run_name, still_set, tags_of
from flows.start.server import ensure_prefect_api
from semisup import __version__
from semisup.system.processes import process_tags

Result = TypeVar("Result")
MARK = "semisup"
"""Tag of our flow runs in Prefect; beside it stands the process, as "name=value" tags."""
SECOND_START = "semisup.second-start"
"""Tag of a flow run that is started once more."""
MARKED = ("host", "machine", "pid", "pid.started")


def launch(flow: Callable[[], Result], about: str = "", meanwhile: Iterable[str] = ()) -> Result:
    """Run a flow as a command does, once Prefect's server answers.

    Args:
        about: what is run, for the first line on the screen; "": no line.
        meanwhile: modules to import while the server starts.
    """
    with display.shown() as screen:
        if about:
            screen.line(f"semisup {__version__}: {about}; starting Prefect")
        ensure_prefect_api(meanwhile=meanwhile)
        with marked():
            return flow()


def marked() -> AbstractContextManager[set[str]]:
    """Flow runs that begin within the block say from their first moment on which process they live in."""
    return tags(MARK, *_process_marks())


def mark_flow_run() -> None:
    """Write into Prefect which process this flow run lives in: one that was made elsewhere does not say so yet."""
    if flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        present = set(client.read_flow_run(UUID(flow_run.id)).tags)
        # A flow run that is retried has the marks of the process before; two processes' marks make no third one.
        others = {tag for tag in present if tag.partition("=")[0] not in MARKED}
        wanted = {*others, MARK, *_process_marks()}
        if wanted != present:
            client.update_flow_run(UUID(flow_run.id), tags=sorted(wanted))


@dataclass(frozen=True)
class Begun:
    """A flow run that has begun, and how its run in MLflow speaks of it."""

    config: Any
    set_here: Sequence[str]
    """What the command line set on top of the config's file, and the config holds."""
    at: float
    """As `time.perf_counter` has it."""

    @classmethod
    def now(cls, config: Any, overrides: Sequence[str] | None) -> "Begun":
        """The current one; Prefect is told which process it lives in."""
        started = time.perf_counter()
        mark_flow_run()
        return cls(config, still_set(config, overrides), started)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.at

    def name(self, ending: str = "") -> str:
        """Of config and seed, and what was set."""
        return run_name(self.config, self.set_here, ending)

    def tags(self, **more: str) -> dict[str, str]:
        """Config and seed, what was set, where it is in Prefect, and `more`."""
        known = {"config": self.config.name, "seed": str(self.config.seed)} | more
        return known | {"prefect.flow_run_id": str(flow_run.id or "")} | tags_of(self.set_here)

    def described(self, markdown: str) -> str:
        """A page about it, with all that was set."""
        return f"{markdown}{in_markdown(self.set_here)}"


def start_once_more(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Have a run fetched again, once, whose process ended before the run began; a hook for runs that crash.

    That befalls one that is being started while Prefect's server restarts: Prefect's client asks again only a server
    that has answered it before. Nobody would fetch a run without a deployment, and one that was canceled meanwhile, or
    is under way again, stays as it is.
    """
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(flow_run.id)
        as_it_crashed = found.state is not None and found.state.id == state.id
        if not as_it_crashed or found.deployment_id is None or found.run_count > 0 or SECOND_START in found.tags:
            return
        client.update_flow_run(found.id, tags=[*found.tags, SECOND_START])
        client.set_flow_run_state(found.id, Scheduled(message=f"started once more: {state.message}"))


def _process_marks() -> list[str]:
    here = process_tags()
    return [f"{name}={here[name]}" for name in MARKED]
