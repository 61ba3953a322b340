"""The forward half of one training step: from a batch to its loss and figures.

Networks may compute in lower precision; losses and policies take their logits in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from semisup.pseudo_labels import Policy, State
from semisup.pseudo_labels.targets import Mixing, soft_accuracy
from semisup.training.losses import joint_loss, soft_cross_entropy
from semisup.training.process_group import ALONE, ProcessGroup

Smoothing = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StepFigures:
    """Figures of one step, scalars on the device; losses in nats, the others as fractions."""

    loss: Tensor
    accuracy: Tensor
    supervised: Tensor | None = None
    """This and what follows: of a semi-supervised step."""
    unsupervised: Tensor | None = None
    mask_rate: Tensor | None = None
    """Share of the unlabeled batch that carries weight."""
    unlabeled_share: Tensor | None = None
    """Share of the unlabeled loss in the gradient, by its absolute sum at the logits."""

    def stacked(self) -> Tensor:
        """The figures as one detached vector, in the order of `FIGURES`; a supervised step has the first two."""
        values = (getattr(self, name) for name in FIGURES)
        return torch.stack([value for value in values if value is not None]).detach()


FIGURES = tuple(field.name for field in fields(StepFigures))


def supervised_step(model: nn.Module, images: Tensor, targets: Tensor, group: ProcessGroup = ALONE) -> StepFigures:
    """Cross-entropy of images (B, C, H, W) against soft targets (B, classes).

    `images` are this process's share of the batch, `targets` those of the whole one; so are the figures.
    """
    logits = group.gather(model(images).float(), len(targets))
    loss = soft_cross_entropy(logits, targets).mean()
    return StepFigures(loss, soft_accuracy(logits, targets))


def joint_step(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    unlabeled_images: Tensor,
    unlabeled_indices: Tensor,
    *,
    policy: Policy,
    state: State,
    alpha: float,
    mixing: Mixing | None,
    smoothing: Smoothing | None,
    teacher: nn.Module | None = None,
    teacher_images: Tensor | None = None,
    labeled_images: Tensor | None = None,
    group: ProcessGroup = ALONE,
) -> tuple[StepFigures, State]:
    """L_labeled + alpha · L_unlabeled in one forward pass over both batches, and the policy's next state.

    Images come as the model sees them, mixed ones as well. `mixing` and `smoothing` act on the targets of the
    unlabeled part (those of the labeled part come ready). A policy that looks at predictions gets those of `teacher`
    (None: the model itself) for `teacher_images` (None: what the model sees, which must not be mixed then: a mixed
    image has no single label worth learning). They cost a forward pass of their own, in eval mode, unless they are what
    the model puts out anyway. A policy that looks at labeled images as well gets what the same network predicts, in the
    same pass, for `labeled_images`: those of the batch, unmixed.

    Images are this process's share of both batches; targets, indices and figures are of the whole ones.
    """
    predictions: Tensor | None = None
    sizes = [len(targets), len(unlabeled_indices)]
    apart = any(given is not None for given in (teacher, teacher_images, labeled_images))
    if policy.uses_predictions and apart:
        looked_at = unlabeled_images if teacher_images is None else teacher_images
        asked = model if teacher is None else teacher
        if labeled_images is None:
            predictions = group.gather(_predict(asked, looked_at), sizes[1])
        else:
            said = group.gather(_predict(asked, torch.cat([labeled_images, looked_at])), *sizes)
            labeled_predictions, predictions = said.split(sizes)
            state = policy.look_at_labeled(state, labeled_predictions.softmax(dim=1))
    together = group.gather(model(torch.cat([images, unlabeled_images])).float(), *sizes)
    logits, unlabeled_logits = together.split(sizes)
    if predictions is None:
        predictions = unlabeled_logits.detach()

    state, pseudo_targets, weights = policy.update(state, predictions.softmax(dim=1), unlabeled_indices)
    if smoothing is not None:
        pseudo_targets = smoothing(pseudo_targets)
    # The loss is linear in its targets, so weights go into them, and mixing mixes both at once.
    weighted_targets = weights[:, None] * pseudo_targets
    if mixing is not None:
        weighted_targets = mixing(weighted_targets)
    loss, supervised, unsupervised = joint_loss(
        soft_cross_entropy(logits, targets), soft_cross_entropy(unlabeled_logits, weighted_targets), alpha
    )
    extra = policy.extra_loss(state, unlabeled_logits, weights, unlabeled_indices)
    if extra is not None:
        loss, unsupervised = loss + alpha * extra, unsupervised + extra
    if extra is None:
        pull = alpha * _pull(unlabeled_logits, weighted_targets)
    else:  # it has a gradient of its own, which only autograd knows; nothing behind the logits is asked
        (gradient,) = torch.autograd.grad(unsupervised, unlabeled_logits, retain_graph=True)
        pull = alpha * gradient.abs().sum()
    share = pull / (_pull(logits, targets) + pull).clamp(min=1e-12)
    mask_rate = (weights > 0).float().mean()
    return StepFigures(loss, soft_accuracy(logits, targets), supervised, unsupervised, mask_rate, share), state


@torch.no_grad()
def _predict(teacher: nn.Module, images: Tensor) -> Tensor:
    """Logits (U, C) without dropout and with batch norm's running statistics, which do not move."""
    was_training = teacher.training
    logits: Tensor = teacher.eval()(images).float()
    teacher.train(was_training)
    return logits


@torch.no_grad()
def _pull(logits: Tensor, targets: Tensor) -> Tensor:
    """Absolute sum of the mean cross-entropy's gradient at the logits: p·Σq − q for each row."""
    return (logits.softmax(dim=1) * targets.sum(dim=1, keepdim=True) - targets).abs().sum() / len(targets)
