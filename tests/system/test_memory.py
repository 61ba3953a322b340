"""Python's collector rests within a block, and only there; what it shall leave alone is collected at the exit."""

import gc
import subprocess
import sys
import weakref

import pytest

from semisup.system.memory import uncollected


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


def _made_and_dropped(count: int) -> list[weakref.ref[_Cycle]]:
    return [weakref.ref(_Cycle()) for _ in range(count)]


def test_nothing_is_collected_within_the_block_and_all_of_it_after() -> None:
    first_generation = gc.get_threshold()[0]
    with uncollected():
        within = _made_and_dropped(3 * first_generation)
        assert all(cycle() is not None for cycle in within)
    gc.collect()
    assert not any(cycle() for cycle in within)


def test_an_error_ends_the_rest() -> None:
    with pytest.raises(ZeroDivisionError), uncollected():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


KEPT_CYCLE = """
import gc
from semisup.system.memory import keep_to_the_end

class Cycle:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("collected", flush=True)

gc.disable()  # no collection of its own accord
Cycle()
keep_to_the_end()
gc.collect()
print("kept", flush=True)
"""


def test_what_is_kept_is_collected_at_the_exit_and_not_before() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT_CYCLE], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["kept", "collected"]
