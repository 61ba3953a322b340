"""The table about class shares, where predictions were aligned to some: those aimed at, and those of the pool."""

from collections.abc import Mapping
from typing import Any

from semisup.report.artifacts import Artifacts
from semisup.report.text import estimate, percent
from semisup.wording import counted

AIMS = {
    "labeled": "the class shares of the labeled images",
    "uniform": "equal class shares",
    "given": "the class shares that the config gives",
    "estimated": "the class shares that the unlabeled images are estimated to have",
}


def context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say of it: of the student's training, and of the final labels where these aim elsewhere."""
    trained = artifacts.training["joint"].get("alignment") or artifacts.learned_from.get("alignment")
    labeled = artifacts.summary.get("alignment")
    return {
        "shares_learned": _told(artifacts, trained),
        "shares_final": _told(artifacts, labeled) if labeled != trained else None,
    }


def _told(artifacts: Artifacts, alignment: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Sentence, heads and rows about shares that were aimed at; None where predictions stayed as they were."""
    if not alignment:
        return None
    columns = {"Labeled images": [percent(share) for share in alignment["labeled"]]}
    if alignment["target"] in {"uniform", "given"}:
        columns["Aimed at"] = [percent(share) for share in alignment["shares"]]
    sentence = f"Distribution alignment scaled the mean prediction to {AIMS[alignment['target']]}."
    if "estimate" in alignment:
        ends = zip(alignment["estimate"], alignment["low"], alignment["high"], strict=True)
        found = [estimate({"estimate": share, "low": low, "high": high}) for share, low, high in ends]
        columns["Unlabeled, estimated"], columns["95\u00a0% interval"] = (
            [*cells] for cells in zip(*found, strict=True)
        )
        sentence += (
            " Shares of the unlabeled images are estimated from the baseline's predictions for "
            f"{counted(alignment['held_out'], 'validation image')} and {alignment['pool']:,} unlabeled ones; each "
            "interval is of one class by itself, and rather too narrow."
        )
    known = artifacts.class_counts()["unlabeled"]
    if known and sum(known):
        columns["Unlabeled, in truth"] = [percent(count / sum(known)) for count in known]
        sentence += " The truth is an audit, which training never sees."
    rows = zip(artifacts.class_names, *columns.values(), strict=True)
    return {"sentence": sentence, "heads": ["Class", *columns], "table": [[*row] for row in rows]}
