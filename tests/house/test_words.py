"""One spelling and the field's own words in the code, as in its pages (tests/documentation)."""

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
BRITISH = re.compile(
    r"(?:label|cancel|model)l(?:ed|ing|er)|neighbour|colour|\bgrey|_grey|centred|\bcentre|behaviour|licence|learnt|"
    r"(?:normal|standard|optim|recogn|regular|minim|random|summar|quant)is(?:e|ing|ation)",
    re.IGNORECASE,
)
NOT_OURS = re.compile(r"\bopinions?\b|\bunheeded\b", re.IGNORECASE)
THEIRS = re.compile(r"CancelledError|CANCELLING|was_cancelled|!= \"cancelled\"|\"(?:un)?labelled\": |\bgrey\b")
"""What other libraries call things, and what people may write: names of folders, `data.channels: grey`."""
MAY_SAY_GREY = {"config/sections/data.py", "lineage/fingerprints.py", "data/own_images/decoded/pack.py"}


@pytest.mark.parametrize("package", ["semisup", "flows"])
def test_the_code_is_written_in_american_english_and_in_the_words_of_the_field(package):
    found = []
    for file in sorted((HOUSE / package).rglob("*")):
        if file.suffix not in {".py", ".jinja", ".html", ".js", ".css", ".yaml"}:
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            word = BRITISH.search(line) or NOT_OURS.search(line)
            excused = THEIRS.search(line) and (
                "grey" not in line or any(str(file).endswith(name) for name in MAY_SAY_GREY)
            )
            if word and not excused:
                found.append(f"{file.relative_to(HOUSE)}:{number}: {word[0]}")
    assert found == []
