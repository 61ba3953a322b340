"""The exceptions that mean "this is no bug of ours"."""

import errno

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What an OSError says of a full disk, a used-up quota, or a file that may not grow."""


class UserError(ValueError):
    """A mistake in a config, in the data or on the command line.

    Its message is one line that names the field, its value, the rule and the way out. The command line prints
    it and ends with status 2; a traceback would not help anyone.
    """


class StoreUnavailableError(UserError):
    """The store of runs did not answer: it may pass, so a scheduled run tries again."""
