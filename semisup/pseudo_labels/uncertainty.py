"""How unsure a network is of its own predictions, by dropout, and what is sure enough to be learned from (UPS)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semisup.data.rows import Images, images_at_once
from semisup.system.randomness import derive_seed

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def mc_dropout(
    model: nn.Module, images: Images, passes: int, batch_size: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of the softmax over forward passes with dropout, float32 (N, C) each, on the CPU.

    Only dropout layers are in training mode: batch norm uses its running figures and keeps them. The deviation is that
    of a sample (divided by passes - 1), as in the authors' code. `images` are (N, ...), as the model takes them.
    The same arguments give the same figures, with `batch_size` None batches of the same size on every device; global
    generators and the model's modes are left as they were.

    Raises:
        ValueError: the model has no dropout layer of a probability above 0, or fewer than 2 passes.
    Source: Rizve et al. 2021 (arXiv 2101.06329), section 3, with 10 passes; Gal and Ghahramani 2016.
    """
    if passes < 2:
        raise ValueError(f"passes={passes}; a standard deviation needs at least 2")
    dropouts = _active_dropout(model)
    if not dropouts:
        raise ValueError("the model has no active dropout layer, so that its passes would all be equal; set a dropout")
    device = next(model.parameters()).device
    size = batch_size or images_at_once(images, torch.device("cpu"))
    mean: Tensor | None = None
    std: Tensor | None = None
    with _only_in_training(model, dropouts), _own_generator(device, seed), torch.inference_mode():
        for start in range(0, len(images), size):
            batch = images[start : start + size].to(device, non_blocking=True)
            draws = torch.stack([model(batch).softmax(dim=1) for _ in range(passes)])  # (passes, B, C)
            if mean is None or std is None:
                mean, std = (torch.empty(len(images), draws.shape[2]) for _ in range(2))
            std[start : start + len(batch)] = draws.std(dim=0, correction=1)
            mean[start : start + len(batch)] = draws.mean(dim=0)
    assert mean is not None, "no images to predict"
    assert std is not None
    return mean, std


def drops_out(model: nn.Module) -> bool:
    """Has the model a dropout layer of a probability above 0?"""
    return bool(_active_dropout(model))


def _active_dropout(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, DROPOUT) and module.p > 0]


def select(
    mean: Tensor,
    std: Tensor,
    *,
    positive_confidence: float = 0.7,
    positive_uncertainty: float = 0.05,
    negative_confidence: float = 0.05,
    negative_uncertainty: float = 0.005,
) -> tuple[Tensor, Tensor, Tensor]:
    """(accepted bool (N,), labels int64 (N,), negative bool (N, C)) of `mc_dropout`'s figures (N, C).

    labels: the argmax ŷ of the mean p, of every image. accepted: p_ŷ ≥ positive_confidence and u_ŷ ≤
    positive_uncertainty, with the deviation u. negative: p_k ≤ negative_confidence and u_k ≤ negative_uncertainty, but
    never ŷ, and never of an accepted image, as in the authors' code (nayeemrizve/ups, utils/pseudo_labeling_util.py).

    The default limits are that code's (train-cifar.py). It softens the negative ones' p and u by a temperature of 2,
    and balances the classes of the positive ones in the first 10 rounds; neither is done here.

    Source: Rizve et al. 2021 (arXiv 2101.06329), section 3.
    """
    confidence, labels = mean.max(dim=1)
    uncertainty = std.gather(1, labels[:, None]).squeeze(1)
    accepted = (confidence >= positive_confidence) & (uncertainty <= positive_uncertainty)
    negative = (mean <= negative_confidence) & (std <= negative_uncertainty) & ~accepted[:, None]
    return accepted, labels, negative.scatter(1, labels[:, None], False)


@contextmanager
def _only_in_training(model: nn.Module, modules: Sequence[nn.Module]) -> Iterator[None]:
    """These modules in training mode and all others in eval mode; then every module as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        for module in modules:
            module.train()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _own_generator(device: torch.device, seed: int) -> Iterator[None]:
    """Dropout knows no generator but the device's global one: that is seeded, and then put back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(derive_seed(seed, "mc_dropout"))
        else:
            torch.default_generator.manual_seed(derive_seed(seed, "mc_dropout"))
        yield
