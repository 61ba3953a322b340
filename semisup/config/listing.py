"""Configs as lists of dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from semisup.config.pipeline import PipelineConfig


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a key may hold: one where it is a section, one or none where it may also be a value."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for inner in get_args(annotation) for found in sections_in(inner)]


def keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys, those of sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        for kind in sections_in(field.annotation):
            yield from keys(kind, f"{prefix}{name}.")


def former_keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name of before, that of today) of every key that was renamed."""
    for before, now in getattr(section, "FORMERLY", {}).items():
        yield prefix + before, prefix + now
    for name, field in section.model_fields.items():
        for kind in sections_in(field.annotation):
            yield from former_keys(kind, f"{prefix}{name}.")


def describe_keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted key, default, meaning) of every leaf."""
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from describe_keys(type(default), f"{prefix}{name}.")
        else:
            yield (
                prefix + name,
                "unset" if default is None else str(default),
                (field.description or "").replace("\n", " "),
            )
            for kind in sections_in(field.annotation):
                yield from describe_keys(kind, f"{prefix}{name}.")


def flatten(config: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key → plain value of every leaf, of a config or of the nested mappings that one was saved as."""

    def leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(leaves(config.model_dump(mode="json") if isinstance(config, BaseModel) else config, ""))
