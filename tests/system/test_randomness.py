"""Seeds per purpose: the same for ever, independent of each other, and nobody else's generator moves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semisup.system.randomness import derive_seed, numpy_generator, torch_generator


# The first 16 hex digits that coreutils' `printf 'SEED:PURPOSE' | sha256sum` prints, without their lowest bit.
@pytest.mark.parametrize(
    ("seed", "purpose", "digest_start"),
    [(0, "split", "8191489326876928"), (0, "baseline/augment", "2f8f52eef5d13019"), (1, "split", "5f0a2aa478021a22")],
)
def test_a_derived_seed_is_the_top_63_bits_of_sha256_for_ever(seed, purpose, digest_start):
    assert derive_seed(seed, purpose) == int(digest_start, 16) // 2


@given(seed=st.integers(0, 2**31 - 1), purpose=st.text(max_size=20))
@settings(deadline=None, max_examples=50)
def test_a_derived_seed_suits_both_generators(seed, purpose):
    assert 0 <= derive_seed(seed, purpose) < 2**63
    torch_generator(seed, purpose)
    numpy_generator(seed, purpose)


def test_purposes_and_seeds_have_draws_of_their_own():
    cases = [(0, "a"), (0, "b"), (1, "a"), (0, "labeled batches"), (0, "labeled augmentation")]
    assert len({derive_seed(*case) for case in cases}) == len(cases)
    assert len({torch.rand(1, generator=torch_generator(*case)).item() for case in cases}) == len(cases)
    assert len({numpy_generator(*case).random() for case in cases}) == len(cases)


def test_same_seed_and_purpose_give_the_same_draws():
    first, second = torch_generator(7, "x"), torch_generator(7, "x")
    assert torch.equal(torch.randperm(100, generator=first), torch.randperm(100, generator=second))
    assert np.array_equal(numpy_generator(7, "x").permutation(100), numpy_generator(7, "x").permutation(100))


def test_draws_of_one_purpose_do_not_move_those_of_another():
    undisturbed = torch.rand(5, generator=torch_generator(0, "b"))
    other, generator = torch_generator(0, "a"), torch_generator(0, "b")
    torch.rand(100, generator=other)
    assert torch.equal(torch.rand(5, generator=generator), undisturbed)


def test_making_generators_leaves_the_global_ones_as_they_were():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.rand(3, generator=torch_generator(0, "a"))
    numpy_generator(0, "a").random(3)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
