"""One MLflow run that is being written."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from semisup.config import DataConfig, flatten, resolve_base
from semisup.config.files import to_yaml
from semisup.lineage.fingerprints import MANIFEST, Lineage, manifest_of, output_digest
from semisup.pipeline.specs import AnyConfig
from semisup.system.processes import HEARTBEAT, SECONDS_BETWEEN_BEATS, beat
from semisup.system.signals import undisturbed
from semisup.tracking.places.stored import CONFIG, LINEAGE
from semisup.tracking.places.tag_names import stored_name, stored_names

MOST_PARAMS_PER_CALL, MOST_METRICS_PER_CALL = 100, 1000
LONGEST_KEY = 250
"""Characters of a metric's name that MLflow takes."""
LIKE_A_NUMBER = re.compile(r"_(?=[0-9a-f]+(?:_|[^\w\-. ]))")
"""In a metric's name, an underscore that could be the beginning of the number of a sign."""


@dataclass(frozen=True)
class Run:
    """One MLflow run that is being written."""

    client: MlflowClient
    id: str
    experiment_id: str
    store: str

    @undisturbed()
    def log_config(self, config: AnyConfig, sections: Collection[str] | None = None) -> None:
        """The resolved config as parameters, all of it or some top-level sections, and whole as `config.yaml`."""
        chosen = {
            key: value
            for key, value in flatten(config).items()
            if sections is None or key.partition(".")[0] in sections
        }
        self.log_params(chosen)
        self.client.log_text(self.id, to_yaml(config), CONFIG)

    @undisturbed()
    def log_params(self, values: Mapping[str, object]) -> None:
        """Parameters, as text."""
        params = [Param(key, str(value)) for key, value in values.items()]
        for start in range(0, len(params), MOST_PARAMS_PER_CALL):
            self.client.log_batch(self.id, params=params[start : start + MOST_PARAMS_PER_CALL])

    @undisturbed()
    def log_files(self, files: Iterable[Path]) -> None:
        """Some files as artifacts, under their own names."""
        for file in files:
            self.client.log_artifact(self.id, str(file))

    @undisturbed()
    def log_lineage(self, lineage: Lineage) -> None:
        """What the run follows from, as `lineage.json`: later it tells which input has changed."""
        self.client.log_text(self.id, lineage.to_json(), LINEAGE)

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """All figures of one moment, in one call."""
        self.log_points(points(values, step))

    @undisturbed()
    def log_points(self, points: Sequence[Metric]) -> None:
        """Figures of one moment or of several, in as few calls as MLflow allows."""
        for start in range(0, len(points), MOST_METRICS_PER_CALL):
            self.client.log_batch(self.id, metrics=points[start : start + MOST_METRICS_PER_CALL])

    @undisturbed()
    def log_dataset(self, config: AnyConfig, digest: str) -> None:
        """The data set as a logged input."""
        data = config.data
        place = (resolve_base(data) or data.manifest) if isinstance(data, DataConfig) else None
        url = place if isinstance(place, str) else None
        dataset = Dataset(
            name=data.name,
            digest=digest[:32],
            source_type="local" if url is None else url.partition("://")[0],
            source=json.dumps({"uri": url or (place.resolve().as_uri() if isinstance(place, Path) else "embedded")}),
        )
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        try:
            self.client.log_inputs(self.id, inputs)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            # Another process put the same data set in between MLflow's look and its own insertion; now it is there.
            self.client.log_inputs(self.id, inputs)

    @undisturbed()
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Several tags in one call."""
        self.client.log_batch(self.id, tags=_tags(tags))

    @undisturbed()
    def rename(self, name: str) -> None:
        """Another name, in MLflow's table of runs."""
        self.client.update_run(self.id, name=name)

    @undisturbed()
    def conclude(self, figures: Mapping[str, float], tags: Mapping[str, str], description: str) -> None:
        """Last figures and tags, and the description that MLflow shows on the run's page, in one call.

        MLflow writes a call's tags after its figures (a thousand at most): where `complete` is among them, it stands
        for all.
        """
        self.client.log_batch(
            self.id, metrics=points(figures), tags=_tags({"mlflow.note.content": description, **tags})
        )

    @undisturbed()
    def log_outputs(self, folder: Path) -> str:
        """All files of a folder as the run's artifacts, with their manifest; the output digest."""
        manifest = manifest_of(folder)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        self.client.log_artifacts(self.id, str(folder))
        return output_digest(manifest)


class Heart:
    """Beats for a run, from a thread of its own, until it is stopped: a tag that says when the process last lived."""

    def __init__(self, client: MlflowClient, run_id: str, seconds: float = SECONDS_BETWEEN_BEATS) -> None:
        self._client, self._run_id, self._seconds = client, run_id, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of {run_id}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The last beat has been written when this returns."""
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._client.set_tag(self._run_id, stored_name(HEARTBEAT), beat())
            except Exception:
                continue  # the store is busy or away; the next beat may reach it, and 20 may be missed


def points(values: Mapping[str, float], step: int | None = None) -> list[Metric]:
    """Figures as MLflow takes them, of this moment; without a step, of the whole run."""
    now = int(time.time() * 1000)
    return [Metric(_key(name), float(value), now, step or 0) for name, value in values.items()]


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in stored_names(tags).items()]


def _key(name: str) -> str:
    """A name that MLflow takes for a metric: letters, digits, blanks and "_-." stay, others become their number.

    Slashes do, too: MLflow takes what is between them for folders, and refuses "..", "//" and one at the end. What
    follows the first dot may be a user's, such as the name of a class: different names have different keys.
    """
    ours, dot, theirs = name.partition(".")
    key = _spelled(ours) + dot + _spelled(LIKE_A_NUMBER.sub("_5f_", theirs))
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 17]}.{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _spelled(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_-. " else f"_{ord(c):x}_" for c in text)
