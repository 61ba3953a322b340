"""Is a reviewed label worth more than a random one? Fifty of each, added to the same run, and everything run again.

    python -m benchmarks.few_labels.review mnist --data-root data/mnist
    python -m benchmarks.few_labels.review cifar10 --data-root cifar10      # image files: train/<class>/, test/<class>/

For every seed a pipeline with few labels is run; then fifty more labels are asked for, chosen by each method of
`semisup review` or at random, and annotated with the truth, through a file of annotations as `semisup review --import`
writes it; and the pipeline is run again with each. The student is measured on the test images, and on unlabeled
images that are never asked about ("held"; the validation images are too few to tell methods apart). Which method
is the default was chosen by the latter on MNIST.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.output import RESULTS, publish
from semisup.config import PipelineConfig
from semisup.config.files import validate
from semisup.data.facts import DatasetFacts
from semisup.data.roles.annotations import Annotation, write_annotations
from semisup.data.roles.known_roles import content_of
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.delivery.page.candidates import Material, to_label
from semisup.evaluation.comparison import paired_over_seeds
from semisup.networks.classifier import Classifier
from semisup.pipeline.plan import plan
from semisup.pseudo_labels import TABLE_FILE
from semisup.stages.running import run_steps
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.saved import load_model
from semisup.system.randomness import numpy_generator
from semisup.training.predict import validate as measure

BUDGET = 50
METHODS = ("clusters", "spread", "gradients")
HELD = {"mnist": 5000, "cifar10": 3000}
"""Unlabeled images that methods are compared on, beside the test images."""
OF_A_CLASS = {"train": 1500, "test": 500}
"""Files of a folder that are used: predicting all of them would take longer than the training that is measured."""
DIGIT_VIEWS = {"rotation": 15, "shift": 0.07, "scale": 0.15, "shear": 0.2, "cutout": 0.28}
PHOTO_VIEWS = {"shift": 0.125, "horizontal_flip": True, "reflect": True, "cutout": 0.25}
FAST = {"epochs": 4, "ema_decay": 0.99, "early_stopping": {"keep": "last"}}
SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {
        "data": {"name": "mnist"},
        "split": {"labeled_per_class": 5, "validation_per_class": 10},
        "model": {"name": "small_cnn", "deskew": True},
        "baseline": FAST | {"budget": "3s", "batch_size": 50, "augment": DIGIT_VIEWS},
        "joint": FAST
        | {"budget": "10s", "batch_size": 32, "unlabeled_batch_size": 96, "augment": DIGIT_VIEWS, "start": "baseline"}
        | {"method": "soft"}
        | {
            "policy": {
                "teacher": "ema",
                "view": "clean",
                "temperature": 0.5,
                "distribution_alignment": True,
                "momentum": 0.99,
            }
        },
    },
    "cifar10": {
        "data": {"name": "folder", "size": 32, "duplicates": "ignore"},
        "split": {"labeled_per_class": 50, "validation_per_class": 10},
        "model": {"name": "pooled_cnn", "width": 0.5, "whiten": True},
        "baseline": FAST | {"budget": "5s", "batch_size": 64, "augment": PHOTO_VIEWS, "optimizer": {"lr": 4.0e-3}},
        "joint": FAST
        | {"budget": "9s", "batch_size": 64, "unlabeled_batch_size": 128, "augment": PHOTO_VIEWS, "start": "baseline"}
        | {"method": "fixmatch", "optimizer": {"lr": 3.0e-3}, "strong_augment": {**PHOTO_VIEWS, "randaugment": 2}}
        | {"policy": {"teacher": "ema", "view": "weak", "threshold": 0.8, "distribution_alignment": True}},
    },
}


def main() -> None:
    """Print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("setting", choices=list(SETTINGS))
    parser.add_argument("--data-root", type=Path, help="folder of the data files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["clusters"], help="of `semisup review`")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "review_seeds.json"
    for seed in arguments.seeds:
        new = measure_seed(arguments.setting, seed, arguments.methods, arguments.data_root)
        others = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
        ways = {(row["setting"], row["seed"], row["asked"]) for row in new}
        rows = [row for row in others if (row["setting"], row["seed"], row["asked"]) not in ways] + new
        kept.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    publish("review", summaries(rows), "student's accuracy in %, differences to random paired by seed")


def config_of(
    setting: str, seed: int, root: Path | None, scratch: Path, annotations: Path | None = None
) -> PipelineConfig:
    """The pipeline of a setting; budgets are CPU time of one thread."""
    values = SETTINGS[setting]
    data = values["data"] | ({"root": root} if root else {}) | ({"annotations": annotations} if annotations else {})
    if root and data["name"] == "folder":
        data["manifest"] = scratch / "some.csv"
        some_of(root).to_csv(data["manifest"], index=False)
    rest = {"seed": seed, "name": "review", "runtime": {"device": "cpu", "threads": 1, "channels_last": True}}
    return validate(values | rest | {"data": data, "promote": {"enabled": False}}, source=setting)


def some_of(root: Path) -> pd.DataFrame:
    """A manifest of the first files of every class."""
    rows = [
        (file.relative_to(root).as_posix(), folder.name, role)
        for role, count in OF_A_CLASS.items()
        for folder in sorted((root / role).iterdir())
        for file in sorted(folder.iterdir())[:count]
    ]
    return pd.DataFrame(rows, columns=["path", "label", "role"])


def measure_seed(setting: str, seed: int, methods: list[str], root: Path | None) -> list[dict[str, Any]]:
    """A row for the run before any annotation, for random annotations, and for those of each method."""
    rows = []
    with TemporaryDirectory() as scratch:
        config = config_of(setting, seed, root, Path(scratch))
        folders = run_all(config, Path(scratch) / "before")
        truth, contents = truths(config)
        split = Split.read(folders["split"] / "split.parquet")
        unlabeled = split.indices("unlabeled").numpy()
        rng = numpy_generator(seed, "random review")
        held = rng.permutation(unlabeled)[: HELD[setting]]
        student = load_model(folders["joint"])
        assert isinstance(student, Classifier)
        material = Material(
            config,
            DatasetFacts.read(folders["split"]),
            split,
            [pd.read_parquet(folders["pseudo_label"] / TABLE_FILE)] if "pseudo_label" in folders else [],
            student,
            None,
        )
        asked = {"random": rng.permutation(np.setdiff1d(unlabeled, held))[:BUDGET]}
        for method in methods:
            asked[method] = without(material, held, method)
        rows.append(row_of(setting, "none", config, folders, held))
        for name, indices in asked.items():
            file = Path(scratch) / f"{name}.csv"
            names = material.facts.class_names
            write_annotations(
                [Annotation(contents[i], contents[i], "label", names[truth[i]], "unlabeled") for i in indices], file
            )
            again = config_of(setting, seed, root, Path(scratch), file)
            row = row_of(setting, name, again, run_all(again, Path(scratch) / name), held)
            student_was_wrong = float((predicted(material, indices) != truth[indices]).mean())
            rows.append(row | {"wrong_before": student_was_wrong})
    return rows


def without(material: Material, held: np.ndarray, method: str) -> np.ndarray:
    """The images that a method asks about, as if those held apart were not there."""
    table = material.split.table
    shown = table[~((table["role"] == "unlabeled") & table["index"].isin(held))]
    learned_from = [table[~table["index"].isin(held)] for table in material.learned_from]
    few = Material(material.config, material.facts, Split(shown), learned_from, material.student, material.temperature)
    return to_label(few, BUDGET, method)["index"].to_numpy()  # type: ignore[arg-type]


def run_all(config: PipelineConfig, root: Path) -> dict[str, Path]:
    """Step → its folder, of the plan up to the student."""
    # What follows takes longer than the accuracy, which is all that is asked for.
    steps = takewhile(lambda step: step.stage != "keep", plan(config))
    return run_steps(steps, config, root)


def truths(config: PipelineConfig) -> tuple[np.ndarray, list[str]]:
    """What a person would say about each image of the pool, and what annotations call it."""
    pool = pool_of(config)
    return pool.labels.numpy(), [content_of(name) for name in pool.ids]


def predicted(material: Material, indices: np.ndarray) -> np.ndarray:
    """The first student's labels of some images."""
    with torch.inference_mode():
        images = pool_of(material.config).images[torch.from_numpy(indices.astype(np.int64))]
        labels: np.ndarray = material.student(images).argmax(dim=1).numpy()
    return labels


def row_of(
    setting: str, asked: str, config: PipelineConfig, folders: Mapping[str, Path], held: np.ndarray
) -> dict[str, Any]:
    """Accuracies of a run's student."""
    pool, test, student = pool_of(config), images_for_test(config), load_model(folders["joint"])
    indices = torch.from_numpy(held.astype(np.int64))
    _, on_held = measure(student, Rows(pool.images, indices), pool.labels[indices])
    _, on_test = measure(student, test.images, test.labels)
    return {"setting": setting, "seed": config.seed, "asked": asked, "held": on_held, "test": on_test}


def summaries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line for each setting and way of asking, with its paired difference to random."""
    lines = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        of = [row for row in rows if row["setting"] == setting]
        by_way = {
            asked: [row for row in of if row["asked"] == asked] for asked in dict.fromkeys(r["asked"] for r in of)
        }
        for asked, own in by_way.items():
            seeds = {row["seed"] for row in own}
            random = [row for row in by_way["random"] if row["seed"] in seeds]
            line: dict[str, Any] = {"setting": setting, "asked": asked, "seeds": len(own)}
            for what in ("held", "test"):
                line[what] = f"{100 * statistics.mean(row[what] for row in own):.2f}"
                if asked not in {"none", "random"} and len(own) > 1:
                    before, after = ([100 * r[what] for r in way] for way in (random, own))
                    paired = paired_over_seeds(before, after)
                    line[f"{what} − random"] = f"{paired.mean:+.2f} ({paired.low:+.2f} … {paired.high:+.2f})"
            lines.append(line)
    return lines


if __name__ == "__main__":
    main()
