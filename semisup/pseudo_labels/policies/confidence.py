"""The labels of a frozen teacher, all of them: the less sure it was, the less a label counts."""

from torch import Tensor

from semisup.pseudo_labels.method import Method, Told
from semisup.pseudo_labels.policies.threshold import FixedLabels


def confidence_weights(confidence: Tensor, num_classes: int) -> Tensor:
    """(c − 1/C) / (1 − 1/C): 0 for a guess, 1 for what is sure, in the shape of `confidence`."""
    return ((confidence - 1 / num_classes) / (1 - 1 / num_classes)).clamp(min=0)


def _policy(told: Told) -> FixedLabels:
    assert told.labels is not None, "a method that learns from the table is told it"
    assert told.confidence is not None
    return FixedLabels(told.labels, confidence_weights(told.confidence, told.num_classes))


METHOD = Method(learns_from="table", view="weak", policy=_policy, weigh=confidence_weights)
"""All labels of the table, accepted or not."""
