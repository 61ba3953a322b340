"""Few labels with a pretrained network: a probe on kept features, fine-tuning, and training from scratch.

A ResNet-18 of torchvision's is first trained on five classes of CIFAR-10 (`train/<class>/`, `test/<class>/` below
`--data-root`), for some minutes of one core. Then 20 labels of each of the other five classes are learned from, with as
many to validate, and each side gets as many CPU seconds as the probe took, its features included. What pretraining
cost stands in the note. A second table tells what one round (pseudo-labels and a student) costs with features kept, and
where views are augmented, so that none can be. Stages run as plain functions, on one thread.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.output import publish
from semisup.config import PipelineConfig
from semisup.pipeline.log import Silence
from semisup.pipeline.plan import inputs_of, plan
from semisup.pipeline.specs import load_stage
from semisup.system.json_files import read_json

FIRST = ("airplane", "bird", "cat", "frog", "truck")
OTHERS = ("automobile", "deer", "dog", "horse", "ship")
LABELS = 20
SEEDS = 3
ROUND = ("pseudo_label", "joint")


def main() -> None:
    """Pretrain, then all sides for every seed; print and save both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--pretrain", default="240s", help="budget of CPU time")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Workbench(arguments.data_root.resolve(), Path(scratch))
        weights, seconds, accuracy = bench.pretrain(arguments.pretrain)
        results = [bench.sides(weights, seed) for seed in range(arguments.seeds)]
        rows = [_row(side, [result[side] for result in results]) for side in results[0]]
        publish(
            "pretrained",
            rows,
            f"{LABELS} labels for each of {len(OTHERS)} classes of CIFAR-10, {arguments.seeds} seeds, one thread; "
            f"resnet18 at 32×32, pretrained for {seconds:.0f} CPU s on 24,500 images of the other 5 classes "
            f"(validation accuracy there {accuracy:.1%}), which no side's seconds hold; each seed computes features "
            "anew",
        )
        publish(
            "pretrained_round",
            bench.rounds(weights),
            "CPU seconds of pseudo_label and joint (500 steps of 32 + 96), 24,800 unlabeled images; the first round "
            "needs features that nobody has computed yet",
        )


class Workbench:
    """Runs stages for configs that differ in a few keys, in a folder of its own."""

    def __init__(self, data_root: Path, scratch: Path) -> None:
        self.data_root, self.scratch = data_root, scratch

    def pretrain(self, budget: str) -> tuple[Path, float, float]:
        """(weights, CPU seconds, validation accuracy) of the first five classes, all from their labels."""
        config = self.config(
            FIRST,
            0,
            model={"normalize": "imagenet"},
            split={"labeled_per_class": 4900, "validation_per_class": 50},
            baseline={"epochs": 20, "budget": budget, "batch_size": 128, "augment": _views()},
        )
        folders, seconds = self.run(config, "pretraining", ("split", "baseline"))
        summary = read_json(folders["baseline"] / "training.json")
        return folders["baseline"] / "weights.safetensors", seconds["baseline"], summary["best_validation_accuracy"]

    def sides(self, weights: Path, seed: int) -> dict[str, tuple[float, float]]:
        """Side → (test accuracy, CPU seconds); the first two are baseline and student of one pipeline."""
        given = {"weights": str(weights)}
        probe = self.config(OTHERS, seed, model=given | {"train": "head"}, cache=f"cache-{seed}")
        folders, seconds = self.run(probe, f"probe-{seed}")
        metrics = read_json(folders["evaluate"] / "metrics.json")
        accuracy = {name: metrics[name]["accuracy"]["estimate"] for name in ("baseline", "student")}
        taken = seconds["baseline"], sum(seconds[name] for name in ("baseline", *ROUND))
        found = {
            "probe, labels alone": (accuracy["baseline"], taken[0]),
            "probe, pseudo-labels": (accuracy["student"], taken[1]),
        }
        for side, model in (
            ("fine-tuned, labels alone", given),
            ("from scratch, labels alone", {"normalize": "imagenet"}),
        ):
            train = {"epochs": 20, "budget": f"{taken[1]:.0f}s", "augment": _views(), "optimizer": {"lr": 1e-3}}
            config = self.config(OTHERS, seed, model=model, baseline=train)
            folders, seconds = self.run(config, f"{side}-{seed}", ("split", "baseline"))
            found[side] = (self.test_accuracy(config, folders["baseline"]), seconds["baseline"])
        return found

    def rounds(self, weights: Path) -> list[dict[str, Any]]:
        """What a round costs: with features to compute, with features there, with views that change."""
        rows = []
        steps = {"epochs": 5, "budget": "500 steps"}
        for name, joint in (
            ("features computed", steps),
            ("features kept", steps),
            ("flipped views, none kept", steps),
        ):
            views = {"augment": {"horizontal_flip": True}} if "views" in name else {}
            model = {"weights": str(weights), "train": "head"}
            config = self.config(OTHERS, 0, model=model, joint=joint | views, cache="cache-round")
            if "computed" in name:  # the teacher is trained upon features of its own
                teacher = config.model_copy(
                    update={"data": config.data.model_copy(update={"cache": self.scratch / "t"})}
                )
                before, _ = self.run(teacher, "round teacher", ("split", "baseline"))
            _, seconds = self.run(config, f"round {name}", ROUND, before)
            rows.append(
                {"round": name} | {f"{stage}, s": seconds[stage] for stage in ROUND} | {"s": sum(seconds.values())}
            )
        return rows

    def test_accuracy(self, config: PipelineConfig, folder: Path) -> float:
        """Of the model in a training stage's folder."""
        from semisup.stages.support.images import images_for_test
        from semisup.stages.support.models.saved import load_model
        from semisup.training.predict import predict_probabilities

        test = images_for_test(config)
        predicted = predict_probabilities(load_model(folder), test.images).argmax(dim=1)
        return float((predicted == test.labels).double().mean())

    def config(self, classes: tuple[str, ...], seed: int, *, cache: str = "cache", **sections: Any) -> PipelineConfig:
        """Of these classes; `sections` are changes."""
        values: dict[str, Any] = {
            "seed": seed,
            "data": {
                "name": "folder",
                "root": self.data_root,
                "manifest": self.manifest(classes),
                "size": 32,
                "cache": self.scratch / cache,
                "duplicates": "ignore",
            },
            "split": {"labeled_per_class": LABELS, "validation_per_class": LABELS},
            "baseline": {"epochs": 100, "optimizer": {"lr": 1e-2}, "early_stopping": {"monitor": "loss"}},
            "pseudo_label": {"threshold": 0.8},
            "joint": {
                "epochs": 20,
                "budget": "2000 steps",
                "optimizer": {"lr": 1e-2},
                "early_stopping": {"monitor": "loss"},
            },
            "runtime": {"threads": 1, "device": "cpu"},
        }
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section
        values["model"] = {"name": "torchvision:resnet18"} | values["model"]
        return PipelineConfig.model_validate(values)

    def manifest(self, classes: tuple[str, ...]) -> Path:
        """All images of some classes, as `data.manifest` wants them."""
        file = self.scratch / f"{'-'.join(classes)}.csv"
        if not file.exists():
            with file.open("w", newline="") as opened:
                writer = csv.writer(opened)
                writer.writerow(("path", "label", "role"))
                for part, role in (("train", ""), ("test", "test")):
                    for name in classes:
                        images = sorted((self.data_root / part / name).iterdir())
                        writer.writerows((image.relative_to(self.data_root), name, role) for image in images)
        return file

    def run(
        self,
        config: PipelineConfig,
        name: str,
        names: tuple[str, ...] = ("split", "baseline", *ROUND, "keep", "labels", "evaluate"),
        before: Mapping[str, Path] | None = None,
    ) -> tuple[dict[str, Path], dict[str, float]]:
        """Folders and CPU seconds of the steps with these names."""
        folders, seconds = dict(before or {}), {}
        for step in plan(config):
            if step.name in names:
                folder = self.scratch / name / step.name
                folder.mkdir(parents=True)
                inputs = inputs_of(step, config, folders)
                started = time.process_time()
                load_stage(step.stage, number=step.number)(config, inputs, folder, Silence())
                folders[step.name], seconds[step.name] = folder, time.process_time() - started
        return folders, seconds


def _views() -> dict[str, Any]:
    return {"horizontal_flip": True, "shift": 0.125, "reflect": True}


def _row(side: str, found: list[tuple[float, float]]) -> dict[str, Any]:
    accuracies, seconds = ([value[n] for value in found] for n in (0, 1))
    return {
        "side": side,
        "test accuracy, %": 100 * statistics.mean(accuracies),
        "lowest": 100 * min(accuracies),
        "highest": 100 * max(accuracies),
        "CPU seconds": statistics.mean(seconds),
    }


if __name__ == "__main__":
    main()
