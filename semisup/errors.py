"""The exceptions that mean "this is no bug of ours"."""


class UserError(ValueError):
    """A mistake in a config, in the data or on the command line.

    Its message is one line that names the field, its value, the rule and the way out. The command line prints
    it and ends with status 2; a traceback would not help anyone.
    """


class StoreUnavailableError(UserError):
    """The store of runs did not answer: it may pass, so a scheduled run tries again."""
