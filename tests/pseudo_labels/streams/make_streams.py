"""Streams of 200 steps and what each paper's formulas make of them, written down apart from the package.

    python tests/pseudo_labels/streams/make_streams.py     # writes streams.npz beside this file

Loops over single images in float64, with nothing but NumPy: slow, and close to how the papers put it. A teacher gets
better over the steps, is slower to learn some classes, and sees images whose classes are not equally frequent. Batches
of shuffled images follow one another without a seam, so that a batch may hold an image twice.

No confidence lies within MARGIN of its threshold. So float32 has to give the same masks, exactly.
"""

from math import exp
from pathlib import Path

import numpy as np

STEPS, IMAGES, CLASSES, BATCH, LABELED = 200, 40, 5, 12, 6
MARGIN = 2e-5
FIXED, FLEX, ADA = 0.8, 0.8, 0.9
"""Thresholds τ of FixMatch, FlexMatch and AdaMatch."""
MOMENTUM = 0.9
DEVIATIONS = 2.0
TARGET = (0.4, 0.25, 0.15, 0.12, 0.08)
"""Class shares π that distribution alignment aims at."""
FILE = Path(__file__).with_name("streams.npz")


def draw(seed):
    """float32 probabilities (STEPS, BATCH, CLASSES), their images (STEPS, BATCH), those of labeled images."""
    rng = np.random.default_rng(seed)
    truth, labels = rng.choice(CLASSES, IMAGES, p=TARGET), np.arange(LABELED) % CLASSES
    ease = np.linspace(1.2, 0.5, CLASSES)
    order = np.concatenate([rng.permutation(IMAGES) for _ in range(STEPS * BATCH // IMAGES + 1)])
    indices = order[: STEPS * BATCH].reshape(STEPS, BATCH)

    def seen(classes, step):
        strength = 5.5 * ease[classes] * (0.15 + 0.85 * step / STEPS)
        logits = rng.normal(0, 1, (len(classes), CLASSES))
        logits[np.arange(len(classes)), classes] += strength
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)

    unlabeled = np.stack([seen(truth[row], step) for step, row in enumerate(indices)])
    labeled = np.stack([seen(labels, step) for step in range(STEPS)])
    return unlabeled.astype(np.float32), indices, labeled.astype(np.float32)


def decide(confidence, threshold):
    """Is it at least the threshold? None: it is too close to tell."""
    return None if abs(confidence - threshold) < MARGIN else confidence >= threshold


def fixmatch(unlabeled, indices, labeled):
    """Sohn et al. 2020, equation 4: 1(max q >= τ)."""
    return [[decide(max(q), FIXED) for q in batch] for batch in unlabeled.astype(float)]


def flexmatch(unlabeled, indices, labeled):
    """Zhang et al. 2021, algorithm 1: σ (section 3.1), its warm-up (3.2) and the convex map (3.3)."""
    last = [-1] * IMAGES
    masks = []
    for batch, row in zip(unlabeled.astype(float), indices, strict=True):
        sigma = [last.count(c) for c in range(CLASSES)]
        beta = [s / max(*sigma, last.count(-1)) for s in sigma]
        masks.append([decide(max(q), FLEX * beta[q.argmax()] / (2 - beta[q.argmax()])) for q in batch])
        for q, image in zip(batch, row, strict=True):
            if decide(max(q), FLEX) is None:
                masks[-1][0] = None
            if max(q) > FLEX:
                last[image] = q.argmax()
    return masks


def freematch(unlabeled, indices, labeled):
    """Wang et al. 2023, section 4.1: the global threshold τ_t, the local p̃_t, and both together."""
    tau, p = 1 / CLASSES, [1 / CLASSES] * CLASSES
    masks = []
    for batch in unlabeled.astype(float):
        tau = MOMENTUM * tau + (1 - MOMENTUM) * sum(max(q) for q in batch) / BATCH
        p = [MOMENTUM * p[c] + (1 - MOMENTUM) * sum(q[c] for q in batch) / BATCH for c in range(CLASSES)]
        masks.append([decide(max(q), tau * p[q.argmax()] / max(p)) for q in batch])
    return masks


def softmatch(unlabeled, indices, labeled, uniform=True):
    """Weights of Chen et al. 2023, section 3.1, and uniform alignment of section 3.2, of the weight alone."""
    mu, variance, p = 1 / CLASSES, 1.0, [1 / CLASSES] * CLASSES
    weights = []
    for batch in unlabeled.astype(float):
        confidences = [max(q) for q in batch]
        mean = sum(confidences) / BATCH
        mu = MOMENTUM * mu + (1 - MOMENTUM) * mean
        unbiased = sum((c - mean) ** 2 for c in confidences) / (BATCH - 1)
        variance = MOMENTUM * variance + (1 - MOMENTUM) * unbiased
        p = [MOMENTUM * p[c] + (1 - MOMENTUM) * sum(q[c] for q in batch) / BATCH for c in range(CLASSES)]
        if uniform:
            confidences = [max(rescaled(q, [1 / CLASSES] * CLASSES, p)) for q in batch]
        weights.append([exp(-(min(c - mu, 0) ** 2) / (2 * variance / DEVIATIONS**2)) for c in confidences])
    return weights


def rescaled(q, wanted, found):
    """Normalize(q · wanted / found), with the 1e-6 that the authors of ReMixMatch add to both."""
    products = [value * (w + 1e-6) / (f + 1e-6) for value, w, f in zip(q, wanted, found, strict=True)]
    return [value / sum(products) for value in products]


def weighted_mean(batches):
    """Of the means of all batches so far, the last with weight 1, each one before with MOMENTUM times that after it."""
    powers = [MOMENTUM ** (len(batches) - 1 - place) for place in range(len(batches))]
    means = [np.mean(batch, axis=0) for batch in batches]
    return sum(power * mean for power, mean in zip(powers, means, strict=True)) / sum(powers)


def aligned_fixmatch(unlabeled, indices, labeled):
    """Berthelot et al. 2020, section 3.1, before FixMatch's mask."""
    batches = unlabeled.astype(float)
    return [
        [decide(max(rescaled(q, TARGET, weighted_mean(batches[: step + 1]))), FIXED) for q in batch]
        for step, batch in enumerate(batches)
    ]


def adamatch(unlabeled, indices, labeled):
    """Berthelot et al. 2022, section 3: alignment with labeled predictions, the threshold of the labeled batch."""
    batches, known = unlabeled.astype(float), labeled.astype(float)
    masks = []
    for step, batch in enumerate(batches):
        wanted, found = (weighted_mean(table[: step + 1]) for table in (known, batches))
        threshold = ADA * np.mean([max(q) for q in known[step]])
        masks.append([decide(max(rescaled(q, wanted, found)), threshold) for q in batch])
    return masks


MASKS = {function.__name__: function for function in (fixmatch, flexmatch, freematch, aligned_fixmatch, adamatch)}


def main():
    """The first stream in which nothing is too close to tell."""
    for seed in range(1_000):
        stream = draw(seed)
        found = {name: function(*stream) for name, function in MASKS.items()}
        if all(value is not None for masks in found.values() for row in masks for value in row):
            break
    else:
        raise SystemExit("no stream is clear enough; lower MARGIN")
    names = ("unlabeled", "indices", "labeled")
    arrays = dict(zip(names, stream, strict=True)) | {name: np.array(masks) for name, masks in found.items()}
    arrays["indices"] = arrays["indices"].astype(np.uint8)
    for name, uniform in (("softmatch", True), ("softmatch_unaligned", False)):
        arrays[name] = np.array(softmatch(*stream, uniform=uniform), dtype=np.float32)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
