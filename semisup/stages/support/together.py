"""A training stage in several processes: torch's own launcher begins them, and what the first one says is said here.

    python -m semisup.stages.support.together FOLDER

begins this machine's processes for the stage that a folder describes. `run_together` does so here; on further machines
it is for a person, in the environment that torch's launcher knows (PET_NNODES, PET_RDZV_ENDPOINT …).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NoReturn

from semisup.config import PipelineConfig
from semisup.errors import UserError
from semisup.pipeline.log import Silence, StageLog
from semisup.pipeline.specs import SPECS
from semisup.system.own_files import temporary_folder
from semisup.system.processes import machine, runs_here, started
from semisup.wording import counted

SharedStage = Literal["baseline", "pseudo_label", "joint", "labels"]
MODULE, WORK = "semisup.stages.support.together", "--work"
JOB, NEWS, OUTPUT = "job.json", "news.jsonl", "output.txt"
KILLS = (signal.SIGKILL, signal.SIGTERM)
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 10.0
"""For processes that have been asked to end; then they are killed."""


@dataclass(frozen=True)
class Job:
    """What the processes need to know."""

    stage: SharedStage
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    out_dir: str
    checkpoints: str | None
    asked_by: Mapping[str, Any]
    """machine, pid and start of the process that waits for the stage: without it, nobody needs the result."""
    weights: str = ""
    """Digest of the pretrained weights that the run has been promised to begin with; "": none."""

    def write(self, folder: Path) -> None:
        """Leave it where the processes look."""
        (folder / JOB).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """What was left."""
        return cls(**json.loads((folder / JOB).read_text(encoding="utf-8")))


def run_together(
    stage: SharedStage,
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    out_dir: Path,
    log: StageLog,
    *,
    checkpoints: Path | None = None,
) -> None:
    """Run a training stage in `runtime.processes` processes; arguments and results are those of the stage.

    Raises:
        UserError: that of the stage, or a process was killed.
        RuntimeError: a process failed in another way; the end of what it wrote is in the message.
    """
    from semisup.networks.pretrained import promised_weights
    from semisup.stages.support.models.configured import weights_files

    with _folder_for(checkpoints) as folder:
        pid = os.getpid()
        job = Job(
            stage,
            _shared_threads(config).model_dump(mode="json"),
            {role: str(path.resolve()) for role, path in inputs.items()},
            str(out_dir.resolve()),
            str(checkpoints.resolve()) if checkpoints else None,
            {"machine": machine(), "pid": pid, "started": started(pid)},
            promised_weights(weights_files(config)) if config.model.pretrained else "",
        )
        for name in (NEWS, OUTPUT):
            (folder / name).unlink(missing_ok=True)
        job.write(folder)
        if nodes := _nodes():
            log.info(f"{nodes} machines train together; on each of the others: python -m {MODULE} {folder}")
        with (folder / OUTPUT).open("wb") as output, _launched(folder, output) as launcher:
            news = _News(folder / NEWS, log)
            while launcher.poll() is None:
                news.pass_on()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            news.pass_on()
        if launcher.returncode:
            output_text = (folder / OUTPUT).read_text(errors="replace")
            _fail(config.runtime.processes, news.failure, launcher.returncode, output_text)


@contextmanager
def _folder_for(checkpoints: Path | None) -> Iterator[Path]:
    """Where the processes find their job: beside the checkpoints, which other machines may see as well."""
    if checkpoints is None:
        with temporary_folder() as temporary:
            yield temporary
        return
    folder = checkpoints.resolve() / "together"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _shared_threads(config: PipelineConfig) -> PipelineConfig:
    """Every process has its share of the CPU threads."""
    from semisup.stages.support.models.device import ALL_THREADS

    threads = max((config.runtime.threads or ALL_THREADS) // config.runtime.processes, 1)
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"threads": threads})})


def _nodes() -> int:
    """How many machines train together, if it is more than this one."""
    nodes = os.environ.get("PET_NNODES", "1")
    return int(nodes) if nodes.isdecimal() and int(nodes) > 1 else 0


@contextmanager
def _launched(folder: Path, output: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher, which ends with the block; Ctrl-C is for this process, not for those that it begins."""
    threads = Job.read(folder).config["runtime"]["threads"]
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class _News:
    """What the processes have written for people, line by line."""

    def __init__(self, path: Path, log: StageLog) -> None:
        self.path, self.log, self.read = path, log, 0
        self.failure: dict[str, Any] = {}

    def pass_on(self) -> None:
        """Tell the log what is new."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            complete, newline, _ = file.read().rpartition(b"\n")
        self.read += len(complete) + len(newline)
        for line in complete.splitlines():
            kind, *said = json.loads(line)
            match kind:
                case "info":
                    self.log.info(*said)
                case "warning":
                    self.log.warning(*said)
                case "metrics":
                    self.log.metrics(*said)
                case "progress":
                    self.log.progress(*said)
                case "mistake":
                    self.failure = {"mistake": said[0]}
                case "failed":
                    self.failure = {"process": said[0], "status": said[1]} | self.failure


def _fail(processes: int, failure: Mapping[str, Any], launcher_status: int, output: str) -> NoReturn:
    if "mistake" in failure:
        raise UserError(failure["mistake"])
    who = f"process {failure['process']}" if failure else "the launcher"
    number = -failure.get("status", launcher_status)
    if number in KILLS:
        raise UserError(
            f"runtime.processes={processes}: {who} was killed ({signal.Signals(number).name}), perhaps for want of "
            "memory; run again, and training goes on from its last checkpoint"
        )
    raise RuntimeError(
        f"a stage in {counted(processes, 'process')} failed, {who} first; the end of what they wrote:\n{output[-4000:]}"
    )


# --- in the launcher --------------------------------------------------------------------------------------------------


def launch(folder: Path) -> int:
    """Begin this machine's processes and wait for them; the exit status."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    processes = Job.read(folder).config["runtime"]["processes"]
    arguments = [f"--nproc-per-node={processes}", *([] if _nodes() else ["--standalone"])]
    try:
        run(parse_args([*arguments, "-m", MODULE, str(folder), WORK]))
    except ChildFailedError as error:
        # When one is killed, the others fail for want of it: who was killed is the cause.
        rank, failure = min(error.failures.items(), key=lambda item: (item[1].exitcode >= 0, item[1].timestamp))
        _Relay(folder / NEWS).tell("failed", rank, failure.exitcode)
        return 1
    return 0


# --- in each process --------------------------------------------------------------------------------------------------


def work(folder: Path) -> int:
    """This process's part of the stage; the exit status."""
    import torch
    from torch import distributed

    from semisup.networks.pretrained import promise_weights
    from semisup.stages.support.models.configured import weights_files
    from semisup.training.process_group import Processes

    job = Job.read(folder)
    threading.Thread(target=_end_with, args=(job.asked_by,), daemon=True).start()
    config = PipelineConfig.model_validate(job.config)
    device = torch.device("cpu")
    if config.runtime.device != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if job.weights and config.model.pretrained:
        promise_weights(weights_files(config), job.weights)
    # One process may wait for another as long as a stage may take.
    patience = timedelta(seconds=config.runtime.stage_timeout)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    group = Processes.of_the_group(device)
    first = group.rank == 0
    log = _Relay(folder / NEWS) if first else Silence()
    try:
        with temporary_folder() as elsewhere:
            SPECS[job.stage].function(
                config,
                {role: Path(path) for role, path in job.inputs.items()},
                Path(job.out_dir) if first else elsewhere,
                log,
                Path(job.checkpoints or folder),
                group=group,
            )
    except UserError as error:
        _Relay(folder / NEWS).tell("mistake", str(error))  # it may be one of this machine alone
        return 2
    finally:
        distributed.destroy_process_group()
    return 0


def _work_and_end(folder: Path) -> NoReturn:
    from semisup.training.process_group import end_process

    try:
        status = work(folder)
    except Exception:
        traceback.print_exc()
        status = 1
    end_process(status)


class _Relay:
    """A log whose lines another process passes on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def info(self, message: str) -> None:
        """Pass on."""
        self.tell("info", message)

    def warning(self, message: str) -> None:
        """Pass on."""
        self.tell("warning", message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Pass on."""
        self.tell("metrics", dict(values), step)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Pass on."""
        self.tell("progress", done, total, note)

    def tell(self, *said: Any) -> None:
        """One line, whole or not at all."""
        with self.path.open("ab") as file:
            file.write(json.dumps(said).encode() + b"\n")


def _end_with(asked_by: Mapping[str, Any]) -> None:
    """Whoever waits for the stage may be killed, or the launcher; then nobody would tell this process to end."""
    launcher = os.getppid()
    while asked_by["machine"] != machine() or runs_here(asked_by["pid"], asked_by["started"]):
        if os.getppid() != launcher:
            break
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[2:] != [WORK]:
        sys.exit(launch(Path(sys.argv[1])))
    _work_and_end(Path(sys.argv[1]))
