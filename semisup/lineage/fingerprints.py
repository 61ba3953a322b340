"""Fingerprints and digests: which finished run may stand for which work. Pure hashing, no store.

A stage's **fingerprint** says what was asked: its name, the version of its code, the part of its config that can change
the result, the output digests of what it reads, and the data set's digest. Its **output digest** says what came out.
Digests are chained, not fingerprints: a baseline retrained to other weights makes all that follows stale, one
retrained to the same bits nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from semisup.budget import Budget
from semisup.config import PipelineConfig, flatten
from semisup.config.families import FAMILIES, JOINT, family_of
from semisup.config.methods import METHODS
from semisup.lineage.code_versions import code_version
from semisup.lineage.earlier import earlier_versions
from semisup.pipeline.specs import AnyConfig, StageSpec

MANIFEST = "manifest.json"
WITHOUT_EFFECT = (
    "data.root",
    "data.url",
    "data.download",
    "data.manifest",
    "data.features",
    "data.annotations",
    "data.max_broken",
    "data.cache",
    "data.cache_limit",
    "model.weights",
    "model.download",
    "pseudo_label.batch_size",
    "pseudo_label.drift_limit",
    "pseudo_label.teacher",
    "runtime",
    "tracking",
)
"""Keys and sections that cannot change a result beyond floating point: paths, speed, records. The teacher itself is an
input with a digest; which way it was found does not matter. Nor does the path of weights, whose digest counts
instead."""
YOUNGER = {"data.group", "model.center_crop", "pseudo_label.threshold.fdr"}
"""Keys that do not count where they are unset: there were results before there were such keys."""
OF_A_PROBE = {"model.mirror": False, "model.center_crop": None}
"""Keys at which only a probe looks, and what each counts as where there is none, whatever it says."""
SPEED = {"runtime.device", "runtime.threads", "runtime.processes", "runtime.channels_last", "runtime.compile"}
"""Keys that decide how many steps a second holds."""
VIEW_SUFFIXES = (".png", ".html", ".md")
TIMINGS = "timings.json"


@dataclass(frozen=True)
class Lineage:
    """Everything that a stage's result follows from."""

    stage: str
    code: str
    """Version of the stage's modules."""
    config: Mapping[str, Any]
    """Dotted key → plain value, of what can change the result."""
    upstream: Mapping[str, str]
    """What the stage calls an input → its output digest."""
    dataset: str
    """Digest of the images and labels."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex: equal exactly when all of it is."""
        return sha256(json.dumps(asdict(self), sort_keys=True, allow_nan=False).encode())

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Its own, and those under which earlier code left the same bits: runs of any of them may stand for it."""
        earlier = earlier_versions(self.stage, self.code)
        return (self.fingerprint, *(replace(self, code=code).fingerprint for code in earlier))

    def to_json(self) -> str:
        """As text, for the run's artifacts."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Lineage":
        """Read back."""
        return cls(**json.loads(text))

    def changes_since(self, old: "Lineage") -> list[str]:
        """What differs from an older run of the stage, one phrase each; empty when the fingerprints are equal."""
        changes = [
            f"{key} {_shown(old.config, key)} → {_shown(self.config, key)}"
            for key in sorted({*old.config, *self.config})
            if old.config.get(key) != self.config.get(key)
        ]
        changes += [
            f"input {role}"
            for role in sorted({*old.upstream, *self.upstream})
            if old.upstream.get(role) != self.upstream.get(role)
        ]
        if old.dataset != self.dataset:
            changes.append("data set")
        if old.code not in {self.code, *earlier_versions(self.stage, self.code)}:
            changes.append("code")
        return changes


def lineage_of(spec: StageSpec, config: AnyConfig, upstream: Mapping[str, str], dataset: str) -> Lineage:
    """The lineage of a stage about to run."""
    read = effective_config(config, spec) | _foreign_code(config, spec)
    return Lineage(spec.name, code_version(spec.name), read, dict(upstream), dataset)


def _foreign_code(config: AnyConfig, spec: StageSpec) -> dict[str, str]:
    """Key → version of the code that an installed package of somebody else's brings for it."""
    if not isinstance(config, PipelineConfig):
        return {}
    codes = {
        "joint.method": METHODS.code(config.joint.method),
        "model.name": JOINT.join(filter(None, (FAMILIES.code(family_of(part.name)) for part in config.model.parts))),
    }
    return {
        f"{key}.code": code for key, code in codes.items() if code and key.partition(".")[0] in _sections(config, spec)
    }


def _sections(config: AnyConfig, spec: StageSpec) -> set[str]:
    """What a stage looks at: `choose` looks at trainings only where it trains."""
    trains = isinstance(config, PipelineConfig) and config.model.train == "auto"
    idle = set() if spec.name != "choose" or trains else {"choose", "baseline", "joint"}
    return {*spec.sections} - idle


def effective_config(config: AnyConfig, spec: StageSpec) -> dict[str, Any]:
    """Dotted key → plain value of the keys that a stage looks at and that can change its result.

    How fast a machine is decides what a budget of time comes to, and the size of a batch what is drawn for its views.
    Only `model.train: auto` trains to choose, and spends `choose.budget` on it. An engine counts where one is
    asked for: to `auto` what any of them computed is as good, and which one did is part of what a stage leaves. What
    only a probe looks at counts as unset where there is none.
    """
    sections = _sections(config, spec)
    read = {key: value for key, value in flatten(config).items() if key.partition(".")[0] in sections}
    if isinstance(config, PipelineConfig) and not config.model.chooses:
        read |= {key: unset for key, unset in OF_A_PROBE.items() if key in read}
    for key in YOUNGER:
        if read.get(key) is None:
            read.pop(key, None)
    if read.get("data.channels") == "gray":
        read["data.channels"] = "grey"  # as it was spelled when there were results already
    trains_to_choose = isinstance(config, PipelineConfig) and config.model.train == "auto"
    budgets = [
        value
        for key, value in read.items()
        if key.endswith(".budget") and value is not None and (trains_to_choose or key != "choose.budget")
    ]
    counted: set[str] = set()
    if not all(Budget.parse(budget).reproducible for budget in budgets):
        counted |= SPEED
    if read.get("pseudo_label.test_time.views", 1) > 1 or read.get("pseudo_label.uncertainty.passes", 0):
        counted.add("pseudo_label.batch_size")
    if read.get("runtime.inference", "auto") != "auto":
        counted.add("runtime.inference")
    return {
        key: value
        for key, value in read.items()
        if key not in spec.unread
        and (key in counted or not any(key == out or key.startswith(f"{out}.") for out in WITHOUT_EFFECT))
    }


def manifest_of(folder: Path) -> dict[str, str]:
    """File within the folder, as a POSIX path → SHA-256 in hex."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def output_digest(manifest: Mapping[str, str]) -> str:
    """SHA-256 in hex over the files that later stages can see: pictures, pages and timings do not count."""
    seen = {name: digest for name, digest in manifest.items() if not name.endswith(VIEW_SUFFIXES) and name != TIMINGS}
    return sha256(json.dumps(seen, sort_keys=True).encode())


def damage(folder: Path, digest: str) -> str | None:
    """What is wrong with the files of a finished run, or None when all are there and match its output digest.

    A manifest that names a file outside the folder is damage too: the names come from a store that others write.
    """
    try:
        manifest: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        digests = {name: str(value) for name, value in manifest.items()}
    except (OSError, ValueError, AttributeError):
        return f"{MANIFEST} is missing or unreadable"
    if output_digest(digests) != digest:
        return f"{MANIFEST} does not match the run's output digest"
    for name, expected in digests.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"{MANIFEST} names {name!r}, which is outside the run's folder"
        if not path.is_file():
            return f"{name} is missing"
        if file_digest(path) != expected:
            return f"{name} was changed"
    return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def _shown(config: Mapping[str, Any], key: str) -> str:
    return str(config[key]) if key in config else "unset"
