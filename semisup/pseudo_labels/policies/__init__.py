"""One file per method of pseudo-labeling; here they are found by name."""

from semisup.config.methods import METHODS
from semisup.errors import UserError
from semisup.pseudo_labels.method import Method


def method(name: str) -> Method:
    """The method that `joint.method` names.

    Raises:
        UserError: an entry point names something else.
    """
    found = METHODS[name]
    if not isinstance(found, Method):
        raise UserError(
            f"joint.method={name!r} says what it is but makes no policy; its entry point has to name a Method"
        )
    return found
