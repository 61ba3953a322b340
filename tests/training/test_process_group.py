"""Trainings in two and three real processes against the same trainings in one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semisup.training.process_group import ALONE, Processes
from tests.conftest import process_as_it_was
from tests.training import process_group_cases
from tests.training.process_group_cases import Always, CutError, cases, fit
from tests.waiting import LONG

CLOSE = 1e-5
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Together:
    """Several processes: their folder, and what each of them came to."""

    folder: Path
    results: list[dict[str, Any]]


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    """So many processes, each with all trainings."""
    size, folder = request.param, tmp_path_factory.mktemp("together")
    with process_as_it_was():
        torch.set_num_threads(1)
        with suppress(CutError):
            fit("everything", ALONE, Always(folder / "cut alone"), cut_after=3)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", process_group_cases.__name__, str(rank), str(size), str(folder)], cwd=PROJECT
            )
            for rank in range(size)
        ]
        try:
            assert [process.wait(LONG) for process in processes] == [0] * size
        finally:
            for process in processes:
                process.kill()
        yield Together(folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)])


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    with process_as_it_was():
        torch.set_num_threads(1)
        return {name: fit(name, ALONE) for name in cases()}


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], atol=CLOSE, rtol=CLOSE, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", cases())
def test_processes_together_come_to_the_weights_and_figures_of_one(name, together, alone):
    result, weights = alone[name]
    theirs = together.results[0][name]
    assert_close(theirs["weights"], weights)
    assert_close(theirs["best"], result.weights)
    for ours, record in zip(result.history, theirs["history"], strict=True):
        for key in ours.keys() - {"seconds"}:
            assert record[key] == pytest.approx(ours[key], abs=CLOSE), key


def test_in_bfloat16_processes_together_come_as_near_to_one_as_its_rounding_allows(together):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    _, rounded = fit("supervised", ALONE, precision="bfloat16")
    _, exact = fit("supervised", ALONE)
    torch.set_num_threads(before)
    theirs = together.results[0]["bfloat16"]["weights"]

    def distance(weights: dict[str, torch.Tensor]) -> float:
        return max((value - rounded[name]).abs().max().item() for name, value in weights.items())

    assert distance(theirs) <= distance(exact)
    assert {value.dtype for name, value in theirs.items() if "num_batches" not in name} == {torch.float32}


def test_the_cases_can_tell_policies_apart(alone):
    ends = [weights["body.4.weight"] for _, weights in alone.values()]
    for place, one in enumerate(ends):
        assert all((one - other).abs().max() > 100 * CLOSE for other in ends[:place])


def test_all_processes_hold_the_same_bits(together):
    first, *others = together.results
    for other in others:
        for name, case in first.items():
            for key in ("weights", "best"):
                assert all(torch.equal(value, other[name][key][which]) for which, value in case[key].items()), name


def test_training_goes_on_with_another_number_of_processes(together, alone):
    result, weights = alone["everything"]
    folder, results = together.folder, together.results
    assert_close(results[0]["resumed"]["weights"], weights)  # cut off alone
    continued, theirs = fit("everything", ALONE, Always(folder / "cut together"))
    assert_close(theirs, weights)
    assert_close(continued.weights, result.weights)
    assert len(continued.history) == len(result.history)


@pytest.mark.parametrize("unit", ["s", "s wall"])
def test_a_budget_of_time_ends_in_all_processes_at_the_same_step_also_after_an_interruption(unit, together):
    steps = [[record["steps"] for record in result[unit]["history"]] for result in together.results]
    assert all(other == steps[0] for other in steps)
    assert (
        process_group_cases.CUT_AFTER < len(steps[0]) <= process_group_cases.EPOCHS
    )  # a slow step may use up more than an epoch


def test_a_process_ends_with_its_status_and_all_it_said_whatever_its_threads_do():
    code = (
        "import threading\n"
        "from semisup.training.process_group import end_process\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('said', end='')\n"
        "end_process(3)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=PROJECT, capture_output=True, text=True, timeout=LONG
    )
    assert (ended.returncode, ended.stdout) == (3, "said")


@given(count=st.integers(0, 50), size=st.integers(1, 9))
def test_shares_cover_everything_once_and_are_even(count, size):
    shares = [Processes(rank, size, torch.device("cpu")).share(count) for rank in range(size)]
    assert [number for share in shares for number in range(share.start, share.stop)] == list(range(count))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1
