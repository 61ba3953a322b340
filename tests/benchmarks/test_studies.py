"""The studies: roles that never overlap, paired statistics by scipy, and arms that run."""

from dataclasses import replace

import pytest
import torch
from scipy import stats

from benchmarks.studies.__main__ import STUDIES
from benchmarks.studies.study import Study, rows_of
from benchmarks.studies.workbench import DIGITS, fit, set_up, teacher
from semisup.data.sources import load_test

QUICK = {"epochs": 1, "batch_size": 50}


pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_image_of_a_setup_has_one_role_and_none_is_a_test_image():
    setup = set_up(DIGITS, seed=3, root=None)
    used = torch.cat(list(setup.indices.values())).tolist()
    assert sorted(used) == list(range(len(setup.pool)))
    assert set(setup.pool.ids).isdisjoint(load_test("digits").ids)
    assert len(setup.indices["held"]) == DIGITS.held


def test_another_seed_draws_other_roles_and_the_same_seed_the_same():
    first, again, other = (set_up(DIGITS, seed, None).indices["labeled"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_table_holds_mean_deviation_worst_seed_and_the_paired_interval_of_scipy():
    study = Study("x", "?", DIGITS, {"off": (lambda _: {}, ()), "on": (lambda _: {}, ())})
    off, on = [90.0, 92.0, 91.0, 95.0], [91.0, 92.5, 93.0, 95.5]
    rows = rows_of(study, {"off": [{"accuracy": v} for v in off], "on": [{"accuracy": v} for v in on]})
    assert rows[0]["accuracy"] == "92.00 ± 2.16"
    assert rows[0]["worst accuracy"] == "90.00"
    interval = stats.ttest_rel(on, off).confidence_interval(0.95)
    assert rows[1]["accuracy − off"] == f"+1.00 [{interval.low:+.2f}, {interval.high:+.2f}]"


def test_arms_of_a_seed_begin_alike():
    setup = set_up(replace(DIGITS, train=QUICK), 0, None)
    one, other = (fit(setup).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert teacher(setup) is teacher(setup)


@pytest.mark.parametrize(
    "name", ["mixup_digits", "dropout_digits", "teacher_smoothing_digits", "compound_digits_vgg_small"]
)
def test_every_arm_of_a_study_gives_its_figures(name):
    study = STUDIES[name]
    setup = set_up(replace(study.bench, train={**study.bench.train, **QUICK}), 0, None)
    for function, arguments in study.arms.values():
        figures = function(setup, *arguments)
        assert all(0 <= value <= 100 for key, value in figures.items() if key != "CPU s")
        assert figures["CPU s"] > 0


def test_studies_have_names_of_their_own_and_a_first_arm_to_be_held_against():
    assert len({study.name for study in STUDIES.values()}) == len(STUDIES)
    assert all(len(study.arms) >= 2 for study in STUDIES.values())
