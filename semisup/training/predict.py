"""Forward passes without gradients, batch by batch, into tables of known size."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisup.config import ViewsConfig
from semisup.data.rows import Images, images_at_once
from semisup.networks.classifier import Classifier, deskewed_once
from semisup.system.randomness import torch_generator
from semisup.training.batches import augmented
from semisup.training.process_group import ALONE, ProcessGroup


def predict_probabilities(
    model: nn.Module,
    images: Images,
    batch_size: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Softmax probabilities, float32 (N, C) on the CPU; arguments as in :func:`predict_log_probabilities`."""
    return predict_log_probabilities(model, images, batch_size, on_batch).exp()


def predict_features(
    model: Classifier, images: Images, batch_size: int | None = None, *, tail: nn.Module | None = None
) -> Tensor:
    """What the last layer gets, float32 (N, D) on the CPU, of uint8 images (N, ...), in eval mode.

    Where that is a map of features, (B, D, H, W), the mean over the map. With the model's `tail` in place of all of
    it, `images` are :meth:`Classifier.activations`.
    """

    def pooled(batch: Tensor) -> Tensor:
        features = model.features(batch) if tail is None else model.features_behind(tail, batch)
        return features.mean(dim=(2, 3)) if features.dim() == 4 else features

    return _table(tail or model, images, batch_size, pooled)


def predict_log_probabilities(
    model: nn.Module,
    images: Images,
    batch_size: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
    see: Callable[[Tensor], Tensor] = lambda batch: batch,
) -> Tensor:
    """Logarithms of the softmax probabilities, float32 (N, C) on the CPU, of uint8 images (N, ...), in eval mode.

    They are the logits but for a constant of each image, so that a temperature may divide them. `on_batch(done, total)`
    is told how many images are done. `see` turns a batch on its device into what the model looks at. `batch_size`
    None: as :func:`semisup.data.rows.images_at_once` has it.
    """
    return _table(model, images, batch_size, lambda batch: model(see(batch)).log_softmax(dim=1), on_batch)


@torch.inference_mode()
def _table(
    model: nn.Module,
    images: Images,
    batch_size: int | None,
    answer: Callable[[Tensor], Tensor],
    on_batch: Callable[[int, int], None] | None = None,
) -> Tensor:
    """A row for each image, on the CPU, of what is made of batches on the model's device.

    It is allocated once and filled: appending batch after batch costs quadratic time.
    """
    model.eval()
    device = next(model.parameters()).device
    size = batch_size or images_at_once(images, device)
    table: Tensor | None = None
    for start in range(0, len(images), size):
        rows = answer(images[start : start + size].to(device, non_blocking=True))
        if table is None:
            table = torch.empty(len(images), rows.shape[1])
        table[start : start + len(rows)] = rows
        if on_batch is not None:
            on_batch(min(start + size, len(images)), len(images))
    assert table is not None, "no images to predict"
    return table


def predict_views(
    model: nn.Module,
    images: Images,
    config: ViewsConfig,
    *,
    seed: int,
    batch_size: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Logarithms of the mean softmax probabilities over the views of each image, float32 (N, C) on the CPU.

    The first view is the image as it is; the others are drawn from `seed`, batch by batch: with `batch_size` None of
    batches of the same size on every device. `on_batch(done, total)` counts every view.
    """
    if config.views == 1:
        return predict_log_probabilities(model, images, batch_size, on_batch)
    size = batch_size or images_at_once(images, torch.device("cpu"))
    total, generator = config.views * len(images), torch_generator(seed, "test-time views", images.device)
    mean: Tensor | None = None
    with deskewed_once(model) as upright:
        for number in range(config.views):

            def seen(batch: Tensor, first: bool = number == 0) -> Tensor:
                return upright(batch) if first else augmented(upright(batch), config.augment, generator)

            def told(done: int, _: int, before: int = number * len(images)) -> None:
                if on_batch is not None:
                    on_batch(before + done, total)

            table = predict_log_probabilities(model, images, size, told, seen)
            mean = table.exp() / config.views if mean is None else mean.add_(table.exp(), alpha=1 / config.views)
    assert mean is not None
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log()


@torch.inference_mode()
def validate(
    model: nn.Module, images: Images, labels: Tensor, batch_size: int | None = None, group: ProcessGroup = ALONE
) -> tuple[float, float]:
    """(mean cross-entropy in nats, accuracy as a fraction) on images (N, ...) with labels (N,), in eval mode."""
    model.eval()
    loss = torch.zeros((), device=labels.device)
    correct = torch.zeros((), device=labels.device, dtype=torch.int64)
    share, size = group.share(len(images)), batch_size or images_at_once(images, labels.device)
    for start in range(share.start, share.stop, size):
        rows = slice(start, min(start + size, share.stop))
        logits = model(images[rows]).float()
        loss += F.cross_entropy(logits, labels[rows], reduction="sum")
        correct += (logits.argmax(dim=1) == labels[rows]).sum()
    return float(group.total(loss)) / len(images), float(group.total(correct)) / len(images)
