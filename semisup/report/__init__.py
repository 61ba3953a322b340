"""The page that people read about one run of the pipeline, built from the files that its stages left and nothing else.

`report.html` is one self-contained file; `report.md` says the same with PNG pictures. The same files give the same
bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from semisup import plots
from semisup.report import advice, calibration, data, evaluation, overview, pseudo_labels, shares
from semisup.report.artifacts import STAGES, Artifacts, read_artifacts
from semisup.report.pictures import draw
from semisup.report.text import (
    choice_rows,
    choice_sentence,
    code_in_html,
    code_in_markdown,
    escape_markdown,
    p_value,
    percent,
    training_sentence,
)

__all__ = ["STAGES", "build_report", "p_value", "percent"]


def build_report(
    folders: Mapping[str, Path],
    config: Mapping[str, Any],
    warnings: Sequence[str],
    out_dir: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    audit: Mapping[str, Any] | None = None,
) -> None:
    """Writes `report.html`, `report.md` and the latter's pictures `figures/*.png` into `out_dir`.

    `folders` says where each stage (split, baseline, joint, labels, evaluate, and where there were such pseudo_label
    and calibrate) left its files; `config` is the resolved config as plain values; `warnings` are lines of text;
    `facts` (commit, seed, versions …) end the page. With an `audit` of the accepted labels by people, that is their
    precision. Where the folder of labels holds `audit.parquet` (id, truth; -1 unknown), the histogram tells right from
    wrong and precision is drawn against coverage.

    Raises:
        ValueError: a stage's folder is not given.
        FileNotFoundError: a folder lacks one of its files.
    """
    missing = [stage for stage in STAGES if stage not in folders]
    if missing:
        raise ValueError(f"folders has no {', '.join(missing)}; the report needs {', '.join(STAGES)}")
    artifacts = read_artifacts(folders)
    if audit is not None:
        artifacts = replace(artifacts, summary={**artifacts.summary, "audit": audit})
    pictures = {picture.name: picture for picture in draw(artifacts)}
    context = _context(artifacts) | {
        "title": title,
        "warnings": list(warnings),
        "facts": dict(facts),
        "config_yaml": yaml.safe_dump(
            json.loads(json.dumps(dict(config), default=str)), sort_keys=False, allow_unicode=True
        ),
        "pictures": pictures,
    }
    (out_dir / "figures").mkdir(parents=True, exist_ok=True)
    for picture in pictures.values():
        plots.save_png(picture.figure, out_dir / "figures" / f"{picture.name}.png")

    def svg(name: str) -> Markup:
        return Markup(plots.inline_svg(pictures[name].figure, pictures[name].label))

    _render("report.html.jinja", out_dir / "report.html", context | {"svg": svg}, autoescape=True)
    _render("report.md.jinja", out_dir / "report.md", context, finalize=escape_markdown)


def _context(artifacts: Artifacts) -> dict[str, Any]:
    """What the templates say: sentences and the cells of tables, by name."""
    return {
        "training": {stage: training_sentence(values) for stage, values in artifacts.training.items()},
        "choice": choice_sentence(artifacts.choice) if artifacts.choice else "",
        "choice_table": choice_rows(artifacts.choice) if artifacts.choice else [],
        **overview.context(artifacts),
        **pseudo_labels.context(artifacts),
        **shares.context(artifacts),
        **calibration.context(artifacts),
        **evaluation.context(artifacts),
        **advice.context(artifacts),
        **data.context(artifacts),
    }


def _render(
    template: str,
    path: Path,
    context: Mapping[str, Any],
    *,
    autoescape: bool = False,
    finalize: Callable[[Any], Any] | None = None,
) -> None:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code_in_html if autoescape else code_in_markdown
    path.write_text(environment.get_template(template).render(context), encoding="utf-8")
