"""Learning step by step, from images or vectors: the loop of the pipeline, with a policy or with a teacher's labels."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semisup.api.inputs import Given, Learned
from semisup.api.learning.networks import NetworkModel, build
from semisup.api.learning.recipe import Recipe
from semisup.api.learning.vectors import View, standardized
from semisup.api.policies import SelfTraining, facts_of
from semisup.api.progress import Listener, sentence
from semisup.config import TrainConfig
from semisup.data.datasets import UNLABELED
from semisup.pseudo_labels import Policy
from semisup.stages.split import channel_statistics
from semisup.system.randomness import derive_seed, numpy_generator
from semisup.training.loop import Examples, TrainingResult, UnlabeledTerm, train

USUAL_FRACTION, FEW_LABELS = 0.2, 50
"""Of labels held out, and how many labels of a class there must be for that."""


def learn(given: Given, policy: Policy | SelfTraining, how: Recipe, listener: Listener) -> Learned:
    """A network that has learned from labeled and unlabeled rows.

    Raises:
        UserError: the loss is no longer finite, or the network cannot be built for such images.
    """
    trainer = _Trainer(given, how, listener)
    if isinstance(policy, SelfTraining):
        return _self_training(trainer, policy)
    result = trainer.teacher()
    if len(trainer.learning_unlabeled):
        result = trainer.student(policy, trainer.learning_unlabeled, "student", start=result.weights)
    model = trainer.model(result)
    confidence, labels, probabilities = _said(model, given)
    accepted = torch.zeros(len(given.unlabeled), dtype=torch.bool)
    if trainer.learns_unlabeled.any() and policy.uses_predictions:
        shown = trainer.learns_unlabeled.nonzero().flatten()
        state = {name: value.cpu() for name, value in result.policy_state.items()}
        _, _, weights = policy.update(state, probabilities[shown], torch.arange(len(shown)))
        accepted[shown] = weights.cpu() > 0
    elif trainer.learns_unlabeled.any():
        accepted |= trainer.learns_unlabeled
    return trainer.learned(result, labels, confidence, accepted, torch.where(accepted, 1, -1))


def _self_training(trainer: "_Trainer", policy: SelfTraining) -> Learned:
    given = trainer.given
    result = trainer.teacher()
    iteration = torch.full((len(given.unlabeled),), -1)
    labels, confidence, accepted = torch.zeros_like(iteration), torch.zeros(len(iteration)), iteration >= 0
    before: Tensor | None = None
    for number in range(1, policy.rounds + 1 if len(iteration) else 1):
        confidence, labels, _ = _said(trainer.model(result), given)
        accepted = policy.accepts(confidence) & trainer.learns_unlabeled
        iteration = torch.where(accepted & (iteration < 0), number, iteration)
        told = torch.where(accepted, labels, -1)
        if before is not None and torch.equal(told, before):
            return trainer.learned(result, labels, confidence, accepted, iteration, "no_change")
        before = told
        used = trainer.learns_unlabeled if policy.weights == "confidence" else accepted
        shown = used.nonzero().flatten()
        fixed = policy.policy(labels[shown], confidence[shown], given.num_classes)
        result = trainer.student(fixed, given.unlabeled[shown], f"student {number}")
    return trainer.learned(result, labels, confidence, accepted, iteration)


def _said(model: NetworkModel, given: Given) -> tuple[Tensor, Tensor, Tensor]:
    """(confidence (m,), labels (m,), probabilities (m, C)) of the rows without a label."""
    if not len(given.unlabeled):
        return torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, given.num_classes)
    probabilities = model.log_probabilities(given.rows[given.unlabeled]).exp()
    return *probabilities.max(dim=1), probabilities


class _Trainer:
    """What all trainings of a fit share."""

    def __init__(self, given: Given, how: Recipe, listener: Listener) -> None:
        self.given, self.how, self.listener = given, how, listener
        fraction = how.validation_fraction
        if fraction is None:
            classes = len(given.codes[given.labeled].unique())
            fraction = USUAL_FRACTION if len(given.labeled) >= FEW_LABELS * classes else 0.0
        held = held_out(given, fraction)
        self.held = torch.from_numpy(held)
        self.validating = given.labeled[self.held[given.labeled]]
        self.learning = given.labeled[~self.held[given.labeled]]
        self.learns_unlabeled = ~self.held[given.unlabeled]
        self.learning_unlabeled = given.unlabeled[self.learns_unlabeled]
        learned_from = torch.cat([self.learning, self.learning_unlabeled])
        self.view: View | None = None
        if given.rows.dim() == 4:
            mean, std = channel_statistics(given.rows, learned_from)
            shape = {"image_shape": list(given.rows.shape[1:]), "mean": mean, "std": std}
        else:
            shown = given.rows[learned_from]
            self.view = standardized(shown, given.weights[learned_from])
            # A network wants single columns of deviation 1, a graph whole rows of length 1.
            self.view = replace(self.view, scale=self.view.scale * max(int((self.view.scale > 0).sum()), 1) ** 0.5)
            shape = {"features": given.rows.shape[1]}
        self.about = shape | {
            "name": how.network,
            "num_classes": given.num_classes,
            "width": how.width,
            "dropout": how.dropout,
        }
        self.seen = given.rows if self.view is None else self.view(given.rows).float()
        self.history: list[dict[str, Any]] = []

    def teacher(self) -> TrainingResult:
        """From the labels alone."""
        steps = math.ceil(len(self.learning) / self.how.teacher.batch_size)
        return self._train(self.how.teacher, None, "teacher", steps)

    def student(
        self, policy: Policy, rows: Tensor, stage: str, start: Mapping[str, Tensor] | None = None
    ) -> TrainingResult:
        """From the labels, and from unlabeled rows (k,) by a policy; `start`: initial weights, None: new ones."""
        joint = self.how.joint
        if not len(rows):
            return self._train(joint, None, stage, math.ceil(len(self.learning) / joint.batch_size))
        term = UnlabeledTerm.of(joint, facts_of(policy), self.seen[rows].to(self.how.device), policy)
        whole = len(rows) if joint.epoch_over == "unlabeled" else len(self.learning)
        size = joint.unlabeled_batch_size if joint.epoch_over == "unlabeled" else joint.batch_size
        return self._train(joint, term, stage, math.ceil(whole / size), start)

    def _train(
        self,
        config: TrainConfig,
        term: UnlabeledTerm | None,
        stage: str,
        steps: int,
        start: Mapping[str, Tensor] | None = None,
    ) -> TrainingResult:
        given, device = self.given, self.how.device
        watched = self.validating if len(self.validating) else self.learning
        if not len(self.validating):
            config = config.model_copy(
                update={"early_stopping": config.early_stopping.model_copy(update={"keep": "last"})}
            )
        said = given.weights[self.learning]
        alike = bool((said == said[0]).all())  # then the loss is the plain one
        weights = None if alike else (said / said.mean()).float().to(device)

        def on_epoch(record: dict[str, float]) -> None:
            epoch = int(record["epoch"])
            told = {"stage": stage, **record, "epoch": epoch}
            if not len(self.validating):  # the loop looked at what it learned from, which says nothing
                told = {name: value for name, value in told.items() if not name.startswith("validation_")}
            self.history.append(told)
            self.listener.tell(epoch, config.epochs, sentence(told), told)

        network = build(self.about, seed=derive_seed(given.seed, f"{stage} weights"))
        if start is not None:
            network.load_state_dict(start)
        return train(
            network.to(device),
            config,
            Examples(self.seen[self.learning].to(device), given.codes[self.learning].to(device), weights),
            Examples(self.seen[watched].to(device), given.codes[watched].to(device)),
            num_classes=given.num_classes,
            steps_per_epoch=max(steps, 1),
            seed=derive_seed(given.seed, stage),
            unlabeled=term,
            on_epoch=on_epoch,
        )

    def model(self, result: TrainingResult) -> NetworkModel:
        """The network with the weights of its best epoch, on the CPU."""
        module = build(self.about, seed=0)
        module.load_state_dict(result.weights)
        return NetworkModel(self.about, (module if self.view is None else module.double()).eval(), self.view)

    def learned(  # noqa: PLR0917 -- the columns of one table
        self,
        result: TrainingResult,
        labels: Tensor,
        confidence: Tensor,
        accepted: Tensor,
        iteration: Tensor,
        termination: str = "",
    ) -> Learned:
        """All about the fit; `termination` where it is not the last training's end."""
        if not len(self.given.unlabeled):
            termination = "no_unlabeled"
        ending = "early_stopping" if result.stopped_early else "budget" if self.how.joint.budget else "max_iter"
        return Learned(
            model=self.model(result),
            history=self.history,
            termination=termination or ending,
            labels=labels,
            confidence=confidence,
            accepted=accepted,
            iteration=iteration,
            validation=len(self.validating),
        )


def held_out(given: Given, fraction: float) -> NDArray[np.bool_]:
    """bool (N,): which rows validate, or are in a unit with one that does.

    Of every class about this share of its labels, at least one where it has two units; always all rows of a unit, and
    never the last unit of a class.
    """
    codes, units, rng = given.codes.numpy(), given.units, numpy_generator(given.seed, "validation")
    held = np.zeros(len(codes), dtype=bool)
    classes = np.unique(codes[codes != UNLABELED])  # those whose labels all have the weight 0 are not among them
    for label in classes if fraction else ():
        of_class = codes == label
        wanted = max(1, round(fraction * int(of_class.sum())))
        for unit in rng.permutation(np.unique(units[of_class])):
            if int((held & of_class).sum()) >= wanted:
                break
            members = units == unit
            if np.isin(classes, codes[~held & ~members]).all():
                held |= members
    return held
