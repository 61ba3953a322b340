"""Steps of a plan, done: the one way in which a flow, `semisup.run` and the tests run a stage."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from semisup.config import PipelineConfig
from semisup.data.own_images.decoded.checksums import await_verified
from semisup.pipeline.log import Silence, StageLog
from semisup.pipeline.plan import Step, inputs_of
from semisup.pipeline.specs import AnyConfig
from semisup.system.memory import give_back


def run_step(
    step: Step,
    config: AnyConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    checkpoints: Path | None = None,
) -> None:
    """Run one step on folders; what it leaves in `out_dir` is worth keeping once this returns.

    Args:
        step: the step.
        config: the whole config, of which its stage reads some sections.
        inputs: what its stage calls an input → the folder that is read.
        out_dir: an empty folder.
        log: is told what happens.
        checkpoints: where a training keeps how far it is; None: nowhere.

    Raises:
        UserError: a mistake in config or data; or the cache of images that it worked with turned out to be damaged.
    """
    give_back()  # what the step before needed
    step.spec.load(checkpoints, step.number)(config, inputs, out_dir, log)
    await_verified()


def run_steps(
    steps: Iterable[Step],
    config: PipelineConfig,
    root: Path,
    log_of: Callable[[Step], StageLog] = lambda step: Silence(),
    done: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Run steps one after the other, each in a new folder of its name in `root`; step → its folder.

    `log_of` gives whom a step tells what happens; `done` are the folders of steps that have run already, and perhaps
    a champion's.

    Raises:
        FileExistsError: there is such a folder already.
        UserError: as of :func:`run_step`.
    """
    folders = dict(done or {})
    for step in steps:
        inputs = inputs_of(step, config, folders)
        folders[step.name] = root / step.name
        folders[step.name].mkdir(parents=True)
        run_step(step, config, inputs, folders[step.name], log_of(step))
    return folders
