"""Classes of which too few images are tested with to say anything about them."""

from collections.abc import Mapping

from semisup.config import DataConfig
from semisup.wording import counted

FEWEST = 6
"""Test images of a class: of fewer, even if all are right, the exact 95 % interval of how many of its images are right
does not exclude one half (0.025 ** (1 / 5) = 0.478, 0.025 ** (1 / 6) = 0.541)."""
MOST_NAMED = 3
IN_CONTAINERS = {
    "webdataset": "put more into shards called test",
    "parquet": "give more rows the role test, or put more into files called test",
    "arrays": "put more into arrays called test, such as x_test",
    "coco": "list more in a JSON file called test",
    "fiftyone": "",
}
"""How each kind of container names test images; "": it cannot."""


def few_test_images(tested: Mapping[str, int], data: DataConfig) -> list[str]:
    """What class → number of test images asks attention for, a line for classes without any and one for those with few;
    nothing where each has enough."""
    none = [repr(name) for name, count in tested.items() if not count]
    few = [f"{name!r} ({count:,})" for name, count in tested.items() if 0 < count < FEWEST]
    way_out = more_test_images(data)
    found = [f"no test image is of class {_named(none)}; {way_out}"] if none else []
    if few:
        classes = counted(len(few), "class has", "classes have")
        found.append(
            f"{classes} fewer than {FEWEST} test images, {_named(few)}: even with all of them right it is not shown "
            f"that more than half of such a class are; {way_out}"
        )
    return found


def more_test_images(data: DataConfig) -> str:
    """What gives one's own images more test images, by what they lie in, or what to do where nothing does."""
    if not data.facts.own_images:
        return f"data.name={data.name!r} has no others, so go by the accuracy over all classes"
    if data.name not in IN_CONTAINERS:  # a folder, or like one
        by_table = data.manifest is not None
        how = "give more rows of the manifest the role test" if by_table else "put more into test/<class>/"
        where = "no row has that role" if by_table else "there is no such folder"
        return f"{how}, or raise data.test_share (now {data.test_share:g}) where {where}"
    how = IN_CONTAINERS[data.name]
    if not how:
        return f"raise data.test_share (now {data.test_share:g})"
    return f"{how}, or raise data.test_share (now {data.test_share:g}) where there are none"


def _named(classes: list[str]) -> str:
    more = len(classes) - MOST_NAMED
    return f"{', '.join(classes[:MOST_NAMED])}{f' and {more:,} more' if more > 0 else ''}"
