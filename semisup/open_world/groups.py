"""Which images of none of the classes look alike: each group may be a class that nobody has labeled yet."""

import numpy as np
from numpy.typing import NDArray

from semisup.open_world.space import Floats
from semisup.system.threads import one_thread

APART = 0.7
"""Mean of 1 − cosine between two groups from which they stay two. Chosen on photographs, as the score of unknown images
was: from 0.6 to 0.8 a class is found as often, and what is lost in images is won in groups of one class."""
FEWEST = 8
"""Images of a group: of fewer, likeness may be chance."""
MOST = 2_000
"""Images that are compared with each other."""
SHOWN = 12
"""Images that show what a group is."""
IN_NO_GROUP = 0


@one_thread()
def groups_of(points: Floats) -> NDArray[np.int64]:
    """The group (n,) of points (n, d) of length 1, n ≤ MOST: from 1 on, the largest first; IN_NO_GROUP: of none.

    Images are joined by the mean cosine between their groups (average linkage) as long as it is above 1 − APART, and
    what then has fewer than FEWEST images is no group. A point of zeros is in no direction, and so in no group.

    Raises:
        ValueError: there are more than MOST points.
    Source: Sokal & Michener 1958 (average linkage).
    """
    from sklearn.cluster import AgglomerativeClustering

    if len(points) > MOST:
        raise ValueError(
            f"{len(points)} points would take {len(points) ** 2 * 8 / 1e6:.0f} MB; at most {MOST} are taken"
        )
    found = np.full(len(points), IN_NO_GROUP, np.int64)
    somewhere = np.flatnonzero(points.any(axis=1))
    if len(somewhere) < FEWEST:
        return found
    model = AgglomerativeClustering(n_clusters=None, distance_threshold=APART, metric="cosine", linkage="average")
    joined = model.fit_predict(points[somewhere])
    sizes = np.bincount(joined)
    for number, group in enumerate(np.argsort(-sizes, kind="stable")[: (sizes >= FEWEST).sum()], 1):
        found[somewhere[joined == group]] = number
    return found


def most_typical(points: Floats, count: int) -> NDArray[np.int64]:
    """Rows of `count` points (n, d) that show what a group is: the one nearest to the mean, then the least like those.

    Of points of length 1. The first is what is usual in the group, the others how far it reaches.
    """
    center = points.mean(axis=0)
    chosen = [int(np.argmax(points @ center))]
    nearest = points @ points[chosen[0]]
    while len(chosen) < min(count, len(points)):
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, points @ points[chosen[-1]])
    return np.array(chosen, dtype=np.int64)
