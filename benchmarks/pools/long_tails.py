"""Long-tailed labels and a pool of unknown class shares: what alignment with each target is worth.

    python -m benchmarks.pools.long_tails --data-root data [--seeds 3] [--data digits] [--imbalance 100]
        [--pools reversed]

Labels of the first class are 10 or 100 times as many as of the last. The pool has the same tail, equal classes, or the
tail the other way round; validation and measured images have equal classes. All arms are FixMatch but AdaMatch, with
the same steps, network and views. `logit adjustment` trains with logits that are shifted by the logarithms of the class
shares, those of the labels and those estimated of the pool (Menon et al. 2021, arXiv 2007.07314; the pool's shares in
pseudo-labels and in their loss after SimPro, Du et al. 2024, arXiv 2402.13505), and predicts without. `given` knows
the pool's true shares.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import recall_score
from torch import Tensor, nn

from benchmarks.output import kept_rows, publish
from benchmarks.studies.measuring import Array, log_probabilities, truth
from benchmarks.studies.workbench import Bench, Setup, pool_of
from semisup.config import JointConfig, TrainConfig
from semisup.data.roles.split import long_tail
from semisup.open_world.shares import Shares, estimate_shares
from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.modifiers import Aligned, Modifier, align
from semisup.pseudo_labels.policies.adamatch import AdaMatch
from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.loop import UnlabeledTerm, train

IMBALANCES = (100, 10)
POOLS = ("reversed", "uniform", "matched")
ARMS = ("no alignment", "labeled", "uniform", "estimated", "given", "AdaMatch", "logit adjustment")
THRESHOLD, ADAMATCH_THRESHOLD, MOMENTUM = 0.95, 0.9, 0.99
SAMPLE = 2_000
"""Images of the pool behind an estimate, as in the pipeline."""
EPOCHS, WARM_UP = 20, 3
"""α is 0 in the first ones."""


@dataclass(frozen=True)
class Sizes:
    """Images of a class: labeled ones and those of the pool are of the first class, where there is a tail."""

    bench: Bench
    pool: int
    steps: int
    weak: Mapping[str, float]
    strong: Mapping[str, float]
    ema_decay: float


SIZES = {
    "digits": Sizes(
        Bench("digits", labeled=60, validation=5, held=30),
        pool=80,
        steps=400,
        weak={"rotation": 10, "shift": 0.05, "scale": 0.1},
        strong={"rotation": 15, "shift": 0.1, "scale": 0.15, "shear": 0.2},
        ema_decay=0.98,
    ),
    "mnist": Sizes(
        Bench("mnist", labeled=200, validation=10, held=200, model={"name": "small_cnn", "width": 1.0}),
        pool=1_500,
        steps=500,
        weak={"rotation": 10, "shift": 0.05, "scale": 0.1},
        strong={"rotation": 15, "shift": 0.1, "scale": 0.15, "shear": 0.2, "cutout": 0.25},
        ema_decay=0.99,
    ),
}


def main() -> None:
    """A row for each data set, imbalance and pool; rows of others are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--imbalance", nargs="+", type=int, choices=IMBALANCES, default=IMBALANCES)
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=POOLS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    order = [_named(*world) for world in ((d, i, p) for i in IMBALANCES for p in POOLS for d in SIZES)]
    for imbalance in asked.imbalance:
        for pool in asked.pools:
            for data in asked.data:
                world = _named(data, imbalance, pool)
                figures = [measure(data, imbalance, pool, seed, asked.data_root) for seed in range(asked.seeds)]
                rows = [*kept_rows("long_tails", "world", [name for name in order if name != world])]
                rows.append(_row(world, figures))
                publish(
                    "long_tails",
                    sorted(rows, key=lambda row: order.index(row["world"])),
                    "mean recall over the classes in %, mean ± standard deviation over seeds (worst)",
                )


def measure(data: str, imbalance: int, pool: str, seed: int, root: Path | None) -> dict[str, float]:
    """Mean recall in % of each arm on one draw, and how far shares are from those of the pool, in points."""
    sizes = SIZES[data]
    setup = draw(data, imbalance, pool, seed, root)
    labels = setup.examples("labeled").labels
    labeled = torch.bincount(labels, minlength=10) / len(labels)
    shares = np.bincount(truth(setup, "unlabeled"), minlength=10) / len(setup.indices["unlabeled"])
    baseline = _trained(setup, sizes, setup.model("baseline"), None)
    found = _estimated(setup, baseline)
    targets = {
        "labeled": labeled,
        "uniform": torch.full((10,), 0.1),
        "estimated": torch.from_numpy(found.estimate).float(),
        "given": torch.from_numpy(shares).float(),
    }
    figures = {"baseline": _recall(setup, baseline)}
    for arm in ARMS:
        network, policy = setup.model("student"), FixMatch(THRESHOLD)
        said: Policy = policy
        if arm in targets:
            said = Aligned(policy, targets[arm], MOMENTUM)
        elif arm == "AdaMatch":
            said = AdaMatch(ADAMATCH_THRESHOLD, MOMENTUM)
        elif arm == "logit adjustment":
            # A share of 0 would forbid the class for good.
            of_pool = targets["estimated"].clamp(min=1e-3)
            network = Adjusted(network, JointConfig().batch_size, labeled, of_pool)
            said = Shifted(policy, of_pool / of_pool.sum())
        figures[arm] = _recall(setup, _trained(setup, sizes, network, said))
    distances = {"error of labeled shares": labeled.numpy(), "error of estimated shares": found.estimate}
    figures |= {name: 50 * float(np.abs(guess - shares).sum()) for name, guess in distances.items()}
    return figures | {"inside": 100 * float(((found.low <= shares) & (shares <= found.high)).mean())}


def draw(data: str, imbalance: int, pool: str, seed: int, root: Path | None) -> Setup:
    """The roles of the images; of a seed, labeled, validation and held images are the same whatever the pool."""
    sizes, images = SIZES[data], pool_of(data, root)
    rng = numpy_generator(seed, f"long tails {imbalance}")
    tail = long_tail(sizes.bench.labeled, imbalance, images.num_classes)
    of_pool = [max(1, count) for count in _counts(sizes.pool, imbalance, pool, images.num_classes)]
    roles: dict[str, list[Array]] = {name: [] for name in ("held", "validation", "labeled", "unlabeled")}
    for label in range(images.num_classes):
        members = rng.permutation(np.flatnonzero(images.labels.numpy() == label))
        for name, count in zip(
            roles, (sizes.bench.held, sizes.bench.validation, tail[label], of_pool[label]), strict=True
        ):
            roles[name].append(members[:count])
            members = members[count:]
    indices = {name: torch.from_numpy(np.sort(np.concatenate(rows))) for name, rows in roles.items()}
    return Setup(sizes.bench, seed, images, indices)


def _counts(largest: int, imbalance: int, pool: str, num_classes: int) -> list[int]:
    tail = [round(largest * imbalance ** (-k / (num_classes - 1))) for k in range(num_classes)]
    match pool:
        case "reversed":
            return tail[::-1]
        case "uniform":
            return [round(sum(tail) / num_classes)] * num_classes
        case _:
            return tail


class Adjusted(nn.Module):
    """Logits shifted by log-shares while it trains, those of the labels for the first images and then the pool's."""

    shifts: Tensor
    """(2, C): those of the labels and those of the pool."""

    def __init__(self, network: nn.Module, labeled_images: int, labeled: Tensor, pool: Tensor) -> None:
        super().__init__()
        self.network, self.labeled_images = network, labeled_images
        self.register_buffer("shifts", torch.stack([labeled, pool / pool.sum()]).log())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        if not self.training:
            return logits
        of_pool = (torch.arange(len(images)) >= self.labeled_images).long()
        shifted: Tensor = logits + self.shifts[of_pool]
        return shifted


@dataclass(frozen=True)
class Shifted(Modifier):
    """p ← N(p · π): what a network that knows of no shares says of images with the shares π."""

    shares: Tensor

    def modify(self, own: State, probabilities: Tensor, indices: Tensor) -> tuple[State, Tensor]:
        return own, align(probabilities, self.shares, torch.full_like(self.shares, 1 / len(self.shares)))


def _trained(setup: Setup, sizes: Sizes, network: nn.Module, policy: Policy | None) -> nn.Module:
    """From labels alone in half the steps, or with a policy."""
    shared = {
        "epochs": EPOCHS,
        "budget": f"{sizes.steps if policy else sizes.steps // 2} steps",
        "augment": sizes.weak,
        "ema_decay": sizes.ema_decay,
        "early_stopping": {"keep": "last"},
        "optimizer": {"lr": 4e-3, "betas": [0.9, 0.99], "weight_decay": 0.02},
    }
    term, config = None, TrainConfig.model_validate(shared)
    if policy:
        joint = JointConfig.model_validate({**shared, "ramp_start": WARM_UP, "ramp_end": WARM_UP})
        strong = JointConfig.model_validate({"strong_augment": sizes.strong}).strong_augment
        config = joint
        term = UnlabeledTerm(
            setup.pool.images[setup.indices["unlabeled"]],
            policy,
            batch_size=joint.unlabeled_batch_size,
            alpha_final=1.0,
            ramp_start=WARM_UP,
            ramp_end=WARM_UP,
            mix=False,
            smooth=False,
            augment=strong,
            teacher="ema",
            view="weak",
        )
    result = train(
        network,
        config,
        setup.examples("labeled"),
        setup.examples("validation"),
        num_classes=10,
        steps_per_epoch=1,
        seed=derive_seed(setup.seed, "long tails"),
        unlabeled=term,
    )
    network.load_state_dict(result.weights)
    return network.eval()


def _estimated(setup: Setup, baseline: nn.Module) -> Shares:
    said = {role: log_probabilities(setup, baseline, role) for role in ("validation", "unlabeled")}
    rng = numpy_generator(setup.seed, "class shares")
    rows = rng.permutation(len(said["unlabeled"]))[:SAMPLE]
    return estimate_shares(said["validation"], truth(setup, "validation"), said["unlabeled"][rows], rng)


def _recall(setup: Setup, model: nn.Module) -> float:
    predicted = log_probabilities(setup, model, "held").argmax(axis=1)
    return 100 * float(recall_score(truth(setup, "held"), predicted, average="macro"))


def _named(data: str, imbalance: int, pool: str) -> str:
    return f"{data}, {imbalance}, {pool}"


def _row(world: str, figures: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    def spread(values: Sequence[float], worst: Any = min) -> str:
        deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{deviation} ({worst(values):.1f})"

    def of(name: str) -> list[float]:
        return [each[name] for each in figures]

    gained = [each["estimated"] - each["no alignment"] for each in figures]
    row: dict[str, Any] = {"world": world, "baseline": spread(of("baseline"))} | {arm: spread(of(arm)) for arm in ARMS}
    row["estimated − no alignment"] = spread(gained)
    row |= {name: spread(of(name), max) for name in ("error of labeled shares", "error of estimated shares")}
    row["shares inside their intervals"] = f"{statistics.mean(of('inside')):.0f}"
    return row | {"seeds": [dict(each) for each in figures]}


if __name__ == "__main__":
    main()
