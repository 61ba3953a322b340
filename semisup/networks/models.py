"""Fresh classifiers by the name of their network."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

import torch
from torch import nn

from semisup.config.families import FAMILIES, family_of, networks_in
from semisup.errors import UserError
from semisup.networks.classifier import Classifier, Preprocess
from semisup.networks.families import family, family_called
from semisup.networks.family import UnknownNetworkError, Wanted
from semisup.networks.joined import join

BARE = ("own", "resnet18_small", "efficientnet_lite", "features")
"""Families whose networks are named without them."""


def build_model(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    width: float = 1.0,
    dropout: float | None = None,
    batch_norm: bool | None = None,
    deskew: bool = False,
    seed: int,
    device: Literal["cpu", "meta"] = "cpu",
) -> Classifier:
    """A fresh classifier on the CPU, in training mode. Its weights depend on `seed` alone; no global generator moves.

    Args:
        name: one of this project's, such as "small_cnn", "torchvision:<name>" for any classifier of torchvision,
            "timm:<name>" for any network of timm, or FAMILY:NAME of an installed package's family; or several of them
            with "+" between, whose features stand side by side (:class:`semisup.networks.joined.Joined`).
        image_shape: (C, H, W).
        mean, std: one per channel, on the 0..1 scale; or three for gray images, which the network then gets to see as
            three equal channels. Of several networks those of each; other ones are given by :func:`join`, or come with
            the weights.
        width: factor on the hidden widths (only of the family `own`).
        dropout: probability (as `width`); None for the model's own. Never on the output layer.
        deskew: see `Preprocess`.
        batch_norm: after the convolutions (as `width`); None for the model's own.
        device: "meta" for a backbone without numbers, to be measured alone.

    Raises:
        UserError: an unknown name, an option that the model does not have, or images too small for it.
    """
    assert len(mean) == len(std)
    assert len(mean) == image_shape[0] or (len(mean), image_shape[0]) == (3, 1)
    networks = []
    for each in networks_in(name):
        wanted = Wanted(each, (len(mean), *image_shape[1:]), num_classes, width, dropout, batch_norm)
        networks.append(Classifier(Preprocess(mean, std, deskew=deskew), _backbone(wanted, seed, device)))
    return join(networks, num_classes) if len(networks) > 1 else networks[0]


def _backbone(wanted: Wanted, seed: int, device: Literal["cpu", "meta"]) -> nn.Module:
    if family_of(wanted.name) not in FAMILIES:
        raise unknown_model(wanted.name)
    chosen = family(wanted.name)
    if not chosen.has_options:
        _refuse_options(wanted)
    # fork_rng without devices and the CPU's own generator: torch.manual_seed would also reseed every GPU.
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(seed)
        try:
            return chosen.build(wanted)
        except UnknownNetworkError:
            raise unknown_model(wanted.name) from None


def _refuse_options(wanted: Wanted) -> None:
    options = (("width", wanted.width, 1.0), ("dropout", wanted.dropout, None), ("batch_norm", wanted.batch_norm, None))
    given = [(option, value, default) for option, value, default in options if value != default]
    if given:
        said = " and ".join(f"model.{option}={value}" for option, value, _ in given)
        way_out = " and ".join(f"model.{option}={'null' if default is None else 1}" for option, _, default in given)
        raise UserError(
            f"{said}, but model.name={wanted.name!r} has no such option{'s' if len(given) > 1 else ''}; set {way_out}, "
            f"or use one of {', '.join(family_called('own').names())}"
        )


def unknown_model(name: str) -> UserError:
    """What is said of a network that nobody knows."""
    asked, bare_name = family_of(name), name.rpartition(":")[2]
    full_names: dict[str, str] = {}
    for kind in [asked] if ":" in name and asked in FAMILIES else FAMILIES.names():
        if kind == asked or family_called(kind).suggested:
            prefix = "" if kind in BARE else f"{kind}:"
            full_names |= {known: prefix + known for known in family_called(kind).names() if known not in full_names}
    # Compared without the prefix: it is long enough to make any two names look alike.
    nearest = [full_names[close] for close in get_close_matches(bare_name, full_names, n=3)]
    if nearest:
        return UserError(f"model.name={name!r} is not a known model; did you mean {' or '.join(nearest)}?")
    bare = [known for kind in BARE for known in family_called(kind).names()]
    others = [f"{kind}:<name>" for kind in FAMILIES.names() if kind not in BARE]
    return UserError(f"model.name={name!r} is not a known model; use one of {', '.join([*bare, *others])}")
