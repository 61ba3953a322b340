"""Which engine computes a network's answers faster on this machine: measured once, and remembered."""

import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from filelock import FileLock
from torch import Tensor, nn

from semisup.data.own_images.decoded.cache import KEPT_SPEEDS
from semisup.data.rows import images_at_once
from semisup.networks.classifier import Classifier, Engine, EngineName, as_predicting
from semisup.networks.inference.engine import EngineError, OpenVino, is_installed, refusal, require_openvino
from semisup.system.memory import keep_for_reuse
from semisup.system.own_files import aside, mark

Asked: TypeAlias = Literal["auto", "torch", "openvino"]
CPU_FACTS = Path("/proc/cpuinfo")
LEAST_WORK = 2.0
"""Processor seconds: for less, nobody waits for OpenVINO to be imported and a network to be translated."""
TURNS = 5
FEWEST_TURNS = 2
CLEARLY = 0.9
"""Of torch's time: what is not clearly faster is not worth other bits."""
BEYOND_DOUBT = 1.5
"""Times CLEARLY, or less by as much: where every turn says so, no further one is needed."""


@dataclass(frozen=True)
class Speeds:
    """Processor seconds that were measured: of an image, and once for OpenVINO to translate the network.

    Of the processor, not on the wall: what else the machine does at that moment must not decide for all runs to come.
    """

    torch: float
    openvino: float
    translation: float

    def faster(self, images: int) -> EngineName:
        """What computes so many images sooner."""
        ours = images * self.openvino + self.translation
        return "openvino" if self.openvino <= CLEARLY * self.torch and ours < images * self.torch else "torch"


def settle(model: Classifier, asked: Asked, image_shape: tuple[int, int, int], images: int, folder: Path) -> None:
    """Decide what a fresh model on a CPU is predicted by, and have what of it stays as it is computed by that.

    `asked` is `runtime.inference`; with "auto" it depends on `images`, how many of `image_shape` (C, H, W) there are.

    Raises:
        UserError: OpenVINO is asked for and missing.
    """
    chosen: EngineName = asked if asked != "auto" else choose(model, image_shape, images, folder)
    predict_by(model, chosen, frozen_alone=True)


def predict_by(model: nn.Module, name: EngineName, *, frozen_alone: bool = False) -> None:
    """Have a model on a CPU, or all members of an ensemble, computed by this engine in eval mode.

    `frozen_alone`: only what is frozen of them, for the rest is still to be trained.

    Raises:
        UserError: it is OpenVINO, and missing.
    """
    if name == "openvino":
        require_openvino()
    for part in model.modules():
        if isinstance(part, Classifier):
            part.predicted_by = name
            wanted = part.frozen or part.last_blocks or not frozen_alone
            part.engine = engine_of(part) if name == "openvino" and wanted else None


def make_ready(model: nn.Module, image_shape: tuple[int, ...], asked: Asked) -> None:
    """Have the engines of a model, or of all members of an ensemble, compiled for images (C, H, W).

    Where one of them cannot compute its network, torch computes the whole model. `asked` is `runtime.inference`.

    Raises:
        UserError: OpenVINO cannot compute the network, and is asked for.
    """
    blank = torch.zeros((1, *image_shape), dtype=torch.uint8)
    try:
        with as_predicting(model):
            for part in model.modules():
                if isinstance(part, Classifier) and part.engine is not None:
                    part.engine.prepare(part.asked_of_engine(blank))
    except EngineError as error:
        if asked == "openvino":
            raise refusal(error) from error
        predict_by(model, "torch")


def choose(model: Classifier, image_shape: tuple[int, int, int], images: int, folder: Path) -> EngineName:
    """What computes the answers about so many images (C, H, W) on a CPU sooner.

    What was measured once on this machine counts from then on: the choice must not follow every breath of it. It is
    kept in `folder`. A network that OpenVINO cannot compute is torch's.
    """
    if not is_installed():
        return "torch"
    batch = _noise(image_shape)
    key = _key(model, batch)
    if (known := _remembered(folder, key)) is not None:
        return "torch" if images * known.torch < LEAST_WORK else known.faster(images)
    keep_for_reuse()
    with _asked(model) as ask:
        ask(batch, None)  # the first pass prepares kernels
        if images * ask(batch, None) / len(batch) < LEAST_WORK:
            return "torch"
    with suppress(OSError):  # a full disk, or one that cannot be written: then it is measured again
        mark(folder)
        with FileLock(folder / f".{KEPT_SPEEDS}.lock"):  # processes that measure at a time would measure each other
            if (known := _remembered(folder, key)) is None:
                known = measure(model, batch)
                _remember(folder, key, known)
    return (known or measure(model, batch)).faster(images)


def hasten(model: Classifier, image_shape: tuple[int, int, int], images: int, folder: Path) -> None:
    """Have a trained model on a CPU computed by what is faster for so many images, in what it computes in now."""
    predict_by(model, choose(model, image_shape, images, folder))
    make_ready(model, image_shape, "auto")


def _noise(image_shape: tuple[int, int, int]) -> Tensor:
    """A batch of random pixels, uint8 (B, C, H, W), of as many images as are looked at at once."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, *image_shape), dtype=torch.uint8, generator=generator)
    return image.expand(images_at_once(image, image.device), *image_shape).contiguous()


def measure(model: Classifier, batch: Tensor) -> Speeds:
    """Both in turns, the median of each; of a network that OpenVINO cannot compute it takes for ever.

    There are TURNS of them, and fewer where those that were agree beyond doubt.
    """
    engine = engine_of(model)
    with _asked(model) as ask:
        began = time.process_time()
        try:
            engine.prepare(model.asked_of_engine(batch))
        except EngineError:
            return Speeds(0.0, 1.0, 0.0)
        translation = time.process_time() - began
        ask(batch, engine)  # the first pass prepares kernels; torch has had its own
        turns: list[tuple[float, float]] = []
        while len(turns) < TURNS and not (len(turns) >= FEWEST_TURNS and _agree(turns)):
            turns.append((ask(batch, None), ask(batch, engine)))
    by_torch, by_openvino = (statistics.median(seconds) / len(batch) for seconds in zip(*turns, strict=True))
    return Speeds(by_torch, by_openvino, translation)


def _agree(turns: Sequence[tuple[float, float]]) -> bool:
    """Do turns, seconds of torch and of OpenVINO, all say which is faster, beyond doubt?"""
    ratios = [openvino / max(by_torch, 1e-9) for by_torch, openvino in turns]
    return max(ratios) <= CLEARLY / BEYOND_DOUBT or min(ratios) >= CLEARLY * BEYOND_DOUBT


def engine_of(model: Classifier) -> OpenVino:
    """The part of a model that an engine computes, as OpenVINO will: with the weights of when it is first asked."""
    return OpenVino(lambda: model.inferred_part, model.precision)


@contextmanager
def _asked(model: Classifier) -> Iterator[Callable[[Tensor, Engine | None], float]]:
    """Inside, the model is in eval mode and says how many processor seconds a batch takes with an engine or none."""
    asked = model.seen_by_learning if model.frozen or model.last_blocks else model

    def ask(batch: Tensor, engine: Engine | None) -> float:
        model.engine, began = engine, time.process_time()
        asked(batch)
        return time.process_time() - began

    before = model.engine
    try:
        # Not in inference mode: what a network keeps for later passes could then not be trained with.
        with as_predicting(model), torch.no_grad():
            yield ask
    finally:
        model.engine = before


def _key(model: Classifier, batch: Tensor) -> str:
    """What decides how fast both are."""
    layers = repr(model.backbone)
    facts = [
        layers.replace(repr(model.head), "") if model.frozen else layers,
        model.last_blocks,
        str(model.precision),
        list(batch.shape),
        list(model.asked_of_engine(batch[:1]).shape),
        torch.get_num_threads(),
        _processor(),
        torch.backends.cpu.get_cpu_capability(),
        torch.__version__,
        version("openvino"),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _processor() -> str:
    """What this machine's processor calls itself: a folder may be seen by several machines."""
    if CPU_FACTS.exists():
        lines = CPU_FACTS.read_text(encoding="utf-8").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return platform.processor()


def _remembered(folder: Path, key: str) -> Speeds | None:
    try:
        return Speeds(**json.loads((folder / KEPT_SPEEDS).read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, TypeError, KeyError):  # nothing, or nothing that is ours
        return None


def _remember(folder: Path, key: str, speeds: Speeds) -> None:
    known = {}
    with suppress(OSError, ValueError):
        known = json.loads((folder / KEPT_SPEEDS).read_text(encoding="utf-8"))
    unfinished = aside(folder / KEPT_SPEEDS)
    unfinished.write_text(json.dumps(known | {key: asdict(speeds)}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / KEPT_SPEEDS)
