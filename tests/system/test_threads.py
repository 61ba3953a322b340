"""What is solved in many small steps computes in one thread, torch's as well as that of scipy's linear algebra."""

import numpy as np
import pytest
import scipy.optimize
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from semisup.evaluation.references import REFERENCES, Seen
from semisup.frozen.probe import fit_probe
from semisup.open_world.exchangeability import compare
from semisup.open_world.shares import fit_biases
from semisup.open_world.unknown import fit_detector
from semisup.review.confident_learning import out_of_sample_probabilities
from semisup.system.threads import one_thread

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(60, 8)).astype(np.float32)
LABELS = np.arange(60) % 3


def counts() -> set[int]:
    """Threads of torch and of every library of linear algebra that is loaded."""
    return {torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")}


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(2, user_api="blas"):
        yield
    torch.set_num_threads(before)


def test_inside_it_is_one_and_afterwards_as_many_as_before_also_after_an_error(two_threads):
    assert counts() == {2}
    with one_thread():
        assert counts() == {1}
    assert counts() == {2}
    with pytest.raises(ValueError, match="inside"), one_thread():
        raise ValueError("inside")
    assert counts() == {2}


SOLVERS = {
    "probe": lambda: fit_probe(
        torch.from_numpy(POINTS), torch.nn.functional.one_hot(torch.from_numpy(LABELS), 3), torch.ones(60), 1.0
    ),
    "logistic regression": lambda: REFERENCES["Logistic regression"][0](Seen(POINTS, LABELS, POINTS, POINTS)),
    "self-training": lambda: REFERENCES["Self-training"][0](Seen(POINTS, LABELS, POINTS, POINTS)),
    "unknown images": lambda: fit_detector(POINTS, LABELS, POINTS[:20], 0),
    "shift of the pool": lambda: compare({}, (POINTS[:30], POINTS[30:]), RNG),
    "class shares": lambda: fit_biases(np.log(RNG.dirichlet([1, 1, 1], 60)), LABELS),
    "suspects": lambda: out_of_sample_probabilities(POINTS, LABELS, 3, 0),
}


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS)
def test_solvers_of_many_small_steps_compute_in_one_thread(solve, two_threads, monkeypatch):
    seen: set[int] = set()
    minimize = scipy.optimize.minimize

    def watched(cost, *arguments, **options):
        def watching(*values, **more):
            seen.update(counts())
            return cost(*values, **more)

        return minimize(watching, *arguments, **options)

    monkeypatch.setattr(scipy.optimize, "minimize", watched)
    solve()
    assert seen == {1}
    assert counts() == {2}
