"""Names of classes and images as names of files, on any system."""

import hashlib
import re
import unicodedata

from semisup.data.own_images.folders.roles import role_of

FORBIDDEN = frozenset('/\\:*?"<>|%#')
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""Windows opens these, whatever their extension."""
SPLITS = ("train", "training", "validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation")
SPLIT_WORD = re.compile(rf"(?:(?<=[-._ 0-9])|^)(?:{'|'.join(SPLITS)})(?=[-._ 0-9]|$)")
"""What Hugging Face's `datasets` takes for the name of a split wherever it is a word of a folder's or a file's name:
with a class "test strip" it loads that one alone."""
MOST_BYTES = 150
"""Of the 255 that file systems allow; the rest is for what is added."""


def safe_name(name: str) -> str:
    """The name with what no file may be called written as %XX, as in addresses: `urllib.parse.unquote` undoes it.

    Names that are roles to us (`test`), devices to Windows, hidden, or left out by Hugging Face's imagefolder
    (`__background__`) get another first letter, and so do words in it that are splits to Hugging Face (`test strip`).
    Different names stay different. Of a longer one the end is a hash.
    """
    text = "".join(_escaped(c) if c in FORBIDDEN or unicodedata.category(c) in {"Cc", "Cs"} else c for c in name)
    text = SPLIT_WORD.sub(lambda word: _escaped(word[0][0]) + word[0][1:], text)
    passed_over = text[:1] in {".", " "} or text.startswith("__")
    if passed_over or text.partition(".")[0].casefold() in DEVICES or role_of(text) is not None:
        text = _escaped(text[0]) + text[1:]
    if text[-1:] in {".", " "}:
        text = text[:-1] + _escaped(text[-1])
    content = text.encode()
    if len(content) <= MOST_BYTES:
        return text
    kept = content[: MOST_BYTES - 17].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(content).hexdigest()[:16]}"


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
