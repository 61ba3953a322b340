"""All that is known of each stage without importing it: torch takes seconds.

A stage is a pure function ``run(config, inputs, out_dir, log) -> None``: `inputs` maps what the stage
calls its inputs to the folders of earlier stages, `out_dir` is an empty folder of its own. The same inputs leave the
same bits (timings apart).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from semisup.config import PipelineConfig
from semisup.config.regression import RegressionConfig
from semisup.pipeline.log import StageLog

AnyConfig = PipelineConfig | RegressionConfig
StageName = Literal[
    "split",
    "choose",
    "baseline",
    "member",
    "ensemble",
    "calibrate",
    "pseudo_label",
    "joint",
    "keep",
    "labels",
    "evaluate",
    "evaluate_ensemble",
    "promote",
    "regression_fit",
    "regression_evaluate",
]
Seen = Literal["test", "annotations"]


class Stage(Protocol):
    """A stage as it is called. Its config is of the kind that its pipeline has."""

    def __call__(self, config: Any, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
        """Do the work: leave its result in `out_dir`."""


@dataclass(frozen=True)
class StageSpec:
    """One stage. Whoever adds one writes this, its module and its test; a place with conditions stands in `plan`."""

    name: StageName
    module: str
    """Where its function `run` is."""
    sections: tuple[str, ...]
    """Which parts of the config it looks at: its parameters."""
    inputs: tuple[str, ...] = ()
    """What it calls what it reads; some plans leave some out. `member` stands for member-1, member-2 …"""
    unread: tuple[str, ...] = ()
    """Keys of its sections that it does not look at all the same."""
    sees: tuple[Seen, ...] = ()
    """Of the data set, beside the pool: the test images (their ids or their labels), what people said about images."""
    keeps_checkpoints: bool = False
    """Does it take a folder in which it can go on after it was killed?"""
    shared: bool = False
    """Can `runtime.processes` processes do it together?"""
    numbered: bool = False
    """Are several such steps the same but for their number, which the stage is told?"""
    teaches: bool = False
    """Does it leave a network that may label images?"""
    pages: bool = False
    """Are its pictures and pages its result? Of the other stages they are a view: new colors retrain no model."""
    config: type[AnyConfig] = PipelineConfig
    """The kind of config whose pipelines have it."""
    follows: str | None = None
    """The step that it stands behind in a pipeline; its inputs are then the steps of these names. None: `plan` says."""
    when: Callable[[PipelineConfig], bool] = lambda config: True
    """Of a stage that follows a step: does a pipeline of this config have it?"""

    @property
    def function(self) -> Any:
        """`run` of its module as it is written, which may take more than every stage does."""
        return import_module(self.module).run

    def load(self, checkpoints: Path | None = None, number: int | None = None) -> Stage:
        """Its function; it is imported only now.

        A stage that trains keeps its checkpoints in the folder `checkpoints`. `number` is that of a step: which
        `member` of its ensemble.
        """
        run: Callable[..., None] = self.function
        if self.numbered:
            assert number is not None, f"plans number the steps of {self.name}"
            run = partial(run, number=number)
        if self.keeps_checkpoints:
            run = partial(run, checkpoints=checkpoints)
        return partial(self._perhaps_together, run, checkpoints) if self.shared else run

    def _perhaps_together(  # noqa: PLR0917 -- a stage's own four, bound to what it was loaded with
        self,
        alone: Callable[..., None],
        checkpoints: Path | None,
        config: PipelineConfig,
        inputs: Mapping[str, Path],
        out_dir: Path,
        log: StageLog,
    ) -> None:
        """In this process or, if the config asks for it, in several."""
        if config.runtime.processes == 1 or config.model.chooses:
            alone(config, inputs, out_dir, log)
        else:
            import_module(TOGETHER).run_together(self.name, config, inputs, out_dir, log, checkpoints=checkpoints)


TOGETHER = "semisup.stages.support.together"
_ALL = (
    StageSpec(
        "split",
        "semisup.stages.split",
        sections=("seed", "data", "split"),
        inputs=("before",),
        sees=("test", "annotations"),  # test images matter by their ids; annotations by what the table makes of them
    ),
    StageSpec(
        "choose",
        "semisup.stages.choose",
        sections=("seed", "data", "model", "probe", "choose", "baseline", "joint", "runtime"),
        inputs=("split",),
        follows="split",
        when=lambda config: config.model.chooses,
    ),
    StageSpec(
        "baseline",
        "semisup.stages.baseline",
        sections=("seed", "data", "model", "baseline", "runtime"),
        inputs=("split", "choose"),
        keeps_checkpoints=True,
        shared=True,
        teaches=True,
    ),
    StageSpec(
        "member",
        "semisup.stages.ensembles.member",
        sections=("seed", "data", "model", "baseline", "ensemble", "runtime"),
        inputs=("split", "previous"),
        unread=("ensemble.members", "ensemble.combine"),
        keeps_checkpoints=True,
        numbered=True,
    ),
    StageSpec(
        "ensemble",
        "semisup.stages.ensembles.combine",
        sections=("seed", "data", "ensemble", "runtime"),
        inputs=("split", "member"),
        teaches=True,
    ),
    StageSpec(
        "calibrate",
        "semisup.stages.calibrate",
        sections=("seed", "data", "calibrate", "pseudo_label", "runtime"),
        inputs=("split", "teacher", "choose", "kept", "baseline"),
    ),
    StageSpec(
        "pseudo_label",
        "semisup.stages.pseudo_label",
        sections=("seed", "data", "pseudo_label", "runtime"),
        inputs=("split", "teacher", "choose", "calibrate", "previous", "baseline"),
        keeps_checkpoints=True,
        shared=True,
    ),
    StageSpec(
        "joint",
        "semisup.stages.joint",
        sections=("seed", "data", "model", "joint", "runtime"),
        inputs=("split", "pseudo_label", "teacher", "choose", "baseline"),
        keeps_checkpoints=True,
        shared=True,
        teaches=True,
    ),
    StageSpec(
        "keep",
        "semisup.stages.final.keep",
        sections=("seed", "data", "evaluate", "runtime"),
        inputs=("split", "baseline", "joint", "choose"),
        unread=("evaluate.compound",),
    ),
    StageSpec(
        "labels",
        "semisup.stages.final.labels",
        sections=("seed", "data", "pseudo_label", "runtime"),
        inputs=("split", "kept", "calibrate", "before", "baseline"),
        unread=(
            "pseudo_label.top_share",
            "pseudo_label.max_disagreement",
            "pseudo_label.share_per_round",
            "pseudo_label.least_precision",
        ),
        keeps_checkpoints=True,
        shared=True,
    ),
    StageSpec(
        "evaluate",
        "semisup.stages.final.evaluate",
        sections=tuple(PipelineConfig.model_fields),  # its report shows the whole config
        inputs=("split", "baseline", "pseudo_label", "joint", "keep", "labels", "calibrate", "choose"),
        sees=("test",),
        pages=True,
    ),
    StageSpec(
        "evaluate_ensemble",
        "semisup.stages.ensembles.evaluate",
        sections=("seed", "data", "evaluate", "runtime"),
        inputs=("split", "baseline", "ensemble"),
        unread=("evaluate.compound",),
        sees=("test",),
    ),
    StageSpec(
        "promote",
        "semisup.stages.promote",
        sections=("name", "promote"),
        inputs=("evaluate", "champion"),
        follows="evaluate",
        when=lambda config: config.promote.enabled,
    ),
    StageSpec(
        "regression_fit",
        "semisup.stages.regression.fit",
        sections=("seed", "data", "split", "model", "train", "runtime"),
        config=RegressionConfig,
    ),
    StageSpec(
        "regression_evaluate",
        "semisup.stages.regression.evaluate",
        sections=("seed", "data", "runtime"),
        inputs=("regression_fit",),
        config=RegressionConfig,
    ),
)
SPECS: dict[str, StageSpec] = {spec.name: spec for spec in _ALL}
STAGES: tuple[StageName, ...] = tuple(spec.name for spec in _ALL if spec.config is PipelineConfig)
"""Of a semi-supervised pipeline, or of an ensemble."""
assert {*SPECS} == {*get_args(StageName)}


def load_stage(name: str, checkpoints: Path | None = None, number: int | None = None) -> Stage:
    """The function of a stage, as :meth:`StageSpec.load` says.

    Raises:
        ValueError: there is no such stage.
    """
    if name not in SPECS:
        raise ValueError(f"stage {name!r} does not exist; there are {', '.join(STAGES)}")
    return SPECS[name].load(checkpoints, number)
