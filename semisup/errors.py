"""The exceptions that mean "this is no bug of ours"."""

import errno
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What an OSError says of a full disk, a used-up quota, or a file that may not grow."""


def in_one_line(error: BaseException, most: int | None = None) -> str:
    """What a library says of an error, its lines joined and cut at `most` letters; its kind where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def did_you_mean(word: str, known: Iterable[str] | Mapping[str, str], otherwise: str, likeness: float = 0.6) -> str:
    """The end of a message about a word that nobody knows: the nearest that is known, else what `otherwise` says.

    Where `known` is a mapping, what is said is what the nearest word stands for.
    `likeness` is how alike the two are at least, from 0 to 1, as :mod:`difflib` says it.
    """
    meant = known if isinstance(known, Mapping) else {name: name for name in known}
    spelled = {name.casefold(): said for name, said in meant.items()}
    nearest = get_close_matches(word.casefold(), spelled, n=1, cutoff=likeness)
    return f"did you mean {spelled[nearest[0]]!r}?" if nearest else otherwise


class UserError(ValueError):
    """A mistake in a config, in the data or on the command line.

    Its message is one line that names the field, its value, the rule and the way out. The command line prints
    it and ends with status 2; a traceback would not help anyone.
    """


class StoreUnavailableError(UserError):
    """The store of runs did not answer: it may pass, so a scheduled run tries again."""


class RenamedKeyWarning(FutureWarning):
    """A key of a config is called by the name that it had before."""
