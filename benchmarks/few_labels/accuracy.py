"""Accuracy for CPU time: our recipes, supervised training for as long, and scikit-learn, on the same splits.

    python -m benchmarks.few_labels.accuracy --data-root data                        # every setting, 5 seeds: hours
    python -m benchmarks.few_labels.accuracy "MNIST, 100 labels, 1 min" --data-root data --seeds 5-9
    python -m benchmarks.few_labels.accuracy "MNIST, 100 labels, 1 min" --data-root data --peers only

Ours is a config as `semisup benchmark` runs it, two processes at a time. Supervised is the baseline of the same config
(net, views, schedule) that trains for all the CPU seconds that ours took, labeling included, and keeps the weights of
its epoch of highest validation accuracy. CPU seconds are those of the stages that make the model, split and labeling
included; start-up, evaluation and the report are not among them. The peers get the same labeled images, deskewed where
ours are, and some of the unlabeled ones; their constants were not tuned. Results are kept for each setting and seed in
`results/accuracy.json`, with the commit that made each, so that seeds can be added; runs, in `mlflow.db` of the working
folder.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from torch import Tensor

from benchmarks.few_labels.over_seeds import CONFIGS, Row, mean_std, run_over_seeds
from benchmarks.output import kept_rows, publish
from flows.seeds.equal_time import overrides_for
from flows.seeds.names import seeds_of
from semisup.config import PipelineConfig
from semisup.config.files import load_config
from semisup.data.augmentation.geometry import all_upright
from semisup.data.datasets import UNLABELED
from semisup.data.roles.split import Split
from semisup.errors import UserError
from semisup.evaluation.comparison import paired_over_seeds, spread
from semisup.pipeline.log import Silence
from semisup.stages import split
from semisup.stages.support.images import images_for_test, pool_of
from semisup.tracking.provenance import provenance

BY_SEED, MADE_BY = "by seed", "made by"
PEER_IMAGES = 10_000
"""Unlabeled images that the peers get: with all of them an SVC trained anew in every round would take hours."""


@dataclass(frozen=True)
class Setting:
    """A recipe for so many minutes."""

    name: str
    config: str
    goal: float
    """Test accuracy in % that we set ourselves."""
    folder: str = ""
    """Where its files are below the data root, if not in it."""

    def ours(self, root: Path | None) -> PipelineConfig:
        """The config as it stands."""
        return self._load("ours", [], root)

    def supervised(self, root: Path | None, cpu_seconds: float) -> PipelineConfig:
        """The same, with all of these seconds for the baseline; its student takes one step and is not looked at."""
        return self._load("supervised", overrides_for(round(cpu_seconds)), root)

    def _load(self, side: str, changes: Sequence[str], root: Path | None) -> PipelineConfig:
        name = "".join(letter if letter.isalnum() else "_" for letter in f"{self.name} {side}")
        where = [f"data.root={root / self.folder}"] if root else []
        return load_config(CONFIGS / f"{self.config}.yaml", [f"name={name}", *where, *changes])


SETTINGS = (
    Setting("MNIST, 1,000 labels, 1 min", "mnist", 98.8),
    Setting("MNIST, 100 labels, 1 min", "mnist_100", 97.8),
    Setting("MNIST, 1,000 labels, 5 min", "mnist_long", 99.2),
    Setting("MNIST, 100 labels, 5 min", "mnist_100_long", 98.8),
    Setting("MNIST, 100 labels, 15 min", "mnist_100_longest", 99.0),
    Setting("digits, 100 labels, 1 min", "digits", 96.0),
    Setting("CIFAR-10 (JPEG), 4,000 labels, 30 min", "cifar10_4000", 76.0, folder="cifar10"),
)


def main() -> None:
    """Print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=f"which ones; there are {', '.join(names)}")
    parser.add_argument("--data-root", type=Path, help="folder of the data files")
    parser.add_argument("--seeds", default="5", metavar="N|N-N", help="seeds 0 … N-1, or a range; others are kept")
    parser.add_argument(
        "--peers",
        choices=("with", "only", "without", *PEERS),
        default="with",
        help="scikit-learn; `only`, or the name of one, adds it to lines kept",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.settings) - set(names):
        parser.error(f"no setting {unknown.pop()!r}; there are {', '.join(names)}")
    try:
        seeds = seeds_of(arguments.seeds)
    except UserError as error:
        parser.error(str(error))
    root = arguments.data_root.resolve() if arguments.data_root else None
    _version()  # what is measured is the code of now, whatever is committed meanwhile
    for setting in SETTINGS:
        if not arguments.settings or setting.name in arguments.settings:
            if arguments.peers in {"with", "without"}:
                keep(setting, measure(setting, seeds, root))
            peers = {"with": PEERS.keys(), "only": PEERS.keys(), "without": ()}.get(arguments.peers, [arguments.peers])
            for seed in seeds:
                for name in peers:
                    keep(setting, [{"seed": seed} | measure_peer(name, setting.ours(root), seed)])


def keep(setting: Setting, measured: Sequence[Row]) -> None:
    """Publish all figures: these beside those of other seeds, in the place of older ones of the same."""
    names = [other.name for other in SETTINGS]
    kept = {row["setting"]: row[BY_SEED] for row in kept_rows("accuracy", "setting", names)}
    of_seed = {row["seed"]: row for row in kept.get(setting.name, [])}
    for row in measured:
        before = of_seed.get(row["seed"], {})
        made = dict.fromkeys(row.keys() - {"seed"}, _version())
        of_seed[row["seed"]] = before | row | {MADE_BY: before.get(MADE_BY, {}) | made}
    kept[setting.name] = [of_seed[seed] for seed in sorted(of_seed)]
    rows = [_line(each, kept[each.name]) for each in SETTINGS if each.name in kept]
    publish("accuracy", rows, "test accuracy in %, mean ± standard deviation")


@cache
def _version() -> str:
    """Of the code and of torch: figures of one seed may be made by several. Asked once, for publishing is a change."""
    tags = provenance()
    changed = "+changes" if tags.get("git.dirty") == "true" else ""
    return f"{tags.get('mlflow.source.git.commit', 'unknown')[:7]}{changed}, torch {torch.__version__}"


def measure(setting: Setting, seeds: range, root: Path | None) -> list[Row]:
    """What ours and supervised training reached with each seed."""
    ours = run_over_seeds(setting.ours(root), seeds)
    seconds = statistics.mean(row["cpu_seconds"] for row in ours)
    supervised = run_over_seeds(setting.supervised(root, seconds), seeds)
    return [
        {
            "seed": seed,
            "ours": round(our["student_test_accuracy"], 4),
            "CPU s": round(our["cpu_seconds"]),
            "supervised": round(their["baseline_test_accuracy"], 4),
            "its CPU s": round(their["cpu_seconds"]),
        }
        for seed, our, their in zip(seeds, ours, supervised, strict=True)
    ]


def _line(setting: Setting, by_seed: Sequence[Row]) -> Row:
    """One line of the table, each column over the seeds that have it; the difference is of ours to supervised."""
    line: Row = {"setting": setting.name, "goal": f"{setting.goal:.1f}"}
    both = [row for row in by_seed if "ours" in row]
    if both:
        ours, supervised = ([row[side] for row in both] for side in ("ours", "supervised"))
        difference = paired_over_seeds(supervised, ours)
        ends = "" if difference.low is None else f" ({100 * difference.low:+.2f} … {100 * difference.high:+.2f})"  # type: ignore[operator]
        worst = spread(ours, [row["seed"] for row in both])
        line |= {
            "seeds": len(both),
            "ours": mean_std(ours),
            "worst seed": f"{100 * worst.worst:.2f} (seed {worst.worst_seed})",
            "CPU s": f"{statistics.mean(row['CPU s'] for row in both):.0f}",
            "supervised": mean_std(supervised),
            "its CPU s": f"{statistics.mean(row['its CPU s'] for row in both):.0f}",
            "gain": f"{100 * difference.mean:+.2f}{ends}",
        }
    for name in PEERS:
        theirs = [row for row in by_seed if name in row]
        if theirs:
            seconds = statistics.mean(row[f"{name}, CPU s"] for row in theirs)
            seeds = f"{len(theirs)} seed" + "s" * (len(theirs) > 1)
            line[name] = f"{mean_std([row[name] for row in theirs])} in {seconds:.0f} s, {seeds}"
    return line | {BY_SEED: list(by_seed)}


PEERS: Mapping[str, Callable[[], Any]] = {
    "SelfTraining": lambda: SelfTrainingClassifier(CalibratedClassifierCV(SVC(C=10), ensemble=False), threshold=0.95),
    "LabelSpreading": lambda: LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.2, n_jobs=1),
}


def measure_peer(name: str, config: PipelineConfig, seed: int) -> Row:
    """Test accuracy and CPU seconds of a scikit-learn classifier with the labels of this seed's split."""
    config = config.model_copy(update={"seed": seed})
    with TemporaryDirectory() as folder:
        split.run(config, {}, Path(folder), Silence())
        roles = Split.read(Path(folder) / "split.parquet")
    pool, test = pool_of(config), images_for_test(config, roles.ids("test"))
    labeled = roles.indices("labeled")
    unlabeled = torch.from_numpy(np.random.default_rng(seed).permutation(roles.indices("unlabeled")))[:PEER_IMAGES]
    images = _flat(config, pool.images[[*labeled.tolist(), *unlabeled.tolist()]])
    labels = np.concatenate([roles.labels("labeled").numpy(), np.full(len(unlabeled), UNLABELED)])
    started = time.process_time()
    peer = PEERS[name]().fit(images, labels)
    seconds = time.process_time() - started
    right = peer.predict(_flat(config, test.images)) == test.labels.numpy()
    return {name: round(float(right.mean()), 4), f"{name}, CPU s": round(seconds)}


def _flat(config: PipelineConfig, images: Tensor) -> NDArray[np.float32]:
    if config.model.deskew:
        images = all_upright(images)
    flat: NDArray[np.float32] = (images.flatten(1).float() / 255).numpy()
    return flat


if __name__ == "__main__":
    main()
