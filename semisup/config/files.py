"""Configs from YAML files and ``--set``: reading them strictly, and saying in one line what is wrong."""

import json
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from semisup.config import UNION_TAGS, PipelineConfig, former_keys, keys
from semisup.errors import RenamedKeyWarning, UserError, did_you_mean

ALIGNMENTS = ("pseudo_label.distribution_alignment", "joint.policy.distribution_alignment")
VALUE_OR_SECTION = ("pseudo_label.threshold", *ALIGNMENTS)
"""Keys that hold a value or a section of keys: a `--set` of one of those replaces a value."""
ALTERNATIVES = {
    "pseudo_label.threshold": "a number in [0, 1], or a section such as {target_precision: 0.99} or {fdr: 0.05}",
    "pseudo_label.threshold.fallback": "a number in [0, 1] or 'stop'",
    **dict.fromkeys(ALIGNMENTS, "true, false, or a section such as {target: estimated}"),
    "split.labeled_per_class": "a whole number from 1 on, or 'all'",
    "data.channels": "'rgb', 'gray' or a whole number from 1 to 16",
}
"""Keys that may hold things of two kinds, and both of them."""
FORMS = {
    "data.size": "a list of two whole numbers, [height, width], such as [64, 64], or one for both",
    "data.range": "a list of two numbers, [black, white], such as [0, 4095]",
    "optimizer.betas": "a list of two numbers, such as [0.9, 0.999]",
    "schedule.milestones": "a list of whole numbers, such as [30, 60]",
    "model.hidden": "a list of whole numbers, such as [64, 64]",
    "data.options": "a section of keys, such as {side: 8}",
    "policy.options": "a section of keys, such as {count: 8}",
    "distribution_alignment.shares": "a share for each class, such as {cat: 0.7, dog: 0.3}",
}
"""End of a key → what it holds, where that is a list or has keys of no section of ours."""
KINDS_OF_VALUES = {
    "int": "a whole number, such as 3",
    "float": "a number, such as 0.5",
    "bool": "true or false",
    "string": "text, such as 'abc', in quotes where YAML takes it for something else",
    "path": "a path, such as data/photos",
}
"""How pydantic's names of errors of a type begin → what should stand there."""
ALTERNATIVE = re.compile(r"literal\[|constrained-")
OF_A_NAME = 0.7
"""Likeness of a name to the one that was meant: "gpu" and "cpu" are two names (0.67), "atuo" and "auto" one."""
OF_A_FILE = 0.75
"""The same of a file's name, whose ending is alike in all of them."""
A_NAME = re.compile(r"'([^']*)'")
"""Within pydantic's message about one that is none of the names a key may have."""
OF_A_TYPE = re.compile(r"(int|float|bool|string|path)_(type|parsing|parsing_size|from_float)")
OF_A_FORM = frozenset({"tuple_type", "list_type", "dict_type", "mapping_type", "missing", "too_long", "too_short"})
"""Pydantic's names of errors of lists and mappings."""
FILLS_IN = frozenset({"recipe", "data", "data.name"})
"""Keys that decide what others are: where one is wrong, rules between keys would be asked of what nobody meant."""
MOST_MISTAKES = 10
C = TypeVar("C", bound=BaseModel)
"""The kind of config: a pipeline's, or another one with a key `task` whose default is its name."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """The validated config of a YAML file with ``key=value`` overrides on top.

    Raises:
        UserError: the file is missing, a folder, unreadable, not YAML or not a mapping; a key is unknown or given
            twice; a value has the wrong type or breaks a rule; it is another kind of config.
    """
    return load_kind(PipelineConfig, path, overrides)


def load_kind(kind: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """As :func:`load_config`, for another kind of config."""
    return validate_kind(kind, read_values(path), str(path), overrides)


def read_values(path: Path) -> dict[str, Any]:
    """What a YAML file says, as nested mappings; unset, the name of the pipeline is that of the file.

    Raises:
        UserError: as in :func:`load_config`, of the file.
    """
    values = _read_yaml(path)
    values.setdefault("name", re.sub(r"[^\w.-]+", "-", path.stem))
    return values


def validate(values: Mapping[str, Any], source: str) -> PipelineConfig:
    """The config made of nested mappings; `source` names them in errors.

    Raises:
        UserError: as in :func:`load_config`.
    """
    return validate_kind(PipelineConfig, values, source)


def validate_kind(
    kind: type[C], values: Mapping[str, Any], source: str, overrides: Sequence[str] = (), *, asked: str = "--set"
) -> C:
    """As :func:`validate`, for another kind of config, with ``key=value`` overrides on top. A mistake in a key of the
    overrides is not the source's, but that of whatever is `asked` of it. Keys may have the names that they had before.

    All mistakes are told at once: those of single keys, and rules between keys as far as these can be asked without.
    """
    values, overrides = _in_names_of_today(kind, values, overrides, source, asked)
    for override in overrides:
        apply_override(values, override)
    _check_task(kind, values, source)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        mistakes = _mistakes(kind, values, error)
    overridden = [override.partition("=")[0].strip() for override in overrides]
    told: dict[str, list[str]] = {}
    for key, message in mistakes[:MOST_MISTAKES]:
        where = asked if any(_within(key, other) or _within(other, key) for other in overridden) else source
        told.setdefault(where, []).append(message)
    more = f"; and {len(mistakes) - MOST_MISTAKES} more" if len(mistakes) > MOST_MISTAKES else ""
    raise UserError("; ".join(f"{where}: {'; '.join(messages)}" for where, messages in told.items()) + more)


def to_yaml(config: BaseModel) -> str:
    """The resolved config as YAML that :func:`load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: silently taking the last one hides a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`; its keys may be given again, that is its use
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [str(other) for other in path.parent.glob("*.y*ml")]
        hint = did_you_mean(str(path), there, "`semisup configs` lists the ready-made ones", OF_A_FILE)
        raise UserError(f"config {str(path)!r} does not exist; {hint}") from None
    except IsADirectoryError:
        raise UserError(f"config {str(path)!r} is a folder; name a YAML file in it") from None
    except OSError as error:
        raise UserError(f"config {str(path)!r} cannot be read: {error}; check its permissions") from None
    except UnicodeDecodeError:
        raise UserError(f"config {str(path)!r} is no text; a config is a YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"config {str(path)!r} is not valid YAML: {_yaml_problem(error)}; mend that line") from None
    if values is None:
        raise UserError(
            f"config {str(path)!r} holds no key; write {{}} for the defaults, which are a run on the digits, or have "
            "one written for your images: semisup init FOLDER"
        )
    if not isinstance(values, dict):
        raise UserError(f"config {str(path)!r} holds a {type(values).__name__}; it must be a mapping of sections")
    return values


def _parse(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML, or its anchors form a loop, or it holds an impossible date.
    """
    try:
        return _unshared(yaml.load(text, Loader=_StrictLoader))
    except ValueError as error:  # PyYAML's own, for a date such as 2024-13-45
        raise yaml.YAMLError(str(error)) from None
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply, or an anchor holds itself") from None


def _unshared(value: Any) -> Any:
    """A copy in which no two places hold the same object, as YAML's anchors do: overriding one must not change both."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def _yaml_problem(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or error).replace("\n", " ")
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {problem}" if mark else problem


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one ``key=value`` in nested mappings; the value is YAML.

    Raises:
        UserError: it is not of that form, or leads into a value as if that were a section.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override!r} is not of the form key=value, for example --set joint.alpha_final=0.5")
    try:
        value = _parse(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"--set {override!r}: the value is not valid YAML: {_yaml_problem(error)}; if it is text, quote it, as in "
            f"{_quoted(key, text)}"
        ) from None
    *sections, leaf = key.strip().split(".")
    for depth, section in enumerate(sections, start=1):
        inner = values.setdefault(section, {})
        if inner is None or (not isinstance(inner, dict) and ".".join(sections[:depth]) in VALUE_OR_SECTION):
            inner = values[section] = {}
        if not isinstance(inner, dict):
            raise UserError(f"--set {override!r}: {'.'.join(sections[:depth])} is a value, not a section; see its keys")
        values = inner
    values[leaf] = value


def _in_names_of_today(
    kind: type[BaseModel], given: Mapping[str, Any], overrides: Sequence[str], source: str, asked: str
) -> tuple[dict[str, Any], list[str]]:
    """A copy of the values, and the overrides, with the keys' names of today; whoever used another is told."""
    values: dict[str, Any] = _unshared(dict(given))
    renamed, told = list(overrides), list[str]()
    for before, now in former_keys(kind):
        *sections, leaf = before.split(".")
        section: Any = values
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        new = now.rpartition(".")[2]
        if isinstance(section, dict) and leaf in section and new not in section:
            section[new] = section.pop(leaf)
            told.append(f"{source}: {before} is called {now} now; rename it")
        for place, override in enumerate(renamed):
            key, equals, text = override.partition("=")
            if key.strip() == before:
                renamed[place] = f"{now}{equals}{text}"
                told.append(f"{asked}: {before} is called {now} now; rename it")
    for line in told:
        warnings.warn(line, RenamedKeyWarning, stacklevel=4)
    return values, renamed


def _quoted(key: str, text: str) -> str:
    """A `--set` that a shell and YAML read as text: in quotes of both."""
    one_line = " ".join(key.split())
    return f"--set {shlex.quote(f'{one_line}={json.dumps(text, ensure_ascii=False)}')}"


def _check_task(kind: type[BaseModel], values: Mapping[str, Any], source: str) -> None:
    """Said before any key is looked at: of the wrong kind of config, every key would be unknown."""
    wanted = kind.model_fields["task"].default if "task" in kind.model_fields else None
    if wanted is None and values.get("task") == "regression":
        raise UserError(f"{source}: task: regression is no pipeline of images; use `semisup regress`")
    if wanted is not None and "task" not in values:
        raise UserError(
            f"{source}: without `task: {wanted}` it is a pipeline of images; use `semisup run`, or add that line"
        )


def _within(key: str, section: str) -> bool:
    return bool(section) and (key == section or key.startswith(f"{section}."))


def _mistakes(kind: type[BaseModel], values: Mapping[str, Any], error: ValidationError) -> list[tuple[str, str]]:
    """(key, what is wrong with it), each once: after the first look, what the others say without the wrong keys."""
    found: dict[str, str] = {}
    left, wrong, asked = _unshared(values), set[str](), set[str]()
    while True:
        problems = error.errors(include_url=False, include_context=False)
        asked |= {_key(problem, left) for problem in problems if not _is_a_rule(problem)}
        if FILLS_IN & asked:
            problems = [problem for problem in problems if not _is_a_rule(problem)]
        for problem in problems:
            key = _key(problem, left)
            message = _explain(key, problem["type"], problem["msg"], problem["input"], kind)
            if (where := _place(problem, left)) != _path(problem):
                message = _about_a_part(key, _at(left, where), problem, message)
            if not any(name in message for name in wrong):  # a rule about a key that is left out says nothing
                found.setdefault(message, key)
        removed = [name for problem in problems if (name := _left_out(left, problem))]
        wrong |= {*removed}
        if not removed or FILLS_IN & asked:
            return [(key, message) for message, key in found.items()]
        try:
            kind.model_validate(left)
        except ValidationError as next_error:
            error = next_error
        else:
            return [(key, message) for message, key in found.items()]


def _left_out(values: dict[str, Any], problem: Mapping[str, Any]) -> str:
    """Takes the wrong key out of the values: its name; "" where no single key is wrong."""
    *sections, leaf = _place(problem, values) or [""]  # of a list, all of it
    for section in sections:
        values = values.get(section, {}) if isinstance(values, dict) else {}
    if _is_a_rule(problem) or not isinstance(values, dict) or leaf not in values:
        return ""
    del values[leaf]
    return str(leaf)


def _is_a_rule(problem: Mapping[str, Any]) -> bool:
    """Between keys; else it is about one."""
    return problem["type"] == "value_error" and isinstance(problem["input"], Mapping | BaseModel)


def _key(error: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The key as people write it: one of a list's values has none."""
    return ".".join(map(str, _place(error, values)))


def _place(error: Mapping[str, Any], values: Mapping[str, Any]) -> list[Any]:
    """Where the value stands in what people wrote: for one value of a list, where the list does."""
    path = _path(error)
    for depth, part in enumerate(path):
        if isinstance(part, int) and not isinstance(_at(values, path[:depth]), Mapping):
            return path[:depth]
    return path


def _at(values: Any, path: Sequence[Any]) -> Any:
    """What stands there; None where nothing does."""
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _about_a_part(key: str, whole: Any, problem: Mapping[str, Any], message: str) -> str:
    """What is wrong with one value of a list, which people may have written as one value for all."""
    told = f"{_said(key, problem['input'])}: "
    which = "" if whole == problem["input"] or _form(key, problem["type"]) else f"{problem['input']!r} "
    return f"{_said(key, whole)}: {which}{message.removeprefix(told)}"


def _said(key: str, value: Any) -> str:
    """The key and its value; in YAML and of `--set key=` there may be none."""
    return f"{key} has no value" if value is None else f"{key}={value!r}"


def _path(error: Mapping[str, Any]) -> list[Any]:
    """Where the value stands, without the names that pydantic has for the alternatives of one key."""
    return [part for part in error["loc"] if part not in UNION_TAGS and not ALTERNATIVE.match(str(part))]


def _form(key: str, problem: str) -> tuple[str, str] | None:
    """The key that holds a value of a wrong type, or that is one, and what should stand there."""
    if problem not in OF_A_FORM and not OF_A_TYPE.fullmatch(problem):
        return None
    for name in (key, key.rpartition(".")[0]):
        for end, form in FORMS.items():
            if name == end or name.endswith(f".{end}"):
                return name, form
    of_a_type = OF_A_TYPE.fullmatch(problem)
    return (key, KINDS_OF_VALUES[of_a_type[1]]) if of_a_type else None


def _explain(key: str, problem: str, message: str, value: Any, kind: type[BaseModel]) -> str:
    if problem == "extra_forbidden":
        known = list(keys(kind))
        elsewhere = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        command = "configs" if kind is PipelineConfig else "regress diabetes"
        hint = f"did you mean {elsewhere[0]!r}?" if elsewhere else f"`semisup {command} --keys` lists them all"
        renamed = [f"did you mean {now!r}?" for before, now in former_keys(kind) if before == key]
        return f"unknown key {key!r}; {renamed[0] if renamed else did_you_mean(key, known, hint)}"
    rule_of_a_section = problem == "value_error" and isinstance(value, Mapping)
    if key in ALTERNATIVES and not rule_of_a_section:
        return f"{_said(key, value)}: must be {ALTERNATIVES[key]}"
    if problem == "value_error":
        message = message.removeprefix("Value error, ")
        joint = " " if message.startswith(("is ", "holds ")) else "."  # of a value, or of keys within a section
        return f"{key}{joint}{message}" if key else message
    if problem in {"model_type", "model_attributes_type"}:
        return f"{key}={value!r} must be a section of keys, not a single value"
    if problem == "string_pattern_mismatch":
        space = "spaces, " if "[\\w .-]" in message else ""
        return f"{key}={value!r} may hold letters, digits, {space}'.', '_' and '-' only"
    if problem == "string_type" and isinstance(value, Mapping) and set(value.values()) == {None}:
        value = f"{{{', '.join(map(str, value))}}}"
        message = f"must be text, and YAML takes braces for a mapping; quote it, as in {_quoted(key, value)}"
    elif found := _form(key, problem):
        key, message = found[0], f"must be {found[1]}"
    rule = message.removeprefix("Input ").replace("should be a valid", "must be a valid").replace("should", "must")
    hint = did_you_mean(str(value), A_NAME.findall(message), "", OF_A_NAME) if problem == "literal_error" else ""
    return f"{_said(key, value)}: {rule[0].lower()}{rule[1:]}{'; ' if hint else ''}{hint}"
