"""Stage `calibrate`: the teacher's confidence against images of known label, and the threshold that they certify."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from semisup.calibration.measures import Bools, fit_temperature, measure, reliability, temper
from semisup.calibration.words import calibration_sentence, calibration_warnings, not_found
from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.errors import UserError
from semisup.pipeline.log import StageLog
from semisup.plots import certificate_walk, reliability_diagram, save_png
from semisup.stages.open_world.promise import Shown, promise_of
from semisup.stages.support.features import looked_at
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.stages.support.probes import graph_predictions
from semisup.stages.support.teachers import name_teacher
from semisup.system.json_files import write_json
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.predict import predict_views

LARGEST_POOL = 10_000
"""Unlabeled images whose confidences make the grid of thresholds; more would move it by less than a per cent."""


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `calibration.json`, `calibration.parquet`, `reliability.parquet`, `reliability.png`, `certificate.png`.

    `teacher` among the inputs is the folder of a training stage or an ensemble, whose labels a student is to learn;
    with `choose` in its place, the graph is. `kept` is the folder of the model that labels in the end. A part of the
    calibration images fits the temperature, if there is one; all figures and the certificate are of the other part,
    which neither training nor early stopping nor the temperature has seen. What is certified holds for all accepted
    images together, and for single classes what `classes` says; it is `strict` in `calibration.json` only where nothing
    in `caveats` says why it is approximate. Where the unlabeled images are shown to be drawn otherwise than the
    calibration images, as the `baseline` among the inputs sees both, nothing is certified, and no rate controlled.

    Raises:
        UserError: the teacher knows other classes or other images, or no threshold is found and
            `pseudo_label.threshold.fallback` is "stop".
    """
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    place = inputs.get("kept") or inputs.get("teacher")
    if place:
        name_teacher(config, place, facts)
    truth = split.labels("calibration").numpy()
    if place is None:  # the graph teaches
        pool, known = (table.numpy() for table in graph_predictions(config, inputs, split, facts, log))
    else:
        known, pool = _predict(config, place, split, facts, log)
    fits = parts(config, len(truth))
    temperature, temperature_errors = _temperature(known[fits], truth[fits])
    raw, calibrated = temper(known, 1.0), temper(known, temperature)
    shown = Shown(calibrated[~fits], calibrated[~fits].argmax(axis=1) == truth[~fits], temper(pool, temperature))
    promise = promise_of(config, inputs, split, facts, shown=shown, log=log)
    values = {
        "model": "kept model" if "kept" in inputs else "teacher",
        "method": config.calibrate.method,
        "temperature": temperature,
        **promise.summary(config, len(truth) + len(split.ids("unlabeled"))),
        "before": measure(raw[~fits], truth[~fits]),
        "after": measure(calibrated[~fits], truth[~fits]),
        "images": int((~fits).sum()),
        "temperature_images": int(fits.sum()),
        "temperature_errors": temperature_errors,
    }
    write_json(out_dir / "calibration.json", values)
    table = pd.DataFrame(
        {
            "id": split.ids("calibration"),
            "part": np.where(fits, "temperature", "measured"),
            "truth": truth,
            "label": calibrated.argmax(axis=1),
            "confidence": raw.max(axis=1),
            "calibrated_confidence": calibrated.max(axis=1),
        }
    )
    table.to_parquet(out_dir / "calibration.parquet", index=False)
    _save_reliability(table[~fits], values, out_dir)
    _report(values, log)


def parts(config: PipelineConfig, images: int) -> Bools:
    """Which calibration images (N,) fit the temperature: the same ones in every round, and none without one."""
    fits = np.zeros(images, dtype=bool)
    size = config.calibrate.temperature_images(images)
    fits[numpy_generator(config.seed, "calibration parts").permutation(images)[:size]] = True
    return fits


def _predict(
    config: PipelineConfig, teacher: Path, split: Split, facts: DatasetFacts, log: StageLog
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-probabilities of the calibration images and of a random part of the unlabeled ones, (n, C) and (N, C)."""
    known, pool = split.indices("calibration"), split.indices("unlabeled")
    if len(pool) > LARGEST_POOL:
        rng = numpy_generator(config.seed, "calibration pool")
        pool = pool[np.sort(rng.choice(len(pool), LARGEST_POOL, replace=False))]
    views, images = config.pseudo_label.test_time, pool_of(config, facts)
    model, shown = load_placed(teacher, config), images.images
    if views.views == 1:
        model, shown = looked_at(config, model, images, "pool", log)
    table = predict_views(
        model,
        Rows(shown, torch.cat([known, pool])),
        views,
        seed=derive_seed(config.seed, "calibration views"),
        batch_size=config.pseudo_label.batch_size,
        on_batch=lambda done, total: log.progress(done, total, "images"),
    ).numpy()
    return table[: len(known)], table[len(known) :]


def _temperature(log_probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> tuple[float, int]:
    """(T, errors among the images that fit it); 1 without images, and 1 where all are right: any less would fit."""
    errors = int((log_probabilities.argmax(axis=1) != truth).sum())
    return (fit_temperature(log_probabilities, truth) if errors else 1.0), errors


def _save_reliability(measured: pd.DataFrame, values: Mapping[str, Any], out_dir: Path) -> None:
    correct = (measured["label"] == measured["truth"]).to_numpy()
    tables = {
        "before": reliability(measured["confidence"].to_numpy(), correct),
        "after": reliability(measured["calibrated_confidence"].to_numpy(), correct),
    }
    long = pd.concat([table.assign(when=when) for when, table in tables.items()], ignore_index=True)
    long.to_parquet(out_dir / "reliability.parquet", index=False)
    panels = {"Confidence as it is": tables["before"]}
    if values["method"] == "temperature":
        after = f"After temperature {values['temperature']:.3g}"
        panels = {"Before temperature scaling": tables["before"], after: tables["after"]}
    save_png(reliability_diagram(panels), out_dir / "reliability.png")
    if values["certificate"]:
        save_png(certificate_walk(values["certificate"]), out_dir / "certificate.png")


def _report(values: Mapping[str, Any], log: StageLog) -> None:
    figures = {"temperature": values["temperature"], "calibration_accuracy": values["after"]["accuracy"]}
    for when in ("before", "after"):
        figures |= {
            f"{name}_{when}": values[when][name] for name in ("confidence", "ece", "adaptive_ece", "nll", "brier")
        }
    certificate = values["certificate"]
    if certificate:
        figures |= {
            "certified": float(values["certified"]),
            "certificate_accepted": certificate["accepted"],
            "certificate_errors": certificate["errors"],
            "certificate_upper_bound": certificate["upper_bound"],
            "certificate_share": certificate["share"],
        }
    if control := values["fdr_control"]:
        figures |= {
            "fdr_controlled": float(values["fdr_controlled"]),
            "fdr_estimate": control["estimate"],
            "fdr_accepted": control["accepted"],
            "fdr_errors": control["errors"],
            "fdr_share": control["share"],
        }
    if values["compared"]:
        figures |= {"pool_differs_p": values["compared"]["p_value"], "told_apart": values["compared"]["told_apart"]}
    if values["threshold"] is not None:
        figures["threshold"] = values["threshold"]
    log.metrics(figures)
    log.info(calibration_sentence(values))
    if (certificate or control) and values["threshold"] is None:
        raise UserError(f"{not_found(values)}, or a number as pseudo_label.threshold.fallback instead of 'stop'")
    for warning in calibration_warnings(values):
        log.warning(warning)
