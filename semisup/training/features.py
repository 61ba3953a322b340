"""What a network makes of an image before its last layer decides."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semisup.data.rows import Images


def last_layer(model: nn.Module, num_classes: int) -> nn.Linear | None:
    """The fully connected layer that gives the logits; None where a network ends with another kind."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return layers[-1] if layers and layers[-1].out_features == num_classes else None


@torch.inference_mode()
def predict_with_features(
    model: nn.Module,
    images: Images,
    num_classes: int,
    batch_size: int = 1024,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Log probabilities (N, C), and what the last layer gets, (N, D), float32 on the CPU, of uint8 images (N, ...).

    Where the last layer is no fully connected one, the log probabilities themselves stand for the features.
    """
    model.eval()
    device = next(model.parameters()).device
    seen: list[Tensor] = []
    layer = last_layer(model, num_classes)
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) if layer is not None else None
    tables: tuple[Tensor, Tensor] | None = None
    try:
        for start in range(0, len(images), batch_size):
            seen.clear()
            part = slice(start, min(start + batch_size, len(images)))
            logarithms = model(images[part].to(device, non_blocking=True)).log_softmax(dim=1)
            features = seen[0].flatten(1) if seen else logarithms
            if tables is None:
                tables = torch.empty(len(images), num_classes), torch.empty(len(images), features.shape[1])
            tables[0][part], tables[1][part] = logarithms, features
            if on_batch is not None:
                on_batch(part.stop, len(images))
    finally:
        if hook is not None:
            hook.remove()
    assert tables is not None, "no images to predict"
    return tables
