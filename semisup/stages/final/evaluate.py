"""Stage `evaluate`: which opens the test images. Baseline against student, once."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from semisup import __version__
from semisup.budget import Budget
from semisup.calibration.measures import fit_temperature, measure
from semisup.calibration.words import calibration_warnings
from semisup.checks.warnings import (
    comparison_warnings,
    config_warnings,
    final_label_warnings,
    pseudo_label_warnings,
    training_warnings,
)
from semisup.config import PipelineConfig, TrainConfig
from semisup.config.families import READY_MADE
from semisup.data.datasets import ImageSet
from semisup.data.facts import DatasetFacts
from semisup.data.roles.contradictions import FILE as CONTRADICTIONS
from semisup.data.roles.contradictions import contradiction_warnings
from semisup.data.roles.few_tests import few_test_images
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.data.tables import read_csv
from semisup.evaluation.compound import draw_pairs, superpose, top2_overlap, top2_right, two_likeliest
from semisup.evaluation.scores import accuracy_interval, compare_right, evaluate_models
from semisup.pipeline.log import StageLog
from semisup.pipeline.plan import read_kept
from semisup.report import build_report
from semisup.stages.final.insights import look_closer
from semisup.stages.support.features import looked_at
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.stages.support.tested import predict_tested, shown_in_tests
from semisup.system.json_files import read_json, write_json
from semisup.system.randomness import numpy_generator
from semisup.training.predict import predict_log_probabilities
from semisup.wording import counted

MODELS = {"baseline": "baseline", "student": "joint"}
"""Name in the tables → stage that left the weights."""
COMPOUND_EXAMPLES = 12


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `predictions.parquet`, `metrics.json` and the report (HTML and Markdown, with its `figures/`).

    Also images to look at: `errors.*`, and of runs with features `neighbors.*`
    (:mod:`semisup.stages.final.insights`). With `evaluate.compound` also `compound.parquet`, one row per compound
    image, and `compound_examples.npz`. `keep` has said which model to keep, and `labels` has its labels of the
    unlabeled images. `pseudo_label` is the table that the student learned from, where it learned from one. That and
    `calibrate`, where the kept model was calibrated, are told of in the report.

    Raises:
        UserError: compound images are asked for, but all test images are of one class.
    """
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    test = images_for_test(config, split.ids("test"))
    models = {name: load_placed(inputs[stage], config) for name, stage in MODELS.items()}
    log.info(f"asking both models about {counted(len(test), 'test image')}")
    metrics = _score_single_images(models, test, config, out_dir, log)
    if config.evaluate.compound:
        metrics["compound"] = _score_compound_images(models, test, config, out_dir)
    pool = pool_of(config, facts)
    metrics["kept"] = read_kept(inputs["keep"])
    metrics["temperature"] = _temperatures(models, split, pool, config, log)
    lost = comparison_warnings(metrics["kept"], config.joint)
    kept = metrics["kept"]["model"]
    log.info("looking at errors and neighbors, and asking scikit-learn" if "choose" in inputs else "looking at errors")
    metrics |= look_closer(models[kept], test, pool, split, config, inputs, out_dir, log, kept=kept)
    write_json(out_dir / "metrics.json", metrics)
    log.info("drawing the figures of the report")
    write_report(config, inputs, out_dir, out_dir)
    _log_figures(metrics, log)
    for warning in lost:
        log.warning(warning)
    if config.evaluate.compound:
        _log_compound(metrics["compound"], log)


def write_report(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    evaluated: Path,
    out_dir: Path,
    *,
    audit: Mapping[str, Any] | None = None,
) -> None:
    """Leaves the report in `out_dir`, of what the stage was given and left in `evaluated`.

    `audit` is what people found out about the accepted labels since, as :class:`semisup.open_world.audit.Audited`.
    """
    facts = DatasetFacts.read(inputs["split"])
    metrics = read_json(evaluated / "metrics.json")
    tested = few_test_images({row["name"]: row["support"] for row in metrics["student"]["per_class"]}, config.data)
    lost = comparison_warnings(metrics["kept"], config.joint)
    build_report(
        {**inputs, "evaluate": evaluated},
        config.model_dump(mode="json"),
        [*_warnings(config, inputs, facts), *tested, *lost],
        out_dir,
        title=f"{config.name}: pseudo-labeling report",
        facts=_facts(config, inputs, facts),
        audit=audit,
    )


def _temperatures(
    models: Mapping[str, nn.Module], split: Split, pool: ImageSet, config: PipelineConfig, log: StageLog
) -> dict[str, float]:
    """Each model's own, for whoever uses it later: fitted on all calibration images.

    None where nobody asks for any, or where all images are right, for then any lower one fits better. Nothing here is
    tempered. `calibrate` fits one on a part of them, and leaves the others to certify with.
    """
    if config.calibrate.method == "none" or not split.ids("calibration"):
        return {}
    indices, truth = split.indices("calibration"), split.labels("calibration")
    said = {}
    for name, model in models.items():
        asked, shown = looked_at(config, model, pool, "pool", log)
        said[name] = predict_log_probabilities(asked, Rows(shown, indices))
    return {
        name: fit_temperature(table.numpy(), truth.numpy())
        for name, table in said.items()
        if (table.argmax(dim=1) != truth).any()
    }


def _score_single_images(
    models: Mapping[str, nn.Module], test: ImageSet, config: PipelineConfig, out_dir: Path, log: StageLog
) -> dict[str, Any]:
    """The metrics of the test images as they are, whose predictions are left in `out_dir`.

    Keys: those of :func:`semisup.evaluation.scores.evaluate_models`, and in baseline and student also calibration, with
    those of :func:`semisup.calibration.measure`.
    """
    truth = test.labels.numpy()
    columns: dict[str, Any] = {"id": test.ids, "truth": truth}
    calibration = {}
    for name, model in models.items():
        probabilities = predict_tested(*shown_in_tests(model, test, "test", config, log), config)
        confidence, label = (values.numpy() for values in probabilities.max(dim=1))
        columns |= {f"{name}_label": label, f"{name}_confidence": confidence}
        calibration[name] = measure(probabilities.numpy(), truth)
    pd.DataFrame(columns).to_parquet(out_dir / "predictions.parquet", index=False)
    metrics = evaluate_models(truth, columns["baseline_label"], columns["student_label"], test.class_names)
    for name, figures in calibration.items():
        metrics[name]["calibration"] = figures
    return metrics


def _score_compound_images(
    models: Mapping[str, nn.Module], test: ImageSet, config: PipelineConfig, out_dir: Path
) -> dict[str, Any]:
    """The metrics of as many compound images as there are test images; predictions and examples are left in `out_dir`.

    Keys: images; baseline and student {estimate, low, high}, the share whose two likeliest classes are both right;
    at_least_one, the same for one right or both; chance, of two classes guessed at random; and those of
    :func:`semisup.evaluation.scores.compare_right`. Every test image is in two of them on average, so that the
    intervals are somewhat narrower than those of as many independent images.
    """
    labels = test.labels.numpy()
    pairs = draw_pairs(labels, numpy_generator(config.seed, "compound pairs"))
    images = superpose(test.images[pairs[:, 0]], test.images[pairs[:, 1]])
    ids = np.asarray(test.ids)
    columns: dict[str, Any] = {}
    for side, position in (("first", pairs[:, 0]), ("second", pairs[:, 1])):
        columns |= {f"{side}_id": ids[position], f"{side}_truth": labels[position]}
    right, overlap = {}, {}
    for name, model in models.items():
        probabilities = predict_tested(model, images, config).numpy()
        likeliest = two_likeliest(probabilities)
        columns |= {f"{name}_first": likeliest[:, 0], f"{name}_second": likeliest[:, 1]}
        right[name] = top2_right(probabilities, labels[pairs])
        overlap[name] = top2_overlap(probabilities, labels[pairs])
    pd.DataFrame(columns).to_parquet(out_dir / "compound.parquet", index=False)
    picks = np.sort(numpy_generator(config.seed, "compound examples").permutation(len(pairs))[:COMPOUND_EXAMPLES])
    np.savez_compressed(out_dir / "compound_examples.npz", images=images[picks].numpy(), rows=picks)
    return {
        "images": len(pairs),
        **{name: asdict(accuracy_interval(int(values.sum()), len(pairs))) for name, values in right.items()},
        "at_least_one": {
            name: asdict(accuracy_interval(int(values.sum()), len(pairs))) for name, values in overlap.items()
        },
        "chance": 2 / (test.num_classes * (test.num_classes - 1)),
        **compare_right(right["baseline"], right["student"]),
    }


def _warnings(config: PipelineConfig, inputs: Mapping[str, Path], facts: DatasetFacts) -> list[str]:
    """What the config and the stages before ask attention for, in the order in which it arose."""
    calibration = (
        calibration_warnings(read_json(inputs["calibrate"] / "calibration.json")) if "calibrate" in inputs else []
    )
    table = []
    if "pseudo_label" in inputs:  # of a drift the final labels tell
        table = pseudo_label_warnings(read_json(inputs["pseudo_label"] / "summary.json"), config.joint, drift=False)
    contradictory = inputs["split"] / CONTRADICTIONS
    return [
        *(
            contradiction_warnings(read_csv(contradictory, CONTRADICTIONS), listed=True)
            if contradictory.exists()
            else []
        ),
        *config_warnings(config, facts.num_classes, sum(facts.class_counts["validation"])),
        *calibration,
        *table,
        *training_warnings(read_json(inputs["joint"] / "training.json"), config.joint),
        *final_label_warnings(read_json(inputs["labels"] / "summary.json")),
    ]


def _facts(config: PipelineConfig, inputs: Mapping[str, Path], facts: DatasetFacts) -> dict[str, str]:
    timings = {name: read_json(inputs[stage] / "timings.json") for name, stage in MODELS.items()}
    return {
        "Seed": str(config.seed),
        "Data set": f"{facts.name}, digest {facts.digest[:12]}",
        "Model": config.model.name + _pretraining(inputs["joint"]),
        "Baseline training": f"{timings['baseline']['seconds']:.1f} s{_budget(config.baseline)}",
        "Student training": f"{timings['student']['seconds']:.1f} s{_budget(config.joint)}",
        "CPU threads": str(torch.get_num_threads()),
        "Versions": f"semisup {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _pretraining(student: Path) -> str:
    model = read_json(student / "model.json")
    if "weights" not in model:
        return ""
    if model["name"] == READY_MADE:
        return f" (ready-made, {model['weights'][:12]}), a probe upon them trained"
    learned = {"head": "its last layer alone", "all": "all of it", "probe": "a probe upon it"}.get(model["train"])
    learned = learned or f"its {model['train'].replace('_', ' ')} blocks"
    return f", pretrained (weights {model['weights'][:12]}), {learned} trained"


def _budget(config: TrainConfig) -> str:
    if config.budget is None:
        return ""
    budget = Budget.parse(config.budget)
    return f"; budget {budget}, {'' if budget.reproducible else 'not '}reproducible to the bit"


def _log_figures(metrics: Mapping[str, Any], log: StageLog) -> None:
    figures: dict[str, float] = {}
    for name in MODELS:
        figures |= _with_ends(f"{name}_test_accuracy", metrics[name]["accuracy"])
        figures |= {f"{name}_macro_f1": metrics[name]["macro_f1"]}
        figures |= {
            f"{name}_test_{figure}": metrics[name]["calibration"][figure]
            for figure in ("ece", "adaptive_ece", "nll", "brier")
        }
        for row in metrics[name]["per_class"]:
            figures |= {f"{name}_{figure}.{row['name']}": row[figure] for figure in ("precision", "recall", "f1")}
    figures |= _with_ends("test_accuracy_difference", metrics["difference"])
    figures |= {f"{name}_validation_accuracy": metrics["kept"][f"{name}_validation_accuracy"] for name in MODELS}
    figures |= {"student_kept": float(metrics["kept"]["model"] == "student")}
    figures |= {f"{name}_temperature": value for name, value in metrics["temperature"].items()}
    log.metrics(figures | {"mcnemar_p": metrics["mcnemar"]["p_value"]})
    log.info(
        f"baseline {metrics['baseline']['accuracy']['estimate']:.1%}, student "
        f"{metrics['student']['accuracy']['estimate']:.1%} of {counted(metrics['total'], 'test image')}: "
        f"{metrics['verdict']} (McNemar p = {metrics['mcnemar']['p_value']:.3g})"
    )


def _log_compound(compound: Mapping[str, Any], log: StageLog) -> None:
    figures: dict[str, float] = {}
    for name in MODELS:
        figures |= _with_ends(f"{name}_compound_accuracy", compound[name])
        figures |= {f"{name}_compound_at_least_one": compound["at_least_one"][name]["estimate"]}
    figures |= _with_ends("compound_accuracy_difference", compound["difference"])
    log.metrics(figures | {"compound_mcnemar_p": compound["mcnemar"]["p_value"]})
    log.info(
        f"both classes of {counted(compound['images'], 'compound image')}: baseline "
        f"{compound['baseline']['estimate']:.1%}, "
        f"student {compound['student']['estimate']:.1%}: {compound['verdict']} "
        f"(McNemar p = {compound['mcnemar']['p_value']:.3g})"
    )


def _with_ends(name: str, interval: Mapping[str, float]) -> dict[str, float]:
    return {name: interval["estimate"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
