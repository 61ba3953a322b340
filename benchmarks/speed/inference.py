"""What computes a trained network's answers: the build before there were engines, a plain loop, and what `auto` takes.

    python -m benchmarks.speed.inference [--quick]

Networks of photographs at 224 pixels, as features of a frozen network (in bfloat16 where the processor has it) and as a
whole network's predictions (float32), and the small CNN's pass over images of 28 pixels. One thread, the processor's
own time, sides in turns; each engine has been prepared and is warm. "Before" is what stages did: torch in channels-last
and bfloat16 for what is frozen, torch as it comes for whole networks. A plain loop is that of the libraries' examples:
float32, batches of 32, memory as it comes from the system, in a process of its own.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.output import Figure, in_turns, publish_measured
from semisup.data.rows import images_at_once
from semisup.frozen.network import EmbeddedProbe, ProbedClassifier
from semisup.networks.classifier import Classifier, EngineName
from semisup.networks.inference.choice import predict_by
from semisup.networks.models import build_model
from semisup.system.memory import keep_for_reuse
from semisup.training.optimization.precision import has_bfloat16
from semisup.training.predict import predict_log_probabilities

SIDE = 224
NETWORKS = {
    "efficientnet_lite0": ("≥ 3.0", "≥ 8", 40),
    "torchvision:resnet18": ("≥ 2", "≥ 3", 20),
    "timm:vit_small_patch16_224": ("≥ 2", "≥ 3", 10),
}
"""Network → its goals against before and against a plain loop, and how many images are looked at in a turn."""
PLAIN_BATCH = 32
ENGINES: tuple[EngineName, ...] = ("torch", "openvino")
SMALL, SMALL_SIDE = 16_384, 28


def main() -> None:
    """Print and save the figures."""
    publish_measured("inference", measure)


def measure(*, quick: bool) -> list[Figure]:
    """Each network before and now."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_for_reuse()
    figures = []
    for name in list(NETWORKS)[: 1 if quick else None]:
        figures += _photographs(name, turns=3 if quick else 7)
    figures += _small_cnn(turns=3 if quick else 7)
    torch.set_num_threads(threads)
    return figures


def _photographs(name: str, turns: int) -> list[Figure]:
    to_before, to_plain, count = NETWORKS[name]
    images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        plain = pool.apply(_plain, (name, turns // 2 + 1))
        frozen, whole = _frozen(name), _network(name)
        sides: dict[str, Callable[[], float]] = {}
        for what, model in (("features", frozen), ("predictions", whole)):
            for engine in ENGINES:
                other = _frozen(name) if model is frozen else _network(name)
                predict_by(other, engine)
                sides[f"{what} by {engine}"] = _looking(other, images)
        times = in_turns(sides, turns)
        plain += pool.apply(_plain, (name, turns // 2 + 1))
    an_image = statistics.median(plain)
    figures = []
    for what, goal in (("features", to_before), ("predictions", to_before)):
        figures.append(
            Figure.ratio(f"{what}/s / before, {name}", times[f"{what} by torch"], times[f"{what} by openvino"], goal)
        )
    ours = [seconds / count for seconds in times["features by openvino"]]
    figures.append(Figure.of(f"features/s / a plain loop, {name}", [an_image / seconds for seconds in ours], to_plain))
    return figures


def _network(name: str) -> Classifier:
    return build_model(name, (3, SIDE, SIDE), 10, mean=[0.5] * 3, std=[0.25] * 3, seed=0).eval()


def _frozen(name: str) -> ProbedClassifier:
    model = _network(name)
    width = model.features(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    precision = torch.bfloat16 if has_bfloat16(torch.device("cpu")) else torch.float32
    return ProbedClassifier.upon(model, EmbeddedProbe(width, 128, 10), precision=precision).eval()


def _looking(model: Classifier, images: Tensor) -> Callable[[], float]:
    size = images_at_once(images, images.device)

    @torch.inference_mode()
    def look() -> float:
        began = time.process_time()
        for batch in images.split(size):
            if isinstance(model, ProbedClassifier):
                model.features(batch)
            else:
                model(batch)
        return time.process_time() - began

    return look


@torch.inference_mode()
def _plain(name: str, turns: int) -> list[float]:
    """CPU seconds of an image in each turn, in a process that keeps no memory for reuse."""
    torch.set_num_threads(1)
    backbone = _network(name).backbone
    batch = torch.rand(PLAIN_BATCH, 3, SIDE, SIDE)
    backbone(batch)
    seconds = []
    for _ in range(turns):
        began = time.process_time()
        backbone(batch)
        seconds.append((time.process_time() - began) / PLAIN_BATCH)
    return seconds


def _small_cnn(turns: int) -> list[Figure]:
    images = torch.randint(0, 256, (SMALL, 1, SMALL_SIDE, SMALL_SIDE), dtype=torch.uint8)
    shape = (1, SMALL_SIDE, SMALL_SIDE)
    bare, ours = (build_model("small_cnn", shape, 10, mean=[0.13], std=[0.31], width=2.0, seed=0).eval() for _ in "12")
    predict_by(ours, "openvino")
    ready = images[: images_at_once(images, images.device)].float()

    @torch.inference_mode()
    def forward() -> float:
        began = time.process_time()
        for _ in range(SMALL // len(ready)):
            bare(ready)
        return time.process_time() - began

    def passing() -> float:
        began = time.process_time()
        predict_log_probabilities(ours, images)
        return time.process_time() - began

    times = in_turns({"bare": forward, "ours": passing}, turns)
    return [Figure.ratio("pass of the small CNN by OpenVINO / bare forward", times["bare"], times["ours"], "≥ 1.3")]


if __name__ == "__main__":
    main()
