"""What safetensors are written from, and that memory laid out otherwise comes back with the same numbers."""

import ast
from pathlib import Path

import torch

from semisup.data.facts import DatasetFacts
from semisup.frozen.embedding import Embedding
from semisup.stages.support.frozen import read_embedding, write_choice
from semisup.stages.support.models.saved import load_model, save_model

PACKAGES = [Path(__file__).parents[2] / name for name in ("semisup", "flows", "benchmarks")]


def test_nothing_is_written_from_numpy_arrays_whose_strides_safetensors_does_not_heed():
    calls = [
        f"{file.name}: {ast.unparse(node)}"
        for package in PACKAGES
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("save") and "safetensors" in ast.unparse(node)
    ]
    assert calls != []
    assert [call for call in calls if not call.partition(": ")[2].startswith("safetensors.torch.save")] == []


def test_weights_that_lie_transposed_in_memory_come_back_with_equal_numbers(tiny_config, stage_folders, tmp_path):
    weights = load_model(stage_folders["baseline"]).state_dict()
    turned = {name: value.mT.contiguous().mT if value.ndim > 1 else value for name, value in weights.items()}
    assert any(not value.is_contiguous() for value in turned.values())
    facts = DatasetFacts.read(stage_folders["split"])
    save_model(tiny_config, facts, turned, tmp_path, stage="baseline", predicted_by="torch")
    back = load_model(tmp_path).state_dict()
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], value) for name, value in weights.items())


def test_an_embedding_of_transposed_components_comes_back_with_equal_numbers(tmp_path):
    """Eigenvectors often lie so."""
    components = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).T
    assert not components.is_contiguous()
    write_choice(tmp_path, Embedding(torch.zeros(8), components), {})
    assert torch.equal(read_embedding(tmp_path).components, components)
