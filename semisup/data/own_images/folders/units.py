"""Images that belong together (one patient, one video), by a column of the manifest or a pattern of their paths."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semisup.data.datasets import UNLABELED
from semisup.data.own_images.folders.manifest import group_column
from semisup.data.own_images.folders.places import Base, base_of, written_alike
from semisup.data.own_images.folders.roles import role_of
from semisup.errors import UserError

TOKENS = re.compile(r"(\{[^{}/]*\}|\*\*|\*|…|\.\.\.)")
PIECES = {"*": "[^/]*", "**": ".*", "…": ".*", "...": ".*"}


def units_of(
    group: str, paths: Sequence[str], labels: NDArray[np.int64], root: Base | None, manifest: Base | None
) -> list[str]:
    """The name of the group of each file (N,), by `data.group`: a pattern with one {name}, or a column.

    A pattern is held against what follows the folders of role and class, and has to fit its beginning: `{patient}/`
    takes the first folder there, `{video}_` what comes before the first underscore, `*/{scene}/` the second folder. `*`
    stands for anything within a name, `…` for anything at all. An image without an entry in the column is alone.

    Raises:
        UserError: the pattern fits some path nowhere, or is none; the manifest has no such column.
    """
    said = f"data.group={group!r}"
    if "{" not in group and "}" not in group:
        if manifest is None:
            raise UserError(
                f"{said} names a column, but data.manifest is unset; name a manifest, or use a pattern such as "
                "'{patient}/…'"
            )
        file = manifest if isinstance(manifest, str) else manifest.expanduser()
        found = group_column(file, f"data.manifest={manifest}", group)
        names = dict(zip(written_alike(found["path"], base_of(root, manifest)), found["group"], strict=True))
        return [f"group {names[path]}" if names[path] else f"path {path}" for path in paths]
    pattern = _compiled(group, said)
    below = [path if manifest is not None else _below(path, label) for path, label in zip(paths, labels, strict=True)]
    matches = [pattern.match(rest) for rest in below]
    missed = [rest for rest, match in zip(below, matches, strict=True) if match is None]
    if missed:
        where = "paths" if manifest is not None else "paths below the folder of the role and the class"
        raise UserError(
            f"{said} does not fit {len(missed):,} of {len(paths):,} {where}, such as {missed[0]!r}; use a pattern that "
            "fits all"
        )
    return [f"group {match[1]}" for match in matches if match is not None]


def _compiled(group: str, said: str) -> re.Pattern[str]:
    parts = [part for part in TOKENS.split(group) if part]
    names = [place for place, part in enumerate(parts) if part.startswith("{") and part.endswith("}")]
    if len(names) != 1 or any(letter in "".join(parts[: names[0]] + parts[names[0] + 1 :]) for letter in "{}"):
        raise UserError(f"{said} is no pattern; write one name in braces, such as '{{patient}}/…'")
    (place,) = names
    ends = place == len(parts) - 1
    pieces = [PIECES.get(part, re.escape(part)) for part in parts]
    pieces[place] = "([^/]+)" if ends else "([^/]+?)"  # as far as what follows it in the pattern
    return re.compile("".join(pieces))


def _below(path: str, label: int) -> str:
    """What follows the folder of the role, if there is one, and that of the class, if there is a label."""
    first, _, rest = path.partition("/")
    inside = rest if role_of(first) is not None and rest else path
    return inside if label == UNLABELED else inside.partition("/")[2]
