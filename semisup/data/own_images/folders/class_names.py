"""Names of classes as people give them: which are no names, which are the same, which only look so."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from semisup.data.own_images.folders.roles import looks_like_role
from semisup.errors import UserError

MOST_NAMED = 3
FEWEST_LETTERS = 4
"""Of a word, before another one that differs in a letter looks like it: "cat" and "car" are two words."""


def class_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Sorted names of at least two classes, different from each other for people and file systems, too.

    Raises:
        UserError: `where` has no class or only one, a name holds control characters, two differ by case only, or all
            look like roles.
    """
    ordered = tuple(sorted(set(names)))
    if not ordered:
        raise UserError(f"{where} has no labeled images; put some into labeled/<class>/ or train/<class>/")
    _check_each(ordered, where)
    if all(map(looks_like_role, ordered)):
        some = ", ".join(map(repr, ordered[:MOST_NAMED]))
        raise UserError(
            f"{where}: the only classes are {some}, which look like roles; put images into labeled/<class>/ and "
            "test/<class>/, name the folder that holds the classes, or rename them"
        )
    if len(ordered) == 1:
        raise UserError(
            f"{where} has only one class, {ordered[0]!r}, and there is nothing to tell it from; add images of another "
            "class, or name the folder that holds a folder for each class"
        )
    return ordered


def _check_each(ordered: Sequence[str], where: str) -> None:
    seen: dict[str, str] = {}
    for name in ordered:
        if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name):
            raise UserError(f"{where}: class {name!r} holds characters that are no text; rename it")
        other = seen.setdefault(" ".join(unicodedata.normalize("NFC", name).casefold().split()), name)
        if other != name:
            raise UserError(
                f"{where}: classes {other!r} and {name!r} differ by case, blanks or in how accents are written only; "
                "rename one, or put their images together"
            )


def look_alikes(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that may be meant to be one: one the plural of the other, written with other signs, or with a
    letter more, less, swapped or replaced in a word of at least FEWEST_LETTERS letters.

    Three or more that differ in the same letter are a series ("type a", "type b" …) and mean to differ.
    """
    near: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    gaps: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in names:
        for key in _neighbors(name):
            near[key].append(name)
        for gap in _gaps(name):
            gaps[gap].append(name)
    series = {pair for group in gaps.values() if len(group) > 2 for pair in _pairs(group)}
    pairs = {pair for group in near.values() for pair in _pairs(group)} - series
    return sorted((first, second) for first, second in pairs if _alike(_words(first), _words(second)))


def _pairs(group: Sequence[str]) -> Iterator[tuple[str, str]]:
    return combinations(sorted(set(group)), 2)


def _gaps(name: str) -> Iterator[tuple[object, ...]]:
    """The words with a gap in place of one letter, for each."""
    words = _words(name)
    for place, word in enumerate(words):
        for cut in range(len(word)):
            yield (*words[:place], (word[:cut], word[cut + 1 :]), *words[place + 1 :])


def _words(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKC", name).casefold()
    return tuple("".join(letter if letter.isalnum() else " " for letter in plain).split())


def _neighbors(name: str) -> set[tuple[str, ...]]:
    """What names that look alike have in common: the words, joined, or with a letter less in one of them."""
    words = _words(name)
    keys: set[tuple[str, ...]] = {("joined", "".join(words)), words}
    for place, word in enumerate(words):
        rests = {word[:cut] + word[cut + 1 :] for cut in range(len(word))} | {_singular(word)}
        keys |= {(*words[:place], rest, *words[place + 1 :]) for rest in rests}
    return keys


def _alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    if "".join(first) == "".join(second):
        return True
    if len(first) != len(second):
        return False
    different = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    if len(different) != 1:
        return False
    one, other = different[0]
    if _singular(one) == _singular(other):
        return True
    letters = (one + other).isalpha() and min(len(one), len(other)) >= FEWEST_LETTERS
    return letters and _one_edit(one, other)


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
            return word.removesuffix(ending) + instead
    return word


def _one_edit(one: str, other: str) -> bool:
    """Is a letter put in, left out or replaced, or are two neighbors swapped?"""
    if len(one) > len(other):
        one, other = other, one
    same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    if len(one) < len(other):
        return one[same:] == other[same + 1 :]
    swapped = one[same : same + 2] == other[same : same + 2][::-1] and one[same + 2 :] == other[same + 2 :]
    return swapped or one[same + 1 :] == other[same + 1 :]
