"""The seeds that a command line names. Light: a mistake is refused before anything heavy is imported."""

import re

from semisup.errors import UserError
from semisup.wording import counted

MOST_SEEDS = 1000


def seeds_of(words: str) -> range:
    """The seeds that `--seeds` names: 0 … n − 1 for a number, both ends included for a range such as "5-9".

    Raises:
        UserError: it is neither, or names no seed.
    """
    ends = re.fullmatch(r"(?:(\d+)-)?(\d+)", words.strip(), re.ASCII)
    if not ends:
        raise UserError(f"--seeds {words}: write how many, such as 5 for seeds 0 to 4, or a range, such as 5-9")
    first, last = (0, int(ends[2]) - 1) if ends[1] is None else (int(ends[1]), int(ends[2]))
    if last < first:
        raise UserError(f"--seeds {words}: at least one seed is needed; 5 is a good number")
    if last - first >= MOST_SEEDS:
        raise UserError(f"--seeds {words}: that is more than {counted(MOST_SEEDS, 'seed')}; 5 is a good number")
    return range(first, last + 1)
