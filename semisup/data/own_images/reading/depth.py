"""What a data set's files of more than 8 bits hold, the range that suits them, and what a range makes of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from semisup.data.own_images.reading.deep import FLOAT, WHOLE, Range
from semisup.wording import counted

FEW_SHADES = 16
"""Of 256; 4 bits."""
SLACK = 0.01
"""Share of the range by which values may be beyond it."""


@dataclass(frozen=True)
class Depth:
    """The readable files of a data set that have more than 8 bits."""

    files: int
    range: Range | None
    """(darkest, brightest) value of all; None: there are none, or all are of one value."""

    @classmethod
    def of(cls, files: pd.DataFrame) -> "Depth":
        """Of a pack's table. An image of one value alone, a blank or saturated one, widens no range."""
        deep = files[~files["low"].isna()]
        varied = deep[deep["high"] > deep["low"]]
        return cls(len(deep), _rounded(varied["low"].min(), varied["high"].max()) if len(varied) else None)


def written(range_: Range) -> str:
    """As in a config."""
    return f"[{range_[0]:.10g}, {range_[1]:.10g}]"


def depth_warnings(files: pd.DataFrame, range_: Range | None) -> list[str]:
    """What the owner of a pack's files should know of flat images and of deep ones, one line each."""
    files = files[files["row"] >= 0]
    warnings = []
    if len(flat := files[files["flat"]]):
        warnings.append(
            f"flat images, of a single color: {len(flat):,} of {len(files):,}, such as {flat['path'].iloc[0]}"
        )
    depth = Depth.of(files)
    if depth.range is None:
        return warnings
    if range_ is None:
        found = written(depth.range)
        warnings.append(
            f"data.range is not set: of {counted(depth.files, 'file')} of more than 8 bits 0 is black and {WHOLE} (of "
            f"floats "
            f"{FLOAT}) white, while their values are {found}; set data.range={found}, as `semisup init` writes it"
        )
    deep = files[files["high"] > files["low"]]
    return warnings + _of_the_range(deep, range_)


def _of_the_range(deep: pd.DataFrame, range_: Range | None) -> list[str]:
    if range_ is None:
        black, white = 0.0, np.where(deep["mode"] == "F", float(FLOAT), float(WHOLE))
    else:
        black, white = range_[0], np.full(len(deep), range_[1])
    low, high = ((deep[end] - black) / (white - black) for end in ("low", "high"))
    few = 1 + 255 * (high.clip(0, 1) - low.clip(0, 1)) < FEW_SHADES
    cut = ~few & ((low < -SLACK) | (high > 1 + SLACK))
    problems = {f"fewer than {FEW_SHADES} of 256 shades": few, "values that are cut off": cut}
    return [
        f"data.range={written(range_) if range_ else 'unset'} leaves {int(of.sum()):,} of "
        f"{counted(len(deep), 'file')} of more "
        f"than 8 bits with {problem}, such as {deep['path'][of].iloc[0]} with values from "
        f"{deep['low'][of].iloc[0]:.6g} to {deep['high'][of].iloc[0]:.6g}"
        for problem, of in problems.items()
        if of.any()
    ]


def _rounded(low: float, high: float) -> Range:
    """To six digits: what is beyond it by less is a small part of a shade."""
    return float(f"{low:.6g}"), float(f"{high:.6g}")
