"""Fingerprints and digests: which finished run may stand for which work. Pure hashing, no store.

A stage's **fingerprint** says what was asked: its name, the version of its code, the part of its config that can change
the result, the output digests of what it reads, and the data set's digest. Its **output digest** says what came out.
Digests are chained, not fingerprints: a baseline retrained to other weights makes all that follows stale, one
retrained to the same bits nothing.
"""

import ast
import hashlib
import io
import json
import time
import tokenize
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from semisup.budget import Budget
from semisup.config import PipelineConfig, flatten

MANIFEST = "manifest.json"
PACKAGE = Path(__file__).parent
WITHOUT_EFFECT = (
    "data.root",
    "data.download",
    "data.manifest",
    "data.answers",
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
SPEED = {"runtime.device", "runtime.threads", "runtime.processes", "runtime.channels_last", "runtime.compile"}
"""Keys that decide how many steps a second holds."""
VIEWS = ("semisup.plots", "semisup.report", "semisup.checks", "semisup.unheeded")
"""Modules that only draw and describe: a new colour shall not retrain a model. `evaluate`, whose report they make, is
the exception."""
UNCOUNTED = (
    "semisup",
    "semisup.stages",
    "semisup.config",
    "semisup.config_files",
    "semisup.regression_config",
    "semisup.errors",
)
"""Modules that decide nothing on their own: the list of stages, and configs, whose values are counted themselves."""
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
VIEW_SUFFIXES = (".png", ".html", ".md")
TIMINGS = "timings.json"
PARSE_ATTEMPTS = 5


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
        if old.code != self.code:
            changes.append("code")
        return changes


def lineage_of(
    stage: str, config: PipelineConfig, sections: tuple[str, ...], upstream: Mapping[str, str], dataset: str
) -> Lineage:
    """The lineage of a stage about to run, which looks at some top-level sections of the config."""
    return Lineage(stage, code_version(stage), effective_config(config, sections), dict(upstream), dataset)


def effective_config(config: PipelineConfig, sections: tuple[str, ...]) -> dict[str, Any]:
    """Dotted key → plain value of the sections' keys that can change a result.

    How fast a machine is decides what a budget of time comes to, and the size of a batch what is drawn for its views.
    """
    read = {key: value for key, value in flatten(config).items() if key.partition(".")[0] in sections}
    budgets = [value for key, value in read.items() if key.endswith(".budget") and value is not None]
    counted: set[str] = set()
    if not all(Budget.parse(budget).reproducible for budget in budgets):
        counted |= SPEED
    if read.get("pseudo_label.test_time.views", 1) > 1 or read.get("pseudo_label.uncertainty.passes", 0):
        counted.add("pseudo_label.batch_size")
    return {
        key: value
        for key, value in read.items()
        if key in counted or not any(key == out or key.startswith(f"{out}.") for out in WITHOUT_EFFECT)
    }


@cache
def code_version(stage: str, package: Path = PACKAGE) -> str:
    """16 hexadecimal digits over the source of a stage's module and of all modules of this package that it imports.

    Comments, docstrings and blank lines do not count. Derived from the source, so nobody can forget to raise it.
    """
    views = () if stage == "evaluate" else VIEWS
    modules = _imported_by(f"semisup.stages.{stage}", package, views)
    sources = {name: canonical_source(_path(name, package).read_text(encoding="utf-8")) for name in modules}
    if "semisup.report" in modules:
        sources |= {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.jinja")}
    return sha256(json.dumps(sources, sort_keys=True).encode())[:16]


def pin_code_versions() -> None:
    """Read the versions of all stages' code now: what is edited later is not what this process has imported."""
    for path in (PACKAGE / "stages").glob("*.py"):
        code_version(path.stem)


@cache  # of every stage's modules most are the others' too
def canonical_source(source: str) -> str:
    """Python source without comments, docstrings and blank lines.

    They are cut out by position instead of being left out of a printed syntax tree: how a tree is printed changes with
    the Python version, and a store may be shared between several.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    docstrings: list[ast.expr] = []
    within_text: set[int] = set()
    for node in ast.walk(_parse(source)):
        body: list[ast.stmt] = node.body if isinstance(node, ast.Module | ast.ClassDef | FUNCTIONS) else []
        for child in body:
            if isinstance(child, ast.Expr) and _is_text(child.value):
                docstrings.append(child.value)
                # A class may consist of its docstring; something has to stand there.
                rows, indent = _rows(child), lines[child.lineno - 1][: child.col_offset]
                lines[rows.start - 1 : rows.stop - 1] = [indent + "..." * (len(body) == 1), *[""] * (len(rows) - 1)]
        if _is_text(node) and node not in docstrings:
            within_text |= set(_rows(node)[:-1])  # what stands behind its end is no text any more
    return "\n".join(
        line if row in within_text else line.rstrip()
        for row, line in enumerate(lines, start=1)
        if line.strip() or row in within_text
    )


def _is_text(node: ast.AST) -> TypeGuard[ast.expr]:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _rows(node: ast.expr | ast.stmt) -> range:
    assert node.end_lineno is not None
    return range(node.lineno, node.end_lineno + 1)


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


def _imported_by(module: str, package: Path, views: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        uncounted = name in UNCOUNTED or name.startswith("semisup.config.")
        if name in found or uncounted or name in views or name.rpartition(".")[0] in views:
            continue
        found.add(name)
        candidates = _imports(_path(name, package).read_text(encoding="utf-8"))
        waiting += [candidate for candidate in candidates if _path(candidate, package).exists()]
    return found


@cache
def _imports(source: str) -> tuple[str, ...]:
    """What of this package a source imports: modules, and names that may be modules."""
    names: list[str] = []
    for node in ast.walk(_parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"from {'.' * node.level}{node.module or ''} import …: write the whole name"
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == "semisup")


def _parse(source: str) -> ast.Module:
    """The syntax tree.

    CPython counts a tree's depth per interpreter: of two threads that parse at the same time, one of which may be
    Prefect's, either can get a SystemError that means nothing (python/cpython#106905).
    """
    for _ in range(PARSE_ATTEMPTS):
        try:
            return ast.parse(source)
        except SystemError:
            time.sleep(0.01)
    return ast.parse(source)


def _path(module: str, package: Path) -> Path:
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _shown(config: Mapping[str, Any], key: str) -> str:
    return str(config[key]) if key in config else "unset"
