"""What a config asks of this machine and of these images, held against what there is."""

import os

import torch
from torch import Tensor, nn

from semisup.config import PipelineConfig
from semisup.data.own_images import own_images
from semisup.errors import UserError
from semisup.networks.classifier import Classifier
from semisup.networks.models import build_model
from semisup.wording import counted

BYTES = 4
"""Of a float32."""
COPIES = 4
"""Of every weight while training: itself, its gradient, and two figures of Adam's."""
USUAL_WIDTH, USUAL_PIXELS = 4.0, 512 * 512
MOST_COPIES, USUAL_BATCH = 10, 1_024
"""Of an image in a batch, and images that any batch may hold."""
FEWEST_AT_A_TIME = 4
"""So many processes are a fair try on any machine."""
GB = 1e9


def check_network(config: PipelineConfig, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Where a network or its images are unusually large: does it fit into memory, looked at before it is built?

    Without memory of its own it takes torch seconds of imports, which nobody should wait for who asks for less.

    Raises:
        UserError: it does not.
    """
    settings = config.model
    if settings.width <= USUAL_WIDTH and image_shape[1] * image_shape[2] <= USUAL_PIXELS:
        return
    channels = 3 if settings.imagenet else image_shape[0]
    model = build_model(
        settings.name,
        image_shape,
        num_classes,
        mean=[0.5] * channels,
        std=[0.5] * channels,
        width=settings.width,
        dropout=settings.dropout,
        batch_norm=settings.batch_norm,
        seed=0,
        device="meta",
    )
    check_memory(config, model, image_shape)


def check_memory(config: PipelineConfig, model: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Does the network fit into memory with the images of one step?

    Raises:
        UserError: it does not.
    """
    weights, activations = _floats(model, image_shape)
    joint = config.joint
    steps = {
        "baseline.batch_size": config.baseline.batch_size,
        "joint.batch_size and joint.unlabeled_batch_size": joint.batch_size + joint.unlabeled_batch_size,
    }
    key, images = max(steps.items(), key=lambda step: step[1])
    there = _memory(config)
    if weights * COPIES * BYTES > there:
        raise UserError(
            f"model.width={config.model.width:g}: {config.model.name} then has {weights:,} weights, which take "
            f"{weights * COPIES * BYTES / GB:,.0f} GB to train, but there are {there / GB:,.0f} GB of memory; use less"
        )
    if (wanted := (weights * COPIES + activations * images) * BYTES) > there:
        raise UserError(
            f"{key}: a step with {counted(images, 'image')} of {image_shape[1]}×{image_shape[2]} takes at least "
            f"{wanted / GB:,.0f} GB with {config.model.name}, but there are {there / GB:,.0f} GB of memory; use "
            "smaller batches or a smaller model.width"
        )


def check_processes(config: PipelineConfig) -> None:
    """Is there an image of every batch, and a GPU if any, or a core, for each of the processes?

    Raises:
        UserError: there is not.
    """
    processes = config.runtime.processes
    smallest = min(config.baseline.batch_size, config.joint.batch_size, config.joint.unlabeled_batch_size)
    if processes > smallest:
        raise UserError(
            f"runtime.processes={processes}, but the smallest batch of this config has "
            f"{counted(smallest, 'image')}: some processes would get none; use at most {smallest}"
        )
    if config.runtime.device != "cpu" and 0 < torch.cuda.device_count() < processes:
        raise UserError(
            f"runtime.processes={processes}, but there are {torch.cuda.device_count()} GPUs, one for each process; "
            "use fewer processes, or runtime.device: cpu"
        )
    most = max(os.cpu_count() or 1, FEWEST_AT_A_TIME)
    if not _on_gpu(config) and processes > most:
        raise UserError(f"runtime.processes={processes} is more than this machine has processors; use at most {most}")


def check_targets(config: PipelineConfig, num_classes: int) -> None:
    """Does a smoothed label still name its own class?

    Raises:
        UserError: it does not.
    """
    for stage, train in (("baseline", config.baseline), ("joint", config.joint)):
        smoothing = train.label_smoothing
        most = 1 - 1 / num_classes
        if smoothing.spread == "others" and smoothing.epsilon >= most:
            raise UserError(
                f"{stage}.label_smoothing.epsilon={smoothing.epsilon:g}, spread over the other "
                f"{counted(num_classes - 1, 'class')}, "
                f"makes a wrong class at least as likely as the true one; use less than {most:.3g}"
            )


def check_batches(config: PipelineConfig, labeled: int, unlabeled: int) -> None:
    """Is a batch not the same few images over and over?

    A batch may hold images twice, but a step with thousands of copies is as long as it is useless.

    Raises:
        UserError: it is.
    """
    sizes = {
        "baseline.batch_size": (config.baseline.batch_size, labeled, "labeled"),
        "joint.batch_size": (config.joint.batch_size, labeled, "labeled"),
        "joint.unlabeled_batch_size": (config.joint.unlabeled_batch_size, unlabeled, "unlabeled"),
    }
    for key, (size, images, kind) in sizes.items():
        if size > (most := max(MOST_COPIES * images, USUAL_BATCH)):
            raise UserError(f"{key}={size}, but there are {images:,} {kind} images; use at most {most}")


def check_unlabeled(config: PipelineConfig, left: int, num_classes: int) -> list[str]:
    """Are there unlabeled images to learn from, of which `left` are? Warnings, one line each.

    Raises:
        UserError: `split.calibration_images` takes nearly all of them.
    """
    taken = config.split.calibration_images
    if left >= num_classes:
        return []
    if taken > left:
        raise UserError(
            f"split.calibration_images={taken} leaves {left} of {counted(left + taken, 'image')} unlabeled, fewer "
            f"than there are classes; use at most {max(left + taken - num_classes, 0)}, better far fewer"
        )
    return [
        f"there {'is' if left == 1 else 'are'} {left} unlabeled image{'' if left == 1 else 's'} of {num_classes} "
        "classes, too few to learn anything from; add more, or lower split.labeled_per_class"
    ]


def idle_in_folder(config: PipelineConfig) -> list[str]:
    """Keys of the split that a folder of one's own makes idle, by naming roles itself; one line each."""
    if not config.data.facts.own_images:
        return []
    own, lines = own_images(config.data), []
    if own.named_test and config.data.test_share != type(config.data)().test_share:
        lines.append(f"data.test_share={config.data.test_share:g}, but your images name the test images; leave it out")
    wanted = config.split.validation_per_class
    named = wanted and (own.given == "validation").any()  # 0 draws none, and takes none away
    if named and wanted != type(config.split)().validation_per_class:
        lines.append(f"split.validation_per_class={wanted}, but your images name the validation images; leave it out")
    return lines


def _floats(model: Classifier, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """(weights, activations of one image that training has to keep at the least), in numbers."""
    counted: list[int] = []

    def count(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):
            counted.append(output.numel())

    layers = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    weights = list(model.backbone.parameters())
    was_training = model.training
    with torch.no_grad():
        seen = len(model.preprocess.mean), *image_shape[1:]
        model.eval().backbone(torch.zeros(1, *seen, device=weights[0].device))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return sum(weight.numel() for weight in weights), max(counted) if model.frozen else sum(counted)


def _on_gpu(config: PipelineConfig) -> bool:
    return config.runtime.device != "cpu" and torch.cuda.is_available()


def _memory(config: PipelineConfig) -> int:
    """Bytes, of the device that trains."""
    if _on_gpu(config):
        return int(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
