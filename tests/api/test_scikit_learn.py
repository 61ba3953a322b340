"""scikit-learn's own checks of an estimator, on feature vectors."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import semisup as ss

MINUS_ONE = (
    "its last part takes -1 for a class, which here means 'no label'. scikit-learn leaves that part out for its own "
    "semi-supervised classifiers, by their names; `LabelSpreading` below has such a name and passes it"
)
STEPS = "weights act on the gradient, and batches hold copies more often than single rows: alike in the mean only"


class LabelSpreading(ss.PseudoLabelClassifier):
    """Called as one of scikit-learn's own, so that its checks know that -1 is no class."""


@parametrize_with_checks(
    [ss.PseudoLabelClassifier(random_state=0)],
    expected_failed_checks=lambda _: {"check_classifiers_classes": MINUS_ONE},
)
def test_vectors_pass_the_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@parametrize_with_checks([LabelSpreading(random_state=0)])
def test_vectors_pass_all_checks_under_a_semi_supervised_name(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        LabelSpreading(policy, network=network, random_state=0, validation_fraction=0.0, settings={"epochs": 60})
        for policy, network in ((ss.FixMatch(0.95), "mlp"), (ss.SelfTraining(), "linear"))
    ],
    expected_failed_checks=lambda _: {"check_sample_weight_equivalence_on_dense_data": STEPS},
)
def test_networks_on_vectors_pass_the_checks(estimator: Any, check: Any) -> None:
    check(estimator)
