"""A pipeline on ready-made features: the same as on the network that made them, and nothing looks at pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.own_images import forget
from semisup.data.roles.split import Split
from semisup.delivery.page.candidates import Material, to_check, to_label
from semisup.errors import UserError
from semisup.pipeline.log import Silence
from semisup.pseudo_labels import TABLE_FILE
from semisup.stages.preflight.check import check
from semisup.stages.support.features import features_of
from semisup.stages.support.images import images_for_test, pool_of
from semisup.stages.support.models.saved import exported, load_model, load_placed
from tests.data.corpus import three_colors

CONFIG: dict[str, Any] = {
    "recipe": "graph",
    "split": {"labeled_per_class": "all"},
    "model": {"name": "efficientnet_lite0", "precision": "float32"},
    "runtime": {"device": "cpu", "threads": 1},
    "promote": {"enabled": False},
}


def config_of(folder: Path, **sections: Any) -> PipelineConfig:
    data = {"name": "folder", "root": folder / "photos", "size": 32, "cache": folder / "cache", "max_broken": 0.2}
    data |= sections.pop("data", {})
    return PipelineConfig.model_validate(CONFIG | sections | {"data": data})


@pytest.fixture(scope="module")
def runs(stage_runner: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(config, folders of the stages) of a run on a network, and of one on what that network made of all images."""
    folder = tmp_path_factory.mktemp("ready")
    three_colors(folder / "photos", test_per_class=4)
    forget()
    network = config_of(folder)
    check(network)
    by_network = stage_runner(network, folder / "network")
    model, tables = load_placed(by_network["baseline"], network), []
    for part, images in (("pool", pool_of(network)), ("test", images_for_test(network))):
        vectors = features_of(network, model, images, part, Silence()).numpy()
        paths = [name.rpartition("@")[0] for name in images.ids]
        tables.append(pd.DataFrame({"path": paths, "vector": list(vectors)}))
    pd.concat(tables).sample(frac=1, random_state=0).to_parquet(folder / "vectors.parquet")
    ready = config_of(folder, data={"features": folder / "vectors.parquet"}, model={})
    check(ready)
    yield (network, by_network), (ready, stage_runner(ready, folder / "ready"))
    forget()


@pytest.mark.parametrize(
    "file", ["evaluate/predictions.parquet", f"pseudo_label/{TABLE_FILE}", "choose/held_out.parquet"]
)
def test_a_networks_own_features_give_the_run_of_the_network(runs, file):
    stage, name = file.split("/")
    tables = [pd.read_parquet(folders[stage] / name).drop(columns="teacher", errors="ignore") for _, folders in runs]
    pd.testing.assert_frame_equal(*tables)


def test_the_model_upon_vectors_cannot_look_at_images_and_says_so(runs):
    _, (config, folders) = runs
    model = load_model(folders["joint"])
    with pytest.raises(UserError, match="cannot look at others; put new images and their vectors"):
        model(pool_of(config).images[:1])


def test_the_images_worth_a_label_are_those_of_the_run_on_the_network(runs):
    found = []
    for config, folders in runs:
        facts, split = DatasetFacts.read(folders["split"]), Split.read(folders["split"] / "split.parquet")
        pseudo_labels = pd.read_parquet(folders["pseudo_label"] / TABLE_FILE)
        material = Material(config, facts, split, [pseudo_labels], load_model(folders["joint"]), None)
        found.append((to_label(material, 4), to_check(material, 2)))
    (labels, checks), (same_labels, same_checks) = found
    assert labels["id"].tolist() == same_labels["id"].tolist()
    np.testing.assert_allclose(labels["worth"], same_labels["worth"], rtol=1e-4)
    assert (checks is None) == (same_checks is None)


def test_what_the_vectors_say_counts_and_not_where_they_lie(runs, tmp_path):
    _, (config, _) = runs
    file = config.data.features
    moved, other = tmp_path / "moved.parquet", tmp_path / "other.parquet"
    moved.write_bytes(file.read_bytes())
    table = pd.read_parquet(file)
    table["vector"] = table["vector"].map(lambda vector: vector[::-1])
    table.to_parquet(other)
    digests = []
    for place in (file, moved, other):
        forget()
        digests.append(
            check(config.model_copy(update={"data": config.data.model_copy(update={"features": place})})).digests
        )
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
    assert (digests[0].pool, digests[0].test) == (digests[2].pool, digests[2].test)


def test_a_vector_that_is_missing_is_said_before_anything_runs(runs, tmp_path):
    _, (config, _) = runs
    table = pd.read_parquet(config.data.features).sort_values("path")
    table.iloc[1:].to_parquet(tmp_path / "less.parquet")
    data = config.data.model_copy(update={"features": tmp_path / "less.parquet"})
    forget()
    with pytest.raises(UserError, match=f"no vector of '{table['path'].iloc[0]}'; add a row"):
        check(config.model_copy(update={"data": data}))


def test_vectors_that_change_while_a_run_goes_on_end_it(runs):
    _, (config, folders) = runs
    forget()
    check(config)
    content = config.data.features.read_bytes()
    table = pd.read_parquet(config.data.features)
    table["vector"] = table["vector"].map(np.negative)
    table.to_parquet(config.data.features)
    try:
        with pytest.raises(UserError, match=r"data\.features=.* changed while the pipeline ran; run it again"):
            features_of(config, load_placed(folders["joint"], config), pool_of(config), "pool", Silence())
    finally:
        config.data.features.write_bytes(content)


def test_the_exported_model_takes_vectors(runs):
    _, (config, folders) = runs
    model, examples = exported(config, folders["joint"])
    whole = load_model(folders["joint"])
    assert examples.dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(model(examples), whole.head(examples))
