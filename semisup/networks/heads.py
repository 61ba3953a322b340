"""Which layer of a network gives its logits."""

from torch import nn


def head_name(backbone: nn.Module) -> str:
    """Name of the last layer, whose outputs are the logits: the only one that depends on the number of classes.

    timm's networks say which one it is; of others it is the last one.
    """
    said = getattr(backbone, "get_classifier", None)
    found = said() if said is not None else None
    last = found if isinstance(found, nn.Module) else backbone
    layers = {module for module in last.modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    names: list[str] = [name for name, module in backbone.named_modules() if module in layers]
    return names[-1]


def heads_of(backbone: nn.Module) -> tuple[str, ...]:
    """Names of all layers that give logits, where timm says so: some networks have a second one."""
    described = getattr(backbone, "pretrained_cfg", None) or {}
    named = described.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)
