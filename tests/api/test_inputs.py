"""Images of every layout are the same images, and what is held out together stays together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semisup.api.inputs import Given, read_images, units_of
from semisup.api.learning.training import held_out
from semisup.errors import UserError


@pytest.fixture(scope="module")
def colors():
    return np.random.default_rng(0).integers(0, 256, (5, 3, 8, 6), dtype=np.uint8)


def test_channels_first_and_last_are_the_same_images(colors):
    assert torch.equal(read_images(colors), read_images(colors.transpose(0, 2, 3, 1)))
    assert torch.equal(read_images(colors), torch.from_numpy(colors))


def test_gray_images_need_no_channel(colors):
    gray = colors[:, 0]
    for images in (gray, gray[:, None], gray[..., None]):
        assert torch.equal(read_images(images), torch.from_numpy(gray)[:, None])


def test_what_is_read_is_a_copy(colors):
    frozen = colors.copy()
    frozen.flags.writeable = False
    read_images(frozen)[0] = 0
    assert (frozen == colors).all()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((2, 8, 8)), "float64; use uint8"),
        (np.zeros((2, 8, 8, 2), np.uint8), "without an axis of 1 or 3 channels"),
        (np.zeros((2, 3, 8, 3), np.uint8), "channels could come first or last"),
        (np.zeros((2, 1, 1, 8, 8), np.uint8), "use images"),
        (np.zeros((0, 8, 8), np.uint8), "there is no image"),
        (np.zeros((2, 9, 8), np.uint8), r"\(1, 9, 8\), but the model learned from \(1, 8, 8\)"),
    ],
)
def test_images_of_another_kind_are_refused_with_a_way_out(images, said):
    with pytest.raises(UserError, match=said):
        read_images(images, (1, 8, 8))


def test_units_are_copies_and_follow_from_content_alone():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [5.0, 6.0]]).double()
    units = units_of(rows, None)
    assert units[0] == units[2]
    assert len(set(units)) == 3
    order = np.array([3, 2, 0, 1])
    assert units_of(rows[order], None).tolist() == units[order].tolist()


def test_groups_are_the_units_where_there_are_any():
    assert units_of(torch.zeros(3, 1), np.array(["b", "a", "b"])).tolist() == [1, 0, 1]


@given(
    st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 9)), min_size=3, max_size=40),
    st.floats(0.05, 0.9),
    st.integers(0, 9),
)
def test_a_unit_is_held_out_as_a_whole_and_every_class_is_still_learned(rows, fraction, seed):
    codes = np.array([0, 1, 2, *(code for code, _ in rows)])  # every class has a label
    units = np.array([100, 101, 102, *(unit for _, unit in rows)])
    count = len(codes)
    some = Given(torch.zeros(count, 1), torch.from_numpy(codes), 3, torch.ones(count), units, seed)
    held = held_out(some, fraction)
    assert not set(units[held]) & set(units[~held])
    assert set(codes[~held]) >= {0, 1, 2}


def test_without_groups_a_share_of_every_class_is_held_out():
    codes = np.repeat([0, 1, -1], [10, 30, 50])
    some = Given(torch.zeros(90, 1), torch.from_numpy(codes), 2, torch.ones(90), np.arange(90), 0)
    held = held_out(some, 0.2)
    assert [(held & (codes == label)).sum() for label in (0, 1, -1)] == [2, 6, 0]
    assert not held_out(some, 0.0).any()
