"""The reference of config keys, from the models that validate them."""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from docs.hooks.tables import keys_table
from semisup.config import PipelineConfig, describe_keys, sections_in
from semisup.config.regression import RegressionConfig
from semisup.ready_made import list_configs

COLUMNS = ("key", "default", "values", "meaning")
SINGLE = "The whole pipeline"
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
MOST_CHOICES = 12


class _Schema(GenerateJsonSchema):
    """Defaults are told by `describe_keys`; a schema may lack one that JSON has no form for."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 -- as in the base


def pipeline(_: str) -> str:
    """Every key of a pipeline's config, a table for each section."""
    return _reference(PipelineConfig, SINGLE)


def regression(_: str) -> str:
    """Every key of a regression's config, a table for each section."""
    return _reference(RegressionConfig, "The whole regression", anchor="regression-")


def ready_made(_: str) -> str:
    """The configs that come with the package."""
    return keys_table(("config", "what it is"), [(f"`{name}`", meaning) for name, meaning in list_configs()])


def shown(default: str) -> str:
    """A default as it stands in the reference, written as YAML would have it."""
    return default if default == "unset" else f"`{default.lower() if default in {'True', 'False'} else default}`"


def _reference(kind: type[BaseModel], single: str, anchor: str = "") -> str:
    parts: dict[str, list[tuple[str, str, str, str]]] = {}
    allowed = dict(_values(kind.model_json_schema(schema_generator=_Schema)))
    for key, default, meaning in describe_keys(kind):
        section = key.partition(".")[0] if "." in key else ""
        parts.setdefault(section, []).append((f"`{key}`", shown(default), allowed.get(key, ""), meaning))
    return "\n\n".join(
        f"### {f'`{section}`' if section else single} {{ #{anchor}{section or 'keys'} }}\n\n"
        f"{_about(kind, section)}\n\n{keys_table(COLUMNS, rows)}"
        for section, rows in parts.items()
    )


def _about(kind: type[BaseModel], section: str) -> str:
    """What the section says of itself."""
    if not section:
        return ""
    described = sections_in(kind.model_fields[section].annotation)
    return " ".join(cleandoc(described[0].__doc__ or "").split()) if described else ""


def _values(schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(dotted key, allowed values) of every leaf that a schema tells of."""
    definitions = schema.get("$defs", {})

    def walk(part: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
        found = []
        for name, field in part.get("properties", {}).items():
            for option in _options(field, definitions):
                found += walk(option, f"{prefix}{name}.")
            found.append((prefix + name, _said(field, definitions)))
        return found

    return walk(schema, "")


def _options(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a field may be: itself, or each member of a union."""
    if "$ref" in field:
        return [definitions[field["$ref"].rpartition("/")[2]]]
    members = field.get("anyOf") or field.get("oneOf") or field.get("allOf")
    return [option for member in members for option in _options(member, definitions)] if members else [field]


def _said(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    words = [_one(option) for option in _options(field, definitions)]
    return ", or ".join(dict.fromkeys(word for word in words if word))


def _one(option: Mapping[str, Any]) -> str:
    if "enum" in option:
        names = option["enum"]
        return ", ".join(f"`{name}`" for name in names) if len(names) <= MOST_CHOICES else f"`{names[0]}` …"
    if "const" in option:
        return f"`{option['const']}`"
    if option.get("type") == "array":
        return "list"
    if "properties" in option:
        return "section"
    kind = {"number": "number", "integer": "whole number", "boolean": "`true`, `false`", "string": "text"}.get(
        option.get("type", ""), ""
    )
    bounds = " and ".join(f"{sign} {_number(option[name])}" for name, sign in BOUNDS.items() if name in option)
    return f"{kind} {bounds}".strip()


def _number(value: float) -> str:
    """With commas, and exponents only for what is very small."""
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
