"""What a command does before it starts anything: read the config, look for mistakes, open the store."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flows.start.display import looking
from flows.start.exits import end_orderly_on_sigterm, named_config
from flows.start.prefect_import import import_prefect
from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.errors import UserError, did_you_mean
from semisup.lineage.code_versions import pin_code_versions
from semisup.pipeline.plan import plan
from semisup.pipeline.specs import STAGES
from semisup.system.memory import keep_to_the_end, uncollected

if TYPE_CHECKING:
    from semisup.data.own_images import Progress
    from semisup.stages.preflight.check import Checked, DataDigests


def prepare(
    name: str, overrides: Sequence[str], *, only_looks: bool = False, own_server: bool = False, ensemble: bool = False
) -> "tuple[PipelineConfig, DataDigests]":
    """The config of a command line, known to run, and what its data set is.

    A mistake shall not have to wait for Prefect's server to start. From now on SIGTERM ends the command in order.

    A command that `only_looks` needs no Prefect, and makes no store. One that will need an `own_server` of Prefect, a
    silent one on a free port, lets it start meanwhile.

    Raises:
        UserError: there is a mistake in config or data, or a store or server does not answer.
    """
    end_orderly_on_sigterm()
    with looking(f"{name}: looking at config and data") as look_away:
        pin_code_versions()
        config = load_config(named_config(name), overrides)
        if not only_looks:
            reach_prefect(own_server=own_server)
        with uncollected():
            from semisup.stages.preflight.check import check
        keep_to_the_end()
        with decoding_line(before=look_away) as say:
            checked = check(config, say, ensemble=ensemble)
        if not ensemble:
            _remember(config, checked)
        if not only_looks:
            from semisup.tracking.tracker import Tracker

            Tracker.of_this_process(config.tracking.experiment, Path.cwd())
    for warning in checked.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    return config, checked.digests


_known: "dict[str, Checked]" = {}
"""The config that this command has checked, and what came of it, until its flow asks."""


def _remember(config: PipelineConfig, checked: "Checked") -> None:
    _known.clear()
    _known[config.model_dump_json()] = checked


def known_to_run(config: PipelineConfig) -> "Checked | None":
    """What this command's own check of a config has found, told once: whoever asks again later looks again."""
    return _known.pop(config.model_dump_json(), None)


def reach_prefect(*, own_server: bool) -> None:
    """A configured Prefect server is there; or else, with `own_server`, one of our own may begin to start.

    Raises:
        UserError: the configured server does not answer, our own cannot be started, or Prefect's settings are wrong.
    """
    keep_prefect_off_the_screen()
    import_prefect()
    from flows.start.server import begin_prefect_api, check_configured_api

    check_configured_api()
    if own_server:
        begin_prefect_api()


@contextmanager
def decoding_line(before: Callable[[], None] = lambda: None) -> "Iterator[Progress]":
    """Says how far the decoding of images is, on stderr, where there is any to do that takes more than a moment.

    `before` is called before the first word.
    """
    from flows.start.display import shown

    with ExitStack() as stack:
        screen, started = None, time.perf_counter()

        def say(done: int, total: int, note: str) -> None:
            nonlocal screen
            if screen is None:
                before()
                screen = stack.enter_context(shown())
                screen.begin("images")
            screen.progress(done, total, note)

        yield say
        if screen is not None:
            screen.end("images", time.perf_counter() - started)


def modules_of(config: PipelineConfig) -> list[str]:
    """What a pipeline imports, in the order in which it needs it: it may as well do so while it waits for a server."""
    return list(dict.fromkeys(step.spec.module for step in plan(config)))


def known_stages(names: Sequence[str]) -> list[Any]:
    """The names, all of them stages'.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if name not in STAGES:
            hint = did_you_mean(name, STAGES, f"there are {', '.join(STAGES)}")
            raise UserError(f"stage {name!r} does not exist; {hint}")
    return list(names)


def keep_prefect_off_the_screen() -> None:
    """Our own display says the same better; Prefect's log still reaches its API. An explicit setting wins."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
