"""What a benchmark has to run, known to be possible before anything is started or written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from flows.parallel.check import check as check_cluster
from flows.parallel.cluster import Cluster
from flows.seeds.equal_time import overrides_for, training_seconds
from flows.start.exits import named_config
from flows.start.prefect_import import import_prefect
from flows.start.preparation import keep_prefect_off_the_screen
from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.errors import UserError
from semisup.lineage.code_versions import pin_code_versions
from semisup.stages.preflight.check import DataDigests, check
from semisup.stages.support.images import pool_of
from semisup.wording import counted

OURS = {
    "seed": "--seeds says how many",
    "runtime.threads": "every run has one thread",
    "runtime.parallel_members": "it is runs that work at the same time, not the members of one",
    "promote.enabled": "the best of several seeds on the test images is no champion",
}
"""Keys that a benchmark sets itself, and why."""
FIXED = ("runtime.threads=1", "runtime.parallel_members=1", "promote.enabled=false")
ON_A_CLUSTER = "runtime.dask=null"  # a run that a worker has would wait for its members, and they for a worker
LABELS_KEY = "split.labeled_per_class"


@dataclass(frozen=True)
class Job:
    """One pipeline run."""

    argument: str
    """The config as the command line names it."""
    overrides: tuple[str, ...]
    config: PipelineConfig
    digests: DataDigests
    labels: int | None
    """Labeled training images in all, where the benchmark sets their number."""
    supervised: "Job | None" = None
    """The run whose baseline stands for this one's: it trains for as long as all of this one."""
    is_supervised: bool = False

    @property
    def command(self) -> list[str]:
        """Arguments of `semisup` that do the same."""
        pairs = [word for override in self.overrides for word in ("--set", override)]
        return ["run", self.argument, *pairs, "--json"]

    @property
    def words(self) -> str:
        """Such as "digits, 50 labels, seed 3"."""
        labels = "" if self.labels is None else f"{counted(self.labels, 'label')}, "
        alone = "supervised for as long, " if self.is_supervised else ""
        return f"{self.config.name}, {labels}{alone}seed {self.config.seed}"


@dataclass(frozen=True)
class Variant:
    """One config over its seeds, perhaps with another number of labels."""

    name: str
    labels: int | None
    jobs: tuple[Job, ...]

    @property
    def config(self) -> PipelineConfig:
        """That of the first seed."""
        return self.jobs[0].config


@dataclass(frozen=True)
class BenchmarkPlan:
    """A config, those it is compared with, and itself with other numbers of labels."""

    main: Variant
    compared: tuple[Variant, ...]
    by_labels: tuple[Variant, ...]
    """In the order of their numbers of labels."""
    overrides: tuple[str, ...]
    """Those of the command line."""
    equal_time: bool = False
    """Is supervised training given as long as baseline and student together?"""

    @property
    def seeds(self) -> list[int]:
        """In their order, without a gap."""
        return [job.config.seed for job in self.main.jobs]

    def jobs(self) -> list[Job]:
        """The runs that make a row each, in the order in which they begin."""
        return [job for variant in self.variants() for job in variant.jobs]

    def all_jobs(self) -> list[Job]:
        """These, and behind each the one that is supervised for as long, if that was asked for."""
        return [either for job in self.jobs() for either in (job, job.supervised) if either is not None]

    def variants(self) -> Iterator[Variant]:
        """All of them, in the order in which they run."""
        yield self.main
        yield from self.compared
        yield from self.by_labels


def planned(
    config: str,
    compare: Sequence[str],
    seeds: range,
    labels: str | None,
    overrides: Sequence[str],
    *,
    equal_time: bool = False,
    cluster: Cluster | None = None,
) -> BenchmarkPlan:
    """The plan of a command line; warnings are printed once each. A cluster is asked whether it is there.

    Raises:
        UserError: there is a mistake in it, in a config or in the data, or a configured server does not answer.
    """
    numbers = _numbers(labels) if labels is not None else []
    ours = {**OURS, **({LABELS_KEY: "--labels says how many"} if numbers else {})}
    _check_overrides(overrides, ours | ({"runtime.dask": "--dask says where"} if cluster else {}))
    pin_code_versions()
    keep_prefect_off_the_screen()
    import_prefect()
    from flows.start.server import check_configured_api

    if cluster:
        check_cluster(cluster)  # before data is looked at, which can take minutes
    own = (*overrides, ON_A_CLUSTER) if cluster else tuple(overrides)
    asked = _Asked(own, seeds, equal_time)
    main = _variant(config, asked)
    others = [_compared(name, main, asked) for name in compare]
    _check_names([main, *others])
    by_labels = [_with_labels(number, main, asked) for number in numbers]
    check_configured_api()
    for warning in asked.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)
    return BenchmarkPlan(main, tuple(others), tuple(by_labels), tuple(overrides), equal_time)


@dataclass(frozen=True)
class _Asked:
    """What the command line asks of every variant, and the warnings that come up."""

    overrides: tuple[str, ...]
    seeds: range
    equal_time: bool
    warnings: dict[str, None] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    """What was named on the command line → its config: which one it is taken for is told once."""

    def file(self, argument: str) -> Path:
        """The config that is meant.

        Raises:
            UserError: as in :func:`semisup.ready_made.find_config`.
        """
        if argument not in self.files:
            self.files[argument] = named_config(argument)
        return self.files[argument]


def _variant(argument: str, asked: _Asked, labels: int | None = None, own: tuple[str, ...] = ()) -> Variant:
    """Data and split are checked for the first seed: what they can lack does not depend on it."""
    path, jobs = asked.file(argument), []
    digests: DataDigests | None = None
    for seed in asked.seeds:
        overrides = (*asked.overrides, *own, f"seed={seed}", *FIXED)
        config = load_config(path, overrides)
        if digests is None:
            checked = check(config)
            digests = checked.digests
            asked.warnings.update(dict.fromkeys(checked.warnings))
        supervised = None
        if asked.equal_time:
            longer = (*overrides, *overrides_for(training_seconds(config)))
            supervised = Job(argument, longer, load_config(path, longer), digests, labels, is_supervised=True)
        jobs.append(Job(argument, overrides, config, digests, labels, supervised))
    return Variant(jobs[0].config.name, labels, tuple(jobs))


def _compared(argument: str, main: Variant, asked: _Asked) -> Variant:
    try:
        variant = _variant(argument, asked)
    except UserError as error:
        raise UserError(f"--compare {argument}: {error}") from None
    if variant.jobs[0].digests.test != main.jobs[0].digests.test:
        ours, theirs = main.config.data.name, variant.config.data.name
        raise UserError(
            f"--compare {argument}: its test images ({theirs}) are not those of {main.name!r} ({ours}); "
            "accuracies on different images say nothing about the configs"
        )
    return variant


def _with_labels(number: int, main: Variant, asked: _Asked) -> Variant:
    config, argument = main.config, main.jobs[0].argument
    classes = pool_of(config).num_classes
    if number % classes or number < classes:
        raise UserError(
            f"--labels {number}: {config.data.name} has {counted(classes, 'class')}; use multiples of {classes}"
        )
    if config.split.imbalance_ratio != 1:
        raise UserError(
            "--labels needs equally many labels of every class, but "
            f"split.imbalance_ratio={config.split.imbalance_ratio:g}; use 1"
        )
    try:
        return _variant(argument, asked, number, (f"{LABELS_KEY}={number // classes}",))
    except UserError as error:
        raise UserError(f"--labels {number}: {error}") from None


def _numbers(labels: str) -> list[int]:
    try:
        return sorted({int(number) for number in labels.split(",")})
    except ValueError:
        raise UserError(f"--labels {labels!r}: write whole numbers with commas, such as 50,100,500") from None


def _check_overrides(overrides: Sequence[str], ours: Mapping[str, str]) -> None:
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in ours:
            raise UserError(f"--set {override}: a benchmark sets {key!r} itself ({ours[key]}); leave it out")


def _check_names(variants: Sequence[Variant]) -> None:
    seen: dict[str, str] = {}
    for variant in variants:
        argument = variant.jobs[0].argument
        if variant.name in seen:
            raise UserError(
                f"--compare {argument}: its name {variant.name!r} is also that of {seen[variant.name]}, so their rows "
                "could not be told apart; give one of them another `name:`"
            )
        seen[variant.name] = argument
