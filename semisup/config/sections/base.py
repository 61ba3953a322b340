"""What every section is made of: immutable, closed, documented by its field docstrings."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator


def no_way_up(name: str) -> str:
    """The name, which shall not be that of a folder's own place or of the one above.

    Raises:
        ValueError: it is.
    """
    if not name.strip(". "):
        raise ValueError(f"is {name!r}, which is no name; use letters or digits")
    return name


def nothing_or(least: float, most: float) -> AfterValidator:
    """For a number that is 0, which means "off", or between these two: what is almost nothing is a slip of the pen."""

    def check(value: float) -> float:
        if value and not least <= value <= most:
            raise ValueError(f"is {value:g}; use 0 for none, or a number from {least:g} to {most:g}")
        return value

    return AfterValidator(check)


Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=1e-6, le=1)]
"""A fraction that is not nothing."""
PositiveInt = Annotated[int, Field(ge=1)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Side = Annotated[int, Field(ge=1, le=4_096)]
"""Pixels."""
Dropout = Annotated[float, Field(ge=0, le=0.9)]
"""Of a hundred activations, ten have to say something."""
Name = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=200), AfterValidator(no_way_up)]
"""Of a run, and so part of paths."""
FIRST_PRINTABLE = 32
LONGEST_TEXT, LONGEST_NAME = 4_096, 255
"""Letters of a path, and bytes of one name in it, on any common file system."""
Precision: TypeAlias = Literal["float32", "bfloat16", "auto"]
NUMBER, WORD, SECTION, SWITCH = UNION_TAGS = ("a number", "a word", "a section", "on or off")


class Section(BaseModel):
    """A part of the config: immutable, closed, documented by its field docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )
    FORMERLY: ClassVar[Mapping[str, str]] = {}
    """What a key was called before → its name of today. Configs, stored ones too, are read with either."""

    @model_validator(mode="before")
    @classmethod
    def _an_empty_section_is_its_defaults(cls, values: Any) -> Any:
        return {} if values is None else values

    @model_validator(mode="before")
    @classmethod
    def _keys_have_their_names_of_today(cls, values: Any) -> Any:
        """Where a key is there under both names, the old one stays, and is refused as unknown."""
        if not isinstance(values, Mapping):
            return values
        return {
            now if (now := cls.FORMERLY.get(key, key)) not in values else key: value for key, value in values.items()
        }

    @field_validator("*", mode="before")
    @classmethod
    def _a_text_can_be_a_name(cls, value: Any) -> Any:
        """No path or name holds a line break or the like, and no file system takes longer ones."""
        text = str(value) if isinstance(value, str | Path) else ""
        if found := next((letter for letter in text if ord(letter) < FIRST_PRINTABLE), None):
            raise ValueError(f"holds the control character {found!r}; leave it out")
        if len(text) > LONGEST_TEXT or any(len(os.fsencode(part)) > LONGEST_NAME for part in text.split("/")):
            raise ValueError(f"is a text of {len(text):,} letters, too long for any file or name; use a shorter one")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = [annotation, *(getattr(kind, "__origin__", kind) for kind in get_args(annotation))]
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError(f"is {str(value).lower()}, a truth value; write what it should be")
        return value


Checked = TypeVar("Checked", bound=Section)


def rule(check: Callable[[Checked], None]) -> Any:
    """A method of a section that raises a ValueError where its values do not go together, asked once all are there."""

    def checked(section: Checked) -> Checked:
        check(section)
        return section

    return model_validator(mode="after")(checked)


def kind_of(value: Any) -> str:
    """Which member of a union a value can only be meant for: its own errors are then the ones that are said."""
    if isinstance(value, Mapping | BaseModel):
        return SECTION
    return WORD if isinstance(value, str) and not value.replace(".", "", 1).isdigit() else NUMBER
