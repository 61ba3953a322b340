"""The quick version of `benchmarks/faults.py`: five kills, and two commands at once."""

from collections.abc import Iterator, Mapping

import pytest

from benchmarks import faults

pytestmark = [pytest.mark.slow, pytest.mark.prefect]
KILLS = 5


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[tuple[faults.Bench, Mapping[str, str], float]]:
    """The bench, the output digests of a pipeline that nobody disturbed, and the seconds that it took."""
    with faults.bench() as setting:
        folder = setting.new_store("reference")
        seconds = setting.finish(folder)
        yield setting, faults.digests(folder), seconds


def test_a_pipeline_killed_five_times_ends_with_the_bits_of_an_undisturbed_one(undisturbed):
    setting, expected, seconds = undisturbed
    outcome = faults.disturbed(setting, 0, kills=KILLS, seed=0, usual=seconds, expected=expected)
    assert outcome.problems == []
    assert len(outcome.kills) == KILLS
    assert faults.unfinished_flow_runs(setting) == []


def test_of_two_commands_started_together_one_trains_and_both_end_with_the_same_result(undisturbed):
    setting, expected, _ = undisturbed
    assert faults.together(setting, 0, expected).problems == []
