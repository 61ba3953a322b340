"""Stage `pseudo_label`: the frozen teacher labels every unlabeled image, in every round anew, for its student."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from semisup.config import CalibratedThreshold, PipelineConfig, PseudoLabelConfig, alignment_of
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.evaluation.expected import Expected
from semisup.pipeline.log import Silence, StageLog
from semisup.pseudo_labels import REFUSED, TABLE_FILE
from semisup.pseudo_labels.table import Ids, Selection, build_table, in_order_of, write_table
from semisup.pseudo_labels.uncertainty import select
from semisup.stages.open_world.elsewhere import named_unlabeled
from semisup.stages.open_world.shares import find_aim
from semisup.stages.open_world.unknown import Unknown, find_unknown
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.stages.support.probes import graph_digest, graph_predictions
from semisup.stages.support.pseudo_label_audit import audit_all, look_for_drift
from semisup.stages.support.teacher_predictions import Shards, TeacherPredictions, ask
from semisup.stages.support.teachers import name_teacher
from semisup.system.json_files import read_json
from semisup.system.memory import give_back
from semisup.training.process_group import ALONE, ProcessGroup

ALIGNMENT = "pseudo_label.distribution_alignment"
BEFORE = ["id", "label", "round", "accepted_round"]
"""What a round needs of the pseudo-label table before."""
ThresholdKind: TypeAlias = Literal["fixed", "certified", "fdr", "fallback"]


def run(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    checkpoints: Path | None = None,
    *,
    group: ProcessGroup = ALONE,
) -> None:
    """Leaves the table `pseudo_labels.parquet`, `summary.json`, `audit.parquet`, a histogram and the picture grid.

    `teacher` among the inputs is the folder of a training stage or an ensemble: the baseline, the student of the round
    before or, in the first round, an ensemble or a champion of old. With `choose` in its place, the graph labels.
    `calibrate` has the teacher's temperature and perhaps a certified threshold. `previous` is this stage's folder of
    the round before. `baseline` is there where images of none of the classes shall be found, which are never accepted,
    or where predictions are aligned with class shares.

    A teacher that this run has trained labels the validation images, too, which says how many labels are right.

    The teacher's tables lie in `checkpoints`, shard by shard, and a pass that was interrupted goes on from them. Every
    process of a `group` makes the same call and asks the teacher for its own shards; the first one does the rest.

    Stage `labels` is the same with `kept` among the inputs, the model that is asked, and perhaps `before`, the split
    before of images of one's own: new ones are held against those that it knew, in `drift.png`. Whoever is kept labels
    once, and a label of it has to pass `threshold` and `uncertainty`; the other limits choose what a student learns
    from.

    Raises:
        UserError: the teacher knows other classes or other images.
    """
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    by_graph, final = "choose" in inputs, "kept" in inputs
    place = inputs.get("kept") or inputs.get("teacher")
    teacher = name_teacher(config, place, facts) if place else f"graph:{graph_digest(inputs['choose'])}"
    calibration = read_json(inputs["calibrate"] / "calibration.json") if "calibrate" in inputs else {}
    selection, kind = selection_of(config.pseudo_label, calibration, final=final)
    pool = pool_of(config, facts)
    indices = split.indices("unlabeled")
    alignment = alignment_of(config.pseudo_label.distribution_alignment)
    with TemporaryDirectory(dir=out_dir) as elsewhere:
        kept_in = checkpoints or Path(elsewhere)
        shards = Shards(kept_in / "shards", len(indices))
        asked = split.indices("validation")
        can_judge = len(asked) and not (by_graph or final) and _are_like_the_pool(config, selection, inputs)
        judges = Shards(kept_in / "validation", len(asked)) if can_judge else None
        if by_graph:
            said, _ = graph_predictions(config, inputs, split, facts, log)
            shards.fill(lambda _, rows: {"log_probabilities": said[rows]})
            del said
        else:
            assert place is not None, "a network labels where no graph does"
            model = load_placed(place, config)
            ask(model, pool, indices, shards, config=config, log=log, group=group)
            if judges is not None:
                ask(model, pool, asked, judges, config=config, log=Silence(), group=group)
            if group.rank:
                return
            del model
        give_back()  # what the network needed on the way
        unknown = find_unknown(config, inputs, split, facts, log)
        flagged, aim = None if unknown is None else unknown.flagged, None
        if alignment:
            aim = find_aim(alignment, config, inputs, split, facts, key=ALIGNMENT, log=log, leave_out=flagged)
        temperature, shares = calibration.get("temperature", 1.0), aim.shares if aim else None
        predictions = TeacherPredictions.of(shards, temperature, shares, leave_out=flagged)
        expected = _expected(replace(predictions, shards=judges), selection, split) if judges else None
        if expected and expected.are_too_few(config.pseudo_label.least_precision):
            selection = replace(selection, refused=REFUSED)
        previous = inputs.get("previous")
        before = pd.read_parquet(previous / TABLE_FILE, columns=BEFORE) if previous else None
        parts = table_parts(
            predictions,
            split.id_column("unlabeled"),
            indices.numpy(),
            selection=selection,
            teacher=teacher,
            previous=before,
            config=config.pseudo_label,
            unknown=unknown,
        )
        write_table(out_dir / TABLE_FILE, parts)
        # Audits, after the pseudo-label table is written: nothing below can change a label.
        audit_all(
            config,
            inputs,
            out_dir,
            log,
            split=split,
            facts=facts,
            pool=pool,
            threshold=selection.threshold,
            kind=kind,
            named=named_unlabeled(config, indices),
            unknown=unknown.summary if unknown else None,
            alike=unknown.examples if unknown else (),
            alignment=aim.summary if aim else None,
            expected=expected,
        )
        if "before" in inputs:
            ids = split.ids("unlabeled")
            look_for_drift(config, inputs, out_dir, log, predictions=predictions, ids=ids, facts=facts)


def table_parts(
    predictions: TeacherPredictions,
    ids: Ids,
    indices: NDArray[np.int64],
    *,
    selection: Selection,
    teacher: str,
    previous: pd.DataFrame | None,
    config: PseudoLabelConfig,
    unknown: Unknown | None = None,
) -> Iterator[pd.DataFrame]:
    """The pseudo-label table of N images with `ids` at `indices` (N,) of the pool, shard by shard.

    Where what is accepted depends on all of them (a share of each class, of each round), their labels, confidences and
    the like are collected first, a few bytes an image.
    """
    if previous is not None:
        previous = in_order_of(previous, ids)
    reasons = None
    if selection.compares_images:
        round_number = 1 if previous is None else int(previous["round"].iloc[0]) + 1
        reasons = _reasons(predictions, selection, round_number, None if unknown is None else unknown.flagged)
    for predicted in predictions:
        rows = predicted.rows
        part = build_table(
            ids[rows],
            indices[rows],
            predicted.probabilities,
            selection=selection,
            teacher=teacher,
            raw_confidence=predicted.raw_confidence,
            disagreement=predicted.disagreement,
            uncertainty=predicted.uncertainty,
            previous=None if previous is None else previous.iloc[rows].reset_index(drop=True),
            reasons=None if reasons is None else reasons[rows],
            unknown=None if unknown is None else unknown.flagged[rows],
        )
        if unknown is not None:
            part["unknown"], part["group"] = unknown.scores[rows], unknown.groups[rows]
        if predicted.deviations is not None:
            negative = _negative_classes(predicted.probabilities, predicted.deviations, config)
            negative[part["accepted"].to_numpy()] = False
            negative &= not selection.refused
            part["negative"] = [np.flatnonzero(row).tolist() for row in negative]
        yield part


def _are_like_the_pool(config: PipelineConfig, selection: Selection, inputs: Mapping[str, Path]) -> bool:
    """Is a validation image accepted as an unlabeled one is, and has the teacher not learned from it?"""
    champion = config.pseudo_label.teacher == "champion" and "previous" not in inputs  # it may be of another split
    return not (champion or selection.compares_images or selection.max_disagreement is not None)


def _expected(judges: TeacherPredictions, selection: Selection, split: Split) -> Expected:
    """What validation images say, whose predictions are tempered and aligned as those of the pool are."""
    labels, reasons = [], []
    for predicted in judges:
        labels.append(predicted.labels)
        confidence = predicted.probabilities.max(axis=1)
        reasons.append(selection.reasons(predicted.labels, confidence, None, uncertainty=predicted.uncertainty))
    return Expected.of(np.concatenate(labels), np.concatenate(reasons) == "", split.labels("validation").numpy())


def _reasons(
    predictions: TeacherPredictions, selection: Selection, round_number: int, unknown: NDArray[np.bool_] | None
) -> NDArray[np.object_]:
    """Why each image is rejected, among all of them but those that are unknown (N,), which take up nobody's place."""
    columns: dict[str, list[NDArray[Any]]] = {"label": [], "confidence": [], "disagreement": [], "uncertainty": []}
    for predicted in predictions:
        columns["label"].append(predicted.labels.astype(np.int32))
        columns["confidence"].append(predicted.probabilities.max(axis=1))
        for name, values in (("disagreement", predicted.disagreement), ("uncertainty", predicted.uncertainty)):
            if values is not None:
                columns[name].append(values)
    label, confidence, disagreement, uncertainty = (
        np.concatenate(parts) if parts else None for parts in columns.values()
    )
    assert label is not None
    assert confidence is not None
    known = np.ones(len(label), bool) if unknown is None else ~unknown
    reasons = np.full(len(label), "", dtype=object)  # of the others `build_table` says that they are unknown
    if known.any():
        reasons[known] = selection.reasons(
            label[known],
            confidence[known],
            None if disagreement is None else disagreement[known],
            uncertainty=None if uncertainty is None else uncertainty[known],
            round_number=round_number,
        )
    return reasons


def selection_of(
    config: PseudoLabelConfig, calibration: Mapping[str, Any], *, final: bool = False
) -> tuple[Selection, ThresholdKind]:
    """The tests that a pseudo-label must pass, and where the threshold comes from.

    `final`: of the model that is kept, from which nobody learns.
    """
    kind: ThresholdKind = "fixed"
    threshold = config.threshold
    if isinstance(threshold, CalibratedThreshold):
        threshold = float(calibration["threshold"])
        kind = "certified" if calibration["certified"] else "fdr" if calibration["fdr_controlled"] else "fallback"
    uncertainty = config.uncertainty.positive if config.uncertainty.passes else None
    if final:
        return Selection(threshold, max_uncertainty=uncertainty), kind
    return Selection(threshold, config.top_share, config.max_disagreement, uncertainty, config.share_per_round), kind


def _negative_classes(
    probabilities: NDArray[np.float32], deviations: NDArray[np.float32], config: PseudoLabelConfig
) -> NDArray[np.bool_]:
    """Which classes (N, C) an image is surely not, by the limits of `uncertainty`."""
    assert isinstance(config.threshold, float), "no threshold is sought with Monte Carlo dropout"
    _, _, negative = select(
        torch.from_numpy(probabilities),
        torch.from_numpy(deviations),
        positive_confidence=config.threshold,
        positive_uncertainty=config.uncertainty.positive,
        negative_confidence=config.uncertainty.negative_confidence,
        negative_uncertainty=config.uncertainty.negative,
    )
    return negative.numpy()
