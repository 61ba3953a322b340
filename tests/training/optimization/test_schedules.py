"""The α ramp by Lee's formula, learning rates against torch's schedulers or by formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from semisup.config import ScheduleConfig
from semisup.training.optimization.schedules import alpha_ramp, lr_factor


@pytest.mark.parametrize(
    ("epoch", "alpha"),
    [(1, 0), (99, 0), (100, 0), (101, 3 / 500), (350, 1.5), (599, 3 * 499 / 500), (600, 3), (1e4, 3)],
)
def test_ramp_has_the_values_of_lee_2013(epoch, alpha):
    assert alpha_ramp(epoch, start=100, end=600, final=3.0) == pytest.approx(alpha, abs=1e-12)


def test_ramp_of_the_sources_reaches_its_small_final_weight_at_epoch_450():
    assert alpha_ramp(275, 100, 450, 1e-4) == pytest.approx(0.5e-4)
    assert alpha_ramp(450, 100, 450, 1e-4) == 1e-4


def test_ramp_from_zero_to_zero_is_complete_in_the_first_epoch():
    assert [alpha_ramp(epoch, 0, 0, 2.0) for epoch in (1, 2, 50)] == [2.0, 2.0, 2.0]


def test_ramp_whose_start_is_its_end_is_a_step_after_that_epoch():
    assert [alpha_ramp(epoch, 5, 5, 2.0) for epoch in (4, 5, 6)] == [0.0, 0.0, 2.0]


@given(start=st.integers(0, 50), length=st.integers(0, 50), final=st.floats(0, 100))
@settings(deadline=None, max_examples=50)
def test_ramp_never_falls_and_stays_between_zero_and_final(start, length, final):
    alphas = [alpha_ramp(epoch, start, start + length, final) for epoch in range(1, 110)]
    assert alphas == sorted(alphas)
    assert all(alpha == 0 for alpha in alphas[:start])
    assert all(alpha == final for alpha in alphas[start + length :])


# --- learning rates -----------------------------------------------------------------------------------------------


def rates(config: ScheduleConfig, *, epochs: int, steps_per_epoch: int, lr: float = 1.0) -> list[float]:
    """The rate that each optimizer step of a whole training uses."""
    total = epochs * steps_per_epoch
    return [lr * lr_factor(config, step, total, epochs) for step in range(total)]


def rates_of_torch(make_schedule, *, epochs: int, steps_per_epoch: int, step_every: int) -> list[float]:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimizer)
    used = []
    for step in range(1, epochs * steps_per_epoch + 1):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % step_every == 0:
            schedule.step()
    return used


def test_constant_rate_never_moves():
    assert rates(ScheduleConfig(name="constant", warmup=0.5), epochs=3, steps_per_epoch=4, lr=0.3) == [0.3] * 12


def test_step_schedule_divides_the_rate_by_ten_after_epochs_50_and_100():
    config = ScheduleConfig(name="step", milestones=(50, 100), gamma=0.1)
    per_epoch = rates(config, epochs=150, steps_per_epoch=2, lr=0.1)[::2]
    expected = [0.1] * 50 + [0.01] * 50 + [0.001] * 50
    assert per_epoch == pytest.approx(expected)


def test_step_schedule_is_multi_step_of_torch_stepped_per_epoch():
    sizes = {"epochs": 9, "steps_per_epoch": 5}
    ours = rates(ScheduleConfig(name="step", milestones=(2, 3, 7), gamma=0.5), **sizes)
    torchs = rates_of_torch(lambda o: MultiStepLR(o, [2, 3, 7], 0.5), **sizes, step_every=5)
    assert ours == pytest.approx(torchs)


def test_cosine_without_warm_up_is_cosine_annealing_of_torch_over_all_steps():
    sizes = {"epochs": 6, "steps_per_epoch": 5}
    ours = rates(ScheduleConfig(name="cosine", warmup=0), **sizes)
    torchs = rates_of_torch(lambda o: CosineAnnealingLR(o, T_max=30), **sizes, step_every=1)
    assert ours == pytest.approx(torchs, abs=1e-9)


def test_one_cycle_rises_linearly_to_the_full_rate_and_falls_linearly_towards_zero():
    ours = rates(ScheduleConfig(name="one_cycle", warmup=0.2), epochs=5, steps_per_epoch=2)
    assert ours == pytest.approx([0.5, 1.0, *(1 - done / 8 for done in range(8))])


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3, 1.0])
def test_warmed_up_rates_rise_to_the_configured_one_and_never_rise_again(name, warmup):
    ours = rates(ScheduleConfig(name=name, warmup=warmup), epochs=10, steps_per_epoch=10)
    warm = round(warmup * 100)
    assert ours[:warm] == pytest.approx([(step + 1) / warm for step in range(warm)])
    assert max(ours) == pytest.approx(1.0)
    assert ours[warm:] == sorted(ours[warm:], reverse=True)
    assert min(ours) > 0
