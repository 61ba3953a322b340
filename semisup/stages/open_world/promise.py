"""What calibration images promise of the pseudo-labels above a threshold, and why the promise may be approximate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semisup.calibration.certificate import Certificate, ClassCertificate, certify, certify_classes
from semisup.calibration.false_discovery import FdrControl, control_fdr
from semisup.calibration.measures import Bools
from semisup.config import CalibratedThreshold, PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.open_world.exchangeability import Comparison
from semisup.pipeline.log import StageLog
from semisup.stages.open_world.elsewhere import compare_with_pool, from_elsewhere
from semisup.system.json_files import read_json


@dataclass(frozen=True, eq=False)
class Shown:
    """What n calibration images and N unlabeled ones show: tempered probabilities (n, C) and (N, C)."""

    known: NDArray[np.float32]
    correct: Bools
    pool: NDArray[np.float32]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Of the calibration images, (n,)."""
        highest: NDArray[np.float32] = self.known.max(axis=1)
        return highest

    @property
    def pool_confidence(self) -> NDArray[np.float32]:
        """Of the unlabeled ones, (N,)."""
        highest: NDArray[np.float32] = self.pool.max(axis=1)
        return highest


@dataclass(frozen=True, eq=False)
class Promise:
    """Of all labels from a threshold up, and of those of each class; nothing where a config asks for none."""

    certificate: Certificate | None = None
    classes: Sequence[ClassCertificate] = ()
    control: FdrControl | None = None
    compared: Comparison | None = None
    """None: there are too few images, or nothing was asked for."""
    caveats: Sequence[str] = ()
    """Why it is approximate."""

    @property
    def certified(self) -> bool:
        """Is a threshold certified, and the pool like the calibration images as far as anybody can tell?"""
        return self.certificate is not None and self.certificate.certified and self._alike

    @property
    def controlled(self) -> bool:
        """The same of the false discovery rate."""
        return self.control is not None and self.control.found and self._alike

    @property
    def _alike(self) -> bool:
        return self.compared is None or not self.compared.differ

    def summary(self, config: PipelineConfig, available: int) -> dict[str, Any]:
        """Its part of `calibration.json`; so many images are `available` to calibrate with."""
        return {
            **self._threshold(config),
            "certificate": asdict(self.certificate) if self.certificate else None,
            "classes": [asdict(each) for each in self.classes] if self.classes and self._alike else None,
            "certified": self.certified,
            "fdr_control": asdict(self.control) if self.control else None,
            "fdr_controlled": self.controlled,
            "compared": {**asdict(self.compared), "differ": self.compared.differ} if self.compared else None,
            "calibration_images_needed": self._images_needed(config, available),
            "strict": (self.certified or self.controlled) and not self.caveats,
            "caveats": list(self.caveats),
        }

    def _threshold(self, config: PipelineConfig) -> dict[str, float | None]:
        """The threshold that applies, null where the config's own does, and the fallback, where that is the one.

        Where calibration images would allow a threshold, but the pool is another, the stricter of the two applies.
        """
        wanted, found = config.pseudo_label.threshold, self.certificate or self.control
        if found is None or not isinstance(wanted, CalibratedThreshold):
            return {"threshold": None, "fallback": None}
        if self.certified or self.controlled:
            return {"threshold": found.threshold, "fallback": None}
        fallback = None if wanted.fallback == "stop" else max(wanted.fallback, found.threshold or 0.0)
        return {"threshold": fallback, "fallback": fallback}

    def _images_needed(self, config: PipelineConfig, available: int) -> int | None:
        """What `split.calibration_images` should be, those that fit T included; None where there are not so many."""
        found = self.certificate or self.control
        if found is None or found.labels_needed is None:
            return None
        share = config.calibrate.temperature_share if config.calibrate.method == "temperature" else 0.0
        needed = ceil(found.labels_needed / (1 - share))
        return needed if needed < available else None


def promise_of(
    config: PipelineConfig,
    inputs: Mapping[str, Path],
    split: Split,
    facts: DatasetFacts,
    *,
    shown: Shown,
    log: StageLog,
) -> Promise:
    """What can be promised of the labels of stage `calibrate`'s model, as its `inputs` name it."""
    wanted = config.pseudo_label.threshold
    if not isinstance(wanted, CalibratedThreshold):
        return Promise()
    certificate, classes, control = None, list[ClassCertificate](), None
    if wanted.fdr is None:
        asked = {"target_precision": wanted.target_precision, "level": wanted.confidence}
        certificate = certify(shown.confidence, shown.correct, shown.pool_confidence, **asked)
        classes = certify_classes(
            shown.known.argmax(axis=1),
            shown.confidence,
            shown.correct,
            (shown.pool.argmax(axis=1), shown.pool_confidence),
            num_classes=shown.pool.shape[1],
            **asked,
        )
    else:
        control = control_fdr(shown.confidence, shown.correct, shown.pool_confidence, wanted.fdr)
    compared = compare_with_pool(config, inputs, split, facts, log)
    caveats = why_approximate(config, inputs.get("kept") or inputs.get("teacher"), final="kept" in inputs)
    if foreign := from_elsewhere(config, split):
        caveats.append(foreign)
    if compared is None:
        caveats.append("there are too few images to tell whether the unlabeled ones are like the calibration images")
    if control is not None and len(split.ids("unlabeled")) > len(shown.pool):
        caveats.append(f"the threshold was chosen among {len(shown.pool):,} of the unlabeled images, drawn at random")
    return Promise(certificate, classes, control, compared, caveats)


def why_approximate(config: PipelineConfig, model: Path | None, *, final: bool) -> list[str]:
    """What keeps the certificate of the model in a folder (None: of the graph) from being strict.

    `final`: it is the one that is kept, all of whose labels at or above the threshold are accepted.
    """
    student = model is not None and read_json(model / "model.json")["stage"] == "joint"
    of_table = model is not None and student and _learned_from_a_table(model)
    caveats = []
    if config.pseudo_label.teacher == "champion" and (of_table or not final):
        caveats.append("a champion of an earlier pipeline may have been trained on these calibration images")
    elif of_table:
        caveats.append("the model was trained on pseudo-labels that the same calibration images chose")
    if config.data.group is not None:
        caveats.append("calibration images of one group (data.group) are alike, so that they count for fewer")
    if student:  # it may be surer of them, right or wrong, than of images that it has never seen
        caveats.append("the model was trained on the unlabeled images and not on the calibration images")
    if config.pseudo_label.unknown.false_alarms is not None:
        caveats.append(
            "pseudo_label.unknown.false_alarms leaves out images by a threshold that the same calibration images made"
        )
    for key in ("top_share", "max_disagreement", "share_per_round"):
        if not final and getattr(config.pseudo_label, key) is not None:
            caveats.append(f"pseudo_label.{key} accepts only a part of the images from the threshold up")
    return caveats


def _learned_from_a_table(model: Path) -> bool:
    """Of a student."""
    training = model / "training.json"
    return not training.exists() or bool(read_json(training).get("learned_from_table", True))
