"""Groups of images that look alike, against scipy's average linkage, and what shows a group."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from semisup.open_world.groups import APART, FEWEST, IN_NO_GROUP, MOST, groups_of, most_typical
from semisup.open_world.space import unit_length


def clouds(sizes, spread=0.1, dimensions=16, seed=0):
    """Points about as many directions as there are sizes, at right angles, in an order drawn at random."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return unit_length(np.eye(dimensions)[label] + rng.normal(0, spread, (len(label), dimensions))), label


def test_each_cloud_is_a_group_the_largest_first_and_too_small_a_one_is_none():
    points, label = clouds([30, 50, FEWEST, FEWEST - 1])
    groups = groups_of(points)
    assert [set(groups[label == cloud]) for cloud in range(4)] == [{2}, {1}, {3}, {IN_NO_GROUP}]


@pytest.mark.parametrize("spread", [0.2, 0.35, 0.5])
def test_the_groups_are_those_of_scipys_average_linkage(spread):
    points, _ = clouds([40, 30, 20, 10], spread)
    joined = fcluster(linkage(points, "average", "cosine"), APART, "distance")
    groups = groups_of(points)
    large = {cluster for cluster in joined if (joined == cluster).sum() >= FEWEST}
    assert len(large) == groups.max() > 0
    for cluster in set(joined):
        there = set(groups[joined == cluster])
        assert len(there) == 1
        assert (there == {IN_NO_GROUP}) == (cluster not in large)


def test_groups_do_not_hang_on_the_order_of_the_images():
    points, _ = clouds([40, 30, 20], 0.3)
    order = np.random.default_rng(1).permutation(len(points))
    groups, again = groups_of(points), groups_of(points[order])
    np.testing.assert_array_equal(groups[order], again)


def test_few_images_are_no_group_and_too_many_are_refused():
    assert not groups_of(np.ones((FEWEST - 1, 4)) / 2).any()
    assert not groups_of(np.ones((0, 4))).any()
    points, _ = clouds([20])
    points[:3] = 0  # scikit-learn takes no cosine of these
    np.testing.assert_array_equal(groups_of(points), [0] * 3 + [1] * 17)
    with pytest.raises(ValueError, match=f"at most {MOST}"):
        groups_of(np.ones((MOST + 1, 4)))


def test_the_first_image_is_the_most_usual_one_and_each_other_the_least_like_those_before():
    points, _ = clouds([25], 0.6)
    chosen = most_typical(points, 6)
    assert len(set(chosen)) == 6
    assert chosen[0] == np.argmax([point @ points.mean(axis=0) for point in points])
    for place in range(1, 6):
        nearest = [max(point @ points[row] for row in chosen[:place]) for point in points]
        nearest = np.where(np.isin(np.arange(len(points)), chosen[:place]), np.inf, nearest)
        assert nearest[chosen[place]] == pytest.approx(nearest.min())
    assert sorted(most_typical(points, 100)) == list(range(25))
