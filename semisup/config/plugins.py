"""What a config names and a file of its own brings: from this package, or from any installed one by an entry point.

An entry point is what a package was installed with. A config names it, and never a module: whoever can open Prefect's
form could otherwise have any module imported.
"""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, Field, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError

from semisup.errors import UserError

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Plugins(Generic[Kind]):
    """Everything of one kind that a key of the config may name."""

    kind: type[Kind]
    key: str
    """Of the config, such as joint.method."""
    group: str
    """Of entry points, such as semisup.policies."""
    package: str
    """Where this package's own are, perhaps in rooms below it: one a module, of the module's name."""
    attribute: str
    """What such a module calls it."""
    first: tuple[str, ...] = ()
    """Names that are listed before the others."""
    loaded: dict[str, Kind] = field(default_factory=dict, compare=False, repr=False)

    def names(self) -> list[str]:
        """All names, those of this package first."""
        own = [name for name in self.first if name in self.own] + [name for name in self.own if name not in self.first]
        return own + sorted(self._foreign)

    def __contains__(self, name: str) -> bool:
        """Is there one? Installed packages are looked through only where this one has none."""
        return name in self.own or name in self._foreign

    def __getitem__(self, name: str) -> Kind:
        """What is called so. It is imported only now, for most of them need torch.

        Raises:
            UserError: there is none, it cannot be imported, or it is of another kind.
        """
        if name not in self.loaded:
            self.loaded[name] = self._load(name)
        return self.loaded[name]

    def code(self, name: str) -> str:
        """16 hexadecimal digits over the source that a foreign one is written in; "" for one of this package.

        What is ours is counted with the code of the stages that use it.
        """
        if name in self.own or name not in self:
            return ""
        module = import_module(self._foreign[name].module)
        try:
            source = inspect.getsource(module)
        except (OSError, TypeError):  # compiled: its package's version has to say it
            found = self._foreign[name].dist
            source = f"{module.__name__} {found.version if found else ''}"
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    @cached_property
    def own(self) -> dict[str, str]:
        """This package's own: name → module. They may lie in rooms below `package`."""
        root, *rooms = self.package.split(".")
        found = find_spec(root)  # of the whole name it would import the rooms on the way, and torch with them
        places = (found.submodule_search_locations or ()) if found else ()
        return {
            name.rpartition(".")[2]: name
            for place in places
            for name in _modules_below(Path(place, *rooms), self.package)
        }

    @cached_property
    def _foreign(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            known = found.setdefault(point.name, point)
            if known.value != point.value:
                raise UserError(
                    f"two installed packages bring {self.key}={point.name!r}: {known.value} and {point.value}; "
                    "uninstall one of them"
                )
        return {name: point for name, point in found.items() if name not in self.own}

    def _load(self, name: str) -> Kind:
        if name in self.own:
            found: Any = getattr(import_module(self.own[name]), self.attribute)
        elif name in self._foreign:
            point = self._foreign[name]
            try:
                found = point.load()
            except Exception as error:  # what a package of somebody else's raises is no finite list
                why = " ".join(f"{type(error).__name__}: {error}".split())
                raise UserError(
                    f"{self.key}={name!r} ({point.value}) cannot be imported: {why}; mend it, or install it anew"
                ) from error
        else:
            raise UserError(f"{self.key}={name!r} does not exist; there are {', '.join(self.names())}")
        if not isinstance(found, self.kind):
            raise UserError(
                f"{self.key}={name!r} is of type {type(found).__name__}; its entry point has to name a "
                f"{self.kind.__name__}"
            )
        return found


def _modules_below(folder: Path, package: str) -> Iterator[str]:
    for module in iter_modules([str(folder)]):
        if module.ispkg:
            yield from _modules_below(folder / module.name, f"{package}.{module.name}")
        else:
            yield f"{package}.{module.name}"


Number = Annotated[int, Field(ge=-(10**15), le=10**15)] | Annotated[float, Field(ge=-1e15, le=1e15)]
Value = bool | Number | str


class OwnOptions(dict[str, bool | int | float | str]):
    """Options of a foreign thing; like all of a config they can be a key of something."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


Options = Annotated[Mapping[str, Value], AfterValidator(OwnOptions)]
"""Of a key that holds them."""


@dataclass(frozen=True)
class NameOf:
    """For the annotation of a key: its value is one of the names, which forms and messages list."""

    plugins: Plugins[Any]

    def __call__(self, name: str) -> str:
        """The name.

        Raises:
            PydanticCustomError: there is none of it.
        """
        if name not in self.plugins:
            known = self.plugins.names()
            listed = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
            raise PydanticCustomError("literal_error", "Input should be {listed}", {"listed": listed})
        return name

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A choice, as of any enumeration."""
        return handler(schema) | {"enum": self.plugins.names()}


def own_options(plugins: Plugins[Any], name: str, given: Mapping[str, Any], at: str = "options") -> BaseModel | None:
    """The options that a foreign thing has of its own, known to be right; None where it has none.

    One of this package's is not imported where none are given.

    Args:
        at: the key that holds them, below the section that names the thing.

    Raises:
        ValueError: it has none, or not these.
    """
    if not given and name in plugins.own:
        return None
    kind: type[BaseModel] | None = plugins[name].options
    owner = f"{plugins.key.rpartition('.')[2]}={name!r}"
    if kind is None:
        if given:
            raise ValueError(f"{at} names {', '.join(given)}, but {owner} has no options of its own; leave it out")
        return None
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join([at, *map(str, first["loc"])])
        raise ValueError(
            f"{key}={first['input']!r}: {first['msg']}; {owner} knows {', '.join(kind.model_fields)}"
        ) from None
