"""Versions of the stages' code, derived from their source, so that nobody can forget to raise one."""

import ast
import hashlib
import io
import json
import time
import tokenize
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeGuard

from semisup.pipeline.specs import SPECS, StageSpec
from semisup.system.user_cache import user_cache

PACKAGE = Path(__file__).parents[1]
KEPT = "code_versions.json"
VIEWS = ("semisup.plots", "semisup.report", "semisup.checks")
"""Rooms that only draw and describe: a new color shall not retrain a model. Stages whose pages are their result are
the exception."""
UNCOUNTED = ("semisup.config", "semisup.pipeline")
"""Rooms that decide nothing on their own: configs, whose values are counted themselves, and the list of stages."""
ALONE = {"semisup", "semisup.errors", "semisup.stages", "semisup.lineage.earlier"}
"""Modules of which that is true, but not of the rooms below."""
PICKED = ("semisup.pseudo_labels.policies", "semisup.networks.families", "semisup.data.sources")
"""Rooms in which a module is found by the name that a config gives: whoever asks there may get any of them."""
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
PARSE_ATTEMPTS = 5


def code_version(stage: str) -> str:
    """16 hexadecimal digits over the source of a stage's module and of all modules of this package that it imports.

    Comments, docstrings and blank lines do not count.
    """
    return _installed()[stage]


def pin_code_versions() -> None:
    """Read the versions of all stages' code now: what is edited later is not what this process has imported."""
    _installed()


@cache
def _installed() -> Mapping[str, str]:
    try:
        file = user_cache() / KEPT
    except RuntimeError:  # a user without a home, as in a container
        return code_versions(PACKAGE)
    return kept_versions(PACKAGE, file)


def kept_versions(package: Path, file: Path) -> Mapping[str, str]:
    """As :func:`code_versions` says; from the file, if these very sources were asked about last, else it is written.

    To parse them is a tenth of what a command does before it begins. Where the file cannot be written nothing is lost.
    """
    sources = _digest(package)
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        whole = kept["check"] == _check(sources, kept["versions"])
        if whole and kept["sources"] == sources and {*kept["versions"]} == {*SPECS}:
            return {stage: str(kept["versions"][stage]) for stage in SPECS}
    versions = code_versions(package)
    if _digest(package) == sources:  # else somebody has edited them meanwhile
        with suppress(OSError):
            _keep(json.dumps({"sources": sources, "versions": versions, "check": _check(sources, versions)}), file)
    return versions


def _check(sources: str, versions: Mapping[str, str]) -> str:
    """A checksum: a version that the disk has changed would let a result stand for other code."""
    return hashlib.sha256(json.dumps([sources, dict(versions)], sort_keys=True).encode()).hexdigest()


def _keep(text: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.parent, prefix=".") as aside:
        part = Path(aside) / file.name
        part.write_text(text, encoding="utf-8")
        part.replace(file)


def _digest(package: Path) -> str:
    """Of all bytes that a version can follow from, and of where they are."""
    digest = hashlib.sha256()
    for path in sorted(_files(package, ".py") | _files(package, ".jinja")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _files(folder: Path, suffix: str) -> set[Path]:
    """Of the package; editors leave links to nowhere beside them, whose names begin with a dot."""
    return {path for path in folder.rglob(f"[!.]*{suffix}") if path.is_file()}


def code_versions(package: Path) -> dict[str, str]:
    """Stage → its version in a package's folder."""
    return {name: _version(spec, package) for name, spec in SPECS.items()}


def _version(spec: StageSpec, package: Path) -> str:
    """Follows from what the modules say, not from where they are: a module that is only moved is the same."""
    modules = _imported_by(spec.module, package, () if spec.pages else VIEWS)
    own = {name: _own_digest(_path(name, package).read_text(encoding="utf-8")) for name in modules}
    parts = [_with_imports(_path(name, package).read_text(encoding="utf-8"), own) for name in modules]
    if "semisup.report" in modules:
        parts += [path.read_text(encoding="utf-8") for path in _files(package, ".jinja")]
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()[:16]


@cache
def _own_digest(source: str) -> str:
    """Of what a module says itself, whatever it imports of this package."""
    return hashlib.sha256(_without_imports(source).encode()).hexdigest()


def _with_imports(source: str, own: Mapping[str, str]) -> str:
    """A module's source with its imports of this package, in which modules are named by their own digests."""
    imported = [
        (own.get(f"{module}.{name}", own.get(module, module)), name, alias) for module, name, alias in _imports(source)
    ]
    return json.dumps([_without_imports(source), sorted(imported)])


@cache
def _without_imports(source: str) -> str:
    lines = source.splitlines()
    for node in ast.walk(_parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom) and _imported(node):
            rows = _rows(node)
            # A block may consist of it; something has to stand there.
            instead = " " * node.col_offset + "pass" if node.col_offset else ""
            lines[rows.start - 1 : rows.stop - 1] = [instead, *[""] * (len(rows) - 1)]
    return canonical_source("\n".join(lines))


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


def _imported_by(module: str, package: Path, views: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in ALONE or _lies_in(name, (*UNCOUNTED, *views)):
            continue
        found.add(name)
        if name in PICKED:
            room = _path(name, package).parent
            inside = (path.relative_to(room).with_suffix("").parts for path in _files(room, ".py"))
            waiting += [".".join((name, *(part for part in parts if part != "__init__"))) for parts in inside]
        imported = _imports(_path(name, package).read_text(encoding="utf-8"))
        candidates = {module for module, _, _ in imported} | {f"{module}.{name}" for module, name, _ in imported}
        waiting += [candidate for candidate in candidates if _path(candidate, package).exists()]
    return found


def _lies_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@cache
def _imports(source: str) -> tuple[tuple[str, str, str], ...]:
    """What of this package a source imports: (module, a name in it or "", what it is called here or "")."""
    return tuple(found for node in ast.walk(_parse(source)) for found in _imported(node))


def _imported(node: ast.AST) -> list[tuple[str, str, str]]:
    if isinstance(node, ast.Import):
        found = [(alias.name, "", alias.asname or "") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"from {'.' * node.level}{node.module or ''} import …: write the whole name"
        found = [(str(node.module), alias.name, alias.asname or "") for alias in node.names]
    else:
        found = []
    return [names for names in found if names[0].split(".")[0] == "semisup"]


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
