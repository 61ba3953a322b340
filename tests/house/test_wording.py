"""Counts that people read: one image is no "1 images"."""

import re
from pathlib import Path

import pytest

from semisup.wording import counted

PROJECT = Path(__file__).parents[2]
NOUNS = (
    "images|files|labels|rows|classes|runs|stages|annotations|epochs|steps|pseudo-labels|members|channels|networks|"
    "letters|threads|seeds|links|processes|copies|groups|tables|columns|rounds|errors"
)
KINDS = "(?:accepted |labeled |unlabeled |test |validation |calibration |animated |new |compound |image |training )*"
BARE = re.compile(rf"(?<!of )\{{[^{{}}]+:,\}} {KINDS}(?:{NOUNS})\b")
"""A number in an f-string before a plural; in "3 of 1,000 images" it is mostly the first number that counts."""


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        (1_097, ("test image",), "1,097 test images"),
        (2, ("class",), "2 classes"),
        (2, ("copy",), "2 copies"),
        (2, ("day",), "2 days"),
        (2, ("epoch",), "2 epochs"),
        (2, ("batch",), "2 batches"),
        (1, ("file is", "files are"), "1 file is"),
        (3, ("file is", "files are"), "3 files are"),
    ],
)
def test_a_count_and_its_noun_agree(count, words, said):
    assert counted(count, *words) == said


def test_no_message_writes_a_plural_behind_whatever_number():
    found = [
        f"{file.relative_to(PROJECT)}: {match[0]}"
        for place in ("semisup", "flows")
        for file in sorted((PROJECT / place).rglob("*.py"))
        for match in BARE.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == [], "say it with semisup.wording.counted"
