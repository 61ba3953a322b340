"""Classes of which too few images are tested with to say anything about them."""

from collections.abc import Mapping

from semisup.wording import counted

FEWEST = 6
"""Test images of a class: of fewer, even if all are right, the exact 95 % interval of how many of its images are right
does not exclude one half (0.025 ** (1 / 5) = 0.478, 0.025 ** (1 / 6) = 0.541)."""
MOST_NAMED = 3


def few_test_images(tested: Mapping[str, int]) -> list[str]:
    """What class → number of test images asks attention for, a line for classes without any and one for those with few;
    nothing where each has enough."""
    none = [repr(name) for name, count in tested.items() if not count]
    few = [f"{name!r} ({count:,})" for name, count in tested.items() if 0 < count < FEWEST]
    way_out = "put more into test/<class>/, or raise data.test_share"
    found = [f"no test image is of class {_named(none)}; {way_out}"] if none else []
    if few:
        classes = counted(len(few), "class has", "classes have")
        found.append(
            f"{classes} fewer than {FEWEST} test images, {_named(few)}: even with all of them right it is not shown "
            f"that more than half of such a class are; {way_out}"
        )
    return found


def _named(classes: list[str]) -> str:
    more = len(classes) - MOST_NAMED
    return f"{', '.join(classes[:MOST_NAMED])}{f' and {more:,} more' if more > 0 else ''}"
