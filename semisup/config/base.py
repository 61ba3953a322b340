"""What every section is made of: immutable, closed, documented by its field docstrings."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NUMBER, WORD, SECTION = UNION_TAGS = ("a number", "a word", "a section")


class Section(BaseModel):
    """A part of the config: immutable, closed, documented by its field docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _an_empty_section_is_its_defaults(cls, values: Any) -> Any:
        return {} if values is None else values

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and bool not in {annotation, *get_args(annotation)}:
            raise ValueError(f"is {str(value).lower()}, a truth value; write what it should be")
        return value


def kind_of(value: Any) -> str:
    """Which member of a union a value can only be meant for: its own errors are then the ones that are said."""
    if isinstance(value, Mapping | BaseModel):
        return SECTION
    return WORD if isinstance(value, str) and not value.replace(".", "", 1).isdigit() else NUMBER
