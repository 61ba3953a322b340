"""What earlier pipelines left: lists of them, one of them, two side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flows.start.run_names import SET_TAG
from semisup.config import PipelineConfig, flatten
from semisup.errors import UserError
from semisup.tracking.places.stored import COMPLETE, CONFIG, ERROR, StoredRun
from semisup.tracking.reader import Reader

if TYPE_CHECKING:
    import pandas as pd

FIGURES = (
    "baseline_test_accuracy",
    "student_test_accuracy",
    "test_accuracy_difference",
    "mcnemar_p",
    "pseudo_label_coverage",
    "pseudo_label_precision",
    "certified_threshold",
    "fdr_threshold",
    "baseline_compound_accuracy",
    "student_compound_accuracy",
    "compound_accuracy_difference",
)
STEP = "step."


def pipelines(store: Reader, limit: int, config: str | None = None) -> list[dict[str, Any]]:
    """Pipelines of the store, newest first, as plain JSON values."""
    wanted = "tags.stage = 'pipeline'" + (f" and tags.config = '{_plain(config)}'" if config else "")
    return [summary(run) for run in store.search(wanted, limit)]


def newest(store: Reader) -> StoredRun:
    """The pipeline that began last, however it stands.

    Raises:
        UserError: there is none.
    """
    found = store.search("tags.stage = 'pipeline'", limit=1)
    if not found:
        raise UserError("no pipeline has run here yet; `semisup run digits` is a start")
    return found[0]


def newest_complete(store: Reader, count: int, but: str = "") -> list[StoredRun]:
    """So many complete pipelines beside the run `but`, the newest ones, in the order in which they began.

    Raises:
        UserError: there are fewer.
    """
    found = store.search(f"tags.stage = 'pipeline' and {COMPLETE}", limit=count + 1)
    others = [run for run in found if run.id != but]
    if len(others) < count:
        what = "another complete pipeline" if but else "two complete pipelines"
        raise UserError(f"this store does not hold {what}; `semisup runs` lists all, and `semisup run CONFIG` adds one")
    return others[:count][::-1]


def summary(run: StoredRun) -> dict[str, Any]:
    """One pipeline as plain JSON values: what it is, how it ended, its key figures with their intervals."""
    return {
        "run_id": run.id,
        "config": run.tags.get("config", ""),
        "seed": run.tags.get("seed", ""),
        "set": run.tags.get(SET_TAG, ""),
        "status": "LOST" if run.gone else run.status,
        "started": run.started,
        "seconds": None if run.ended is None else round(run.ended - run.started, 3),
        "verdict": run.tags.get("verdict", ""),
        "error": run.tags.get(ERROR, ""),
        "reused": run.tags.get("reused", "").split(),
        "stages": {key.removeprefix(STEP): value for key, value in run.tags.items() if key.startswith(STEP)},
        **{key: value for key, value in run.metrics.items() if key.startswith(FIGURES)},
    }


def detail(store: Reader, run: StoredRun) -> dict[str, Any]:
    """One run, of a pipeline or of a stage, as plain JSON values."""
    page = {"page": store.link(run.id, run.experiment_id)}
    if run.tags.get("stage") == "pipeline":
        evaluate = run.tags.get(f"{STEP}evaluate")
        report = {"report": store.locate(evaluate, "report.html")} if evaluate else {}
        return summary(run) | page | report
    return {
        "run_id": run.id,
        "stage": run.tags.get("step", ""),
        "config": run.tags.get("config", ""),
        "seed": run.tags.get("seed", ""),
        "set": run.tags.get(SET_TAG, ""),
        "status": "LOST" if run.gone else run.status,
        "complete": run.complete,
        "started": run.started,
        "seconds": None if run.ended is None else round(run.ended - run.started, 3),
        "error": run.tags.get(ERROR, ""),
        "fingerprint": run.tags.get("fingerprint", ""),
        "output_digest": run.tags.get("output_digest", ""),
        "upstream": {
            key.removeprefix("upstream."): value for key, value in run.tags.items() if key.startswith("upstream.")
        },
        "metrics": {key: value for key, value in run.metrics.items() if not key.startswith("system/")},
        **page,
    }


def compare(store: Reader, first: StoredRun, second: StoredRun, scratch: Path) -> dict[str, Any]:
    """Two complete pipelines side by side, as plain JSON values.

    `config` holds the keys that differ; `test` the exact paired test of the two students on the same test images (None
    where they were tested on others), `difference` second minus first with its 95 % interval.

    Raises:
        UserError: one of them is no complete pipeline, or its files are damaged.
    """
    for run in (first, second):
        if run.tags.get("stage") != "pipeline" or not run.complete:
            raise UserError(
                f"run {run.id[:8]} is no complete pipeline (stage {run.tags.get('stage')!r}, {run.status}); "
                "`semisup runs` lists those that can be compared"
            )
    configs = [_config(store, run, scratch) for run in (first, second)]
    keys = [key for key in {**configs[0], **configs[1]} if configs[0].get(key) != configs[1].get(key)]
    return {
        "first": summary(first),
        "second": summary(second),
        "config": {key: [configs[0].get(key), configs[1].get(key)] for key in keys},
        "test": paired_test(*(_tested(store, run, scratch) for run in (first, second))),
    }


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation says of its test images."""

    predictions: "pd.DataFrame"
    """`predictions.parquet`: id, truth, student_label, in any order."""
    classes: Sequence[str]
    """The names of these labels."""


def paired_test(first: Evaluated, second: Evaluated) -> dict[str, Any] | None:
    """The students on the test images that both had, labels compared by name.

    None where these are fewer than half of either's, or the truth of one differs.
    """
    from semisup.evaluation.scores import SIGNIFICANCE_LEVEL, mcnemar, paired_difference, renumbered

    names = list(dict.fromkeys([*first.classes, *second.classes]))
    tables = []
    for tested in (first, second):
        named = {
            column: renumbered(tested.predictions[column].to_numpy(), tested.classes, names)
            for column in ("truth", "student_label")
        }
        tables.append(tested.predictions[["id"]].assign(**named))
    both = tables[0].merge(tables[1], on="id", suffixes=("_first", "_second"), validate="one_to_one")
    if 2 * len(both) < max(map(len, tables)) or (both["truth_first"] != both["truth_second"]).any():
        return None
    truth, ours, theirs = (both[n].to_numpy() for n in ("truth_first", "student_label_first", "student_label_second"))
    test = mcnemar(truth, ours, theirs)
    verdict = "no difference shown"
    if test.p_value < SIGNIFICANCE_LEVEL:
        verdict = "second better" if test.only_second_right > test.only_first_right else "first better"
    return {
        "test_images": len(both),
        "test_images_of_each": [len(table) for table in tables],
        "difference": asdict(paired_difference(truth, ours, theirs)),
        "only_first_right": test.only_first_right,
        "only_second_right": test.only_second_right,
        "mcnemar_p": test.p_value,
        "verdict": verdict,
    }


def _config(store: Reader, run: StoredRun, scratch: Path) -> Mapping[str, Any]:
    values = yaml.safe_load(store.file(run.id, CONFIG, scratch).read_text(encoding="utf-8"))
    try:
        return flatten(PipelineConfig.model_validate(values))
    except ValueError:  # written by another version of this project
        return flatten(values)


def _tested(store: Reader, run: StoredRun, scratch: Path) -> Evaluated:
    import pandas as pd

    evaluate = store.get(run.tags[f"{STEP}evaluate"])
    problem = store.damage(evaluate, scratch)
    if problem:
        raise UserError(
            f"run {run.id[:8]} cannot be compared, for its evaluation is damaged ({problem}); run its config again"
        )
    folder = store.artifacts(evaluate.id, scratch)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Evaluated(
        pd.read_parquet(folder / "predictions.parquet"), [row["name"] for row in metrics["student"]["per_class"]]
    )


def _plain(text: str) -> str:
    """A name that cannot end the quotation it is put into."""
    return text.replace("'", "")
