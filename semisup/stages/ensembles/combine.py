"""Stage `ensemble`: the members become one model, in one folder, which others may take for a teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semisup.config import PipelineConfig
from semisup.data.facts import DatasetFacts
from semisup.data.roles.split import Split
from semisup.evaluation.ensembles import Combination, combine, disagreement, predict_members
from semisup.pipeline.log import StageLog
from semisup.plots import ensemble_growth, save_png
from semisup.stages.support.images import pool_of
from semisup.stages.support.models.device import pick_device
from semisup.stages.support.models.saved import save_ensemble
from semisup.system.json_files import read_json, write_json
from semisup.wording import counted


def run(config: PipelineConfig, inputs: Mapping[str, Path], out_dir: Path, log: StageLog) -> None:
    """Leaves the weights of all members with `model.json`, `ensemble.json`, `ensemble_growth.png`, `timings.json`.

    `member-1`, `member-2` … among the inputs are the folders of the members.
    """
    device = pick_device(config)
    split = Split.read(inputs["split"] / "split.parquet")
    folders = [inputs[f"member-{number}"] for number in range(1, config.ensemble.members + 1)]
    members = [read_json(folder / "member.json") for folder in folders]
    # A boosted member's say is its weight in a vote: SAMME knows no other combination.
    method: Combination = "vote" if config.ensemble.method == "boosting" else config.ensemble.combine
    ensemble = save_ensemble(folders, method, _votes(members, log), out_dir).to(device)
    images = pool_of(config, DatasetFacts.read(inputs["split"])).images[split.indices("validation")]
    probabilities = predict_members(ensemble, images)
    summary = summarize(probabilities, split.labels("validation"), method, ensemble.weights.cpu())
    for member, accuracy in zip(members, summary.pop("member_accuracies"), strict=True):
        member["validation_accuracy"] = accuracy
    summary = {"method": config.ensemble.method, "combine": method, "members": members} | summary
    write_json(out_dir / "ensemble.json", summary)
    seconds = [float(read_json(folder / "timings.json")["seconds"]) for folder in folders]
    write_json(out_dir / "timings.json", {"seconds": sum(seconds), "members": seconds})
    accuracies = [member["validation_accuracy"] for member in members]
    save_png(ensemble_growth(accuracies, summary["growth"], method), out_dir / "ensemble_growth.png")
    _report(summary, log)


def _votes(members: list[dict[str, Any]], log: StageLog) -> list[float]:
    votes = [float(member["weight"]) for member in members]
    if any(votes):
        return votes
    log.warning("no member is better than guessing, so all have equal votes; use more baseline.epochs")
    return [1.0] * len(votes)


def summarize(probabilities: Tensor, labels: Tensor, method: Combination, weights: Tensor) -> dict[str, Any]:
    """Accuracies on the validation images (N,), of the members' probabilities (M, N, C) and of what they make together.

    Keys: images; member_accuracies, one each; mean_member, mean, vote and combined, the configured one of both;
    growth, that of the first 1, 2, … M members together; mean_disagreement on the combined label.
    """

    def accuracy(answers: Tensor) -> float:
        return float((answers.argmax(dim=1) == labels).double().mean())

    accuracies = [accuracy(member) for member in probabilities]
    combined = combine(probabilities, method, weights)
    growth = [
        # Until a member with a vote comes, those without one are all there is.
        accuracy(combine(probabilities[:size], method, weights[:size] if weights[:size].any() else None))
        for size in range(1, len(probabilities) + 1)
    ]
    apart = disagreement(probabilities[weights > 0], combined.argmax(dim=1))
    return {
        "images": len(labels),
        "member_accuracies": accuracies,
        "mean_member": float(torch.tensor(accuracies, dtype=torch.float64).mean()),
        "mean": accuracy(combine(probabilities, "mean", weights)),
        "vote": accuracy(combine(probabilities, "vote", weights)),
        "combined": accuracy(combined),
        "growth": growth,
        "mean_disagreement": float(apart.double().mean()),
    }


def _report(summary: Mapping[str, Any], log: StageLog) -> None:
    names = ("mean_member", "mean", "vote", "combined")
    log.metrics(
        {f"{name}_validation_accuracy": summary[name] for name in names}
        | {"mean_disagreement": summary["mean_disagreement"]}
    )
    log.info(
        f"{counted(len(summary['members']), 'member')} by {summary['combine']}: {summary['combined']:.1%} of the "
        f"validation images right, a member alone {summary['mean_member']:.1%} on average; "
        f"disagreement {summary['mean_disagreement']:.3f}"
    )
