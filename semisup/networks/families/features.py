"""No network: images are known by ready-made vectors (`data.features`), upon which only a probe is trained."""

from typing import NoReturn

from torch import Tensor, nn

from semisup.config.families import READY_MADE
from semisup.errors import UserError
from semisup.networks.family import Family, UnknownNetworkError, Wanted


class ReadyMade(nn.Module):
    """Stands where a network would be; its last layer is a placeholder for a probe."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(1, num_classes)

    def forward(self, images: Tensor) -> NoReturn:
        """There is nothing that could look at images.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"model.name={READY_MADE!r} knows images by the vectors in data.features alone and cannot look at others; "
            "put new images and their vectors into the data set, and run the pipeline again"
        )


def _build(wanted: Wanted) -> nn.Module:
    if wanted.name != READY_MADE:
        raise UnknownNetworkError
    return ReadyMade(wanted.num_classes)


FAMILY = Family(build=_build, names=lambda: [READY_MADE], installed=frozenset({READY_MADE}))
