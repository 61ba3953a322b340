"""Classifiers on disk: numbers as safetensors, all else as JSON, and nothing that a loader would run."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

import semisup
from semisup.api.learning import networks, vectors
from semisup.errors import UserError, in_one_line
from semisup.system.own_files import aside, delete, is_marked, mark

ABOUT, WEIGHTS = "classifier.json", "weights.safetensors"
FORMAT = 1
TABLE = "pseudo_labels."
Kind = TypeVar("Kind")
"""Of classifier; what it is belongs to those who ask."""


def save(classifier: Any, path: Path) -> Path:
    """Write a fitted classifier into a folder; its path.

    Raises:
        UserError: something else is there, it cannot be written, or JSON has no such classes.
    """
    tensors = {f"model.{name}": value for name, value in classifier._model.tensors().items()}
    table = classifier.pseudo_labels_
    positions = np.searchsorted(classifier.classes_, table["label"].to_numpy(dtype=classifier.classes_.dtype))
    columns = {name: table[name].to_numpy() for name in ("row", "confidence", "accepted", "round")}
    tensors |= {TABLE + name: torch.from_numpy(np.array(values)) for name, values in columns.items()}
    tensors[TABLE + "label"] = torch.from_numpy(positions.astype(np.int64))
    about = {
        "format": FORMAT,
        "semisup": semisup.__version__,
        "params": {name: _plain(value, tensors) for name, value in classifier.get_params(deep=False).items()},
        "classes": _classes(classifier.classes_),
        "rows": len(classifier.labeled_iter_),
        "model": classifier._model.description(),
        "history": classifier.history_,
        "termination_condition": classifier.termination_condition_,
        "n_validation": classifier.n_validation_,
        "n_features_in": classifier.n_features_in_,
        "image_shape": list(getattr(classifier, "image_shape_", ())) or None,
        "feature_names_in": list(getattr(classifier, "feature_names_in_", ())) or None,
        "transduction": np.searchsorted(classifier.classes_, classifier.transduction_).tolist(),
    }
    with _written(path) as folder:
        (folder / ABOUT).write_text(
            json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
    return path


def load(folder: Path, kind: type[Kind]) -> Kind:
    """A classifier of this kind, as it was saved.

    Raises:
        UserError: there is none, it is of a later version, or its files are damaged.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        tensors = safetensors.torch.load_file(folder / WEIGHTS)
        if about["format"] > FORMAT:
            raise UserError(
                f"model {folder} was saved by semisup {about['semisup']}; install that version or a later one"
            )
        return _restored(kind, about, tensors)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"model {folder}: it holds no {ABOUT} with {WEIGHTS}; name a folder that save() wrote"
        ) from None
    except UserError:
        raise
    except Exception as error:  # broken JSON, other keys, damaged weights: what can be wrong is no finite list
        raise UserError(f"model {folder}: its files are damaged ({in_one_line(error, 200)}); save it again") from error


def _restored(kind: type[Kind], about: Mapping[str, Any], tensors: dict[str, Tensor]) -> Kind:
    params = {name: _unplain(name, value, tensors) for name, value in about["params"].items()}
    classifier = kind(**params)
    dtype = about["classes"]["dtype"]
    classes = np.array(about["classes"]["values"], dtype=object if dtype == "object" else np.dtype(dtype))
    of_model = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    restore = networks.restore if about["model"]["kind"] == "network" else vectors.restore
    column = {name.removeprefix(TABLE): value.numpy() for name, value in tensors.items() if name.startswith(TABLE)}
    labeled_iter = np.zeros(about["rows"], dtype=np.int64)
    labeled_iter[column["row"]] = column["round"]
    found = {
        "classes_": classes,
        "_model": restore(about["model"], of_model),
        "history_": about["history"],
        "termination_condition_": about["termination_condition"],
        "n_validation_": about["n_validation"],
        "n_features_in_": about["n_features_in"],
        "labeled_iter_": labeled_iter,
        "transduction_": classes[np.array(about["transduction"], dtype=np.int64)],
        "pseudo_labels_": pd.DataFrame(
            {
                "row": column["row"],
                "label": classes[column["label"]],
                **{name: column[name] for name in ("confidence", "accepted", "round")},
            }
        ),
    }
    if about["image_shape"]:
        found["image_shape_"] = tuple(about["image_shape"])
    if about["feature_names_in"]:
        found["feature_names_in_"] = np.array(about["feature_names_in"], dtype=object)
    for name, value in found.items():
        setattr(classifier, name, value)
    return classifier


def _classes(classes: np.ndarray[Any, Any]) -> dict[str, Any]:
    values = classes.tolist()
    if odd := next((value for value in values if not isinstance(value, str | int | float)), None):
        raise UserError(
            f"classes_ holds {odd!r} of type {type(odd).__name__}, which JSON cannot hold; use text or numbers"
        )
    return {"dtype": "object" if classes.dtype.kind == "O" else classes.dtype.str, "values": values}


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A parameter as JSON takes it; tensors within a policy go where the others are."""
    if isinstance(value, Tensor):
        name = f"params.{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if is_dataclass(value) and getattr(semisup, type(value).__name__, None) is type(value):
        told = {field.name: _plain(getattr(value, field.name), tensors) for field in fields(value)}
        return {"policy": type(value).__name__, "fields": told}
    try:
        return {"value": json.loads(json.dumps(value, default=_of_numpy))}
    except TypeError:  # a RandomState, a function, a policy of one's own
        return {"lost": f"{type(value).__name__}"}


def _of_numpy(value: Any) -> Any:
    """A scalar of NumPy's as Python's own: a seed that was drawn from an array is a seed."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _unplain(name: str, value: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "policy" in value:
        if value["policy"] not in semisup.__all__:
            raise UserError(
                f"policy {value['policy']!r} is not one of semisup {semisup.__version__}; install the version that "
                "saved it"
            )
        kind = getattr(semisup, value["policy"])
        return kind(**{field: _unplain(field, inner, tensors) for field, inner in value["fields"].items()})
    if "lost" in value:
        warnings.warn(f"{name} was a {value['lost']}, which no model keeps: it is None now", UserWarning, stacklevel=4)
        return None
    return value["value"]


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A folder to write to, which has its name when the block ends well, and is not there when it does not."""
    path = path.absolute()
    try:
        unfinished, old = aside(path), aside(path, "old")
        _check_ours(path)
        mark(unfinished)
        try:
            yield unfinished
            _check_ours(path)  # somebody may have put something there meanwhile
            if path.exists():
                path.rename(old)
            unfinished.rename(path)
        finally:
            delete(unfinished)
            if old.is_dir() and not path.exists():
                old.rename(path)
            delete(old)
    except OSError as error:
        raise UserError(f"model {path} cannot be written: {error.strerror or error}; name another folder") from error


def _check_ours(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    foreign = (
        [] if not path.is_dir() else sorted({entry.name for entry in path.iterdir()} - {ABOUT, WEIGHTS, "semisup.mark"})
    )
    if foreign or not is_marked(path):
        what = f"holds {foreign[0]!r}, which" if foreign else "is there already, and"
        raise UserError(f"model {path} {what} semisup did not write; name another folder, or move it away")
