"""The quick version of `benchmarks/robustness/faults.py`: two commands at once, and five kills."""

import time
from collections.abc import Iterator, Mapping

import pytest

from benchmarks.robustness import faults

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
KILLS = 5


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[faults.Bench, faults.Outcome, Mapping[str, str], float]]:
    """The bench; how two commands that were started together ended, with which output digests, after how long."""
    with faults.bench() as setting:
        started = time.perf_counter()
        outcome, digests = faults.together(setting, 0, None)
        yield setting, outcome, digests, time.perf_counter() - started


def test_of_two_commands_started_together_one_trains_and_both_end_with_the_same_result(pair):
    _, outcome, digests, _ = pair
    assert outcome.problems == []
    assert set(digests) == {"split", "baseline", "pseudo_label", "joint", "keep", "labels", "evaluate", "promote"}


def test_a_pipeline_killed_five_times_ends_with_the_bits_of_an_undisturbed_one(pair):
    setting, _, expected, seconds = pair
    outcome = faults.disturbed(setting, 0, kills=KILLS, seed=0, usual=seconds, expected=expected)
    assert outcome.problems == []
    assert len(outcome.kills) == KILLS
    assert faults.unfinished_flow_runs(setting) == []
