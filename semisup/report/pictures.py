"""The figures of the page."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from semisup import plots
from semisup.calibration.measures import reliability
from semisup.report.artifacts import MODELS, Artifacts, Calibration, CompoundExamples, Shown
from semisup.report.text import training_sentence
from semisup.wording import counted


@dataclass(frozen=True)
class Picture:
    """A figure with the sentence that is said aloud where it cannot be seen."""

    name: str
    figure: Figure
    label: str


def draw(artifacts: Artifacts) -> list[Picture]:
    """Every picture that the files allow."""
    pictures = [
        *_training(artifacts),
        *_pseudo_labels(artifacts),
        *_evaluation(artifacts),
        Picture(
            "class_counts",
            plots.class_counts(artifacts.class_counts(), artifacts.class_names),
            "Images per class and role; the table below has the numbers",
        ),
    ]
    if artifacts.calibration is not None:
        pictures += _calibration(artifacts.calibration)
    if artifacts.errors is not None:
        pictures.append(_errors(artifacts.errors, artifacts.class_names))
    if artifacts.neighbors is not None:
        pictures.append(_neighbors(artifacts.neighbors, artifacts.class_names))
    if artifacts.unknown_groups is not None:
        pictures.append(_unknown_groups(artifacts.unknown_groups))
    if artifacts.compound is not None:
        pictures.append(_compound(artifacts.compound, artifacts.class_names))
    return pictures


def _training(artifacts: Artifacts) -> list[Picture]:
    round_number = artifacts.round
    student = f"Student round {round_number}" if round_number > 1 else "Student"
    titles = {"baseline": "Baseline: labels alone", "joint": f"{student}: labels and pseudo-labels"}
    curves = [_curves(artifacts, stage, title) for stage, title in titles.items() if stage in artifacts.history]
    if artifacts.choice:
        label = "What each way to learn is worth, by labeled images that were held out in turn"
        curves.append(Picture("choice", plots.worth_of_ways(artifacts.choice["ways"]), label))
    return curves


def _curves(artifacts: Artifacts, stage: str, title: str) -> Picture:
    training = artifacts.training[stage]
    figure = plots.learning_curves(
        artifacts.history[stage], training["best_epoch"], training["stopped_epoch"], training["stopped_early"], title
    )
    return Picture(f"curves_{stage}", figure, f"Learning curves. {title}. {training_sentence(training)}")


def _pseudo_labels(artifacts: Artifacts) -> list[Picture]:
    confidence, accepted = artifacts.confidence, artifacts.accepted
    threshold, correct, examples = artifacts.summary["threshold"], artifacts.correct, artifacts.examples
    pictures = [
        Picture(
            "confidence",
            plots.confidence_histogram(confidence, accepted, threshold, correct),
            f"Histogram of the kept model's confidence, {counted(len(confidence), 'unlabeled image')}, threshold "
            f"{threshold:g}",
        ),
        Picture(
            "examples",
            plots.picture_grid(
                artifacts.images,
                examples["label"].to_numpy(),
                examples["confidence"].to_numpy(),
                examples["truth"].to_numpy(),
                examples["group"].tolist(),
                artifacts.class_names,
            ),
            f"{counted(len(examples), 'unlabeled image')} with their labels: accepted, borderline and rejected",
        ),
    ]
    if correct is not None:
        figure = plots.coverage_precision(confidence, correct, accepted, threshold)
        pictures.append(Picture("coverage", figure, "Precision of the pseudo-labels against their coverage"))
    return pictures


def _evaluation(artifacts: Artifacts) -> list[Picture]:
    metrics = artifacts.metrics
    accuracy = {name: _ends(metrics[key]["accuracy"]) for key, name in MODELS.items()}
    return [
        Picture("accuracy", plots.accuracy_comparison(accuracy), "Test accuracy of both models with intervals"),
        _reliability(artifacts),
        *(
            Picture(
                f"confusion_{key}",
                plots.confusion_matrix(np.array(metrics[key]["confusion"]), artifacts.class_names, name),
                f"Confusion matrix of the {name.lower()} on the test images; the per-class table has its figures",
            )
            for key, name in MODELS.items()
        ),
    ]


def _reliability(artifacts: Artifacts) -> Picture:
    tables, predictions = {}, artifacts.predictions
    for key, name in MODELS.items():
        correct = (predictions[f"{key}_label"] == predictions["truth"]).to_numpy()
        tables[name] = reliability(predictions[f"{key}_confidence"].to_numpy(), correct)
    label = "Reliability diagrams of baseline and student on the test images; the table below has their errors"
    return Picture("reliability", plots.reliability_diagram(tables), label)


def _calibration(calibration: Calibration) -> list[Picture]:
    figures, table = calibration.figures, calibration.reliability
    panels = {"As it is": table[table["when"] == "before"]}
    if figures["method"] == "temperature":
        panels[f"Temperature {figures['temperature']:.3g}"] = table[table["when"] == "after"]
    label = "Reliability of the kept model on calibration images; the table below has its errors"
    pictures = [Picture("reliability_kept", plots.reliability_diagram(panels), label)]
    if figures["certificate"] and len(figures["certificate"]["path"]) > 1:  # of a single test there is nothing to draw
        walk = plots.certificate_walk(figures["certificate"])
        pictures.append(Picture("certificate", walk, "Errors among the accepted calibration images by threshold"))
    return pictures


def _errors(errors: Shown, class_names: list[str]) -> Picture:
    label, confidence, truth = (errors.table[name].to_numpy() for name in ("label", "confidence", "truth"))
    groups = ["errors"] * len(errors.table)
    figure = plots.picture_grid(errors.images, label, confidence, truth, groups, class_names)
    return Picture(
        "errors", figure, f"{counted(len(errors.table), 'test image')} that the kept model is sure of and wrong about"
    )


def _neighbors(shown: Shown, class_names: list[str]) -> Picture:
    table, asked = shown.table, shown.table["asked"].nunique()
    first = table.drop_duplicates("asked")
    figure = plots.neighbor_grid(
        shown.images.reshape(asked, -1, *shown.images.shape[1:]),
        first["label"].to_numpy(),
        first["confidence"].to_numpy(),
        table["neighbor_label"].to_numpy().reshape(asked, -1),
        table["cosine"].to_numpy().reshape(asked, -1),
        class_names,
    )
    return Picture("neighbors", figure, f"{asked} borderline pseudo-labels, each with its nearest labeled images")


def _unknown_groups(shown: Shown) -> Picture:
    sizes = shown.table.drop_duplicates("group").set_index("group")["size"].sort_index()
    figure = plots.group_grid(shown.images, shown.table["group"].to_numpy(), sizes.tolist())
    return Picture(
        "unknown_groups", figure, f"{counted(len(sizes), 'group')} of unlabeled images of none of the classes"
    )


def _ends(interval: Mapping[str, float]) -> tuple[float, float, float]:
    return interval["estimate"], interval["low"], interval["high"]


def _compound(examples: CompoundExamples, class_names: list[str]) -> Picture:
    table = examples.table
    predicted = {name: table[[f"{key}_first", f"{key}_second"]].to_numpy() for key, name in MODELS.items()}
    figure = plots.compound_grid(
        examples.images, table[["first_truth", "second_truth"]].to_numpy(), predicted, class_names
    )
    return Picture(
        "compound", figure, f"{counted(len(table), 'compound image')} with the two likeliest classes of both models"
    )
