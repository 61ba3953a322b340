"""A user's mistake, which is one line for whoever made it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from semisup.errors import UserError


@contextmanager
def user_mistake(match: str | None = None) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """The block raises a UserError of one line, which the regular expression `match` fits; it is there afterwards."""
    with pytest.raises(UserError, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)
