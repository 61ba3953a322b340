"""Networks of timm: which there are, of which images they take, and the head that suits the classes at hand.

`timm:ARCHITECTURE` or `timm:ARCHITECTURE.TAG`, as timm writes it; a tag says which weights are meant.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semisup.errors import UserError
from semisup.networks.downloads import FILES, HUB, hub_file, in_torchs_cache
from semisup.networks.families.efficientnet_lite import by_position
from semisup.networks.family import Family, Normalization, Wanted

TIMM = "timm:"


def known_architecture(name: str) -> str:
    """The name without its prefix, known to be one of timm's, with its tag if it has one.

    Raises:
        UserError: it is not, or its tag is none of the architecture's.
    """
    import timm

    bare_name = name.removeprefix(TIMM)
    if bare_name.startswith((HUB, "hf_hub:")):
        raise UserError(
            f"model.name={name!r} names weights; name their architecture, timm:NAME, and model.weights: "
            f"{HUB}{bare_name.partition(':')[2]}"
        )
    architecture, _, tag = bare_name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        raise UserError(f"model.name={name!r} is not a network of timm; {_nearest(bare_name, architecture, known)}")
    if tag and bare_name not in pretrained_tags(name):
        tags = ", ".join(full.partition(".")[2] for full in pretrained_tags(name))
        raise UserError(f"model.name={name!r}: {architecture} has no weights {tag!r}; use one of {tags}, or no tag")
    return bare_name


def _nearest(bare_name: str, architecture: str, known: Sequence[str]) -> str:
    import timm

    renamed = timm.models.get_deprecated_models().get(bare_name)
    nearest = [renamed] if renamed else get_close_matches(architecture, known, n=3)
    if not nearest:
        return "timm.list_models() lists them"
    return f"did you mean {' or '.join(TIMM + close for close in nearest)}?"


def pretrained_tags(name: str) -> dict[str, Any]:
    """ARCHITECTURE.TAG → timm's description of the weights, of all that it knows of the architecture."""
    import timm

    found = timm.models.get_arch_pretrained_cfgs(name.removeprefix(TIMM).partition(".")[0])
    return {full: described for full, described in found.items() if described.has_weights}


def timm_classifier(bare_name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Any network of timm, untrained, once a forward pass has shown that it takes images (C, H, W) of this size.

    Its features are those that timm gives without a classifier; a new linear layer upon them gives the logits.

    Raises:
        UserError: it takes no images of this size, or gives no features.
    """
    reasons = []
    for backbone in _candidates(bare_name, image_shape, num_classes):
        _end_with_a_linear_layer(backbone, bare_name, num_classes)
        try:
            _look_at_all_of(image_shape, backbone)
            with torch.no_grad():
                backbone.eval()(torch.zeros(1, *image_shape))
        except (RuntimeError, ValueError, AssertionError) as error:
            reasons.append(f"{error}".strip().split("\n", maxsplit=1)[0])
        else:
            return backbone.train()
    _, height, width = image_shape
    raise UserError(
        f"model.name='{TIMM}{bare_name}' does not take images of {height}×{width} pixels "
        f"({next((reason for reason in reasons if reason), 'timm says no more')}); {_sizes(bare_name)}"
    )


def _candidates(bare_name: str, image_shape: tuple[int, int, int], num_classes: int) -> Iterator[nn.Module]:
    """The network as it may take images of this size: as it is, or made for any size, or for this one."""
    import timm

    channels, *size = image_shape
    described = timm.get_pretrained_cfg(bare_name)
    ways: list[dict[str, Any]] = [{}]
    if described and described.fixed_input_size and size != list(described.input_size[1:]):
        ways = [{"dynamic_img_size": True}, {"img_size": tuple(size)}, {}]
    for options in ways:
        try:
            backbone = timm.create_model(bare_name, num_classes=num_classes, in_chans=channels, **options)
        except (TypeError, ValueError, AssertionError, RuntimeError):
            if not options:
                raise
            continue
        yield backbone
        if getattr(backbone, "dynamic_img_size", False):
            return  # it takes any size that another one made for this size would take


def _look_at_all_of(image_shape: tuple[int, int, int], backbone: nn.Module) -> None:
    """Patches that do not fill the image would leave out its edges, without a word.

    Raises:
        ValueError: these do not.
    """
    from timm.layers import PatchEmbed

    patches = getattr(backbone, "patch_embed", None)
    if isinstance(patches, PatchEmbed) and not patches.dynamic_img_pad:
        for side, patch in zip(image_shape[1:], patches.patch_size, strict=True):
            if side % patch:
                raise ValueError(f"{side} is no multiple of {patch}, the side of its patches")


def _sizes(bare_name: str) -> str:
    """What images the network takes, and what to do."""
    import timm

    described = timm.get_pretrained_cfg(bare_name)
    native = "×".join(map(str, described.input_size[1:])) if described else "224×224"
    try:
        with torch.device("meta"):
            backbone = timm.create_model(bare_name, num_classes=0, dynamic_img_size=True)
        side = backbone.patch_embed.patch_size[0] if backbone.dynamic_img_size else None
    except (TypeError, AttributeError):
        side = None
    others = f", and takes all whose sides are multiples of {side}" if side else ""
    return (
        f"it was made for {native}{others}; set data.size, or model.center_crop where there is one, or "
        "use another network"
    )


def _end_with_a_linear_layer(backbone: Any, bare_name: str, num_classes: int) -> None:
    """Where the network's last layer is a 1×1 convolution, or there is none, put a linear one in its place."""
    last = backbone.get_classifier() if hasattr(backbone, "get_classifier") else None
    name = next((name for name, module in backbone.named_modules() if module is last), None)
    if isinstance(last, nn.Conv2d):
        new: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(last.in_channels, num_classes))
    elif isinstance(last, nn.Identity):
        new = nn.Linear(int(backbone.head_hidden_size), num_classes)
    elif last is None:
        raise UserError(f"model.name='{TIMM}{bare_name}' gives no features of a whole image; use another network")
    else:
        return
    assert name
    backbone.set_submodule(name, new)


def described_weights(name: str, weights: str | None = None) -> Any:
    """timm's description of a network's weights: of those with the tag `weights`, else of those that the name means."""
    import timm

    tagged = f"{name.removeprefix(TIMM).partition('.')[0]}.{weights}"
    return pretrained_tags(name).get(tagged) or timm.get_pretrained_cfg(name.removeprefix(TIMM))


def timm_normalization(name: str, weights: str | None = None, *, download: bool = False) -> Normalization:
    """(mean, standard deviation) of three channels on the 0..1 scale, as timm says that the weights want them.

    Raises:
        UserError: what a repository says of its weights cannot be fetched.
    """
    from timm.data import resolve_data_config

    if weights is not None and weights.startswith(HUB):
        content = json.loads(hub_file(weights, ("config.json",), download=download).read_text(encoding="utf-8"))
        described = content.get("pretrained_cfg", content)
    else:
        found = described_weights(name, weights)
        described = found.to_dict() if found else {}
    wanted = resolve_data_config({}, pretrained_cfg=described)
    return tuple(wanted["mean"]), tuple(wanted["std"])


def doubtful_normalization(name: str, weights: str) -> str | None:
    """A warning where timm's weights of a network want different pixels, and a file does not say which they are."""
    bare_name = name.removeprefix(TIMM)
    tags = pretrained_tags(name)
    if "." in bare_name or weights == "DEFAULT" or weights.startswith(HUB) or f"{bare_name}.{weights}" in tags:
        return None
    wanted = {(tuple(described.mean), tuple(described.std)) for described in tags.values()}
    if len(wanted) <= 1:
        return None
    mean = ", ".join(f"{value:.3g}" for value in timm_normalization(name)[0])
    return (
        f"model.weights={weights!r}: weights of {name} want pixels normalized in {len(wanted)} ways, and those of "
        f"{described_weights(name).tag} (mean {mean}) are taken; if they are others, name their tag, {name}.TAG"
    )


def under_timms_names(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """A state dict as the authors of a network published it, as timm's network has it; one of timm's as it is.

    timm keeps what does this beside each family of networks.

    Raises:
        ValueError: timm cannot make sense of it.
    """
    converts = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if converts is None:
        return dict(state)
    try:
        return dict(converts(dict(state), backbone))
    except Exception as error:  # it takes for granted that the file is of this family
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}") from error


def _find(model_name: str, weights: str, download: bool) -> Path:
    if weights.startswith(HUB):
        return hub_file(weights, download=download)
    tags = [full.partition(".")[2] for full in pretrained_tags(known_architecture(model_name))]
    if weights not in (*tags, "DEFAULT") or not tags:
        state = "is a folder" if Path(weights).expanduser().is_dir() else "does not exist"
        own = f", one of timm's own ({', '.join(['DEFAULT', *tags])})" if tags else ""
        raise UserError(f"model.weights={weights!r} {state}; name a file with a state dict{own}, or {HUB}OWNER/NAME")
    described = described_weights(model_name, weights)
    if not described.hf_hub_id:
        return in_torchs_cache(described.url, weights, download)
    names = (described.hf_hub_filename,) if described.hf_hub_filename else FILES
    return hub_file(f"{HUB}{described.hf_hub_id}", names, download=download)


def _adapt(state: Mapping[str, Tensor], backbone: nn.Module) -> Mapping[str, Tensor]:
    return under_timms_names(by_position(state, backbone), backbone)


def _build(wanted: Wanted) -> nn.Module:
    return timm_classifier(known_architecture(wanted.name), wanted.image_shape, wanted.num_classes)


def _names() -> Sequence[str]:
    import timm

    found: Sequence[str] = timm.list_models()
    return found


FAMILY = Family(
    build=_build,
    names=_names,
    find=_find,
    normalization=lambda name, weights, download: timm_normalization(name, weights, download=download),
    adapt=_adapt,
    doubt=doubtful_normalization,
)
