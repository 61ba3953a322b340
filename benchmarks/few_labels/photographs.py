"""Photographs with few labels: our default recipe beside what twenty lines of scikit-learn make of the same features.

    python -m benchmarks.few_labels.photographs FOLDER [FOLDER ...] [--labels 5 10 20] [--splits 5] [--network NAME]

A folder holds `<class>/<file>`. Each split draws `--test` images a class and the labels; the others are unlabeled.
Every method gets the same features (`model.name`, `model.mirror`, `model.center_crop`) and all labels, none kept apart.
Ours is what the stages of `recipe: graph` compute: the model that the held-out labels choose is the one that is tested.
CPU seconds are of one thread; decoding and features (by the engine that a run would choose, its choice and translation
included) are counted once, beside a plain float32 loop of the first network over the same images, at its own size.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.output import publish
from semisup.config import PipelineConfig, ProbeConfig
from semisup.config.families import JOINT, networks_in
from semisup.data.own_images.reading.decode import Target, decode
from semisup.data.own_images.recipes import CENTER, LARGE, NETWORKS
from semisup.evaluation.keeping import better_model
from semisup.evaluation.references import REFERENCES, Seen
from semisup.frozen.embedding import embed, fit_embedding
from semisup.frozen.learning import (
    Points,
    hold_out,
    share_right,
    spread_labels,
    student_probe,
    supervised_probe,
)
from semisup.networks.classifier import Classifier
from semisup.networks.inference.choice import make_ready
from semisup.pseudo_labels.policies.confidence import confidence_weights
from semisup.stages.choose import FEW, REPETITIONS
from semisup.stages.support.models.configured import network, settle_inference
from semisup.system.memory import keep_for_reuse

TEST_PER_CLASS, BATCH = 35, 16
HALVES = ([0.5] * 3, [0.5] * 3)
"""Mean and deviation of pixels, which a pretrained network has of its own."""
PLAIN_SAMPLE = 240
"""Images, about as many as the plain loop looks at, between our batches; its rate is that of all."""
STUDENT_C = ProbeConfig().student_c
Predictions = NDArray[np.integer[Any]]


def main() -> None:
    """Every folder, number of labels and split; a table, and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--labels", nargs="+", type=int, default=[5, 10, 20])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--network", default=JOINT.join(NETWORKS), help="model.name; + joins several")
    parser.add_argument("--side", type=int, default=LARGE, help="pixels of a side, data.size")
    parser.add_argument("--center-crop", type=int, help="model.center_crop; 0: none; unset: what suits that size")
    parser.add_argument("--no-mirror", dest="mirror", action="store_false", help="model.mirror: false")
    parser.add_argument("--test", type=int, default=TEST_PER_CLASS, help="test images of a class")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[*PEERS])
    parser.add_argument("--result", help="its file in benchmarks/results")
    parser.add_argument(
        "--keeping", action="store_true", help="only our two models, and what keeping one of them costs"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")  # PCA of SelfTraining's last round
    rows: list[dict[str, Any]] = []
    for folder in asked.folders:
        crop = CENTER.get(asked.side) if asked.center_crop is None else asked.center_crop or None
        config = config_of(asked.network, asked.side, mirror=asked.mirror, center_crop=crop)
        features, labels, cost = look(folder, config)
        for count in asked.labels:
            cases = [draw(features, labels, count, asked.test, seed) for seed in range(asked.splits)]
            rows.append(
                {"photographs": folder.name, "labels a class": count}
                | measure(cases, cost, {} if asked.keeping else {name: PEERS[name] for name in asked.peers})
            )
            print(rows[-1], flush=True)
    keeping = what_keeping_costs([row["splits"][0] for row in rows])
    if asked.keeping:
        publish(asked.result or "photographs_keeping", rows, keeping)
        return
    gain = f"kept − {'best peer' if asked.peers else 'baseline'}"
    gains = [row[gain] for row in rows]
    publish(
        asked.result or ("photographs" if len(networks_in(asked.network)) > 1 else "photographs_one_network"),
        rows,
        f"test accuracy in %, mean ± deviation (worst) of {asked.splits} splits; {gain}: "
        f"{np.mean(gains):+.2f} points in the mean, least {min(gains):+.2f}; ratio: CPU seconds of features and "
        f"learning over those of decoding and one plain float32 pass; {keeping}",
    )


def what_keeping_costs(settings: Sequence[Mapping[str, Sequence[float]]]) -> str:
    """Mean test accuracy, and mean regret against the better of the two models, of three ways to keep one."""
    tables = {name: np.concatenate([found[name] for found in settings]) for name in ("baseline", "student", "kept")}
    better = np.maximum(tables["baseline"], tables["student"])
    names = {"baseline": "always the baseline", "student": "always the student", "kept": "chosen"}
    said = ", ".join(
        f"{names[name]} {table.mean():.2f} (regret {(better - table).mean():.2f})" for name, table in tables.items()
    )
    return f"model kept in {len(better)} cases: {said}"


def look(folder: Path, config: PipelineConfig) -> tuple[Tensor, NDArray[np.int64], dict[str, float]]:
    """Features float32 (N, D) of all images, their labels (N,), and what they cost in CPU seconds."""
    side = config.data.size[0]
    network_side = config.model.center_crop or side
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [(file, label) for label, name in enumerate(classes) for file in sorted((folder / name).iterdir())]
    first, *_ = networks_in(config.model.name)
    plain_config = config_of(first, network_side)
    plain_model = network(plain_config, (3, network_side, network_side), len(classes), *HALVES, seed=0).eval()
    plain_model.to(memory_format=torch.contiguous_format)
    keep_for_reuse()
    began = time.process_time()
    model = _as_a_run_would(config, (3, side, side), len(classes), len(files))
    parts, ours, plain, sampled = [], time.process_time() - began, 0.0, 0
    every = max(1, len(files) // PLAIN_SAMPLE)
    with torch.inference_mode():
        for number, start in enumerate(range(0, len(files), BATCH)):
            batch = [file for file, _ in files[start : start + BATCH]]
            began = time.process_time()
            parts.append(model.features(_images(batch, side)))
            ours += time.process_time() - began
            if number % every == 0:
                plain, sampled = plain + _plain(plain_model, batch, network_side), sampled + len(batch)
    cost = {"features": ours, "plain": plain * len(files) / sampled}
    return torch.cat(parts), np.array([label for _, label in files]), cost


def config_of(name: str, side: int, *, mirror: bool = True, center_crop: int | None = None) -> PipelineConfig:
    """What `init` writes for photographs, of this network and images of this side."""
    return PipelineConfig.model_validate(
        {
            "recipe": "graph",
            "data": {"name": "folder", "root": ".", "size": side},
            "model": {"name": name, "mirror": mirror, "center_crop": center_crop},
        }
    )


def _as_a_run_would(
    config: PipelineConfig, image_shape: tuple[int, int, int], num_classes: int, images: int
) -> Classifier:
    """The network, computed by what is faster for so many images; measured anew, as on a machine without a cache."""
    with TemporaryDirectory() as cache:
        config = config.model_copy(update={"data": config.data.model_copy(update={"cache": Path(cache)})})
        model = network(config, image_shape, num_classes, *HALVES, seed=0).eval()
        settle_inference(config, model, image_shape, images)
        make_ready(model, image_shape, config.runtime.inference)
        return model


def _images(files: Sequence[Path], side: int) -> Tensor:
    target = Target(side, side, "crop", "rgb")
    return torch.from_numpy(np.stack([decode(file.read_bytes(), target).pixels for file in files]))


def _plain(model: Classifier, batch: Sequence[Path], side: int) -> float:
    """CPU seconds of decoding and one forward pass of a batch, in float32 as it comes."""
    began = time.process_time()
    model.backbone(model.preprocess(_images(batch, side)).contiguous())
    return time.process_time() - began


@dataclass(frozen=True, eq=False)
class Case:
    """One draw of roles: features (N, D), labels (N,), and the rows of each role."""

    features: Tensor
    labels: NDArray[np.int64]
    labeled: NDArray[np.int64]
    unlabeled: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def learned(self) -> NDArray[np.int64]:
        """The rows that are not for the test."""
        return np.concatenate([self.labeled, self.unlabeled])


def draw(features: Tensor, labels: NDArray[np.int64], count: int, tested: int, seed: int) -> Case:
    """`count` labeled images and `tested` test images of each class; all others are unlabeled."""
    rng = np.random.default_rng(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test, labeled, unlabeled = np.split(rows, [tested, tested + count])
        for part, chosen in zip(parts, (labeled, unlabeled, test), strict=True):
            part.extend(chosen.tolist())
    labeled, unlabeled, test = (np.array(part) for part in parts)
    return Case(features, labels, labeled, unlabeled, test)


def measure(
    cases: Sequence[Case], cost: Mapping[str, float], peers: Mapping[str, Callable[[Case], Predictions]]
) -> dict[str, Any]:
    """A row of the table: every method over the splits of one setting."""
    found: dict[str, list[float]] = {}
    seconds: list[float] = []
    for seed, case in enumerate(cases):
        began = time.process_time()
        said = ours(case, seed)
        seconds.append(time.process_time() - began)
        said |= {name: peer(case) for name, peer in peers.items()}
        for method, predicted in said.items():
            found.setdefault(method, []).append(100 * float((predicted == case.labels[case.test]).mean()))
    best = max((float(np.mean(found[peer])) for peer in peers), default=float(np.mean(found["baseline"])))
    learning = float(np.mean(seconds))
    shown = {
        method: f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} ({min(values):.1f})"
        for method, values in found.items()
    }
    return shown | {
        ("kept − best peer" if peers else "kept − baseline"): float(np.mean(found["kept"])) - best,
        "learning, CPU s": learning,
        "ratio": (cost["features"] + learning) / cost["plain"],
        "splits": [found],
        "cost": [cost],
    }


def ours(case: Case, seed: int) -> dict[str, Predictions]:
    """What stages `choose` to `joint` do, with their defaults, and the model that is kept."""
    features, labels, labeled, unlabeled = case.features, case.labels, case.labeled, case.unlabeled
    classes = int(labels.max()) + 1
    embedding = fit_embedding(features[case.learned])
    truth = torch.from_numpy(labels[labeled])
    points = Points(embed(embedding, features[labeled]), truth, embed(embedding, features[unlabeled]), classes)
    graph = points.graph()
    rng = np.random.default_rng(seed)
    repetitions = REPETITIONS if len(case.learned) <= FEW else 1
    held = hold_out(points, graph, rng, student_strength=STUDENT_C, repetitions=repetitions)
    confidence, pseudo = torch.from_numpy(spread_labels(graph, points, held.temperature)[len(labeled) :]).max(dim=1)
    models = {
        "baseline": supervised_probe(points, held.strength),
        "student": student_probe(points, pseudo, confidence_weights(confidence, classes), STUDENT_C),
    }
    kept = better_model(share_right(held.baseline, truth), share_right(held.student, truth))["model"]
    seen = embed(embedding, features[case.test])
    said = {name: model(seen).argmax(dim=1).numpy() for name, model in models.items()}
    return said | {"kept": said[kept]}


def peer(name: str) -> Callable[[Case], Predictions]:
    """A line of the report that every run has for nothing, by its name."""
    predict, _ = REFERENCES[name]

    def ask(case: Case) -> Predictions:
        features = case.features.numpy()
        return predict(
            Seen(features[case.labeled], case.labels[case.labeled], features[case.unlabeled], features[case.test])
        )

    return ask


PEERS = {name.lower(): peer(name) for name in REFERENCES}


if __name__ == "__main__":
    main()
