"""Stage `pseudo_label`: the frozen teacher labels every unlabelled image, in every round anew, into the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semisup.calibration import temper
from semisup.checks import pseudo_label_warnings
from semisup.config import CertifiedThreshold, PipelineConfig, PseudoLabelConfig
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.growing import contents_of, read_memory
from semisup.data.rows import Rows
from semisup.data.split import Split
from semisup.drift import Drift, measure_drift
from semisup.ensembles import Ensemble, predict_with_disagreement
from semisup.errors import UserError
from semisup.evaluation import accuracy_interval
from semisup.memory import give_back
from semisup.plots import answer_drift, confidence_histogram, picture_grid, save_png
from semisup.pseudo_labels.ledger import Selection, build_ledger, pick_examples
from semisup.pseudo_labels.modifiers import align
from semisup.pseudo_labels.ups import drops_out, mc_dropout, select
from semisup.randomness import derive_seed
from semisup.stages import StageLog
from semisup.stages.features import looked_at
from semisup.stages.files import DatasetFacts, load_model, pick_device, pool_of, read_json, write_json
from semisup.stages.teachers import name_teacher
from semisup.training.predict import predict_views

EXAMPLES_PER_GROUP = 12
ThresholdKind: TypeAlias = Literal["fixed", "certified", "fallback"]


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves the ledger `pseudo_labels.parquet`, `summary.json`, `audit.parquet`, a histogram and the picture grid.

    `teacher` among the inputs is the folder of a training stage or an ensemble: the baseline, the student of the round
    before or, in the first round, an ensemble or a champion of old. `calibrate` has its temperature and perhaps a
    certified threshold. `previous` is this stage's folder of the round before. `before` is that of the split before of
    images of one's own: new ones are held against those that it knew, in `drift.png`.

    Raises:
        UserError: the teacher knows other classes or other images.
    """
    device = pick_device(config)
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    teacher = name_teacher(config, inputs["teacher"], facts)
    previous = inputs.get("previous")
    calibration = read_json(inputs["calibrate"] / "calibration.json") if "calibrate" in inputs else {}
    selection, kind = selection_of(config.pseudo_label, calibration)
    pool = pool_of(config, facts)
    indices = split.indices("unlabeled")
    model = load_model(inputs["teacher"]).to(device)
    opinion = _predict(model, pool, indices, config, log)
    temperature = calibration.get("temperature", 1.0)
    raw = temper(opinion.log_probabilities, 1.0)
    probabilities = raw if temperature == 1 else temper(opinion.log_probabilities, temperature)
    give_back()  # what the network and these tables needed on the way
    if config.pseudo_label.distribution_alignment:
        counts = torch.bincount(split.labels("labeled"), minlength=facts.num_classes)
        probabilities = _aligned(probabilities, counts / counts.sum())
    ledger = build_ledger(
        split.ids("unlabeled"),
        indices.numpy(),
        probabilities,
        selection=selection,
        teacher=teacher,
        raw_confidence=raw.max(axis=1),
        disagreement=opinion.disagreement,
        uncertainty=opinion.uncertainty(probabilities.argmax(axis=1)),
        previous=pd.read_parquet(previous / "pseudo_labels.parquet") if previous else None,
    )
    if opinion.deviations is not None:
        negative = _negative_classes(probabilities, opinion.deviations, config.pseudo_label)
        negative[ledger["accepted"].to_numpy()] = False
        ledger["negative"] = [np.flatnonzero(row).tolist() for row in negative]
    ledger.to_parquet(out_dir / "pseudo_labels.parquet", index=False)
    # An audit, after the ledger is written: nothing below can change a label.
    truth = pool.labels[indices].numpy()
    earlier = read_json(previous / "summary.json")["rounds"] if previous else []
    picked = facts.class_counts["validation"]
    summary = audit(ledger, truth, selection.threshold, facts.num_classes, earlier)
    summary |= {"threshold_kind": kind, "class_names": list(facts.class_names), "validation_per_class": list(picked)}
    write_json(out_dir / "summary.json", summary)
    pd.DataFrame({"id": ledger["id"], "truth": truth}).to_parquet(out_dir / "audit.parquet", index=False)
    _save_pictures(pool, ledger, truth, out_dir, threshold=selection.threshold, seed=config.seed)
    _report(summary, facts, log)
    if "before" in inputs:
        known = read_memory(inputs["before"])
        new = np.array([content not in known for content in contents_of(ledger["id"])], dtype=bool)
        if (found := measure_drift(probabilities, new)) is not None:
            _tell_drift(found, config.pseudo_label.drift_limit, log)
            figure = answer_drift(probabilities.max(axis=1), probabilities.argmax(axis=1), new, facts.class_names)
            save_png(figure, out_dir / "drift.png")


def selection_of(config: PseudoLabelConfig, calibration: Mapping[str, Any]) -> tuple[Selection, ThresholdKind]:
    """The tests that a pseudo-label must pass, and whether the threshold is fixed, certified or a fallback."""
    kind: ThresholdKind = "fixed"
    threshold = config.threshold
    if isinstance(threshold, CertifiedThreshold):
        threshold = float(calibration["threshold"])
        kind = "certified" if calibration["certificate"]["certified"] else "fallback"
    uncertainty = config.uncertainty.positive if config.uncertainty.passes else None
    return Selection(threshold, config.top_share, config.max_disagreement, uncertainty, config.share_per_round), kind


@dataclass(frozen=True)
class _Opinion:
    """What the teacher thinks of N images."""

    log_probabilities: NDArray[np.float32]
    """(N, C)."""
    disagreement: NDArray[np.float32] | None = None
    """(N,), of an ensemble's members."""
    deviations: NDArray[np.float32] | None = None
    """(N, C), over the passes of Monte Carlo dropout."""

    def uncertainty(self, labels: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Deviation of each image's label (N,), which alignment may have changed."""
        if self.deviations is None:
            return None
        return np.take_along_axis(self.deviations, labels[:, None], axis=1)[:, 0]


def _predict(model: nn.Module, pool: ImageSet, indices: Tensor, config: PipelineConfig, log: StageLog) -> _Opinion:
    settings = config.pseudo_label
    size, passes, views = settings.batch_size, settings.uncertainty.passes, settings.test_time.views
    shown = pool.images
    if not passes and views == 1:
        model, shown = looked_at(config, model, pool, "pool", log)
    images = Rows(shown, indices)

    def on_batch(done: int, total: int) -> None:
        log.progress(done, total, "views of images" if views > 1 else "images")

    if isinstance(model, Ensemble):
        table, disagreement = predict_with_disagreement(model, images, size, on_batch)
        return _Opinion(table.numpy(), disagreement.numpy())
    if passes:
        if not drops_out(model):
            raise UserError(
                f"pseudo_label.uncertainty.passes={passes}, but the teacher has no dropout; set model.dropout: 0.2"
            )
        mean, deviations = mc_dropout(model, images, passes, size, derive_seed(config.seed, "teacher's passes"))
        return _Opinion(mean.clamp(min=torch.finfo(mean.dtype).tiny).log().numpy(), deviations=deviations.numpy())
    seed = derive_seed(config.seed, "teacher's views")
    table = predict_views(model, images, settings.test_time, seed=seed, batch_size=size, on_batch=on_batch)
    return _Opinion(table.numpy())


def _negative_classes(
    probabilities: NDArray[np.float32], deviations: NDArray[np.float32], config: PseudoLabelConfig
) -> NDArray[np.bool_]:
    """Which classes (N, C) an image is surely not, by the limits of `uncertainty`."""
    assert isinstance(config.threshold, float), "nothing is certified with Monte Carlo dropout"
    _, _, negative = select(
        torch.from_numpy(probabilities),
        torch.from_numpy(deviations),
        positive_confidence=config.threshold,
        positive_uncertainty=config.uncertainty.positive,
        negative_confidence=config.uncertainty.negative_confidence,
        negative_uncertainty=config.uncertainty.negative,
    )
    return negative.numpy()


def _aligned(probabilities: NDArray[np.float32], class_shares: Tensor) -> NDArray[np.float32]:
    """Scaled so that each class has its share of the whole table's probability, as near as one pass comes to it."""
    table = torch.from_numpy(probabilities)
    return align(table, class_shares, table.mean(dim=0)).numpy()


def audit(
    ledger: pd.DataFrame,
    truth: NDArray[np.int64],
    threshold: float,
    num_classes: int,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Coverage and, where the truth (N,) is known, precision of a ledger, as `summary.json` holds it.

    `earlier` are the `rounds` of the round before, to which this one's own line is added.
    """
    accepted = ledger["accepted"].to_numpy()
    labels = ledger["label"].to_numpy()
    rejected = ledger["reason"][~accepted].value_counts()
    known = accepted & (truth != UNLABELED)
    right = known & (labels == truth)
    precision = accuracy_interval(int(right.sum()), int(known.sum())) if known.any() else None
    known_per_class = np.bincount(labels[known], minlength=num_classes)
    right_per_class = np.bincount(labels[right], minlength=num_classes)
    round_number = int(ledger["round"].iloc[0])
    this_round = {
        "round": round_number,
        "accepted": int(accepted.sum()),
        "newly_accepted": int((ledger["accepted_round"] == round_number).sum()),
        "flipped": int(ledger["flipped"].sum()),
        "precision": precision.estimate if precision else None,
    }
    return this_round | {
        "threshold": threshold,
        "unlabeled": len(ledger),
        "coverage": float(accepted.mean()),
        "accepted_per_class": np.bincount(labels[accepted], minlength=num_classes).tolist(),
        "predicted_per_class": np.bincount(labels, minlength=num_classes).tolist(),
        "reasons": {str(reason): int(count) for reason, count in sorted(rejected.items())},
        "precision_low": precision.low if precision else None,
        "precision_high": precision.high if precision else None,
        "precision_per_class": [
            int(r) / int(k) if k else None for r, k in zip(right_per_class, known_per_class, strict=True)
        ],
        "rounds": [*earlier, this_round],
    }


def _tell_drift(found: Drift, limit: float, log: StageLog) -> None:
    """Are the unlabelled images that have come since like the others? Figures, of which no stage reads."""
    log.metrics({f"drift.{name}": value for name, value in asdict(found).items()})
    if found.beyond(limit):
        log.warning(
            f"the {found.new:,} new images differ from the {found.known:,} known ones (pseudo_label.drift_limit="
            f"{limit:g}): predicted classes by {found.class_distance:.2f}, confidence by "
            f"{found.confidence_distance:.2f} (mean {found.new_confidence:.1%} against {found.known_confidence:.1%}); "
            "look at drift.png, and label some of them"
        )


def _save_pictures(
    pool: ImageSet, ledger: pd.DataFrame, truth: NDArray[np.int64], out_dir: Path, *, threshold: float, seed: int
) -> None:
    correct = (ledger["label"].to_numpy() == truth) if (truth != UNLABELED).all() else None
    histogram = confidence_histogram(ledger["confidence"].to_numpy(), ledger["accepted"].to_numpy(), threshold, correct)
    save_png(histogram, out_dir / "confidence_histogram.png")
    rows, groups = pick_examples(ledger, threshold, EXAMPLES_PER_GROUP, seed=seed)
    chosen = ledger.iloc[rows]
    images = pool.images[chosen["index"].to_numpy().copy()].numpy()
    examples = pd.DataFrame(
        {
            "group": groups,
            "label": chosen["label"].to_numpy(),
            "confidence": chosen["confidence"].to_numpy(),
            "truth": truth[rows],
        }
    )
    np.savez_compressed(out_dir / "examples.npz", images=images)
    examples.to_parquet(out_dir / "examples.parquet", index=False)
    grid = picture_grid(
        images,
        examples["label"].to_numpy(),
        examples["confidence"].to_numpy(),
        examples["truth"].to_numpy(),
        groups,
        pool.class_names,
    )
    save_png(grid, out_dir / "picture_grid.png")


def _report(summary: Mapping[str, Any], facts: DatasetFacts, log: StageLog) -> None:
    names = ("coverage", "accepted", "unlabeled", "threshold", "round", "flipped", "newly_accepted")
    figures = {name: summary[name] for name in names}
    figures |= {
        f"accepted_per_class.{name}": count
        for name, count in zip(facts.class_names, summary["accepted_per_class"], strict=True)
    }
    figures |= {f"rejected.{reason}": count for reason, count in summary["reasons"].items()}
    text = f"accepted {summary['accepted']:,} of {summary['unlabeled']:,} images ({summary['coverage']:.1%})"
    if summary["threshold_kind"] != "fixed":
        text += f" at the {summary['threshold_kind']} threshold {summary['threshold']:.4f}"
    if summary["precision"] is not None:
        figures |= {name: summary[name] for name in ("precision", "precision_low", "precision_high")}
        text += f", {summary['precision']:.2%} of them right"
    if summary["round"] > 1:
        text = f"round {summary['round']}: {text}; {summary['newly_accepted']:,} accepted for the first time"
        text += f", {summary['flipped']:,} labels changed"
    log.metrics(figures)
    log.info(text)
    for warning in pseudo_label_warnings(summary):
        log.warning(warning)
