"""Budgets as people write them, and the clocks that spend them, on a watch that the test turns."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup import budget
from semisup.budget import TICKS, Budget, StepClock, TimeClock


class Watch:
    """Tells the seconds that the test has set."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("2000 steps", 2000, "steps"),
        ("1 step", 1, "steps"),
        ("17steps", 17, "steps"),
        ("3.0 steps", 3, "steps"),
        ("60s", 60, "CPU seconds"),
        ("60 sec", 60, "CPU seconds"),
        ("0.5 s", 0.5, "CPU seconds"),
        ("5 min", 300, "CPU seconds"),
        ("5 minutes", 300, "CPU seconds"),
        ("90 seconds wall", 90, "seconds"),
        ("1 hour", 3600, "CPU seconds"),
        ("5m", 300, "CPU seconds"),
        ("1.5 h", 5400, "CPU seconds"),
        ("60s cpu", 60, "CPU seconds"),
        ("60s wall", 60, "seconds"),
        ("2 min wall", 120, "seconds"),
        ("  2   MIN  Wall ", 120, "seconds"),
    ],
)
def test_every_way_to_write_a_budget_is_read_as_its_amount_and_unit(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "60",  # of what?
        "steps",
        "0 steps",
        "0s",
        "0.0 min wall",
        "-5s",
        "1.5 steps",
        "2000 steps wall",  # steps take whatever time they take
        "2000 steps cpu",
        "60swall",
        "60s wall cpu",
        "5 moments",
        "1 day",
        "1e3 steps",
        "1,000 steps",
        "60s,",
        "inf s",
        "nan steps",
    ],
)
def test_what_is_no_budget_is_quoted_with_examples_of_what_is_one(text):
    with pytest.raises(ValueError, match="is not understood") as error:
        Budget.parse(text)
    assert repr(text) in str(error.value)
    for example in ("2000 steps", "60s", "5 min", "60s wall"):
        assert repr(example) in str(error.value)
        Budget.parse(example)


def test_only_steps_are_reproducible():
    assert [Budget.parse(text).reproducible for text in ("5 steps", "5s", "5s wall")] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "said"), [("2000 steps", "2000 steps"), ("90s", "90 CPU seconds"), ("1.5 min wall", "90 seconds")]
)
def test_a_budget_says_its_amount_in_its_unit(text, said):
    assert str(Budget.parse(text)) == said


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "source"), [("10s", "process_time"), ("10s wall", "perf_counter")])
def test_a_time_budget_reads_the_processors_time_or_that_on_the_wall(text, source, monkeypatch):
    watches = {"process_time": Watch(), "perf_counter": Watch()}
    monkeypatch.setattr(budget, "time", SimpleNamespace(**watches))
    clock = Budget.parse(text).clock()
    watches[source].seconds = 5.0
    assert clock.position == 0  # time is looked at when a step ends
    clock.tick()
    assert clock.position == clock.total / 2
    assert Budget.parse("10 steps").clock() == StepClock(10)


@given(total=st.integers(1, 10_000), steps=st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_a_step_clock_counts_the_steps(total, steps):
    clock = StepClock(total)
    for _ in range(steps):
        clock.tick()
    assert (clock.position, clock.total) == (steps, total)


@given(start=st.floats(0, 1e6), spent=st.floats(0, 1e4), budget_of=st.floats(0.1, 1e4))
@settings(deadline=None, max_examples=50)
def test_a_time_clock_counts_from_its_making_and_steps_do_not_move_it(start, spent, budget_of):
    watch = Watch(start)
    clock = TimeClock(budget_of, watch)
    assert clock.position == 0
    watch.seconds = start + spent
    clock.tick()
    # 1e6 seconds are told to some 1e-10.
    assert clock.position / clock.total == pytest.approx(spent / budget_of, abs=1e-9 / budget_of)
    assert clock.total == TICKS


def test_a_restored_step_clock_goes_on_at_its_step():
    first, second = StepClock(10), StepClock(10)
    for _ in range(4):
        first.tick()
    second.restore(first.state())
    second.tick()
    assert second.position == 5


@pytest.mark.parametrize("pause", [0.0, 1e5])
@pytest.mark.parametrize("another_watch", [True, False])
def test_a_restored_time_clock_goes_on_with_what_was_spent_and_a_pause_costs_nothing(pause, another_watch):
    watch = Watch(1000.0)
    first = TimeClock(60.0, watch)
    watch.seconds += 12
    first.tick()
    state = first.state()
    watch = Watch(3.0) if another_watch else watch  # another process has counted from its own start
    watch.seconds += pause
    second = TimeClock(60.0, watch)
    second.restore(state)
    watch.seconds += 3
    second.tick()
    assert second.position == pytest.approx(TICKS * 15 / 60)
