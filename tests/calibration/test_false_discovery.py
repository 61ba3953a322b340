"""Control of the false discovery rate: scipy's Benjamini–Hochberg, simulations of known precision, and its words."""

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom, false_discovery_control

from semisup.calibration.certificate import certify, certify_classes
from semisup.calibration.false_discovery import FdrControl, control_fdr, fewest_for
from semisup.calibration.words import calibration_sentence, calibration_warnings
from tests.calibration.simulated import SPLITS, World, cliff, honest, over_confident, seen_cliff, tight
from tests.calibration.test_calibration import values_of


@cache
def controls(world: World, images: int, fdr: float = 0.05) -> list[tuple[FdrControl, float]]:
    """(control, share of wrong labels among those accepted of the pool) of 200 draws of both."""
    results = []
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        (confidence, right), (pool, pool_right) = world(rng.random(images)), world(rng.random(2_000))
        found = control_fdr(confidence, rng.random(images) < right, pool, fdr)
        wrong = rng.random(2_000) >= pool_right
        accepted = pool >= found.threshold if found.threshold is not None else np.zeros(2_000, bool)
        results.append((found, float(wrong[accepted].mean()) if accepted.any() else 0.0))
    return results


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("fdr", [0.02, 0.05, 0.2])
def test_what_is_accepted_is_what_benjamini_and_hochberg_reject_of_conformal_p_values(fdr, ties):
    """Of scipy's adjusted p-values, those within the rate; p-values by their definition, image by image."""
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        (confidence, right), (pool, _) = honest(rng.random(150)), honest(rng.random(300))
        if ties:
            confidence, pool = confidence.round(2), pool.round(2)
        correct = rng.random(150) < right
        p_values = [(1 + sum(~correct & (confidence >= sure))) / 151 for sure in pool]
        expected = false_discovery_control(p_values) <= fdr + 1e-12
        control = control_fdr(confidence, correct, pool, fdr)
        assert control.found == expected.any()
        if control.threshold is not None:
            found += 1
            np.testing.assert_array_equal(pool >= control.threshold, expected)
            assert control.threshold in pool
            assert control.share == expected.mean()
            assert control.accepted == (confidence >= control.threshold).sum()
            assert control.errors == (~correct & (confidence >= control.threshold)).sum()
            assert control.estimate == pytest.approx((1 + control.errors) / 151 / control.share)
            assert control.estimate <= fdr + 1e-12
    assert found


@pytest.mark.parametrize("world", [honest, over_confident, cliff, seen_cliff, tight])
@pytest.mark.parametrize("images", [100, 400])
def test_the_share_of_wrong_labels_is_within_the_rate_on_average(world, images):
    """Three standard errors of the mean: what a rate of exactly 5 % would exceed in one of 740."""
    shares = np.array([share for _, share in controls(world, images)])
    assert shares.mean() <= 0.05 + 3 * shares.std(ddof=1) / len(shares) ** 0.5


def test_the_rate_is_used_up_where_there_is_something_to_win():
    """A promise that is kept by accepting next to nothing would be none."""
    shares = np.array([share for _, share in controls(honest, 400)])
    assert shares.mean() >= 0.03


@pytest.mark.parametrize("images", [100, 300])
def test_a_promise_about_the_mean_accepts_more_than_one_about_nearly_every_draw(images):
    certified = []
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        (confidence, right), (pool, _) = honest(rng.random(images)), honest(rng.random(2_000))
        certificate = certify(confidence, rng.random(images) < right, pool, 0.95, 0.95)
        certified.append(certificate.share if certificate.certified else 0.0)
    controlled = [found.share if found.found else 0.0 for found, _ in controls(honest, images)]
    assert np.mean(controlled) > np.mean(certified)


@pytest.mark.parametrize(("fdr", "fewest"), [(0.05, 19), (0.01, 99), (0.3, 3)])
def test_without_an_error_the_fewest_images_are_just_enough_for_the_whole_pool(fdr, fewest):
    assert fewest_for(fdr) == fewest
    pool = np.linspace(0.5, 1, 50)
    for images, found in ((fewest, True), (fewest - 1, False)):
        control = control_fdr(np.ones(images), np.ones(images, bool), pool, fdr)
        assert (control.found, control.share) == (found, 1.0)


def test_as_many_images_as_are_said_to_be_needed_find_a_threshold_nine_times_in_ten():
    pool = honest(np.random.default_rng(0).random(4_000))[0]
    few = control_fdr(pool[:10], np.ones(10, dtype=bool), pool, 0.05)
    assert few.labels_needed is not None
    passed = sum(found.found for found, _ in controls(honest, few.labels_needed))
    assert passed >= binom.ppf(0.001, SPLITS, 0.9)
    assert sum(found.found for found, _ in controls(honest, few.labels_needed // 2)) < 0.9 * SPLITS
    hopeless = np.full(500, 0.9)
    assert control_fdr(hopeless[:5], np.ones(5, dtype=bool), hopeless, 0.01).labels_needed is None


def test_what_cannot_be_compared_is_told():
    right = np.ones(3, bool)
    for arguments, said in (
        ((np.ones(3), right, np.ones(3), 1.0), "fdr=1.0"),
        ((np.ones(0), right[:0], np.ones(3), 0.1), "at least one image"),
        ((np.ones(3), right[:2], np.ones(3), 0.1), "words on whether"),
        ((np.ones(3, np.float32), right, np.ones(3), 0.1), "rounded differently"),
    ):
        with pytest.raises(ValueError, match=said):
            control_fdr(*arguments)


def test_the_sentence_says_what_is_kept_and_that_it_is_a_mean():
    rng = np.random.default_rng(0)
    control = next(found for found, _ in controls(honest, 400) if found.found)
    said = {"fdr_control": asdict(control), "fdr_controlled": True, "threshold": control.threshold}
    sentence = calibration_sentence(values_of(None, **said))
    for part in ("at most 5% of its labels wrong, on average", f"threshold {control.threshold:.4g} keeps the rate"):
        assert part in sentence
    assert calibration_warnings(values_of(None, **said)) == []
    other = {"p_value": 0.00012, "calibration_images": 400, "pool_images": 2000}
    shifted = values_of(None, **said | {"fdr_controlled": False, "compared": other, "fallback": 0.99})
    (warning,) = calibration_warnings(shifted)
    for part in ("fdr=0.05 could not be kept: the unlabeled images are not like", "fallback threshold 0.99 applies"):
        assert part in warning
    wrong = control_fdr(rng.random(50), np.zeros(50, bool), rng.random(50), 0.05)
    nothing = {"fdr_control": asdict(wrong), "fdr_controlled": False, "fallback": 0.9}
    (warning,) = calibration_warnings(values_of(None, calibration_images_needed=812, **nothing))
    for part in ("could not be kept (", "wrong labels", "of about 820", "a higher fdr"):
        assert part in warning


# --- certificates of single classes -----------------------------------------------------------------------------------


def test_the_certificate_of_a_class_is_that_of_its_images_alone():
    rng = np.random.default_rng(1)
    label, pool_label = rng.integers(3, size=600), rng.integers(3, size=1_000)
    label[np.flatnonzero(label == 2)[20:]] = 1  # class 2 has twenty images: too few
    (confidence, right), (pool, _) = honest(rng.random(600)), honest(rng.random(1_000))
    correct = rng.random(600) < right
    found = certify_classes(
        label, confidence, correct, (pool_label, pool), num_classes=4, target_precision=0.9, level=0.95
    )
    assert [each.label for each in found] == [0, 1, 2, 3]
    for each in found[:2]:
        alone, there = label == each.label, pool_label == each.label
        expected = certify(confidence[alone], correct[alone], pool[there], 0.9, 0.95)
        assert expected.certified
        figures = (expected.threshold, expected.accepted, expected.errors, expected.share, alone.sum())
        assert (each.threshold, each.accepted, each.errors, each.share, each.images) == figures
    assert (found[2].threshold, found[2].images, found[2].share) == (None, 20, 0.0)
    assert (found[3].threshold, found[3].images, found[3].errors) == (None, 0, 0)


def test_a_class_whose_labels_are_wrong_too_often_is_not_certified_beside_one_whose_labels_are_right():
    """All together pass; what the certificate of all does not say, the one of the class does."""
    rng = np.random.default_rng(2)
    label, pool_label = (rng.random(size) < 0.05 for size in (2_000, 4_000))
    confidence, pool = 1 - 0.05 * rng.random(2_000), 1 - 0.05 * rng.random(4_000)
    correct = np.where(label, rng.random(2_000) < 0.5, True)
    assert certify(confidence, correct, pool, 0.95, 0.95).certified
    good, bad = certify_classes(
        label.astype(int),
        confidence,
        correct,
        (pool_label.astype(int), pool),
        num_classes=2,
        target_precision=0.95,
        level=0.95,
    )
    assert good.threshold is not None
    assert (bad.threshold, bad.images, bad.errors) == (None, label.sum(), (label & ~correct).sum())
