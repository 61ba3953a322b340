"""Trainings with a budget: exactly so many steps, or so much time on a watch that every step turns."""

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from semisup import budget
from semisup.config import TrainConfig
from semisup.pseudo_labels.policies.online import OnlineArgmax
from semisup.training import loop
from semisup.training.checkpoints import Checkpoints
from semisup.training.loop import Examples, TrainingResult, UnlabeledTerm, train

CLASSES = 3
EVERYTHING = {  # every source of chance at once, and every schedule that could lose its place
    "mixup": {"alpha": 1.0, "every_n_batches": 2},
    "augment": {"rotation": 20, "shift": 0.1, "cutout": 0.3},
    "ema_decay": 0.9,
    "disturb_label": 20.0,
}
NEVER_BETTER = {"monitor": "loss", "min_delta": 100.0}


pytestmark = pytest.mark.usefixtures("one_thread")


def examples(count: int, seed: int) -> Examples:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=rng)
    return Examples(images, torch.randint(CLASSES, (count,), generator=rng))


LABELED, VALIDATION, EXTRA = examples(10, seed=0), examples(6, seed=1), examples(14, seed=2)


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, CLASSES))


class Scaled(nn.Module):
    """Pixels from 0..255 to 0..1 before the network."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images.float() / 255)
        return logits


class Timed(Scaled):
    """A network whose forward passes take a known time on the watch, `step` in training and `look` in validation."""

    def __init__(self, watch: "Watch", step: float, look: float = 0.0) -> None:
        super().__init__()
        self.watch, self.step, self.look = watch, step, look

    def forward(self, images: Tensor) -> Tensor:
        self.watch.seconds += self.step if self.training else self.look
        return super().forward(images)


class Watch:
    """Tells the seconds that were put on it; each look at it may take some too."""

    def __init__(self, per_look: float = 0.0) -> None:
        self.seconds, self.per_look = 100.0, per_look

    def __call__(self) -> float:
        self.seconds += self.per_look
        return self.seconds


@pytest.fixture
def watch(monkeypatch) -> Watch:
    """What budgets take for both kinds of time."""
    ours = Watch()
    monkeypatch.setattr(budget, "time", SimpleNamespace(process_time=ours, perf_counter=ours))
    return ours


def config(**options) -> TrainConfig:
    return TrainConfig(**({"epochs": 5, "batch_size": 4} | options))


def term(**options) -> UnlabeledTerm:
    values = {"batch_size": 5, "alpha_final": 1.0, "ramp_start": 1, "ramp_end": 4, "mix": True, "smooth": False}
    return UnlabeledTerm(EXTRA.images, OnlineArgmax(), **(values | options))


def fit(train_config: TrainConfig, *, model: nn.Module | None = None, steps_per_epoch: int = 3, **options):
    return train(
        model or Scaled(),
        train_config,
        LABELED,
        VALIDATION,
        num_classes=CLASSES,
        steps_per_epoch=steps_per_epoch,
        seed=0,
        **options,
    )


def column(result: TrainingResult, name: str) -> list[float]:
    return [record[name] for record in result.history]


def assert_same_outcome(one: TrainingResult, other: TrainingResult) -> None:
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())
    assert [record | {"seconds": 0} for record in one.history] == [record | {"seconds": 0} for record in other.history]
    assert (one.best_epoch, one.stopped_early) == (other.best_epoch, other.stopped_early)


class CrashError(Exception):
    """What interrupts a training."""


class AlwaysDue(Checkpoints):
    """Checkpoints after every epoch, and a crash right after the one of epoch `last`."""

    def __init__(self, folder: Path, last: int = 0) -> None:
        super().__init__(folder, pytest.fail, clock=lambda: 0.0)
        self.last = last

    def save_if_due(self, epoch, make_state) -> None:
        super().save_if_due(epoch, make_state)
        if epoch == self.last:
            raise CrashError


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "epochs"), [(17, 5), (5, 5), (12, 1), (20, 4)])
def test_a_budget_of_steps_takes_exactly_these_in_as_many_equal_parts_as_there_are_epochs(steps, epochs):
    result = fit(config(epochs=epochs, budget=f"{steps} steps", early_stopping=NEVER_BETTER))
    assert column(result, "epoch") == list(range(1, epochs + 1))
    assert column(result, "steps") == [math.ceil(epoch * steps / epochs) for epoch in range(1, epochs + 1)]
    assert not result.stopped_early


@pytest.mark.parametrize("joint", [False, True])
def test_how_many_steps_an_epoch_would_have_changes_no_bit_of_a_training_with_a_budget_of_steps(joint):
    options = config(budget="17 steps", **EVERYTHING)
    unlabeled = term() if joint else None
    first, *others = (fit(options, steps_per_epoch=steps, unlabeled=unlabeled) for steps in (3, 3, 1, 100))
    for other in others:
        assert_same_outcome(first, other)


SCHEDULES = [
    {"name": "constant"},
    {"name": "step", "milestones": (2, 3), "gamma": 0.3},
    {"name": "cosine", "warmup": 0.3},
    {"name": "one_cycle", "warmup": 0.3},
]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["name"])
def test_a_budget_of_all_steps_of_some_epochs_has_the_bits_of_a_training_of_these_epochs(schedule, joint):
    options = EVERYTHING | {"schedule": schedule, "early_stopping": {"patience": 20}}
    unlabeled = term() if joint else None
    by_epochs = fit(config(**options), steps_per_epoch=3, unlabeled=unlabeled)
    by_steps = fit(config(budget="15 steps", **options), steps_per_epoch=7, unlabeled=unlabeled)
    assert_same_outcome(by_epochs, by_steps)


@pytest.mark.parametrize("joint", [False, True])
def test_a_training_with_a_budget_of_steps_that_is_interrupted_and_resumed_ends_with_the_same_bits(joint, tmp_path):
    options, unlabeled = config(budget="17 steps", **EVERYTHING), term() if joint else None
    undisturbed = fit(options, unlabeled=unlabeled)
    for epoch in range(1, 6):
        folder = tmp_path / str(epoch)
        with pytest.raises(CrashError):
            fit(options, unlabeled=unlabeled, checkpoints=AlwaysDue(folder, epoch))
        assert_same_outcome(fit(options, unlabeled=unlabeled, checkpoints=AlwaysDue(folder)), undisturbed)


# --- time -------------------------------------------------------------------------------------------------------------


def rates_of(
    train_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, **options
) -> tuple[list[float], TrainingResult]:
    """The learning rate of every step, and the training's result."""
    rates: list[float] = []
    monkeypatch.setattr(loop, "set_learning_rate", lambda optimizer, rate: rates.append(rate))
    return rates, fit(train_config, **options)


@pytest.mark.parametrize("unit", ["s", "s wall"])
@pytest.mark.parametrize(("step", "epochs"), [(1.0, 5), (0.7, 4), (7.3, 5), (9.0, 2), (50.0, 3)])
def test_steps_begin_as_long_as_there_is_time_and_the_last_one_ends_within_a_step_of_the_budget(
    unit, step, epochs, watch
):
    began = watch.seconds
    options = config(epochs=epochs, budget=f"20{unit}", early_stopping=NEVER_BETTER)
    result = fit(options, model=Timed(watch, step))
    # Steps begin at 0, step, 2·step … below 20.
    assert result.history[-1]["steps"] == math.ceil(20 / step)
    assert 20 <= watch.seconds - began < 20 + step
    assert not result.stopped_early


@pytest.mark.parametrize(("step", "epochs"), [(1.0, 5), (0.7, 4), (7.3, 5)])
def test_every_epoch_of_a_time_budget_has_a_step_and_ends_with_its_part_of_the_time(step, epochs, watch):
    result = fit(config(epochs=epochs, budget="20s"), model=Timed(watch, step))
    ends = [0, *column(result, "steps")]
    for epoch, (before, after) in enumerate(pairwise(ends), start=1):
        part = epoch * 20 / epochs
        assert after == max(math.ceil(part / step), before + 1)
    assert column(result, "epoch") == list(range(1, len(ends)))


def test_validation_spends_the_budget_as_well(watch):
    began = watch.seconds
    result = fit(config(epochs=4, budget="20s"), model=Timed(watch, step=1.0, look=3.0))
    # Until 5 s five steps and 3 s of validation, until 10 s two and 3, until 15 s two and 3, until 20 s four and 3.
    assert column(result, "steps") == [5, 7, 9, 11]
    assert watch.seconds - began == 11 * 1.0 + 4 * 3.0


def test_a_budget_that_is_spent_before_the_first_step_still_gives_an_epoch_of_one_step(watch):
    watch.per_look = 1.0
    result = fit(config(budget="0.001s"))
    assert column(result, "steps") == [1]
    assert result.best_epoch == 1
    assert result.weights


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_learning_rates_follow_the_share_of_the_time_that_is_spent(name, warmup, watch, monkeypatch):
    schedule = {"name": name, "warmup": warmup}
    options = config(budget="20s", optimizer={"lr": 0.5}, schedule=schedule)
    rates, result = rates_of(options, monkeypatch, model=Timed(watch, 0.7))
    expected = []
    for step in range(result.history[-1]["steps"]):
        spent = step * 0.7 / 20
        left = (spent - warmup) / (1 - warmup)
        fall = (1 + math.cos(math.pi * left)) / 2 if name == "cosine" else 1 - left
        expected.append(0.5 * (spent / warmup if spent < warmup else fall))
    # A rate that warms up is that of the end of a step, and a tick of a time budget is 1/10,000 of it.
    assert rates == pytest.approx(expected, abs=0.5 / (10_000 * (warmup or 1)) + 1e-9)


def test_milestones_of_a_time_budget_are_ends_of_its_epochs(watch, monkeypatch):
    schedule = {"name": "step", "milestones": (1, 3), "gamma": 0.1}
    options = config(epochs=4, budget="20s", optimizer={"lr": 1.0}, schedule=schedule)
    rates, _ = rates_of(options, monkeypatch, model=Timed(watch, 1.0))
    assert rates == pytest.approx([1.0] * 5 + [0.1] * 10 + [0.01] * 5)


@pytest.mark.parametrize("crash", [1, 3])
def test_a_resumed_training_spends_the_rest_of_its_time_and_the_pause_costs_nothing(crash, watch, tmp_path):
    options = config(epochs=4, budget="20s")
    undisturbed = fit(options, model=Timed(watch, 1.0))
    with pytest.raises(CrashError):
        fit(options, model=Timed(watch, 1.0), checkpoints=AlwaysDue(tmp_path, crash))
    watch.seconds = 5.0  # another process, whose clock began anew
    resumed = fit(options, model=Timed(watch, 1.0), checkpoints=AlwaysDue(tmp_path))
    assert watch.seconds - 5.0 == 20 - crash * 5
    assert_same_outcome(resumed, undisturbed)  # on a watch that knows no chance


def test_a_training_that_had_spent_its_time_is_not_begun_again(watch, tmp_path):
    # One step of 50 s in the first of four epochs, so that three are left when the time is over.
    options = config(epochs=4, budget="20s")
    ended = fit(options, model=Timed(watch, 50.0), checkpoints=AlwaysDue(tmp_path))
    before = watch.seconds
    again = fit(options, model=Timed(watch, 50.0), checkpoints=AlwaysDue(tmp_path))
    assert watch.seconds == before
    assert len(again.history) == 1
    assert_same_outcome(again, ended)


# --- early stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["40 steps", "40s"])
@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_ends_a_training_whose_budget_is_not_spent(amount, patience, watch):
    options = config(epochs=10, budget=amount, early_stopping={"patience": patience, **NEVER_BETTER})
    result = fit(options, model=Timed(watch, 1.0))
    assert column(result, "epoch") == list(range(1, patience + 2))
    assert result.history[-1]["steps"] == 4 * (patience + 1)
    assert result.stopped_early


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("amount", [None, "17 steps"])
def test_where_the_last_epoch_is_kept_validation_labels_decide_nothing(amount, ema_decay):
    stopping = {"keep": "last", "patience": 1, **NEVER_BETTER}
    options = config(budget=amount, early_stopping=stopping, ema_decay=ema_decay)
    after_epoch: list[dict[str, Tensor]] = []
    model = Scaled()

    def on_epoch(record: dict[str, float]) -> None:
        after_epoch.append({name: value.clone() for name, value in model.state_dict().items()})

    result = fit(options, model=model, on_epoch=on_epoch)
    wrong = Examples(VALIDATION.images, (VALIDATION.labels + 1) % CLASSES)
    other = train(Scaled(), options, LABELED, wrong, num_classes=CLASSES, steps_per_epoch=3, seed=0)
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (5, False, 5)
    assert other.best_epoch == 5
    assert column(result, "validation_loss") != column(other, "validation_loss")
    assert all(torch.equal(value, other.weights[name]) for name, value in result.weights.items())
    is_the_model = all(torch.equal(value, result.weights[name]) for name, value in after_epoch[-1].items())
    assert is_the_model == (ema_decay == 0)
