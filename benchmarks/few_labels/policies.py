"""Every method at one budget: who labels, how it is judged, and what that was worth over seeds.

    python -m benchmarks.few_labels.policies --data-root data    # 100 labels of MNIST, one CPU minute, 5 seeds: an hour
    python -m benchmarks.few_labels.policies fixmatch soft --data-root data --seeds 2

All methods get the net, the views, the warm start and the CPU time of `configs/mnist_100.yaml`. Those that label at
every step ask the average of the student's weights, which looks at the image as it is; their own constants are those of
their papers. Only the last line has our modifiers. What labels the pool several times, or with ten passes, trains for
less. Results are kept for each method in `results/policies.json`.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.few_labels.over_seeds import CONFIGS, Row, mean_std, run_over_seeds
from benchmarks.output import kept_rows, publish
from semisup.config.files import load_config
from semisup.evaluation.comparison import spread

BASE = "mnist_100"
PLAIN = ("joint.policy.temperature=1", "joint.policy.distribution_alignment=false", "joint.policy.momentum=0.999")
FIXED = (*PLAIN, "joint.policy.teacher=self", "joint.policy.view=null")
"""For labels that do not change within a round: nobody is asked at a step."""
WEAK_TO_STRONG = (
    "joint.strong_augment="
    "{rotation: 15, shift: 0.07, scale: 0.15, shear: 0.2, cutout: 0.28, elastic: 1.0, paste: 0.43}",
)
METHODS: dict[str, tuple[str, ...]] = {
    "threshold 0.95": (*FIXED, "joint.method=threshold", "pseudo_label.threshold=0.95"),
    "curriculum": (
        *FIXED,
        *(
            "joint.method=threshold",
            "joint.start=fresh",
            "pseudo_label.threshold=0",
            "pseudo_label.share_per_round=0.2",
        ),
        *("rounds=5", "joint.budget=6s", "joint.epochs=4"),
    ),
    "ups": (
        *FIXED,
        *("joint.method=ups", "model.dropout=0.2", "pseudo_label.threshold=0.7", "pseudo_label.uncertainty.passes=10"),
        "joint.budget=24s",
    ),
    "online": (*PLAIN, "joint.method=online"),
    "fixmatch": (*PLAIN, *WEAK_TO_STRONG, "joint.method=fixmatch"),
    "flexmatch": (*PLAIN, *WEAK_TO_STRONG, "joint.method=flexmatch"),
    "freematch": (*PLAIN, *WEAK_TO_STRONG, "joint.method=freematch"),
    "softmatch": (*PLAIN, *WEAK_TO_STRONG, "joint.method=softmatch"),
    "adamatch": (*PLAIN, *WEAK_TO_STRONG, "joint.method=adamatch", "joint.policy.threshold=0.9"),
    "fixmatch, aligned": (
        *WEAK_TO_STRONG,
        *("joint.method=fixmatch", "joint.policy.temperature=1", "joint.policy.momentum=0.99"),
    ),
    "soft": (*PLAIN, "joint.method=soft"),
    "soft, T = 0.5, aligned": (),
}


def main() -> None:
    """Print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"which ones; there are {'; '.join(METHODS)}")
    parser.add_argument("--data-root", type=Path, help="folder of the data files")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 … n-1")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="for all")
    arguments = parser.parse_args()
    if unknown := set(arguments.methods) - set(METHODS):
        parser.error(f"no method {unknown.pop()!r}; there are {'; '.join(METHODS)}")
    where = [f"data.root={arguments.data_root.resolve()}"] if arguments.data_root else []
    for name in arguments.methods or METHODS:
        row = measure(name, arguments.seeds, [*where, *arguments.overrides])
        rows = [*kept_rows("policies", "method", [method for method in METHODS if method != name]), row]
        publish("policies", sorted(rows, key=lambda row: -row["mean"]), f"{BASE}: test accuracy in %, over seeds")


def measure(name: str, seeds: int, overrides: Sequence[str]) -> Row:
    """One line of the table."""
    words = "".join(letter if letter.isalnum() else "_" for letter in f"{BASE} {name}")
    config = load_config(CONFIGS / f"{BASE}.yaml", [f"name={words}", *METHODS[name], *overrides])
    rows = run_over_seeds(config, range(seeds))
    students = [row["student_test_accuracy"] for row in rows]
    worst = spread(students, range(seeds))
    return {
        "method": name,
        "mean": round(100 * worst.mean, 2),
        "student": mean_std(students),
        "worst seed": f"{100 * worst.worst:.2f} (seed {worst.worst_seed})",
        "CPU s": f"{statistics.mean(row['cpu_seconds'] for row in rows):.0f}",
        "seeds": ", ".join(f"{100 * value:.2f}" for value in students),
    }


if __name__ == "__main__":
    main()
