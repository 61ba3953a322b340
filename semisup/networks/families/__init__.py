"""One file per family of networks: how they are built, and whose weights they may begin with; here they are found."""

from semisup.config.families import FAMILIES, family_of
from semisup.errors import UserError
from semisup.networks.family import Family


def family(name: str) -> Family:
    """The family of the network that `model.name` names.

    Raises:
        UserError: there is no such family, or an entry point names something else.
    """
    return family_called(family_of(name))


def family_called(name: str) -> Family:
    """The family of that name; errors as in :func:`family`."""
    found = FAMILIES[name]
    if not isinstance(found, Family):
        raise UserError(f"{name!r} of model.name is no family of networks; its entry point has to name a Family")
    return found
