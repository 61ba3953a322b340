"""How far a model's confidence can be trusted, and the lowest threshold whose pseudo-labels are proven right enough.

Plain numpy in, frozen dataclasses out. Confidence is the largest probability; every rate is a fraction in [0, 1].
"""

from semisup.calibration.certificate import Certificate, WalkStep, certify, fewest_accepted
from semisup.calibration.measures import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Bools,
    Floats,
    Labels,
    accuracy_ends,
    adaptive_calibration_error,
    brier_score,
    error_bound,
    expected_calibration_error,
    fit_temperature,
    measure,
    negative_log_likelihood,
    reliability,
    temper,
)
from semisup.calibration.words import calibration_sentence, calibration_warnings, uncertified, who

__all__ = [
    "HIGHEST_TEMPERATURE",
    "LOWEST_TEMPERATURE",
    "Bools",
    "Certificate",
    "Floats",
    "Labels",
    "WalkStep",
    "accuracy_ends",
    "adaptive_calibration_error",
    "brier_score",
    "calibration_sentence",
    "calibration_warnings",
    "certify",
    "error_bound",
    "expected_calibration_error",
    "fewest_accepted",
    "fit_temperature",
    "measure",
    "negative_log_likelihood",
    "reliability",
    "temper",
    "uncertified",
    "who",
]
