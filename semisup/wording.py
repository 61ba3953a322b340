"""Counts in front of nouns, in all that people read."""


def counted(count: int, one: str, many: str = "") -> str:
    """ "1 image", "1,097 images": `one` follows a single thing, `many` any other number; unset, it is `one`'s plural.

    Words after the noun that depend on it belong to both: ``counted(n, "file is gone", "files are gone")``.
    """
    return f"{count:,} {one if count == 1 else many or _plural(one)}"


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "tch", "sh")) else f"{noun}s"
