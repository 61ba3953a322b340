"""Configs drawn from the schema, most of them absurd, each tried to its end in a process that may be lost.

What is drawn: one to four keys of a config that trains in a second on 50 images, each with a value of its type:
sensible, at the ends of its range, or beyond. Not drawn is what may rightly take minutes: `runtime.compile` and
downloads; and of long trainings only the first epochs are run.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semisup.config import PipelineConfig

LONGEST = 60.0
"""Seconds: whoever takes longer is said to hang."""
FIRST_EPOCHS = 3
NOT_DRAWN = {"runtime.compile", "data.download", "model.download", "data.root", "data.url", "name"}
NUMBERS: tuple[Any, ...] = (
    0,
    1,
    2,
    3,
    -1,
    0.5,
    0.999,
    1.0,
    7,
    50,
    1000,
    10**30,
    1e300,
    1e-320,
    -0.0,
    "x",
    True,
    None,
    [],
    {},
)
WORDS: tuple[Any, ...] = (
    "",
    " ",
    ".",
    "..",
    "x",
    "a/b",
    "ü",
    "a\nb",
    "a" * 5000,
    "3 steps",
    "0.5s",
    "1e9 h",
    "20 GB",
    "all",
    3,
    None,
    [1],
)
BASE: dict[str, Any] = {
    "name": "absurd",
    "data": {"name": "folder", "size": 8, "channels": "gray"},
    "split": {"labeled_per_class": 2, "validation_per_class": 1},
    "model": {"width": 0.25},
    "baseline": {"epochs": 2, "batch_size": 6},
    "pseudo_label": {"threshold": 0.3},
    "joint": {"epochs": 2, "batch_size": 6, "unlabeled_batch_size": 8},
    "runtime": {"device": "cpu", "threads": 1},
}


@dataclass(frozen=True)
class Outcome:
    """How one config ended."""

    overrides: Mapping[str, Any]
    end: str
    """refused, refused by the data, ended in a stage with one line, ran, traceback, hung, or died."""
    words: str
    seconds: float

    @property
    def fault(self) -> bool:
        """Is it one of ours?"""
        return self.end in {"traceback", "hung", "died"} or "\n" in self.words


def leaves(schema: Mapping[str, Any], section: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(dotted key, JSON schema) of every key that is no section."""
    for name, field in section.get("properties", {}).items():
        targets = [field, *field.get("anyOf", []), *field.get("oneOf", [])]
        inner = [target["$ref"].rpartition("/")[2] for target in targets if "$ref" in target]
        for reference in inner:
            yield from leaves(schema, schema["$defs"][reference], f"{at}{name}.")
        if not inner or len(targets) > 1:
            yield at + name, field


def value_for(field: Mapping[str, Any], rng: random.Random) -> Any:
    """A value for a key of that schema, right or wrong."""
    kinds = [field, *field.get("anyOf", []), *field.get("oneOf", [])]
    chosen = rng.choice(kinds)
    choices = [word for kind in kinds for word in kind.get("enum", [])]
    ends = [chosen[end] for end in ("minimum", "maximum", "default") if end in chosen]
    if chosen.get("type") == "array":
        return [value_for(chosen.get("items", {"type": "number"}), rng) for _ in range(rng.choice((0, 1, 2, 2, 3)))]
    if choices and rng.random() < 0.8:
        return rng.choice(choices)
    if chosen.get("type") == "boolean":
        return rng.choice((True, False))
    if chosen.get("type") in {"integer", "number"}:
        return rng.choice((*ends, *ends, *NUMBERS))
    return rng.choice((*ends, *WORDS))


def draw(seed: int, number: int) -> dict[str, Any]:
    """The overrides of one config: dotted key → value."""
    rng = random.Random(f"{seed} {number}")
    schema = PipelineConfig.model_json_schema()
    known = [leaf for leaf in leaves(schema, schema) if leaf[0] not in NOT_DRAWN]
    return {key: value_for(field, rng) for key, field in rng.sample(known, rng.choice((1, 1, 2, 3, 4)))}


def nested(overrides: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The base config on the images in `root`, with the overrides."""
    values: dict[str, Any] = json.loads(json.dumps(BASE))
    values["data"]["root"] = str(root / "images")
    values["runtime"]["state"] = str(root / "state")
    for key, value in overrides.items():
        *sections, leaf = key.split(".")
        at = values
        for section in sections:
            if not isinstance(at.get(section), dict):
                at[section] = {}
            at = at[section]
        at[leaf] = value
    return values


def draw_images(root: Path, seed: int) -> None:
    """Three classes that differ in brightness: 15 labeled images, 25 unlabeled ones, 9 for the test."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    places = {"labeled": 5, "test": 3}
    folders = [(f"{role}/{name}", count) for role, count in places.items() for name in ("dark", "gray", "light")]
    for place, count in (*folders, ("unlabeled", 25)):
        (root / place).mkdir(parents=True)
        for number in range(count):
            level = {"dark": 40, "gray": 120, "light": 210}.get(place.rpartition("/")[2], rng.integers(20, 230))
            pixels = np.clip(rng.normal(level, 25, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / place / f"{number}.png")


def attempt(overrides: Mapping[str, Any], root: Path) -> tuple[str, str]:
    """(how it ended, its words): validate, look before starting, run every stage as a plain function."""
    from semisup.config.files import validate
    from semisup.errors import UserError
    from semisup.pipeline.plan import plan
    from semisup.stages.preflight.check import check
    from semisup.stages.running import run_steps

    at = "refused"
    try:
        config = validate(nested(overrides, root), source="absurd.yaml")
        at = "refused by the data"
        check(config)
        at = "ended in a stage with one line"
        shorter = {
            stage: train.model_copy(update={"epochs": min(train.epochs, FIRST_EPOCHS)})
            for stage, train in (("baseline", config.baseline), ("joint", config.joint))
        }
        config = config.model_copy(update=shorter)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            run_steps(plan(config), config, Path(scratch))
    except UserError as error:
        return at, str(error)
    except Exception:
        return "traceback", traceback.format_exc()
    return "ran", ""


def serve() -> None:
    """A worker: reads overrides from stdin, one JSON object a line, and answers each with a line."""
    root = Path(sys.argv[1])
    for line in sys.stdin:
        print("\0" + json.dumps(attempt(json.loads(line), root)), flush=True)


class Worker:
    """A process that tries configs, started anew when one has taken it along."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process: subprocess.Popen[str] | None = None

    def ask(self, overrides: Mapping[str, Any]) -> Outcome:
        """Try one config."""
        import selectors

        process = self.process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        started, answer = time.perf_counter(), ""
        try:
            process.stdin.write(json.dumps(overrides) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._lost(overrides, "died", started)
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while not answer.startswith("\0"):
                left = LONGEST - (time.perf_counter() - started)
                if left <= 0 or not waiting.select(left):
                    return self._lost(overrides, "hung", started)
                answer = process.stdout.readline()
                if not answer:
                    return self._lost(overrides, "died", started)
        end, words = json.loads(answer[1:])
        return Outcome(overrides, end, words, time.perf_counter() - started)

    def _start(self) -> "subprocess.Popen[str]":
        code = "from benchmarks.robustness.random_configs import serve; serve()"
        command = [sys.executable, "-c", code, str(self.root)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.root / "cache")}
        with (self.root / "stderr").open("a") as errors:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def _lost(self, overrides: Mapping[str, Any], end: str, started: float) -> Outcome:
        return Outcome(overrides, end, f"status {self.close()}", time.perf_counter() - started)

    def close(self) -> int | None:
        """End the process; its status."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return process.wait()


def try_all(count: int, seed: int, workers: int, only: int | None = None) -> dict[str, Any]:
    """`count` configs; how they ended, and every fault."""
    numbers = [only] if only is not None else list(range(count))
    with tempfile.TemporaryDirectory(prefix="semisup-configs-") as scratch, ThreadPoolExecutor(workers) as threads:
        jobs = []
        for worker in range(workers):
            root = Path(scratch) / str(worker)
            draw_images(root / "images", seed)
            jobs.append(threads.submit(_try_some, root, [(n, draw(seed, n)) for n in numbers[worker::workers]]))
        outcomes = [outcome for job in jobs for outcome in job.result()]
    ends = Counter(outcome.end for _, outcome in outcomes)
    return {
        "configs": len(outcomes),
        **dict(sorted(ends.items())),
        "longest, seconds": round(max(outcome.seconds for _, outcome in outcomes), 1),
        "problems": [
            f"{number}: {outcome.end} {json.dumps(outcome.overrides)[:300]} {outcome.words[-400:]}"
            for number, outcome in sorted(outcomes, key=lambda pair: pair[0])
            if outcome.fault
        ],
    }


def _try_some(root: Path, drawn: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, Outcome]]:
    worker, outcomes = Worker(root), []
    try:
        for number, overrides in drawn:
            outcome = worker.ask(overrides)
            if outcome.fault or number % 50 == 0:
                print(f"config {number}: {outcome.end} {outcome.words[-200:]!r}", flush=True)
            outcomes.append((number, outcome))
    finally:
        worker.close()
    return outcomes
