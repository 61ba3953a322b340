"""Curriculum labeling: every round accepts a larger share of the images, the most confident first."""

import numpy as np
from numpy.typing import NDArray


def percentile_threshold(confidence: NDArray[np.float32], round_number: int, step: float = 0.2) -> float:
    """Threshold of a round (from 1): accept c ≥ the (100 - 100·step·round)-th percentile of all confidences (N,).

    With the default step round 1 accepts the most confident 20 %, and more where several are equal; from round 5 on
    everything is accepted. The percentile is interpolated linearly (numpy's default, as in the authors' code) and a
    float32's value, so that comparing in float32 rounds nothing.

    Raises:
        ValueError: no confidences, a round before 1, or a step outside (0, 1].
    Source: Cascante-Bonilla et al. 2021 (arXiv 2001.06001), algorithm 1; uvavision/Curriculum-Labeling,
    methods/entropy/curriculum_labeling.py, `do_iteration`.
    """
    if len(confidence) == 0:
        raise ValueError("no confidences; a percentile needs at least one image")
    if round_number < 1:
        raise ValueError(f"round_number={round_number}; rounds count from 1")
    if not 0 < step <= 1:
        raise ValueError(f"step={step} is outside (0, 1]; it is a fraction")
    percentile = max(0.0, 100 - 100 * step * round_number)
    return float(np.percentile(confidence.astype(np.float32), percentile))
