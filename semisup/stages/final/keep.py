"""Stage `keep`: baseline or student? Decided before anything is tested, so that the one that is kept can label."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.data.rows import Rows
from semisup.evaluation.keeping import better_model, judges_in_words
from semisup.pipeline.log import StageLog
from semisup.pipeline.plan import KEPT_FILE
from semisup.stages.support.frozen import read_choice
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.saved import load_placed
from semisup.stages.support.tested import predict_tested, shown_in_tests
from semisup.system.json_files import write_json

MODELS = {"baseline": "baseline", "student": "joint"}
"""Name of the model → input that holds its weights."""


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves `kept.json`: what :func:`semisup.evaluation.keeping.better_model` says.

    Validation images decide, looked at as `evaluate` looks at test images. Where there are none, `choose` among the
    inputs has asked labels that it held out.
    """
    split = Split.read(inputs["split"] / "split.parquet") if "split" in inputs else None
    if split is not None and len(split.ids("validation")):
        kept = _compare(config, inputs, split, log)
    else:
        kept = read_choice(inputs["choose"])["kept"]
    write_json(out_dir / KEPT_FILE, kept)
    log.metrics(
        {"student_kept": float(kept["model"] == "student"), "expected_difference": kept["expected_difference"]}
        | {f"{name}_validation_accuracy": kept[f"{name}_validation_accuracy"] for name in MODELS}
    )
    shares = ", ".join(f"{name} {kept[f'{name}_validation_accuracy']:.1%}" for name in MODELS)
    log.info(f"the {kept['model']} is kept; right of {judges_in_words(kept)}: {shares}")


def _compare(config: PipelineConfig, inputs: Mapping[str, Path], split: Split, log: StageLog) -> dict[str, Any]:
    pool = pool_of(config, DatasetFacts.read(inputs["split"]))
    indices, truth = split.indices("validation"), split.labels("validation")
    right = {}
    for name, place in MODELS.items():
        asked, shown = shown_in_tests(load_placed(inputs[place], config), pool, "pool", config, log)
        right[name] = (predict_tested(asked, Rows(shown, indices), config).argmax(dim=1) == truth).numpy()
    return better_model(right["baseline"], right["student"])
