"""A folder that grows three times between runs of the whole pipeline: roles, leaks, and who is the champion."""

import shutil
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from scipy.stats import binomtest
from sklearn.datasets import load_digits

from flows.pipeline.flow import pipeline
from semisup.config.files import validate

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    # MLflow checks its own type hints on import, with a warning that is meant for authors of agents.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
HELD = {"test", "validation", "calibration"}


class Drawer:
    """Digits that have not been handed out yet."""

    def __init__(self) -> None:
        digits = load_digits()
        self.images, self.labels = digits.images, digits.target
        self.rest = list(np.random.default_rng(0).permutation(len(self.labels)))

    def put(self, folder: Path, count: int, label: int | None = None) -> list[Path]:
        rows = [row for row in self.rest if label is None or self.labels[row] == label][:count]
        self.rest = [row for row in self.rest if row not in set(rows)]
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{row:04d}.png" for row in rows]
        for row, file in zip(rows, files, strict=True):
            Image.fromarray((self.images[row] * 15.9).astype(np.uint8)).save(file)
        return files


def config_of(root: Path):
    return validate(
        {
            "name": "growing",
            "data": {"name": "folder", "root": root, "size": 8, "channels": "gray", "cache": root.parent / "cache"},
            "split": {"labeled_per_class": "all", "validation_per_class": 4, "calibration_images": 20},
            "model": {"name": "small_cnn", "width": 1.0},
            "baseline": {"epochs": 25, "batch_size": 25},
            "calibrate": {"method": "temperature"},
            "pseudo_label": {"threshold": 0.8},
            "joint": {"epochs": 12, "batch_size": 25, "unlabeled_batch_size": 64, "ramp_start": 1, "ramp_end": 3},
            "runtime": {"threads": 1, "device": "cpu"},
            "tracking": {"system_metrics": False},
        },
        source="test",
    )


def files_of(client: MlflowClient, result: dict, stage: str) -> Path:
    run = client.get_run(result["stages"][stage]["run_id"])
    return Path(unquote(urlsplit(run.info.artifact_uri).path))


def roles_of(folder: Path) -> dict[str, str]:
    """Content → role; a labeled image may lie among the unlabeled ones as well, under another name."""
    table = pd.read_parquet(folder / "split.parquet").sort_values("role", ascending=False)  # "unlabeled" first
    return dict(zip(table["id"].str.rpartition("@")[2], table["role"], strict=True))


def test_roles_stay_nothing_leaks_and_the_champion_moves_only_when_better(
    prefect_server, store_template, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(store_template, tmp_path / "mlflow.db")
    root, digits = tmp_path / "photos", Drawer()
    for label in range(10):
        digits.put(root / "labeled" / str(label), 10, label)
        digits.put(root / "test" / str(label), 20, label)
    digits.put(root / "unlabeled", 250)
    config, client = config_of(root), MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")

    def more_unlabeled() -> None:
        digits.put(root / "unlabeled" / "monday", 200)

    def more_labels_and_other_names() -> None:
        for label in range(10):
            digits.put(root / "labeled" / str(label), 12, label)
        (root / "unlabeled" / "monday").rename(root / "unlabeled" / "montag")

    def held_images_under_other_names() -> None:
        for number, file in enumerate(sorted((root / "test" / "3").iterdir())[:5]):
            shutil.copy(file, root / "unlabeled" / f"again {number}.png")
        for file in sorted((root / "labeled" / "4").iterdir()):  # validation images are among them
            shutil.copy(file, root / "unlabeled" / f"copy of {file.name}")
        first = sorted((root / "unlabeled" / "montag").iterdir())[0]
        first.rename(root / "labeled" / "5" / "found.png")

    held: dict[str, str] = {}
    before: dict[str, str] = {}
    champion: pd.DataFrame | None = None
    versions = []
    for grow in (lambda: None, more_unlabeled, more_labels_and_other_names, held_images_under_other_names):
        grow()
        with warnings.catch_warnings():
            result = pipeline(config)
        roles = roles_of(files_of(client, result, "split"))
        for content, role in before.items():
            if content in roles and roles[content] != role:
                assert (role, roles[content]) == ("unlabeled", "labeled"), content
        held |= {content: role for content, role in roles.items() if role in HELD}
        assert all(roles.get(content, role) == role for content, role in held.items())
        pseudo_labels = pd.read_parquet(files_of(client, result, "labels") / "pseudo_labels.parquet")
        assert not set(pseudo_labels["id"].str.rpartition("@")[2]) & held.keys()

        tested = pd.read_parquet(files_of(client, result, "evaluate") / "predictions.parquet")
        decision = pd.read_json(files_of(client, result, "promote") / "decision.json", typ="series")
        challenger = tested.set_index("id")[f"{decision['challenger']}_label"]
        truth = tested.set_index("id")["truth"]
        if champion is None:
            assert decision["promoted"]
        else:
            common = truth.index.intersection(champion.index)
            ours, theirs = (labels[common] == truth[common] for labels in (challenger, champion))
            better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
            p_value = binomtest(better, better + worse).pvalue if better + worse else 1.0
            assert decision["promoted"] == (p_value < 0.05 and better > worse)
        if decision["promoted"]:
            champion = challenger
        versions.append(int(client.get_model_version_by_alias("growing", "champion").version))
        assert len(versions) == 1 or (versions[-1] > versions[-2]) == decision["promoted"]
        before = roles
    assert versions[-1] > versions[0]  # sixty labels more are seen, or the test would never see it move
