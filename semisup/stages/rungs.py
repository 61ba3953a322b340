"""The rungs above a probe: more of the network learns, step by step, from labels, or from the graph's labels as well.

A rung is the config with another `model`; what it is worth is told by labels that are held out.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from semisup.budget import Budget
from semisup.config import PipelineConfig, TrainConfig
from semisup.data.datasets import UNLABELED, ImageSet
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.rows import Images, gather
from semisup.errors import UserError
from semisup.frozen.probe import fit_probe
from semisup.networks.classifier import Classifier, EngineName
from semisup.pipeline.log import StageLog
from semisup.pseudo_labels.method import Told
from semisup.pseudo_labels.policies import method
from semisup.stages.support.frozen import read_choice
from semisup.stages.support.images import pool_of
from semisup.stages.support.learner import learner
from semisup.stages.support.models.configured import fresh_model
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import save_model
from semisup.system.json_files import write_json
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.batches import some_of
from semisup.training.loop import Examples, UnlabeledTerm, train
from semisup.training.predict import predict_log_probabilities
from semisup.wording import counted

PROBE = "probe"
"""The lowest rung, which every other one has to beat."""
STUDENT = "last_2_student"
"""The one that learns from the graph's labels, too."""
MOST_UNLABELED = 2_000
"""Images that it learns from: its steps look at few more."""
RUNGS: Mapping[str, Mapping[str, Any]] = {
    "last_2": {"train": "last_2", "kept_views": 6},
    STUDENT: {"train": "last_2", "kept_views": 6},
    "all": {"train": "all"},
    "scratch": {"name": "pooled_cnn", "train": "all", "weights": None, "download": False},
}
"""Name → what of `model` is otherwise, from the cheapest on."""
STRENGTH = 0.01
"""C of the regression that the last layer begins as, on standardized features, of which there are hundreds."""
FOLDS = 3
"""Few: each of them is a training."""
TIMED_STEPS = 3
TOO_LONG = "it does not fit choose.budget"


@dataclass(frozen=True)
class Rung:
    """What came of one.

    Attributes:
        log_probabilities: float32 (1, n, C) of the labeled images when held out; None: it was left out.
        seconds: of CPU time, spent or expected.
        why_not: why it was left out, without measured figures, so that the same choice leaves the same bits.
    """

    log_probabilities: Tensor | None
    seconds: float
    why_not: str = ""


def on_rung(config: PipelineConfig, name: str) -> PipelineConfig:
    """The config of one rung of RUNGS. It sees mirrored views, too, where `model.mirror` says so.

    Of networks side by side the first one is trained.
    """

    def mirrored(train: TrainConfig) -> TrainConfig:
        flip = {"horizontal_flip": train.augment.horizontal_flip or config.model.mirror}
        return train.model_copy(update={"augment": train.augment.model_copy(update=flip)})

    return config.model_copy(
        update={
            "model": config.model.parts[0].model_copy(update=dict(RUNGS[name])),
            "baseline": mirrored(config.baseline),
            "joint": mirrored(config.joint),
        }
    )


@dataclass(frozen=True, eq=False)
class Labeled:
    """The labeled images of a split.

    Attributes:
        images: they alone, as a pool.
        labels: int64 (n,).
    """

    facts: DatasetFacts
    images: ImageSet
    labels: Tensor

    @classmethod
    def of(cls, config: PipelineConfig, split: Split, facts: DatasetFacts) -> "Labeled":
        """Those of the configured data set."""
        pool, rows, labels = pool_of(config, facts), split.indices("labeled"), split.labels("labeled")
        images = ImageSet(gather(pool.images, rows), labels, tuple(split.ids("labeled")), pool.class_names)
        return cls(facts, images, labels)


@dataclass(frozen=True, eq=False)
class PseudoLabeled:
    """The unlabeled images and what a teacher says of them.

    Attributes:
        images: they alone, as a pool.
        labels: int64 (m,).
        confidence: float32 (m,).
    """

    images: ImageSet
    labels: Tensor
    confidence: Tensor

    @classmethod
    def of(
        cls, config: PipelineConfig, rows: Tensor, facts: DatasetFacts, labels: Tensor, confidence: Tensor
    ) -> "PseudoLabeled":
        """The pool's images at rows (m,), of which only so many are taken as are looked at."""
        pool = pool_of(config, facts)
        drawn = numpy_generator(config.seed, "pseudo-labeled").permutation(len(rows))[:MOST_UNLABELED]
        rows, labels, confidence = (table[np.sort(drawn)] for table in (rows, labels, confidence))
        hidden = torch.full((len(rows),), UNLABELED)
        ids = tuple(pool.ids[row] for row in rows.tolist())
        return cls(ImageSet(gather(pool.images, rows), hidden, ids, pool.class_names), labels, confidence)


class Fitted(NamedTuple):
    """A network that was trained on a rung.

    Attributes:
        weights: of the whole network.
        said: (k, C), log-probabilities of the images that were asked about.
        predicted_by: what computes its predictions.
    """

    weights: dict[str, Tensor]
    said: Tensor
    predicted_by: EngineName


def fit_on_rung(
    config: PipelineConfig,
    labeled: Labeled,
    log: StageLog,
    purpose: str,
    *,
    among: Tensor | None = None,
    asked: Tensor | None = None,
    pseudo: PseudoLabeled | None = None,
) -> Fitted:
    """A network after training, and what it says of the images `asked` about, (k,).

    `config` is that of a rung; of the labeled images only those `among` them, bool (n,), are learned from. With
    `pseudo` it is trained as `joint` says, else as `baseline`.
    """
    how = config.joint if pseudo else config.baseline
    device, everything = pick_device(config), torch.arange(len(labeled.labels))
    rows = everything if among is None else among.nonzero().flatten()
    model = fresh_model(config, labeled.facts, purpose).to(device)
    learns = learner(config, how, model, labeled.images, log)
    images, labels = learns.shown(everything, device, how.augment), labeled.labels[rows]
    if config.model.pretrained:
        begin_as_probe(model.head, learns.network, some_of(images, rows.to(device)), labels, labeled.facts.num_classes)
    term = _term(config, model, pseudo, labeled.facts.num_classes, log) if pseudo else None
    result = train(
        learns.network,
        how,
        Examples(some_of(images, rows.to(device)), labels.to(device)),
        None,
        num_classes=labeled.facts.num_classes,
        steps_per_epoch=math.ceil(len(rows) / how.batch_size),
        seed=derive_seed(config.seed, purpose),
        unlabeled=term,
    )
    learns.network.load_state_dict(result.weights)
    questions = images[(everything[:0] if asked is None else asked).to(device)]
    said = predict_log_probabilities(learns.network, questions) if len(questions) else torch.empty(0, 0)
    return Fitted(learns.weights(result.weights), said, model.predicted_by)


def begin_as_probe(head: nn.Module, network: nn.Module, images: Images, labels: Tensor, num_classes: int) -> None:
    """Give the last layer of a pretrained network the weights of a regression on what it gets to see of labeled images.

    A random one would first spoil what is below it. `labels` are int64 (n,). A layer that is not linear stays random.
    """
    if not isinstance(head, nn.Linear):
        return
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1).float().cpu()))
    try:
        predict_log_probabilities(network, images)
    finally:
        hook.remove()
    points = torch.cat(seen)
    deviation, mean = torch.std_mean(points, dim=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    targets = nn.functional.one_hot(labels.cpu(), num_classes).float()
    probe = fit_probe((points - mean) / deviation, targets, torch.ones(len(points)), STRENGTH)
    weight = probe.weight / deviation
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(probe.bias - weight @ mean)


def _term(
    config: PipelineConfig, model: Classifier, pseudo: PseudoLabeled, num_classes: int, log: StageLog
) -> UnlabeledTerm:
    """The part of the loss that the graph's labels have."""
    joint, device = config.joint, next(model.parameters()).device
    told = Told(
        joint.policy,
        num_classes,
        pseudo.labels.to(device),
        pseudo.confidence.to(device),
        torch.ones(len(pseudo.labels), dtype=torch.bool, device=device),
    )
    return UnlabeledTerm(
        learner(config, joint, model, pseudo.images, log).shown(
            torch.arange(len(pseudo.labels)), device, joint.augment
        ),
        method(joint.method).policy(told),
        batch_size=joint.unlabeled_batch_size,
        alpha_final=joint.alpha_final,
        ramp_start=0,
        ramp_end=0,
        mix=False,
        smooth=joint.smooth_pseudo_labels,
    )


@dataclass
class Comparison:
    """Trains rungs without the labels of one fold after the other, as long as `choose.budget` lasts.

    Attributes:
        folds: bool (n,), each labeled image in one of them.
        left: CPU seconds.
    """

    config: PipelineConfig
    labeled: Labeled
    folds: Sequence[Tensor]
    log: StageLog
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = Budget.parse(self.config.choose.budget).amount

    def hold_out(self, name: str, said_without: Callable[[Tensor], PseudoLabeled] | None = None) -> Rung:
        """What came of one of RUNGS; with what a teacher says without the labels held out, bool (n,), of a student."""
        began, config = time.process_time(), on_rung(self.config, name)
        try:
            estimate = len(self.folds) * self._seconds(config, said_without)
            if estimate > self.left:
                figures = f"some {estimate:,.0f} CPU seconds, and {self.left:,.0f} are left"
                return self._without(name, estimate, TOO_LONG, figures)
            table = self._held_out(name, config, said_without)
        except UserError as error:  # it has no such blocks, what is kept does not fit the cache, or the loss diverged
            spent = time.process_time() - began
            self.left -= spent
            return self._without(name, spent, str(error))
        spent = time.process_time() - began
        self.left -= spent
        return Rung(table, spent)

    def _held_out(
        self, name: str, config: PipelineConfig, said_without: Callable[[Tensor], PseudoLabeled] | None
    ) -> Tensor:
        """Log-probabilities (1, n, C) of the labeled images, each by the training without its fold."""
        table = torch.zeros(1, len(self.labeled.labels), self.labeled.facts.num_classes)
        for number, held in enumerate(self.folds):
            purpose, asked = f"{name} fold {number}", held.nonzero().flatten()
            pseudo = said_without(held) if said_without else None
            said = fit_on_rung(config, self.labeled, self.log, purpose, among=~held, asked=asked, pseudo=pseudo).said
            table[0, held] = said
            self.log.progress(number + 1, len(self.folds), f"{name}, held-out labels")
        return table

    def _without(self, name: str, seconds: float, why: str, figures: str = "") -> Rung:
        self.log.info(f"{name} is left out: {why}" + (f" ({figures})" if figures else ""))
        return Rung(None, seconds, why)

    def _seconds(self, config: PipelineConfig, said_without: Callable[[Tensor], PseudoLabeled] | None) -> float:
        """CPU seconds of one training, by its first steps; what is kept of the images is computed by then."""
        key: Literal["joint", "baseline"] = "joint" if said_without else "baseline"
        how: TrainConfig = getattr(config, key)
        budget = Budget.parse(how.budget) if how.budget else None
        if budget and budget.unit != "steps":
            return budget.amount
        everything = len(self.labeled.labels)
        steps = budget.amount if budget else how.epochs * math.ceil(everything / how.batch_size)
        few = config.model_copy(update={key: how.model_copy(update={"epochs": 1, "budget": f"{TIMED_STEPS} steps"})})
        pseudo = said_without(torch.zeros(everything, dtype=torch.bool)) if said_without else None
        fit_on_rung(few, self.labeled, self.log, "first steps", pseudo=pseudo)
        began = time.process_time()
        fit_on_rung(few, self.labeled, self.log, "first steps", pseudo=pseudo)
        return steps / TIMED_STEPS * (time.process_time() - began)


def climb(
    config: PipelineConfig,
    name: str,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    pseudo_labels: pd.DataFrame | None = None,
) -> None:
    """Train the baseline on a rung, with all labels; leaves what its training leaves, without a history.

    With the pseudo-label table `pseudo_labels` (index, label, confidence) it is the student that is trained.
    """
    began, is_judged = time.monotonic(), pseudo_labels is None or config.judged_by_labels
    config = on_rung(config, name)
    stage, model = ("baseline", "baseline") if pseudo_labels is None else ("joint", "student")
    split, facts = Split.read(inputs["split"] / "split.parquet"), DatasetFacts.read(inputs["split"])
    pseudo, figures = None, dict[str, float](labels=len(split.ids("labeled")))
    if pseudo_labels is not None and len(pseudo_labels):
        columns = (torch.from_numpy(pseudo_labels[key].to_numpy().copy()) for key in ("index", "label", "confidence"))
        rows, labels, confidence = columns
        pseudo = PseudoLabeled.of(config, rows, facts, labels, confidence)
        figures["pseudo_labels"] = len(labels)
    fitted = fit_on_rung(config, Labeled.of(config, split, facts), log, model, pseudo=pseudo)
    save_model(config, facts, fitted.weights, out_dir, stage=stage, predicted_by=fitted.predicted_by)
    judged = ""
    if is_judged:
        held_out = figures["held_out_accuracy"] = read_choice(inputs["choose"])["kept"][f"{model}_validation_accuracy"]
        judged = f"; {held_out:.1%} of the labels right when held out"
    write_json(out_dir / "training.json", {"fit": name} | figures)
    write_json(out_dir / "timings.json", {"seconds": time.monotonic() - began})
    log.metrics(figures)
    log.info(f"{name}: trained on {counted(int(figures['labels']), 'label')}{judged}")
