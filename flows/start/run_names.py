"""How runs are called, so that those that differ only by what `--set` says can be told apart in a list."""

import copy
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from semisup.tracking.places.redaction import without_logins

MOST_LETTERS = 48
"""Of what was set, in a name or a table; the run's own page has all of it."""
NAMED_ELSEWHERE = ("name", "seed")
HOW = (
    "runtime",
    "tracking",
    "data.cache",
    "data.cache_limit",
    "data.download",
    "model.download",
    "pseudo_label.batch_size",
)
"""Keys and sections that say how fast and where, not what. A path counts: another file may lie there."""
SET_TAG = "set"
"""Tag of a flow's run in MLflow: what was set on top of the config's file."""


def still_set(config: Any, overrides: Sequence[str] | None) -> list[str]:
    """Those that the config holds, each key by its name of today: who starts a served run by hand may have changed it
    in Prefect's form.
    """
    if not overrides:
        return []
    from semisup.config.listing import former_keys

    now = dict(former_keys(type(config)))
    pairs = [(key.strip(), value) for key, _, value in (override.partition("=") for override in overrides)]
    values = config.model_dump(mode="json")
    same = type(config).model_validate(values)
    named = [f"{now.get(key, key)}={value}" for key, value in pairs]
    return [override for override in named if _with(same, values, override) == same]


def all_set(overrides: Sequence[str]) -> str:
    """What was set, in the order in which it was given, as a shell reads it; logins in addresses are left out."""
    return without_logins(shlex.join(overrides))


def briefly(overrides: Sequence[str], letters: int = MOST_LETTERS) -> str:
    """What was set and says what is computed, in so many letters.

    Name and seed stand beside it wherever it is shown. Of a key that was set twice, the last value counts. Where it is
    too long, an ellipsis stands for what was set first: who tries things adds to the end of a command.
    """
    last = {key.strip(): value for key, _, value in (override.partition("=") for override in overrides)}
    told = [" ".join(f"{key}={value}".split()) for key, value in last.items() if not _says_nothing(key)]
    text = without_logins(" ".join(told))
    for place in range(1, len(told)):
        if len(text) > letters:
            text = without_logins(" ".join(["…", *told[place:]]))
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def briefly_again(told: str, letters: int = MOST_LETTERS) -> str:
    """As :func:`briefly`, of what :func:`all_set` said of a run in the store."""
    try:
        return briefly(shlex.split(told), letters)
    except ValueError:  # the store, or somebody, has cut it
        return told[:letters]


def run_name(config: Any, told: Sequence[str], ending: str = "") -> str:
    """Such as "digits-seed0 joint.alpha_final=0.5", of what :func:`still_set` says."""
    return " ".join(filter(None, (f"{config.name}-seed{config.seed}{ending}", briefly(told))))


def named_by_parameters(beginning: str = "", ending: str = "") -> Callable[[], str]:
    """What Prefect asks for the name of a flow's run: :func:`run_name` of its parameters.

    `beginning` names a parameter that stands before it, or is "".
    """

    def name() -> str:
        from prefect.runtime import flow_run

        parameters: Mapping[str, Any] = flow_run.get_parameters()
        first = f"{parameters[beginning]}-" if beginning else ""
        config = parameters["config"]
        return first + run_name(config, still_set(config, parameters.get("overrides")), ending)

    return name


def tags_of(told: Sequence[str]) -> dict[str, str]:
    """Of a flow's run in MLflow, of what :func:`still_set` says."""
    return {SET_TAG: all_set(told)} if told else {}


def in_markdown(told: Sequence[str]) -> str:
    """A paragraph for a run's own page, with all that was set, as :func:`still_set` says; "" where nothing was."""
    return f"\nSet: `{all_set(told)}`\n" if told else ""


def _with(config: Any, values: Mapping[str, Any], override: str) -> Any:
    """The config of these values with one more thing set; None where that is no config."""
    from pydantic import ValidationError

    from semisup.config.files import apply_override
    from semisup.errors import UserError

    changed = copy.deepcopy(dict(values))
    try:
        apply_override(changed, override)
        return type(config).model_validate(changed)
    except (UserError, ValidationError):
        return None


def _says_nothing(key: str) -> bool:
    return key in NAMED_ELSEWHERE or any(key == out or key.startswith(f"{out}.") for out in HOW)
