"""Labels that look wrong: what `semisup review --suspects` would name, beside cleanlab's default filter.

    python -m benchmarks.few_labels.suspects FOLDER ANNOTATIONS.csv [--images 600 5000] [--draws 10] [--seed 0]

FOLDER holds `<class>/<file>`, ANNOTATIONS.csv (`path`, `human`) what somebody called each of these images, such as one
annotator of CIFAR-10N; a path begins with the folder's name. Of each draw of images both filters get the same
probabilities: those that a review has of the frozen features that `init` proposes, by images held out.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray

from benchmarks.few_labels.photographs import config_of, look
from benchmarks.output import publish
from semisup.config.families import JOINT
from semisup.data.own_images.recipes import NETWORKS
from semisup.review.confident_learning import out_of_sample_probabilities, suspected_labels, true_classes

SIDE = 160
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def ours(probabilities: Floats, labels: Labels) -> NDArray[np.bool_]:
    """(N,) whose labels a review would ask about, were it allowed to ask about all."""
    rows, _ = suspected_labels(true_classes(probabilities, labels), labels, len(labels))
    return np.isin(np.arange(len(labels)), rows)


def cleanlab(probabilities: Floats, labels: Labels) -> NDArray[np.bool_]:
    """(N,) those that its default filter names."""
    found: NDArray[np.bool_] = find_label_issues(labels, probabilities)
    return found


FILTERS: Mapping[str, Callable[[Floats, Labels], NDArray[np.bool_]]] = {"ours": ours, "cleanlab": cleanlab}


def main() -> None:
    """Every number of images; a table, and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--images", nargs="+", type=int, default=[600, 5000])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first draw")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    features, truth, _ = look(asked.folder, config_of(JOINT.join(NETWORKS), SIDE))
    given = annotated(asked.folder, asked.annotations)
    rows = []
    for count in asked.images:
        draws = [
            np.random.default_rng(seed).permutation(len(truth))[:count]
            for seed in range(asked.seed, asked.seed + asked.draws)
        ]
        rows.append({"images": count} | measure(features.numpy(), truth, given, draws))
        print(rows[-1], flush=True)
    publish(
        "suspects",
        rows,
        f"precision, recall and F1 in %, mean ± deviation (worst) of {asked.draws} draws; ratio: F1 of ours over F1 of "
        "cleanlab's default filter on the same probabilities, mean (worst)",
    )


def annotated(folder: Path, table: Path) -> Labels:
    """(N,) the class that somebody named for each image, in the order of :func:`look`.

    Raises:
        SystemExit: an image has no row, or a class that is none of the folder's.
    """
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [f"{folder.name}/{name}/{file.name}" for name in classes for file in sorted((folder / name).iterdir())]
    said = pd.read_csv(table).set_index("path")["human"].reindex(files)
    numbers = said.map({name: number for number, name in enumerate(classes)})
    if numbers.isna().any():
        first = files[int(numbers.isna().to_numpy().argmax())]
        raise SystemExit(f"{table} names no class of {folder} for {first!r}; give a row for every image")
    return np.asarray(numbers, dtype=np.int64)


def measure(
    features: NDArray[np.float32], truth: Labels, given: Labels, draws: Sequence[NDArray[np.int64]]
) -> dict[str, Any]:
    """A row of the table: both filters over the draws of one number of images."""
    figures: dict[str, list[float]] = {}
    seconds: list[float] = []
    for seed, drawn in enumerate(draws):
        labels, wrong = given[drawn], given[drawn] != truth[drawn]
        began = time.process_time()
        probabilities = out_of_sample_probabilities(features[drawn], labels, int(truth.max()) + 1, seed)
        seconds.append(time.process_time() - began)
        if probabilities is None:
            raise SystemExit(f"--images {len(drawn)} leaves a class with too few; ask for more")
        figures.setdefault("wrong", []).append(100 * float(wrong.mean()))
        figures.setdefault("model right", []).append(100 * float((probabilities.argmax(axis=1) == truth[drawn]).mean()))
        for name, choose in FILTERS.items():
            found = choose(probabilities, labels)
            hits = float((found & wrong).sum())
            figures.setdefault(f"{name}, precision", []).append(100 * hits / max(1, found.sum()))
            figures.setdefault(f"{name}, recall", []).append(100 * hits / wrong.sum())
            figures.setdefault(f"{name}, F1", []).append(200 * hits / (found.sum() + wrong.sum()))
    shown = {
        name: f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} ({min(values):.1f})"
        for name, values in figures.items()
    }
    ratios = np.array(figures["ours, F1"]) / np.array(figures["cleanlab, F1"])
    return shown | {
        "ratio": f"{ratios.mean():.2f} ({ratios.min():.2f})",
        "CPU s": float(np.mean(seconds)),
        "draws": [figures],
    }


if __name__ == "__main__":
    main()
