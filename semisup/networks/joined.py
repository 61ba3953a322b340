"""Networks side by side: what each of them makes of an image, in one row of features.

Networks that were trained differently err differently, and a probe upon all of them hears each. Several backbones whose
pseudo-labels are averaged are studied by Zhang et al. 2025 (arXiv 2503.09707).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semisup.errors import UserError
from semisup.networks.classifier import Classifier, Preprocess
from semisup.networks.heads import head_name

TOTAL = 1_000.0
"""What the magnitudes of one network's features add up to: each counts as much as another, and numbers are near 1."""


class Joined(nn.Module):
    """Images (B, C, H, W), normalized as the first network wants them, to logits (B, num_classes).

    The last layer is a place for a probe: its weights are 0.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, networks: Sequence[Classifier], num_classes: int) -> None:
        super().__init__()
        first = networks[0].preprocess
        widths = [_without_head(network) for network in networks]
        self.bodies = nn.ModuleList(network.backbone for network in networks)
        self.register_buffer("factor", torch.stack([first.std / each.preprocess.std for each in networks]))
        self.register_buffer(
            "shift", torch.stack([(first.mean - each.preprocess.mean) / each.preprocess.std for each in networks])
        )
        self.head = nn.utils.skip_init(nn.Linear, sum(widths), num_classes)  # no generator moves
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(next(self.bodies.parameters()).device)

    def forward(self, seen: Tensor) -> Tensor:
        rows = []
        for body, factor, shift in zip(self.bodies, self.factor, self.shift, strict=True):
            features = body(torch.addcmul(shift, seen, factor)).float()
            rows.append(features * (TOTAL / features.abs().sum(dim=1, keepdim=True).clamp(min=1e-6)))
        logits: Tensor = self.head(torch.cat(rows, dim=1))
        return logits


def join(networks: Sequence[Classifier], num_classes: int) -> Classifier:
    """One network of several, which are not to be used alone any more.

    Raises:
        UserError: they want different numbers of channels, or one does not end with a linear layer.
    """
    channels = {len(network.preprocess.mean) for network in networks}
    if len(channels) > 1:
        raise UserError(
            f"model.name joins networks that see {' and '.join(map(str, sorted(channels)))} channels; join networks "
            "that see the same number"
        )
    first = networks[0].preprocess
    mean, std = (figure.flatten().tolist() for figure in (first.mean, first.std))
    preprocess = Preprocess(mean, std, deskew=first.deskew)
    return Classifier(preprocess, Joined(networks, num_classes))


def _without_head(network: Classifier) -> int:
    """Take off the last layer; how many features it was shown."""
    head = network.head
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"model.name joins a {type(network.backbone).__name__}, which does not end with a linear layer; use "
            "another network"
        )
    network.backbone.set_submodule(head_name(network.backbone), nn.Identity())
    return head.in_features
