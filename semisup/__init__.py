"""Semi-supervised pseudo-labeling for images: a classifier, policies, and honest pipelines.

>>> import semisup as ss
>>> classifier = ss.PseudoLabelClassifier(ss.FixMatch(0.95), budget="60s", random_state=0)  # then .fit(X, y)

Every name is imported when it is used first: `import semisup` alone loads neither torch nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from semisup.api.classifier import PseudoLabelClassifier, load
    from semisup.api.data import Dataset
    from semisup.api.policies import LabelGraph, SelfTraining
    from semisup.api.runs import Run, run
    from semisup.errors import UserError
    from semisup.pseudo_labels.modifiers import Aligned, Blended, Sharpened
    from semisup.pseudo_labels.policies.adamatch import AdaMatch
    from semisup.pseudo_labels.policies.fixmatch import FixMatch
    from semisup.pseudo_labels.policies.flexmatch import FlexMatch
    from semisup.pseudo_labels.policies.freematch import FreeMatch
    from semisup.pseudo_labels.policies.online import OnlineArgmax
    from semisup.pseudo_labels.policies.soft import SoftLabels
    from semisup.pseudo_labels.policies.softmatch import SoftMatch
    from semisup.pseudo_labels.policies.threshold import FixedLabels

__all__ = [
    "AdaMatch",
    "Aligned",
    "Blended",
    "Dataset",
    "FixMatch",
    "FixedLabels",
    "FlexMatch",
    "FreeMatch",
    "LabelGraph",
    "OnlineArgmax",
    "PseudoLabelClassifier",
    "Run",
    "SelfTraining",
    "Sharpened",
    "SoftLabels",
    "SoftMatch",
    "UserError",
    "load",
    "run",
]
_ROOMS = {
    "PseudoLabelClassifier": "api.classifier",
    "Dataset": "api.data",
    "LabelGraph": "api.policies",
    "SelfTraining": "api.policies",
    "Run": "api.runs",
    "run": "api.runs",
    "load": "api.classifier",
    "UserError": "errors",
    "Aligned": "pseudo_labels.modifiers",
    "Blended": "pseudo_labels.modifiers",
    "Sharpened": "pseudo_labels.modifiers",
    "AdaMatch": "pseudo_labels.policies.adamatch",
    "FixMatch": "pseudo_labels.policies.fixmatch",
    "FlexMatch": "pseudo_labels.policies.flexmatch",
    "FreeMatch": "pseudo_labels.policies.freematch",
    "OnlineArgmax": "pseudo_labels.policies.online",
    "SoftLabels": "pseudo_labels.policies.soft",
    "SoftMatch": "pseudo_labels.policies.softmatch",
    "FixedLabels": "pseudo_labels.policies.threshold",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        found: Any = _version()
    elif name in _ROOMS:
        found = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def _version() -> str:
    """That of the package that is installed, which git's tags gave it when it was built."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # the sources alone, found by PYTHONPATH
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
