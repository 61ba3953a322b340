"""Policies: who is the teacher, what it makes of an unlabeled image, and how much that counts.

A policy turns probabilities into targets and per-image weights. The loop calls `init` once and `update` at every step;
whatever a policy remembers is in the explicit state that `update` takes and returns.
"""

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # whoever only reads a table of pseudo-labels needs no torch
    from torch import Tensor

State: TypeAlias = "dict[str, Tensor]"
TABLE_FILE = "pseudo_labels.parquet"
"""Name of the table of pseudo-labels, wherever it lies."""
REFUSED = "refused"
"""Reason of all images in such a table, where the whole of it is."""


class Policy(Protocol):
    """What the semi-supervised step needs to know about a pseudo-labeling method."""

    @property
    def uses_predictions(self) -> bool:
        """Does `update` look at the probabilities? If not, no forward pass is spent on them."""

    @property
    def uses_labeled_predictions(self) -> bool:
        """Is it told what the same network predicts for the labeled images? That takes a forward pass of its own."""
        return False

    def init(self, num_unlabeled: int, num_classes: int) -> State:
        """The state before the first step."""

    def look_at_labeled(self, state: State, probabilities: "Tensor") -> State:
        """The state after the labeled images of a step, whose probabilities are (B, C), without gradient.

        It is asked before `update`, at the same step, if the policy `uses_labeled_predictions`.
        """
        return state

    def update(self, state: State, probabilities: "Tensor", indices: "Tensor") -> "tuple[State, Tensor, Tensor]":
        """(state, targets (U, C), weights (U,)) for probabilities (U, C) of the unlabeled images `indices` (U,).

        The probabilities are the teacher's, without gradient. Weights are not negative; their sum may be 0.
        """

    def extra_loss(self, state: State, logits: "Tensor", weights: "Tensor", indices: "Tensor") -> "Tensor | None":
        """A further term of the unlabeled loss, a scalar in nats, from the student's own logits (U, C); None: none.

        It is asked after `update`, with the state and the weights that it returned. The semi-supervised loss takes
        α · (unlabeled loss + this).
        """
        return None
