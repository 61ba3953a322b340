"""Early stopping: worked sequences, and the best epoch as the first minimum."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.training.early_stopping import EarlyStopping


def stop_epoch(stopping: EarlyStopping, values: list[float]) -> int | None:
    """The first epoch after which training should stop, when the monitored figure runs through `values`."""
    for epoch, value in enumerate(values, start=1):
        other = 0.5
        loss, accuracy = (value, other) if stopping.monitor == "loss" else (other, value)
        stopping.update(epoch, loss=loss, accuracy=accuracy)
        if stopping.should_stop:
            return epoch
    return None


def test_training_stops_after_patience_epochs_without_improvement():
    stopping = EarlyStopping("loss", patience=3)
    assert stop_epoch(stopping, [1.0, 0.8, 0.9, 0.85, 0.81, 0.1]) == 5
    assert (stopping.best, stopping.best_epoch) == (0.8, 2)


def test_an_improvement_restarts_the_patience():
    stopping = EarlyStopping("loss", patience=2)
    assert stop_epoch(stopping, [1.0, 1.1, 0.9, 1.0, 0.8, 0.9, 0.9]) == 7
    assert stopping.best_epoch == 5


def test_the_loss_that_falls_for_ever_never_stops_training():
    assert stop_epoch(EarlyStopping("loss", patience=1), [1 / epoch for epoch in range(1, 200)]) is None


def test_an_equal_figure_is_no_improvement():
    stopping = EarlyStopping("loss", patience=2)
    assert stop_epoch(stopping, [0.5, 0.5, 0.5]) == 3
    assert stopping.best_epoch == 1


def test_an_improvement_must_exceed_min_delta():
    stopping = EarlyStopping("loss", patience=2, min_delta=0.25)
    # 1.0 -> 0.75 is exactly min_delta, 1.0 -> 0.5 more; then 0.375 is too little again.
    assert stop_epoch(stopping, [1.0, 0.75, 0.5, 0.375, 0.375]) == 5
    assert (stopping.best, stopping.best_epoch) == (0.5, 3)


def test_small_improvements_add_up_against_the_best_and_not_against_the_epoch_before():
    stopping = EarlyStopping("loss", patience=3, min_delta=0.25)
    assert stop_epoch(stopping, [1.0, 0.875, 0.75, 0.625, 0.5, 0.375]) is None
    assert stopping.best_epoch == 4


def test_accuracy_is_better_when_it_is_higher():
    stopping = EarlyStopping("accuracy", patience=2)
    assert stop_epoch(stopping, [0.5, 0.75, 0.625, 0.75]) == 4
    assert (stopping.best, stopping.best_epoch) == (0.75, 2)


def test_only_the_monitored_figure_counts():
    by_loss, by_accuracy = EarlyStopping("loss", patience=5), EarlyStopping("accuracy", patience=5)
    for epoch, (loss, accuracy) in enumerate([(0.9, 0.5), (0.3, 0.4), (0.6, 0.8)], start=1):
        by_loss.update(epoch, loss=loss, accuracy=accuracy)
        by_accuracy.update(epoch, loss=loss, accuracy=accuracy)
    assert (by_loss.best_epoch, by_accuracy.best_epoch) == (2, 3)


def test_update_says_whether_the_epoch_is_the_best_so_far():
    stopping = EarlyStopping("loss", patience=9)
    said = [stopping.update(epoch, loss=loss, accuracy=0) for epoch, loss in enumerate([0.5, 0.6, 0.4, 0.4], start=1)]
    assert said == [True, False, True, False]


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_the_patience_is_counted_from_the_epoch_waited_for(patience):
    stopping = EarlyStopping("loss", patience=patience, wait_until=5)
    assert stop_epoch(stopping, [1.0] + [2.0] * 20) == 5 + patience


def test_the_best_epoch_is_kept_also_when_it_lies_before_the_wait_is_over():
    stopping = EarlyStopping("loss", patience=2, wait_until=4)
    assert stop_epoch(stopping, [0.9, 0.1, 0.8, 0.7, 0.6, 0.5]) == 6
    assert (stopping.best, stopping.best_epoch) == (0.1, 2)


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=40), monitor=st.sampled_from(["loss", "accuracy"]))
@settings(deadline=None, max_examples=100)
def test_the_best_epoch_is_the_first_of_the_best_values(values, monitor):
    stopping = EarlyStopping(monitor, patience=len(values) + 1)
    stop_epoch(stopping, values)
    best = min(values) if monitor == "loss" else max(values)
    assert (stopping.best, stopping.best_epoch) == (best, values.index(best) + 1)


@given(
    values=st.lists(st.floats(0, 10), min_size=1, max_size=40),
    patience=st.integers(1, 6),
    wait_until=st.integers(0, 20),
)
@settings(deadline=None, max_examples=100)
def test_training_stops_at_the_first_epoch_that_is_patience_past_both_the_best_epoch_and_the_wait(
    values, patience, wait_until
):
    def best_epoch_up_to(epoch: int) -> int:
        return values.index(min(values[:epoch])) + 1

    epochs = range(1, len(values) + 1)
    late_enough = (e for e in epochs if e - max(best_epoch_up_to(e), min(wait_until, e)) >= patience)
    assert stop_epoch(EarlyStopping("loss", patience, wait_until=wait_until), values) == next(late_enough, None)


def test_of_equal_accuracies_the_epoch_of_least_loss_is_kept_but_the_patience_runs_on():
    stopping = EarlyStopping("accuracy", patience=3)
    kept = [
        stopping.update(epoch, loss=loss, accuracy=accuracy)
        for epoch, (loss, accuracy) in enumerate([(0.9, 0.95), (0.4, 0.95), (0.6, 0.95), (0.1, 0.90)], start=1)
    ]
    assert kept == [True, True, False, False]
    assert stopping.best_epoch == 2
    assert stopping.should_stop  # three epochs without a higher accuracy


@given(
    values=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=40),
    monitor=st.sampled_from(["loss", "accuracy"]),
    patience=st.integers(1, 3),
)
@settings(deadline=None, max_examples=50)
def test_where_the_last_epoch_is_kept_every_epoch_is_the_best_so_far_and_none_ends_training(values, monitor, patience):
    stopping = EarlyStopping(monitor, patience, min_delta=1e9, keep="last")
    for epoch, (loss, accuracy) in enumerate(values, start=1):
        assert stopping.update(epoch, loss=loss, accuracy=accuracy)
        assert not stopping.should_stop
        assert (stopping.best_epoch, stopping.best) == (epoch, loss if monitor == "loss" else accuracy)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_early_stopping_goes_on_where_its_state_was_taken(keep):
    figures = [(0.9, 0.5), (0.7, 0.6), (0.8, 0.6), (0.6, 0.6), (0.9, 0.1)]
    first, second = (EarlyStopping("accuracy", patience=2, keep=keep) for _ in range(2))
    for epoch, (loss, accuracy) in enumerate(figures, start=1):
        answer = first.update(epoch, loss=loss, accuracy=accuracy)
        assert second.update(epoch, loss=loss, accuracy=accuracy) == answer
        assert second.should_stop == first.should_stop
        interrupted = EarlyStopping("accuracy", patience=2, keep=keep)
        interrupted.restore(first.state())
        second = interrupted
