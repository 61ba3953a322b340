"""The labeling page: one file that needs nothing from outside, driven by the keyboard."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from semisup.data.own_images.reading import many
from semisup.data.own_images.reading.decode import Target, decode
from semisup.data.own_images.reading.deep import Range
from semisup.delivery.page.candidates import SHOWN_CLASSES

HERE = Path(__file__).parent
SIDE = 320
"""Pixels of a picture on the page, at most."""
SMALL = 64
"""A picture of so few pixels a side keeps every one of them."""
TINY = 16
"""And of so few, each is shown as a square: a smooth picture says more of a photograph, and less of these."""


def build_page(
    title: str,
    key: str,
    class_names: Sequence[str],
    rows: pd.DataFrame,
    contents: Sequence[bytes],
    *,
    span: Range | None = None,
    audit: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    naming: bool = False,
) -> str:
    """The page as HTML.

    `rows` are those of :func:`semisup.delivery.page.candidates.to_label` with a column path, `contents` their image
    files, of which those of more than 8 bits are shown by `span`, their `data.range`.
    `audit` makes it the page of an audit, with the accepted labels of the images, which are compared with and not
    shown: name, target, allowed (how many may be wrong after so many annotations), places (of each image in the sample,
    from 0; those of files that are gone are missing). With `naming`, a person may name classes that are not there yet;
    images of one `group`, a column of numbers from 1 on (0: of none), are asked about together.
    Annotations are kept in the browser under `key` and the images' ids. Whatever a class is called, it stays text.
    """
    images = [_image(row, content, span) for (_, row), content in zip(rows.iterrows(), contents, strict=True)]
    ids = hashlib.sha256("\n".join(image["id"] for image in images).encode()).hexdigest()[:16]
    if audit is not None:
        images = [image | {"accepted": label} for image, label in zip(images, labels, strict=True)]
    data = {"audit": audit, "naming": naming, "key": f"{key}:{ids}", "classes": list(class_names), "images": images}
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string((HERE / "review.html").read_text(encoding="utf-8")).render(
        title=title,
        data=Markup(_json(data)),
        style=Markup((HERE / "review.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "review.js").read_text(encoding="utf-8")),
    )


def thumbnail(content: bytes, span: Range | None = None) -> tuple[str, bool]:
    """A data URI of an image file's picture, and whether it is tiny; it lies in a square, as `resize: pad` would.

    Raises:
        BrokenImageError: as in :func:`decode`.
    """
    channels: Literal["rgb"] | int = many.channels_of(content) or "rgb"
    decoded = decode(content, Target(SIDE, SIDE, "pad", channels, span))
    longest = max(decoded.width, decoded.height)
    if longest < SIDE:
        decoded = decode(content, Target(longest, longest, "pad", channels, span))
    kind, buffer = "png" if longest <= SMALL else "jpeg", io.BytesIO()
    Image.fromarray(many.as_picture(decoded.pixels)).save(buffer, kind.upper(), quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", longest <= TINY


def _image(row: "pd.Series[Any]", content: bytes, span: Range | None) -> dict[str, Any]:
    places = [place for place in range(1, SHOWN_CLASSES + 1) if f"label_{place}" in row]
    source, tiny = thumbnail(content, span)
    return {name: row[name] for name in ("id", "path", "section", "given", "reason")} | {
        "predicted": [[row[f"label_{place}"], round(float(row[f"probability_{place}"]), 4)] for place in places],
        "src": source,
        "tiny": tiny,
        "group": int(row.get("group", 0)),
    }


def _json(values: Mapping[str, Any]) -> str:
    """JSON that no parser of HTML takes for anything else: a `<` in it could end the script that it stands in."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
