"""Models as MLflow knows them: exported without pickle, registered, and one of them the champion."""

import copy
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from semisup.system.memory import uncollected
from semisup.system.signals import undisturbed
from semisup.tracking.champions import ALIAS
from semisup.tracking.places.quiet import quiet
from semisup.tracking.tracker import Tracker

MODEL_NAME = "model"

_one_default = threading.RLock()
"""The default store is the process's; several threads may run a pipeline each."""


def log_model(tracker: Tracker, run_id: str, model: nn.Module, example: Tensor) -> str:
    """The model as an MLflow model of a run, in the pt2 format; its id. What `example` is like in, probabilities out.

    The exported graph holds preprocessing and softmax, needs none of this project's code, and is no pickle.
    """
    exported = _Probabilities(copy.deepcopy(model)).eval()
    with torch.inference_mode():
        outputs = exported(example)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(example.numpy().dtype, (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, outputs.shape[1]))]),
    )
    # The first export of a process imports torch's compiler: 1,400 modules.
    with undisturbed(), quiet("mlflow", "torch.export"), _default_store(tracker.uri), uncollected():
        logged = tracker.client.create_logged_model(
            tracker.experiment_id, MODEL_NAME, source_run_id=run_id, tags={"mlflow.flavor": "pytorch"}
        )
        info = Model.log(
            artifact_path=None,
            flavor=mlflow.pytorch,
            run_id=run_id,
            model_id=logged.model_id,
            pytorch_model=exported,
            signature=signature,
            input_example=example.numpy(),
            serialization_format="pt2",
            pip_requirements=[f"{name}=={version}" for name, version in model_requirements().items()],
        )
    return str(info.model_id)


def model_requirements() -> dict[str, str]:
    """What the exported model needs to run: name → version."""
    return {"mlflow": mlflow.__version__, "torch": torch.__version__.partition("+")[0]}


@undisturbed()
def crown(
    tracker: Tracker, name: str, *, model_id: str, run_id: str, promoted_by: str, predecessor: str, reason: str
) -> str:
    """Make a logged model the champion of a registered model; its version.

    Done again after a crash it ends in the same state: a version of the same promotion is taken up, not made twice.
    """
    client = tracker.client
    with quiet("mlflow"), _default_store(tracker.uri):  # the source "models:/…" is looked up there
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = _version_of(client, name, promoted_by, model_id)
        if version is None:
            tags = {"promoted_by": promoted_by, "predecessor": predecessor, "model_id": model_id}
            made = client.create_model_version(
                name, f"models:/{model_id}", run_id, tags=tags, description=reason, model_id=model_id
            )
            version = str(made.version)
        client.set_registered_model_alias(name, ALIAS, version)
    return version


def _version_of(client: MlflowClient, name: str, promoted_by: str, model_id: str) -> str | None:
    for version in client.search_model_versions(f"name='{name}'"):
        if (version.tags.get("promoted_by"), version.tags.get("model_id")) == (promoted_by, model_id):
            return str(version.version)
    return None


@contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """What MLflow takes for its default store, for calls that know no other; the environment is left as it was."""
    with _one_default:
        yield from _set_default_store(uri)


def _set_default_store(uri: str) -> Iterator[None]:
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # None: it asks the environment again, into which it has always written what was set.
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        if environment is not None:
            os.environ["MLFLOW_TRACKING_URI"] = environment


class _Probabilities(nn.Module):
    """A classifier that answers with probabilities, as users of a finished model expect."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, C) probabilities of uint8 images (N, C, H, W), or of vectors (N, D)."""
        probabilities: Tensor = self.model(images).softmax(dim=1)
        return probabilities
