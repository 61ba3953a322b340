"""Copies of a picture are found whatever a program did to the file; look-alikes are left alone; no copy leaks."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from semisup.data.own_images.reading.duplicates import MOST_BITS, _candidates, find_groups, perceptual_hashes
from semisup.data.roles.split import PRECEDENCE, REMOVED, find_leaks
from tests.data.corpus import encoded, photo


def stacked(pictures) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures]))


def reopened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def detailed(seed: int) -> np.ndarray:
    """A photo with detail of all sizes, as real ones have."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize((64, 64), 3), float)
        for n in (3, 6, 12, 24)
    ]
    return (sum(layer / 2**k for k, layer in enumerate(layers)) / 1.875).clip(0, 255).astype(np.uint8)


COPIES = {
    "the same": lambda picture: picture,
    "JPEG of quality 50": lambda picture: reopened(encoded(picture, "JPEG", quality=50)),
    "WebP": lambda picture: reopened(encoded(picture, "WEBP", quality=70)),
    "made larger and small again": lambda picture: Image.fromarray(picture).resize((200, 200)).resize((64, 64)),
    "brighter": lambda picture: (picture * 0.9 + 20).astype(np.uint8),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found_among_other_pictures(change):
    pictures = [detailed(seed) for seed in range(40)]
    copies = [COPIES[change](picture) for picture in pictures[:10]]
    groups = find_groups([stacked(pictures), stacked(copies)], [f"{k}" for k in range(50)])
    assert np.array_equal(groups[40:], groups[:10])
    assert len(set(groups[:40])) == 40


def test_files_with_the_same_bytes_are_copies_even_of_a_blank_page():
    blank = torch.full((3, 1, 8, 8), 255, dtype=torch.uint8)
    assert len(set(find_groups([blank], ["a", "b", "a"]))) == 2
    groups = find_groups([blank], ["a", "b", "a"])
    assert groups[0] == groups[2]


def test_tiny_digits_that_look_alike_are_not_taken_for_copies():
    images = torch.from_numpy((load_digits().images * 15).astype(np.uint8))[:, None]
    groups = find_groups([images], [str(k) for k in range(len(images))])
    assert len(set(groups)) == len(images)


def test_candidates_are_exactly_the_pairs_of_near_hashes():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**64, 60, dtype=np.uint64)
    flips = np.array([sum(1 << int(bit) for bit in rng.choice(64, k % 10, replace=False)) for k in range(60)])
    hashes = np.concatenate([base, base ^ flips.astype(np.uint64)])
    expected = {
        (i, j)
        for i in range(120)
        for j in range(i + 1, 120)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= MOST_BITS
    }
    first, second = _candidates(hashes)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(first) == len(expected)


def test_a_hash_knows_no_brightness_but_knows_the_picture():
    pictures = stacked([photo(1), (photo(1) * 0.5 + 60).astype(np.uint8), photo(2)])
    (first, darker, other), _ = perceptual_hashes([pictures])
    assert (int(first) ^ int(darker)).bit_count() <= 2
    assert (int(first) ^ int(other)).bit_count() > 16


def test_of_copies_in_several_roles_only_the_strongest_stays():
    roles = np.array(["labeled", "validation", "unlabeled", "unlabeled", "calibration", "labeled"], dtype=object)
    groups = np.array([1, 1, 1, 2, 3, 3])
    leaks = find_leaks(roles, groups, test_groups=np.array([7, 2]))
    assert leaks == {0: ("validation", 1), 2: ("validation", 1), 3: ("test", 1), 5: ("calibration", 4)}


@given(
    st.lists(st.tuples(st.sampled_from(["labeled", "validation", "calibration", "unlabeled"]), st.integers(0, 8))),
    st.lists(st.integers(0, 8)),
)
def test_after_the_removal_no_two_roles_that_must_not_know_each_other_share_a_picture(pool, test):
    roles = np.array([role for role, _ in pool], dtype=object)
    groups = np.array([group for _, group in pool], dtype=np.int64)
    roles[list(find_leaks(roles, groups, np.array(test, dtype=np.int64)))] = REMOVED
    places: dict[int, set[str]] = {}
    for role, group in [*zip(roles, groups.tolist(), strict=True), *(("test", group) for group in test)]:
        if role != REMOVED:
            places.setdefault(group, set()).add(role)
    for together in places.values():
        assert len(together) == 1 or not together & set(PRECEDENCE)
