"""Where and how fast, and where the records go; nothing here is meant to change a result."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from semisup.config.sections.base import Section, no_way_up


def dask_address(text: str) -> str:
    """The text, if it is the address of a Dask scheduler.

    Raises:
        ValueError: it is not.
    """
    host = r"(\w([\w.-]*\w)?|\[[0-9a-fA-F:.]+\])"
    if not re.fullmatch(rf"(tcp|tls)://{host}:\d{{1,5}}", text):
        raise ValueError(f"is {text!r}; use the address of a Dask scheduler, such as tcp://host:8786")
    return text


class RuntimeConfig(Section):
    """Where, how fast and how safely; none of it is meant to change a result beyond floating point."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where it is present."""
    threads: Annotated[int, Field(ge=1, le=1_024)] | None = None
    """CPU threads of torch, of all processes together; unset: all cores. Bits are the same only for the same number."""
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that train the baseline and the student together, each with its share of every batch, of the threads,
    and with a GPU of its own where there are some. They take ten seconds to begin. Floating point and dropout apart,
    the result is that of one process."""
    channels_last: bool | None = None
    """Keep each pixel's channels together in memory: convolutions are then faster on most processors and GPUs. Unset:
    of networks of photographs with pretrained weights."""
    inference: Literal["auto", "torch", "openvino"] = "auto"
    """What computes features of frozen networks, labels, and all other predictions of trained ones on a CPU. `auto`:
    OpenVINO where that is measured to be faster, else torch; the answers about a network always come from the one that
    is noted beside its weights. In float32 their logits agree to 1e-4; a frozen network computes in `model.precision`
    with both. `torch` or `openvino`: that one, for bits that do not hang on what was measured."""
    compile: bool = False
    """Have torch compile the network that is trained, which takes up to a minute for each stage and changes rounding.
    Needs a C++ compiler, on a GPU also Triton."""
    parallel_members: Annotated[int, Field(ge=1, le=100)] = 2
    """Members of a bagging ensemble that are trained at the same time, each in a process with one CPU thread. A process
    takes ten seconds to begin: for members that are trained in less, 1 is faster."""
    dask: Annotated[str, AfterValidator(dask_address)] | None = None
    """Address of a Dask scheduler, such as `tcp://host:8786`: several members of a bagging ensemble are then trained at
    the same time by its workers, which must see the same folder and store. Unset: in processes of this machine."""
    state: Path = Path(".semisup")
    """Folder for checkpoints and unfinished work, kept across crashes; relative to the working folder. Of a folder that
    holds anything else, the subfolder `.semisup` is used."""
    stage_timeout: Annotated[int, Field(ge=1, le=31_536_000)] = 86_400
    """Seconds after which a stage is ended as failed."""


class TrackingConfig(Section):
    """Where MLflow finds the runs; the store itself is named by MLFLOW_TRACKING_URI."""

    experiment: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(no_way_up)] = "semisup"
    """MLflow experiment of the runs."""
    system_metrics: bool = True
    """Sample CPU, memory and GPU use of every stage."""
