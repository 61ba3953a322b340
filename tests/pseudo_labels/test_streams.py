"""Policies on a stream of 200 steps, against masks and weights that loops in NumPy make of the papers' formulas."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from semisup.pseudo_labels import Policy
from semisup.pseudo_labels.modifiers import Aligned
from semisup.pseudo_labels.policies.adamatch import AdaMatch
from semisup.pseudo_labels.policies.fixmatch import FixMatch
from semisup.pseudo_labels.policies.flexmatch import FlexMatch
from semisup.pseudo_labels.policies.freematch import FreeMatch
from semisup.pseudo_labels.policies.softmatch import SoftMatch

FOLDER = Path(__file__).parent / "streams"
STREAM = dict(np.load(FOLDER / "streams.npz").items())
INPUTS = [STREAM[name] for name in ("unlabeled", "indices", "labeled")]
IMAGES, CLASSES, M = 40, 5, 0.9
POLICIES: dict[str, Policy] = {
    "fixmatch": FixMatch(0.8),
    "flexmatch": FlexMatch(0.8),
    "freematch": FreeMatch(M),
    "aligned_fixmatch": Aligned(FixMatch(0.8), torch.tensor([0.4, 0.25, 0.15, 0.12, 0.08]), M),
    "adamatch": AdaMatch(0.9, M),
}


def making() -> ModuleType:
    """The script that made the file, which imports nothing of the package."""
    found = importlib.util.spec_from_file_location("make_streams", FOLDER / "make_streams.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def weights_of(policy: Policy) -> np.ndarray:
    """(200, 12), step after step."""
    state, weights = policy.init(IMAGES, CLASSES), []
    for unlabeled, indices, labeled in zip(*INPUTS, strict=True):
        if policy.uses_labeled_predictions:
            state = policy.look_at_labeled(state, torch.from_numpy(labeled))
        state, _, of_step = policy.update(state, torch.from_numpy(unlabeled), torch.from_numpy(indices).long())
        weights.append(of_step.numpy())
    return np.stack(weights)


@pytest.mark.parametrize("name", POLICIES)
def test_masks_of_two_hundred_steps_are_exactly_those_of_the_papers_formulas(name):
    weights = weights_of(POLICIES[name])
    assert weights.shape == (200, 12)
    assert set(np.unique(weights)) == {0.0, 1.0}
    np.testing.assert_array_equal(weights == 1, STREAM[name])


@pytest.mark.parametrize(("name", "uniform"), [("softmatch", True), ("softmatch_unaligned", False)])
def test_softmatch_weights_of_two_hundred_steps_are_those_of_the_papers_formulas(name, uniform):
    np.testing.assert_allclose(weights_of(SoftMatch(M, 2.0, uniform)), STREAM[name], atol=2e-5)


def test_the_stored_masks_and_weights_are_what_the_script_beside_them_makes_of_the_stored_stream():
    script = making()
    for name, function in script.MASKS.items():
        np.testing.assert_array_equal(np.array(function(*INPUTS)), STREAM[name])
    for name, uniform in (("softmatch", True), ("softmatch_unaligned", False)):
        np.testing.assert_allclose(script.softmatch(*INPUTS, uniform=uniform), STREAM[name], atol=1e-6)


def test_the_stream_tells_the_policies_apart():
    masks = [STREAM[name] for name in POLICIES]
    for place, one in enumerate(masks):
        assert 0.3 < one.mean() < 0.95
        assert all((one != other).mean() > 0.01 for other in masks[:place])
