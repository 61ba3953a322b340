"""A network in eval mode, compiled by OpenVINO for this processor."""

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from semisup.errors import UserError, in_one_line

TELEMETRY = "openvino_telemetry"
FURTHEST = 1e-4
"""How far an answer in float32 may be from torch's, as a share of the largest one, or of 1 where all are smaller."""
COMPARED = 3
"""Images of random pixels that both compute."""


class EngineError(Exception):
    """OpenVINO cannot compute this network."""


class OpenVino:
    """A part of a network, from images (B, C, H, W) to float32 (B, ...): compiled when it is first asked, for any B.

    The weights are those that the part has then. It computes with as many threads as torch has then. For uint8 and for
    float32 images it is compiled apart.
    """

    def __init__(self, part: Callable[[], nn.Module], precision: torch.dtype) -> None:
        self._part, self.precision = part, precision
        self._compiled: dict[torch.dtype, Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """What the part makes of a batch.

        Raises:
            UserError: OpenVINO cannot compute it.
        """
        if images.dtype not in self._compiled:
            try:
                self.prepare(images)
            except EngineError as error:
                raise refusal(error) from error
        return _answers(self._compiled[images.dtype], images)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OpenVino":
        """Itself: what is compiled cannot be copied, and does not change."""
        return self

    @property
    def description(self) -> str:
        """What decides its answers' bits beside the network."""
        return f"openvino {version('openvino')} {self.precision}"

    def prepare(self, images: Tensor) -> None:
        """Compile for batches like this one, and hold answers about a few images of random pixels against torch's.

        They are the same ones always: what is refused, or not, must not hang on which images come first.

        Raises:
            EngineError: it cannot be compiled, or says something else.
        """
        if images.dtype in self._compiled:
            return
        generator = torch.Generator().manual_seed(0)
        few = torch.randint(0, 256, (COMPARED, *images.shape[1:]), dtype=torch.uint8, generator=generator)
        few = few.to(images.dtype)
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            part = self._part()
            graph = _translated(part, few[:1])
            # In float32, whatever it is to compute in: so it is known that it is this network.
            ours, theirs = _answers(_compiled(graph, torch.float32), few), part(few).float()
        distance = math.inf
        if ours.shape == theirs.shape:
            distance = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))
        if not distance <= FURTHEST:
            raise EngineError(f"OpenVINO computes something else than this network (off by {distance:.1e})")
        self._compiled[images.dtype] = _compiled(graph, self.precision)


def refusal(error: EngineError) -> UserError:
    """What somebody is told who asks for OpenVINO with a network that it cannot compute."""
    return UserError(f"runtime.inference: {error}; use runtime.inference: torch")


def is_installed() -> bool:
    """Is OpenVINO there?"""
    return find_spec("openvino") is not None


def require_openvino() -> None:
    """It has to be there.

    Raises:
        UserError: it is not.
    """
    if not is_installed():
        raise UserError(
            "predictions are to be computed by OpenVINO, which is not installed; install it "
            "(pip install openvino), or use runtime.inference: torch"
        )


@cache
def _openvino() -> Any:
    """The library, without its telemetry: importing it would report to its maker that it was imported."""
    with _without(TELEMETRY):
        import openvino
        import openvino.tools.ovc.telemetry_utils
    return openvino


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Inside, importing this module says that it is not installed."""
    was = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if was is None:
            del sys.modules[module]
        else:
            sys.modules[module] = was


def _translated(part: nn.Module, image: Tensor) -> Any:
    """The part as OpenVINO's graph, for any number of images like this one (1, C, H, W).

    Raises:
        EngineError: it has layers that OpenVINO does not know.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and what OpenVINO reads
        try:
            # Of two images: what is made of one alone may be taken for a constant. Torch would trace it twice more, to
            # compare; what comes out is held against the network anyway, and half of the time is saved.
            two = torch.cat([image, image])
            traced = torch.jit.trace(part, two, strict=False, check_trace=False)
            graph = _openvino().convert_model(traced, example_input=two)
        except Exception as error:  # whatever a network may hold that it does not know
            raise EngineError(f"OpenVINO cannot read this network ({in_one_line(error, 200)})") from error
    graph.reshape([-1, *image.shape[1:]])
    return graph


def _compiled(graph: Any, precision: torch.dtype) -> Any:
    """A graph for as many threads as torch has."""
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # else the threads of two processes are bound to the same cores
    }
    return _openvino().Core().compile_model(graph, "CPU", settings)


def _answers(compiled: Any, images: Tensor) -> Tensor:
    (answers,) = compiled(images.contiguous().numpy(), share_inputs=True).values()
    return torch.from_numpy(answers)
