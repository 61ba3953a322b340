"""A trained model is exported for MLflow in a process of its own, beside the stages that come after the training.

The export imports torch's compiler: seconds, and 180 MB that this process would keep until its end.
`python -m flows.parallel.exporting PARENT EXPERIMENT RUN_ID` is that process.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from flows.start.server_process import end_with
from semisup.config import PipelineConfig
from semisup.stages.support.models.saved import exported
from semisup.system.own_files import temporary_folder
from semisup.tracking.places.stored import CONFIG
from semisup.tracking.run import Run
from semisup.tracking.tracker import Tracker

COMPILER = "torch._dynamo"
NICENESS = 5
"""The stages beside it come first."""
SAID = "exporting the model for MLflow"
_begun: "dict[str, subprocess.Popen[bytes]]" = {}
"""Run → the process that exports its model."""


def begin_export(tracker: Tracker, run_id: str) -> None:
    """Let the model of a complete training run be exported meanwhile; :func:`finish_export` waits for it.

    Where this process has the compiler already, it does so faster by itself, and nothing is begun.
    """
    if COMPILER in sys.modules:
        return
    experiment = tracker.client.get_experiment(tracker.experiment_id).name
    with suppress(OSError):  # no memory for it, or no process more is allowed: it is done here, later
        _begun[run_id] = subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid()), experiment, run_id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, with which it ends
        )


def finish_export(
    tracker: Tracker, config: PipelineConfig, run_id: str, say: Callable[[str], None] = lambda line: None
) -> None:
    """Whatever became of the process, and of any that was killed before: the run names its model when this returns.

    Where that takes a while, `say` is told before.
    """
    process = _begun.pop(run_id, None)
    waits = process is not None and process.poll() is None
    if waits:
        say(SAID)
    if process is not None:
        process.wait()
    if "model_id" not in tracker.get(run_id).tags:  # nothing was begun, or it failed: then this says why
        if not waits:
            say(SAID)
        export_model(tracker, config, run_id)


def export_model(tracker: Tracker, config: PipelineConfig, run_id: str) -> str:
    """Log the model of a complete training run, which from then on names it; its id."""
    from semisup.tracking.model import log_model

    with temporary_folder() as scratch:
        model_id = log_model(tracker, run_id, *exported(config, tracker.artifacts(run_id, scratch)))
    Run(tracker.client, run_id, tracker.experiment_id, tracker.uri).set_tags({"model_id": model_id})
    return model_id


def main() -> None:
    """Export the model of a run of an experiment; the process ends with its parent."""
    parent, experiment, run_id = sys.argv[1:]
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    os.nice(NICENESS)
    tracker = Tracker.open(experiment, Path.cwd())
    with temporary_folder() as scratch:
        text = tracker.file(run_id, CONFIG, scratch).read_text(encoding="utf-8")
    export_model(tracker, PipelineConfig.model_validate(yaml.safe_load(text)), run_id)


if __name__ == "__main__":
    main()
