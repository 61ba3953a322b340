"""Reports of small folders that are written here by hand, file by file, as the stages would leave them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from semisup import plots
from semisup.calibration.measures import measure, reliability
from semisup.calibration.words import not_found
from semisup.evaluation.scores import compare_right, evaluate_models
from semisup.report import STAGES, build_report, p_value, percent
from semisup.report.advice import first_step, proposals

NAMES = ("cat", "dog", "emu")
VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = ("<script>alert(1)</script>", "salt & pepper|*x*", '"onload="$x$')


def write_folders(
    root: Path, names: tuple[str, ...] = NAMES, *, channels: int = 1, truth_known: bool = True, audit: bool = False
) -> dict[str, Path]:
    """20 labeled, 10 validation, 40 unlabeled and 100 test images; the last class has no test image."""
    folders = {stage: root / stage for stage in STAGES}
    for folder in folders.values():
        folder.mkdir(parents=True)
    roles = np.repeat(["labeled", "validation", "unlabeled", "test"], [20, 10, 40, 100])
    ids = [f"toy/{number}" for number in range(len(roles))]
    split = pd.DataFrame({"id": ids, "index": np.arange(len(roles)), "label": 0, "role": roles})
    split.to_parquet(folders["split"] / "split.parquet")
    counts: dict[str, Any] = {"labeled": [7, 7, 6], "validation": [4, 3, 3]}
    counts["unlabeled"] = [20, 10, 10] if truth_known else None
    facts = {"name": "toy", "class_names": names, "image_shape": [channels, 6, 8], "class_counts": counts}
    write(folders["split"] / "dataset.json", facts | {"pool_size": 70, "test_size": 100})
    write_training(folders["baseline"], alpha=False)
    write_training(folders["joint"], alpha=True)
    write_pseudo_labels(folders["labels"], ids[30:70], channels, truth_known, audit)
    truth = np.repeat([0, 1], 50)
    baseline, student = truth.copy(), truth.copy()
    baseline[:12], student[:1], student[99] = 1, 1, 0  # 88 and 98 right; 11 by the student only, 1 by the baseline only
    metrics = evaluate_models(truth, baseline, student, names)
    predictions = pd.DataFrame({"id": ids[70:], "truth": truth})
    for name, label, confidence in (("baseline", baseline, 0.97), ("student", student, 0.975)):
        predictions[f"{name}_label"], predictions[f"{name}_confidence"] = label, confidence
        metrics[name]["calibration"] = measure(probabilities_of(label, confidence), truth)
    predictions.to_parquet(folders["evaluate"] / "predictions.parquet")
    write(folders["evaluate"] / "metrics.json", metrics)
    return folders


def probabilities_of(labels: np.ndarray, confidence: float) -> np.ndarray:
    """(N, 3), with `confidence` in each label and the rest spread over the other two."""
    return np.where(np.eye(3)[labels] > 0, confidence, (1 - confidence) / 2)


def with_calibration(root: Path, folders: dict[str, Path], **changes: Any) -> dict[str, Path]:
    """Also a stage `calibrate`: 200 calibration images of which 190 are right, temperature 2, a certified threshold."""
    folder = root / "calibrate"
    folder.mkdir()
    truth, labels = np.zeros(200, int), np.repeat([0, 1], [190, 10])
    tables = {"before": 0.99, "after": 0.96}
    correct = labels == truth
    pd.concat([reliability(np.full(200, c), correct).assign(when=when) for when, c in tables.items()]).to_parquet(
        folder / "reliability.parquet"
    )
    certificate = {"certified": True, "threshold": 0.9375, "accepted": 150, "errors": 1, "upper_bound": 0.0312}
    certificate |= {"share": 0.75, "target_precision": 0.95, "level": 0.9, "images": 200, "fewest": 45}
    step = {"share": 0.75, "threshold": 0.9375, "accepted": 150, "errors": 1, "upper_bound": 0.0312}
    certificate |= {"labels_needed": None, "path": [step, step | {"share": 1.0, "accepted": 200, "upper_bound": 0.07}]}
    figures = {"method": "temperature", "temperature": 2.0, "threshold": 0.9375, "fallback": None}
    figures |= {"calibration_images_needed": None, "strict": True, "caveats": [], "images": 200}
    figures |= {"temperature_images": 50, "temperature_errors": 4, "model": "kept model"}
    figures |= {when: measure(probabilities_of(labels, c), truth) for when, c in tables.items()}
    certificate |= changes.pop("certificate", None) or {}
    figures |= {"certificate": certificate, "certified": certificate["certified"], "compared": None}
    write(folder / "calibration.json", figures | changes)
    return folders | {"calibrate": folder}


def with_compound(folders: dict[str, Path], channels: int = 1) -> dict[str, Path]:
    """Also 100 compound images, of which the baseline finds both classes of 20 and the student of 70."""
    folder = folders["evaluate"]
    right = {"baseline": np.arange(100) < 20, "student": np.arange(100) < 70}
    table = pd.DataFrame({"first_truth": np.zeros(100, int), "second_truth": 1})
    for name, values in right.items():
        table[f"{name}_first"], table[f"{name}_second"] = 1, np.where(values, 0, 2)
    table.to_parquet(folder / "compound.parquet")
    images = np.random.default_rng(1).integers(0, 256, (5, channels, 6, 8), dtype=np.uint8)
    np.savez(folder / "compound_examples.npz", images=images, rows=np.array([3, 19, 20, 69, 70]))
    ends = {"baseline": (0.2, 0.13, 0.29), "student": (0.7, 0.6, 0.79)}
    intervals = {name: dict(zip(("estimate", "low", "high"), values, strict=True)) for name, values in ends.items()}
    compound = (
        {"images": 100, "chance": 1 / 3, "at_least_one": intervals}
        | intervals
        | compare_right(right["baseline"], right["student"])
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    write(folder / "metrics.json", metrics | {"compound": compound})
    return folders


def with_looks(folders: dict[str, Path], channels: int = 1, **figures: Any) -> dict[str, Path]:
    """Also errors, neighbors, reference lines, and what labels are worth."""
    folder, rng = folders["evaluate"], np.random.default_rng(2)
    for name, count in (("errors", 2), ("neighbors", 2 * 5)):
        np.savez(folder / f"{name}.npz", images=rng.integers(0, 256, (count, channels, 6, 8), dtype=np.uint8))
    errors = {"id": ["toy/70", "toy/169"], "truth": [0, 1], "label": [1, 0], "confidence": [0.99, 0.98]}
    pd.DataFrame(errors).to_parquet(folder / "errors.parquet")
    near = {"asked": np.repeat([0, 1], 4), "label": np.repeat([0, 1], 4), "confidence": 0.88, "cosine": 0.75}
    pd.DataFrame(near | {"neighbor_label": [0, 0, 1, 0] * 2}).to_parquet(folder / "neighbors.parquet")
    rows = [{"name": "Logistic regression", "constants": "C = 0.01", "estimate": 0.9, "low": 0.824, "high": 0.951}]
    worth = {"images": 20, "half": 0.7, "most": 0.85, "difference": {"estimate": 0.15, "low": 0.031, "high": 0.269}}
    counts = {"labeled": 20, "unlabeled": 40, "unlabeled_there": 40, "test": 100}
    looked: dict[str, Any] = {"references": counts | {"rows": rows}}
    metrics = json.loads((folder / "metrics.json").read_text())
    write(folder / "metrics.json", metrics | looked | {"labels_worth": worth} | figures)
    return folders


def with_left_out(folders: dict[str, Path], names: tuple[str, ...] = NAMES, files: int = 23) -> dict[str, Path]:
    """Also broken files, four copies of held-out images, and annotations of people; files are named after classes."""
    folder = folders["split"]
    broken = {
        "path": [f"{names[n % 3]} {n}.png" for n in range(files)],
        "reason": ["empty", *["damaged: x"] * files][:files],
    }
    pd.DataFrame(broken).to_csv(folder / "broken_files.csv", index=False)
    copies = [
        (f"{names[0]}/a.png@0", "labeled", f"{names[1]}/b.png@1", role) for role in ("test", "test", "validation")
    ]
    copies.append((f"{names[1]}/c.png@2", "removed", f"{names[1]}/b.png@1", "test"))
    pd.DataFrame(copies, columns=["id", "role", "copy_of", "copy_of_role"]).to_csv(
        folder / "duplicates.csv", index=False
    )
    applied = {"joined": 1_200, "corrected": 3, "confirmed": 4, "discarded": 0, "held_out": 0, "missing": 2}
    write(folder / "annotations_applied.json", applied)
    return folders


def with_groups(folders: dict[str, Path], names: tuple[str, ...] = NAMES) -> dict[str, Path]:
    """Also three images that were removed for others of their groups; files are named after classes."""
    rows = [(f"{names[0]}/p7/{n}.png@{n}", "labeled", f"{names[0]}/p7/9.png@9", "test") for n in (1, 2)]
    rows.append(("p3/1.png@1", "unlabeled", f"{names[1]}/p3/2.png@2", "validation"))
    columns = ["id", "role", "group_with", "group_with_role"]
    pd.DataFrame(rows, columns=columns).to_csv(folders["split"] / "same_group.csv", index=False)
    return folders


ALIGNED = {"target": "estimated", "shares": [0.5, 0.3, 0.2], "labeled": [0.35, 0.35, 0.3], "held_out": 10, "pool": 40}
ALIGNED |= {"estimate": [0.5, 0.3, 0.2], "low": [0.41, 0.2, 0.1], "high": [0.59, 0.4, 0.312]}


def with_alignment(folders: dict[str, Path], **changes: Any) -> dict[str, Path]:
    """Also class shares that the student's predictions were aligned to."""
    path = folders["joint"] / "training.json"
    write(path, json.loads(path.read_text()) | {"alignment": ALIGNED | changes})
    return folders


def write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")


def write_training(folder: Path, *, alpha: bool) -> None:
    epoch = np.arange(1, 9)
    history = pd.DataFrame({"epoch": epoch})
    for part in ("train", "validation"):
        history[f"{part}_loss"], history[f"{part}_accuracy"] = 1 / epoch, 1 - 0.5 / epoch
    if alpha:
        history["alpha"], history["mask_rate"] = epoch / 8, 0.75
    history.to_parquet(folder / "history.parquet")
    summary = {"best_epoch": 6, "stopped_epoch": 8, "max_epochs": 30, "stopped_early": True, "monitor": "loss"}
    write(folder / "training.json", summary | {"best_validation_loss": 0.1666, "best_validation_accuracy": 0.9166})
    write(folder / "timings.json", {"seconds": 83.0})


def write_pseudo_labels(folder: Path, ids: list[str], channels: int, truth_known: bool, audit: bool) -> None:
    confidence = np.linspace(0.5, 1, 40, dtype=np.float32)
    accepted = np.arange(40) >= 30
    pseudo_labels = pd.DataFrame(
        {"id": ids, "label": np.arange(40) % 2, "confidence": confidence, "accepted": accepted}
    )
    pseudo_labels.to_parquet(folder / "pseudo_labels.parquet")
    if audit:
        truth = np.append(np.arange(39) % 2, 0)  # of the last image, accepted, the pseudo-label 1 is wrong
        pd.DataFrame({"id": ids, "truth": truth}).sample(frac=1, random_state=0).to_parquet(folder / "audit.parquet")
    precision: dict[str, Any] = {"precision": 0.9, "precision_low": 0.555, "precision_high": 0.9975}
    precision |= {"precision_per_class": [1.0, 0.8, None]}
    if not truth_known:
        precision = dict.fromkeys(precision) | {"precision_per_class": [None] * 3}
    summary = {"threshold": 0.88, "coverage": 0.25, "accepted": 10, "unlabeled": 40, "accepted_per_class": [5, 5, 0]}
    summary |= {"round": 1, "newly_accepted": 10, "flipped": 0, "rounds": []}
    write(folder / "summary.json", summary | precision)
    images = np.random.default_rng(0).integers(0, 256, (4, channels, 6, 8), dtype=np.uint8)
    np.savez(folder / "examples.npz", images=images)
    groups = ["accepted", "accepted", "borderline", "rejected"]
    truths = [0, 1, 0, 1] if truth_known else [-1] * 4
    pd.DataFrame({"group": groups, "label": [0, 0, 0, 1], "confidence": 0.9, "truth": truths}).to_parquet(
        folder / "examples.parquet"
    )


def build(
    folders: dict[str, Path], out_dir: Path, warnings: tuple[str, ...] = (), title: str = "Toy run"
) -> tuple[str, str]:
    config = {"seed": 7, "joint": {"alpha_final": 1.5}, "data": {"root": Path("images")}}
    build_report(folders, config, warnings, out_dir, title=title, facts={"Git commit": "abc123"})
    return (out_dir / "report.html").read_text("utf-8"), (out_dir / "report.md").read_text("utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is empty: drawing takes most of the time, and many tests look at words alone."""
    for name in set(plots.__all__) - {"ROLES", "inline_svg", "save_png"}:
        monkeypatch.setattr(plots, name, lambda *_, **__: Figure(figsize=(1, 1)))


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def everything(root: Path, names: tuple[str, ...] = NAMES) -> dict[str, Path]:
    """A run with all that a report can show."""
    folders = with_alignment(with_groups(with_left_out(write_folders(root, names, audit=True), names), names))
    uniform = ALIGNED | {"target": "uniform", "shares": [1 / 3] * 3}
    reasons = {"below_threshold": 25, "disagreement": 5}
    change_summary(folders, threshold_kind="certified", reasons=reasons, alignment=uniform)
    return with_looks(with_compound(with_calibration(root, folders)))


def with_table(root: Path, folders: dict[str, Path], **changes: Any) -> dict[str, Path]:
    """Also the summary of a table that the student learned from: 12 of 40 labels accepted, 75 % of them right."""
    folder = root / "pseudo_label"
    folder.mkdir()
    summary = {"unlabeled": 40, "accepted": 12, "precision": 0.75, "round": 1, "newly_accepted": 12, "flipped": 0}
    write(folder / "summary.json", summary | {"rounds": []} | changes)
    return folders | {"pseudo_label": folder}


def change_summary(folders: dict[str, Path], **changes: Any) -> None:
    path = folders["labels"] / "summary.json"
    write(path, json.loads(path.read_text()) | changes)


class Balance(HTMLParser):
    """Follows the open tags and gathers what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.usefixtures("undrawn")
def test_every_key_figure_stands_in_both_reports(tmp_path: Path) -> None:
    page, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out", ("a class is rare",))
    for text in (plain(parse(page).text), plain(markdown).replace("\\", "")):
        assert "This student is better: 98.0 % against 88.0 % of the test images right" in text
        assert "+10.0 percentage points" in text
        assert "McNemar p = 0.0063" in text  # 2 · (1 + 12) / 2^12
        assert "the student alone is right in 11 and the baseline alone in 1" in text
        assert "25.0 %" in text  # coverage
        assert "10 of 40 unlabeled images" in text
        assert "90.0 %" in text  # precision
        assert "55.5 to 99.8 %" in text
        assert "20 labeled + 10 validation" in text
        assert "Stopped early after epoch 8 of at most 30, 1 min 23 s; kept the weights of epoch 6" in text
        assert "a class is rare" in text
        assert "alpha_final: 1.5" in text
        assert "abc123" in text


def test_page_is_one_balanced_file_that_fetches_nothing(tmp_path: Path) -> None:
    page, _ = build(everything(tmp_path / "in"), tmp_path / "out")
    parser = parse(page)
    assert set(re.findall(r"https?://[^\"'\s)]*", page)) == {"http://www.w3.org/2000/svg"}
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in parser.tags}
    for _, attributes in parser.tags:
        reference = attributes.get("src") or attributes.get("href") or "#"
        assert reference.startswith(("#", "data:image/png"))
    pictures = [attributes for tag, attributes in parser.tags if tag == "svg"]
    assert len(pictures) == 15
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in pictures)
    ids = [attributes["id"] for _, attributes in parser.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    headings = [tag for tag, _ in parser.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1


def test_markdown_shows_exactly_the_pictures_that_are_there(tmp_path: Path) -> None:
    _, markdown = build(everything(tmp_path / "in"), tmp_path / "out")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]*)\)", markdown)
    written = [f"figures/{path.name}" for path in (tmp_path / "out" / "figures").iterdir()]
    assert sorted(shown) == sorted(written)


@pytest.mark.usefixtures("undrawn")
def test_markdown_tables_have_as_many_cells_in_every_row_as_in_their_head(tmp_path: Path) -> None:
    _, markdown = build(everything(tmp_path / "in", HOSTILE), tmp_path / "out", title="a | b")
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 16
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_hostile_names_and_texts_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    folders = everything(tmp_path / "in", HOSTILE)
    page, markdown = build(folders, tmp_path / "out", ("<b>bold</b>",), title="<i>run</i> & more")
    parser = parse(page)
    assert {"script", "b", "i"}.isdisjoint(tag for tag, _ in parser.tags)
    for text in (*HOSTILE, "<b>bold</b>", "<i>run</i> & more"):
        assert text in parser.text
    assert all("onload" not in attributes for _, attributes in parser.tags)
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", markdown)
    assert "salt \\& pepper\\|\\*x\\*" in markdown


def test_unknown_truth_is_said_and_drawn_as_unknown(tmp_path: Path) -> None:
    page, markdown = build(write_folders(tmp_path / "in", truth_known=False), tmp_path / "out")
    for text in (parse(page).text, markdown):
        assert "the truth is not known" in text
        assert "None" not in text
        assert "nan" not in text
    assert "classes unknown" in parse(page).text
    assert not (tmp_path / "out" / "figures" / "coverage.png").exists()


def test_an_audit_tells_right_from_wrong_by_id_whatever_its_order(tmp_path: Path) -> None:
    page, _ = build(write_folders(tmp_path / "in", audit=True), tmp_path / "out")
    text = parse(page).text
    assert "right (39)" in text
    assert "wrong (1)" in text
    assert "accepted (threshold 0.88): 90.0 % of 25.0 %" in text


@pytest.mark.usefixtures("undrawn")
def test_a_class_without_test_images_gets_dashes_instead_of_zeros(tmp_path: Path) -> None:
    _, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out")
    assert "| emu | 0 | – | – | – | – | – | – |" in markdown
    assert "| emu | 0 | 0.0 % | – |" in plain(markdown)  # no pseudo-label of it was accepted either


@pytest.mark.usefixtures("undrawn")
def test_later_rounds_are_told_with_what_each_changed(tmp_path: Path) -> None:
    lines = [
        {"round": 1, "accepted": 1_000, "newly_accepted": 1_000, "flipped": 0, "precision": 0.75},
        {"round": 2, "accepted": 8, "newly_accepted": 7, "flipped": 5, "precision": None},
        {"round": 3, "accepted": 10, "newly_accepted": 3, "flipped": 4, "precision": 0.9},
    ]
    folders = with_table(tmp_path / "in", write_folders(tmp_path / "in"), **lines[-1], rounds=lines)
    page, markdown = build(folders, tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown)):
        assert "This is round 3 of self-training" in text
        assert "4 of 40 labels (10.0 %) are others than in round 2; 3 images were accepted for the first time" in text
    assert "| 1 | 1,000 | 1,000 | – | 75.0 % |\n| 2 | 8 | 7 | 5 | – |\n| 3 | 10 | 3 | 4 | 90.0 % |" in plain(markdown)
    assert "Student round 3: labels and pseudo-labels" in markdown
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 7
    assert all(len({row.count("|") for row in table.splitlines()}) == 1 for table in tables)


@pytest.mark.usefixtures("undrawn")
def test_what_the_student_learned_from_is_told_apart_from_the_labels_of_the_kept_model(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in")
    alone = build(folders, tmp_path / "out")
    taught = build(with_table(tmp_path / "in", folders), tmp_path / "taught")
    for text in alone:
        assert "anew at every step, and learned from no table" in plain(text)
    for text in taught:
        assert "a table that its teacher had made: 12 of 40 labels were accepted, 75.0 % of them right" in plain(text)
    for text in (*alone, *taught):  # ten of them were accepted in the end, whatever it learned from
        assert "10 of 40 unlabeled images" in plain(text)
        assert "The student, which is the model to keep, labeled every unlabeled image at the end" in plain(text)


@pytest.mark.usefixtures("undrawn")
def test_a_single_round_is_not_called_one(tmp_path: Path) -> None:
    page, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out")
    assert "round" not in parse(page).text.partition("</style>")[2].lower()
    assert "round" not in markdown.lower()


@pytest.mark.usefixtures("undrawn")
def test_over_confidence_is_said_and_chance_is_not_called_over_confidence(tmp_path: Path) -> None:
    _, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out")
    text = plain(markdown)
    assert "The baseline is over-confident: 97.0 % sure on average, 88.0 % right (+9.0 points)." in text
    assert "The student is about as sure as it is right: 97.5 % sure on average, 98.0 % right (−0.5 points)" in text
    nll = -(88 * np.log(0.97) + 12 * np.log(0.015)) / 100
    brier = (88 * (0.03**2 + 2 * 0.015**2) + 12 * (0.97**2 + 0.985**2 + 0.015**2)) / 100
    assert f"| Baseline | 88.0 % | 97.0 % | 9.0 % | 9.0 % | {nll:.3f} | {brier:.3f} |" in text


@pytest.mark.usefixtures("undrawn")
def test_macro_f1_stands_with_the_accuracy_among_the_key_figures(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in")
    metrics = json.loads((folders["evaluate"] / "metrics.json").read_text())
    metrics["student"]["macro_f1"] = 0.4321
    write(folders["evaluate"] / "metrics.json", metrics)
    page, markdown = build(folders, tmp_path / "out")
    assert "; macro-F1 43.2 %" in plain(parse(page).text)
    row = next(line for line in plain(markdown).splitlines() if line.startswith("| Student test accuracy"))
    assert "**98.0 %**" in row
    assert "macro-F1 43.2 %" in row


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("model", ["student", "baseline"])
def test_the_model_to_keep_stands_among_the_key_figures_with_what_decided(tmp_path: Path, model: str) -> None:
    folders = write_folders(tmp_path / "in")
    metrics = json.loads((folders["evaluate"] / "metrics.json").read_text())
    kept = {"model": model, "images": 1234, "baseline_validation_accuracy": 0.875, "student_validation_accuracy": 0.9}
    write(folders["evaluate"] / "metrics.json", metrics | {"kept": kept})
    page, markdown = build(folders, tmp_path / "out")
    said = "decided by 1,234 validation images: student 90.0 %, baseline 87.5 % right"
    assert said in plain(parse(page).text)
    row = next(line for line in plain(markdown).splitlines() if line.startswith("| Model to keep"))
    assert f"**{model.capitalize()}**" in row
    assert said in row


@pytest.mark.usefixtures("undrawn")
def test_a_calibration_is_told_with_its_temperature_and_its_figures_before_and_after(tmp_path: Path) -> None:
    page, markdown = build(with_calibration(tmp_path / "in", write_folders(tmp_path / "in")), tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown)):
        assert (
            "On 200 calibration images the kept model is over-confident: 99.0 % sure on average, 95.0 % right" in text
        )
        assert "The temperature 2, fitted on 50 others, makes it less sure without changing any label" in text
        assert "ECE 4.0 % before and 1.0 % after" in text
    assert "| As it is | 95.0 % | 99.0 % | 4.0 % | 4.0 % |" in plain(markdown)
    assert "| Temperature 2 | 95.0 % | 96.0 % | 1.0 % | 1.0 % |" in plain(markdown)


@pytest.mark.usefixtures("undrawn")
def test_without_a_temperature_there_is_no_after(tmp_path: Path) -> None:
    folders = with_calibration(tmp_path / "in", write_folders(tmp_path / "in"), method="none", temperature=1.0)
    _, markdown = build(folders, tmp_path / "out")
    assert "As it is" in markdown
    assert "emperature" not in markdown


@pytest.mark.usefixtures("undrawn")
def test_a_certificate_says_in_one_sentence_what_is_proven_and_from_what(tmp_path: Path) -> None:
    folders = with_calibration(tmp_path / "in", write_folders(tmp_path / "in"), caveats=["it rained", "it snowed"])
    _, markdown = build(folders, tmp_path / "out")
    text = plain(markdown)
    assert "Of 150 calibration images with a confidence of at least 0.9375, 1 was labeled wrongly" in text
    assert "leaves up to 3.1 % plausible. So, at a confidence level of 90 %, at least 95 % of the labels are" in text
    assert "not for each class. Not strictly so, for it rained, and it snowed." in text


@pytest.mark.usefixtures("undrawn")
def test_what_is_certified_of_each_class_is_a_row(tmp_path: Path) -> None:
    classes = [
        {"label": 0, "images": 140, "threshold": 0.875, "accepted": 120, "errors": 1, "share": 0.8},
        {"label": 1, "images": 60, "threshold": None, "accepted": 60, "errors": 9, "share": 0.0},
    ]
    folders = with_calibration(tmp_path / "in", write_folders(tmp_path / "in"), classes=classes)
    html, markdown = build(folders, tmp_path / "out")
    names = json.loads((folders["split"] / "dataset.json").read_text())["class_names"][:2]
    assert f"| {names[0]} | 120 of 140 | 1 | 0.8750 |" in plain(markdown)
    assert f"| {names[1]} | 60 | 9 | – |" in plain(markdown)
    assert "at least 95 % of the labels of a class are right" in plain(markdown)
    assert "Certified from" in html
    assert "by itself, which takes" not in plain(markdown)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("images", "why"), [(40, "given its label; the most that are given one label are 40."), (60, "given its label.")]
)
def test_where_no_class_is_certified_by_itself_a_sentence_stands_for_the_table(
    tmp_path: Path, images: int, why: str
) -> None:
    row = {"label": 0, "images": images, "threshold": None, "accepted": images, "errors": 9, "share": 0.0}
    folders = with_calibration(tmp_path / "in", write_folders(tmp_path / "in"), classes=[row, row | {"label": 1}])
    html, markdown = build(folders, tmp_path / "out")
    assert f"No class could be certified by itself, which takes at least 45 calibration images {why}" in plain(markdown)
    assert "Certified from" not in html


@pytest.mark.usefixtures("undrawn")
def test_groups_of_unknown_images_are_told_and_shown(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in")
    found = {"flagged": 60, "share": 0.1, "at_least": 0.04, "false_alarms": 0.05, "threshold": 1.5, "held_out": 200}
    change_summary(folders, unknown=found | {"judges": "calibration", "groups": [31, 18]})
    pd.DataFrame({"group": [1, 1, 2], "size": [31, 31, 18]}).to_parquet(folders["labels"] / "unknown_groups.parquet")
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 6, 8), dtype=np.uint8)
    np.savez(folders["labels"] / "unknown_groups.npz", images=images)
    html, markdown = build(folders, tmp_path / "out")
    assert "49 of them look alike in 2 groups, each perhaps a class that nobody has labeled" in plain(markdown)
    assert "2 groups of unlabeled images of none of the classes" in html
    assert (tmp_path / "out" / "figures" / "unknown_groups.png").exists()


def test_the_grid_of_groups_says_of_each_how_large_it_is() -> None:
    images = np.zeros((5, 3, 4, 6), np.uint8)
    figure = plots.group_grid(images, np.array([1, 1, 1, 2, 2]), [31, 18])
    (axes,) = figure.axes
    assert len(axes.images) == 5
    said = [text.get_text() for text in axes.texts if text.get_text()]
    assert said == ["group 1", "31 images", "group 2", "18 images"]


@pytest.mark.usefixtures("undrawn")
def test_a_promise_about_the_mean_is_told_as_one(tmp_path: Path) -> None:
    control = {"found": True, "threshold": 0.9375, "accepted": 150, "errors": 3, "estimate": 0.04, "share": 0.6}
    control |= {"fdr": 0.05, "images": 200, "fewest": 19, "labels_needed": None}
    folders = with_calibration(tmp_path / "in", write_folders(tmp_path / "in"), caveats=["it rained"])
    path = folders["calibrate"] / "calibration.json"
    asked = {"certificate": None, "certified": False, "classes": None, "fdr_control": control, "fdr_controlled": True}
    write(path, json.loads(path.read_text()) | asked)
    change_summary(folders, threshold_kind="fdr")
    _, markdown = build(folders, tmp_path / "out")
    text = plain(markdown)
    assert "Of 150 calibration images with a confidence of at least 0.9375, 3 were labeled wrongly. From" in text
    assert "at most 5 % of the labels are wrong on average" in text
    assert "This run may have more wrong labels than that, and so may single classes. Not strictly so, for it" in text
    assert "threshold by the false discovery rate ≥" in text
    assert not (tmp_path / "out" / "figures" / "certificate.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_where_the_pool_is_another_the_report_certifies_nothing(tmp_path: Path) -> None:
    compared = {"p_value": 2e-5, "calibration_images": 200, "pool_images": 2_000}
    folders = with_calibration(
        tmp_path / "in", write_folders(tmp_path / "in"), certified=False, compared=compared, strict=False, fallback=0.99
    )
    _, markdown = build(folders, tmp_path / "out")
    text = plain(markdown).replace("\\", "")
    assert "Nothing is promised of the labels." in text
    assert "the unlabeled images are not like the calibration images (p = 2e-05 on 200 and 2,000 images)" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("known", "elsewhere", "said"),
    [(0, 0, "the truth is not known"), (7, 0, "6 of 7 whose truth is known are right"),
     (7, 20, "6 of 7 whose truth is known are right, none of them from unlabeled/")],
)  # fmt: skip
def test_a_few_known_truths_are_counted_and_make_no_headline(
    tmp_path: Path, known: int, elsewhere: int, said: str
) -> None:
    folders = write_folders(tmp_path / "in", truth_known=False)
    change_summary(
        folders, known=known, known_right=max(known - 1, 0), from_unlabeled=elsewhere, known_from_unlabeled=0
    )
    _, markdown = build(folders, tmp_path / "out")
    assert re.search(rf"Pseudo-label precision[^\n]*–[^\n]*{re.escape(said)}", plain(markdown).replace("\\", ""))


@pytest.mark.usefixtures("undrawn")
def test_where_nothing_is_certified_the_report_says_why_and_how_many_labels_would_do(tmp_path: Path) -> None:
    nothing = {"certified": False, "threshold": None, "accepted": 30, "errors": 0, "labels_needed": 480}
    nothing |= {"path": [{"share": 0.2, "threshold": 0.99, "accepted": 30, "errors": 0, "upper_bound": 0.095}]}
    folders = with_calibration(
        tmp_path / "in",
        write_folders(tmp_path / "in"),
        certificate=nothing,
        threshold=0.99,
        fallback=0.99,
        calibration_images_needed=640,
    )
    change_summary(folders, threshold=0.99, threshold_kind="fallback")
    _, markdown = build(folders, tmp_path / "out")
    text = plain(markdown).replace("\\", "")
    assert "Nothing is promised of the labels." in text
    assert not_found(json.loads((folders["calibrate"] / "calibration.json").read_text())) in text
    assert "split.calibration_images of about 640" in text
    assert not (tmp_path / "out" / "figures" / "certificate.png").exists()  # of a single test there is nothing to draw
    assert "the fallback threshold 0.99 applies." in text
    assert "fallback threshold ≥ 0.99" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("kind", "shown"), [(None, "confidence ≥"), ("certified", "certified threshold ≥")])
def test_the_coverage_card_names_a_certified_threshold_as_one(tmp_path: Path, kind: str | None, shown: str) -> None:
    folders = write_folders(tmp_path / "in")
    if kind:
        change_summary(folders, threshold_kind=kind)
    _, markdown = build(folders, tmp_path / "out")
    assert f"10 of 40 unlabeled images, {shown} 0.88 |" in plain(markdown)


@pytest.mark.usefixtures("undrawn")
def test_without_a_stage_calibrate_nothing_is_said_of_one(tmp_path: Path) -> None:
    page, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out")
    for text in (parse(page).text.partition("</style>")[2], markdown):
        assert "Calibration" not in text
        assert "certified" not in text
    assert not (tmp_path / "out" / "figures" / "reliability_kept.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_calibration_images_are_counted_among_the_labels_and_per_class(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in")
    path = folders["split"] / "split.parquet"
    split = pd.read_parquet(path)
    split.loc[split.index[65:70], "role"] = "calibration"  # of the 40 unlabeled ones
    split.to_parquet(path)
    facts = json.loads((folders["split"] / "dataset.json").read_text())
    facts["class_counts"] |= {"calibration": [2, 2, 1], "unlabeled": [18, 8, 9]}
    write(folders["split"] / "dataset.json", facts)
    page, markdown = build(folders, tmp_path / "out")
    assert "20 labeled + 10 validation + 5 calibration" in parse(page).text
    assert "**35**" in markdown
    assert "| Class | Labeled | Validation | Calibration | Unlabeled | Test |" in markdown
    assert "| cat | 7 | 4 | 2 | 18 | 50 |" in markdown
    assert "| All | 20 | 10 | 5 | 35 | 100 |" in markdown


@pytest.mark.usefixtures("undrawn")
def test_reasons_are_tabled_only_where_there_is_more_than_one(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in")
    for number, reasons in enumerate(({"below_threshold": 30}, {"below_threshold": 20, "beyond_top_share": 10})):
        change_summary(folders, reasons=reasons)
        _, markdown = build(folders, tmp_path / f"out-{number}")
        assert ("Not accepted because" in markdown) == (len(reasons) > 1)
    assert "| Below the threshold | 20 | 50.0 % |\n| Beyond its class's top share | 10 | 25.0 % |" in plain(markdown)


@pytest.mark.usefixtures("undrawn")
def test_compound_images_are_judged_by_both_classes_and_by_either(tmp_path: Path) -> None:
    page, markdown = build(with_compound(write_folders(tmp_path / "in")), tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown)):
        assert "This student sees both classes more often: 70.0 % against 20.0 % of 100 compound images" in text
        assert "Guessing two classes is right in 33.3 %" in text
    assert "| Student | 70.0 % | 60.0 to 79.0 % | 70.0 % | 60.0 to 79.0 % |" in plain(markdown)


def test_each_compound_example_shows_its_classes_and_whether_each_model_names_them(tmp_path: Path) -> None:
    page, _ = build(with_compound(write_folders(tmp_path / "in", channels=3), channels=3), tmp_path / "out")
    text = parse(page).text
    assert text.count("cat + dog") == 5  # above each
    assert text.count("✓ dog + cat") == 2 + 4  # rows 3 and 19 by the baseline, all but row 70 by the student
    assert text.count("✗ dog + emu") == 3 + 1


@pytest.mark.usefixtures("undrawn")
def test_without_compound_images_nothing_is_said_of_them(tmp_path: Path) -> None:
    page, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out")
    assert "ompound" not in page + markdown


@pytest.mark.usefixtures("undrawn")
def test_color_images_are_reported_as_such(tmp_path: Path) -> None:
    page, _ = build(write_folders(tmp_path / "in", channels=3), tmp_path / "out")
    assert "3 classes, RGB, 6 × 8 pixels" in plain(parse(page).text)


def test_a_table_without_accepted_labels_and_a_joint_run_without_alpha_are_reported(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in", truth_known=False)
    pseudo_labels = pd.read_parquet(folders["labels"] / "pseudo_labels.parquet").assign(accepted=False)
    pseudo_labels.to_parquet(folders["labels"] / "pseudo_labels.parquet")
    summary = json.loads((folders["labels"] / "summary.json").read_text())
    nothing = {"accepted": 0, "coverage": 0.0, "accepted_per_class": [0, 0, 0]}
    write(folders["labels"] / "summary.json", summary | nothing)
    history = pd.read_parquet(folders["joint"] / "history.parquet").drop(columns=["alpha", "mask_rate"])
    history.to_parquet(folders["joint"] / "history.parquet")
    page, _ = build(folders, tmp_path / "out")
    assert "no pseudo-label was accepted" in parse(page).text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("verdict", "opening"),
    [("baseline better", "This baseline is better"), ("no difference shown", "No difference shown")],
)
def test_the_other_verdicts_are_said_as_plainly(tmp_path: Path, verdict: str, opening: str) -> None:
    folders = write_folders(tmp_path / "in")
    metrics = json.loads((folders["evaluate"] / "metrics.json").read_text())
    write(folders["evaluate"] / "metrics.json", metrics | {"verdict": verdict})
    _, markdown = build(folders, tmp_path / "out")
    assert f"**{opening}: " in markdown


def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    folders = everything(tmp_path / "in")
    for name in ("first", "second"):
        build(folders, tmp_path / name)
    first = {path.relative_to(tmp_path / "first"): path for path in (tmp_path / "first").rglob("*") if path.is_file()}
    assert len(first) == 17
    for relative, path in first.items():
        assert path.read_bytes() == (tmp_path / "second" / relative).read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_a_missing_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folders has no labels, evaluate"):
        build(dict.fromkeys(STAGES[:3], tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1e-9, "p < 0.001"),
        (0.00099, "p < 0.001"),
        (0.00634, "p = 0.0063"),
        (0.0214, "p = 0.021"),
        (0.0999, "p = 0.10"),
        (0.344, "p = 0.34"),
        (1.0, "p = 1"),
    ],
)
def test_p_values_have_two_digits_and_no_false_precision(p: float, text: str) -> None:
    assert plain(p_value(p)) == text


def test_percentages_have_one_decimal_and_what_is_unknown_is_a_dash() -> None:
    assert plain(percent(0.98765)) == "98.8 %"
    assert percent(None) == "–"


@pytest.mark.usefixtures("undrawn")
def test_every_percentage_of_the_page_has_one_decimal_and_levels_have_none(tmp_path: Path) -> None:
    page, markdown = build(everything(tmp_path / "in"), tmp_path / "out")
    for text in (parse(page).text, markdown):
        found = re.findall(r"([\d.,]+)[\s\u00a0]%", text)
        assert {figure for figure in found if not re.fullmatch(r"\d+\.\d", figure)} <= {
            "90",
            "95",
        }  # levels of confidence


@pytest.mark.usefixtures("undrawn")
def test_files_left_out_are_counted_by_reason_and_ten_of_them_named_with_where_all_are(tmp_path: Path) -> None:
    page, markdown = build(with_left_out(write_folders(tmp_path / "in")), tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown).replace("\\", "")):
        assert "23 files cannot be used: 22 damaged, 1 empty." in text
        assert "… and 13 more; all are in broken_files.csv among the artifacts of the split." in text
        assert [n for n in range(23) if f"{NAMES[n % 3]} {n}.png" in text] == list(range(10))
        assert "4 images are copies or near duplicates of held-out images (3 of test images, 1 of a validation" in text
        assert "Nothing is learned from them (data.duplicates)" in text
        assert "All are in duplicates.csv among the artifacts of the split." in text
    assert "| cat/a.png (labeled) | dog/b.png (validation) |" in markdown
    assert "| dog/c.png (none) | dog/b.png (test) |" in markdown  # held out before, it has no role to lose


@pytest.mark.usefixtures("undrawn")
def test_copies_that_have_a_role_are_said_to_be_used(tmp_path: Path) -> None:
    folders = with_left_out(write_folders(tmp_path / "in"))
    copies = pd.read_csv(folders["split"] / "duplicates.csv")
    copies.assign(id="toy/3").to_csv(folders["split"] / "duplicates.csv", index=False)
    _, markdown = build(folders, tmp_path / "out")
    assert "They are used all the same, and flatter figures (data.duplicates)." in markdown


@pytest.mark.usefixtures("undrawn")
def test_annotations_of_people_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    page, markdown = build(with_left_out(write_folders(tmp_path / "in")), tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown)):
        assert "People have annotated 1,209 images (data.annotations); 3 annotations corrected a label." in text
    assert "| Unlabeled images labeled | 1,200 |\n| Labels corrected | 3 |\n| Labels confirmed | 4 |" in markdown
    assert "left out of training" not in markdown  # there was none


@pytest.mark.usefixtures("undrawn")
def test_annotations_of_a_split_of_before_are_reported_from_the_file_that_it_left(tmp_path: Path) -> None:
    folders = with_left_out(write_folders(tmp_path / "in"))
    (folders["split"] / "annotations_applied.json").rename(folders["split"] / "answers_applied.json")
    assert "People have annotated 1,209 images" in plain(build(folders, tmp_path / "out")[1])


@pytest.mark.usefixtures("undrawn")
def test_where_nothing_was_left_out_or_annotated_nothing_is_said_of_it(tmp_path: Path) -> None:
    page, _ = build(write_folders(tmp_path / "in"), tmp_path / "out")
    headings = {"Copies", "Groups", "Files that cannot be used", "Annotations by people", "Class shares"}
    assert not headings & set(parse(page).text.splitlines())


@pytest.mark.usefixtures("undrawn")
def test_images_that_were_removed_for_others_of_their_group_are_counted_and_the_first_ones_named(
    tmp_path: Path,
) -> None:
    page, markdown = build(with_groups(write_folders(tmp_path / "in")), tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown).replace("\\", "")):
        assert "3 images share their group with held-out images (2 with test images, 1 with a validation image)" in text
        assert "All are in same_group.csv" in text
    assert "| cat/p7/1.png (labeled) | cat/p7/9.png (test) |" in markdown
    assert "| p3/1.png (unlabeled) | dog/p3/2.png (validation) |" in markdown


# --- class shares -----------------------------------------------------------------------------------------------------


def shares_of(markdown: str, section: str) -> list[str]:
    """Lines of the table of class shares in a section of the Markdown report."""
    there = plain(markdown).partition(f"## {section}")[2].partition("\n## ")[0]
    return [line for line in there.partition("### Class shares")[2].splitlines() if line.startswith("|")]


@pytest.mark.usefixtures("undrawn")
def test_class_shares_that_were_aimed_at_stand_beside_those_of_the_labels_the_estimate_and_the_truth(
    tmp_path: Path,
) -> None:
    page, markdown = build(with_alignment(write_folders(tmp_path / "in")), tmp_path / "out")
    assert shares_of(markdown, "What the student learned from") == [
        "| Class | Labeled images | Unlabeled, estimated | 95 % interval | Unlabeled, in truth |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| cat | 35.0 % | 50.0 % | 41.0 to 59.0 % | 50.0 % |",
        "| dog | 35.0 % | 30.0 % | 20.0 to 40.0 % | 25.0 % |",
        "| emu | 30.0 % | 20.0 % | 10.0 to 31.2 % | 25.0 % |",
    ]
    assert shares_of(markdown, "Labels of the kept model") == []
    assert "for 10 validation images and 40 unlabeled ones" in plain(parse(page).text)


@pytest.mark.usefixtures("undrawn")
def test_shares_that_are_given_are_told_with_the_estimate_where_there_is_one(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "in", truth_known=False)
    given = {"target": "given", "shares": [0.6, 0.3, 0.1], "labeled": [0.35, 0.35, 0.3]}
    change_summary(folders, alignment=given)
    page, markdown = build(folders, tmp_path / "out")
    assert shares_of(markdown, "Labels of the kept model")[::2] == [
        "| Class | Labeled images | Aimed at |",
        "| cat | 35.0 % | 60.0 % |",
        "| emu | 30.0 % | 10.0 % |",
    ]
    said = plain(parse(page).text)
    assert "scaled the mean prediction to the class shares that the config gives." in said
    assert "estimated" not in said


@pytest.mark.usefixtures("undrawn")
def test_a_table_and_final_labels_that_aim_at_the_same_shares_say_so_once(tmp_path: Path) -> None:
    folders = with_table(tmp_path / "in", write_folders(tmp_path / "in"), alignment=ALIGNED)
    change_summary(folders, alignment=ALIGNED)
    _, markdown = build(folders, tmp_path / "out")
    assert markdown.count("### Class shares") == 1


# --- references, errors, neighbors, and what to do next ---------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
def test_references_stand_beside_our_own_models_with_the_images_that_they_know(tmp_path: Path) -> None:
    page, markdown = build(with_looks(write_folders(tmp_path / "in")), tmp_path / "out")
    for text in (plain(parse(page).text), plain(markdown).replace("\\", "")):
        assert "the same 20 labels and 40 images without one, and is judged on the same 100 test images" in text
    lines = plain(markdown).splitlines()
    assert "| Logistic regression | 90.0 % | 82.4 to 95.1 % | C = 0.01 |" in lines
    assert any(line.startswith("| Student | 98.0 % |") for line in lines)


@pytest.mark.usefixtures("undrawn")
def test_references_that_know_fewer_images_than_ours_say_so(tmp_path: Path) -> None:
    few = {"labeled": 20, "unlabeled": 30, "unlabeled_there": 40, "test": 100, "rows": []}
    page, _ = build(with_looks(write_folders(tmp_path / "in"), references=few), tmp_path / "out")
    assert "20 labels and 30 of our 40 images without one" in plain(parse(page).text)


@pytest.mark.usefixtures("undrawn")
def test_what_an_older_run_did_not_leave_is_not_shown(tmp_path: Path) -> None:
    page, markdown = build(write_folders(tmp_path / "in"), tmp_path / "out")
    for text in (page, markdown):
        for word in ("scikit-learn", "surest", "nearest to it in the features"):
            assert word not in text


@pytest.mark.usefixtures("undrawn")
def test_errors_and_neighbors_are_pictures_of_both_reports(tmp_path: Path) -> None:
    page, markdown = build(with_looks(write_folders(tmp_path / "in")), tmp_path / "out")
    assert "A red frame marks a neighbor of another class." in page
    for name in ("errors", "neighbors"):
        assert f"(figures/{name}.png)" in markdown
        assert (tmp_path / "out" / "figures" / f"{name}.png").is_file()


def advised(folders: dict[str, Path], place: Path) -> str:
    """The section of the Markdown report that says what to do next; "" where there is none."""
    _, markdown = build(folders, place)
    return plain(markdown).partition("## What to do next")[2].partition("\n## ")[0].replace("\\", "")


GAIN = {"estimate": 0.15, "low": 0.031, "high": 0.269}
NO_GAIN = {"estimate": 0.01, "low": -0.02, "high": 0.04}
UNSURE = {"estimate": 0.02, "low": -0.07, "high": 0.11}
"""Of few labels: nothing is shown, a gain of many points included."""
POOR, GOOD = 0.7, 0.93
"""Of 100 validation images; the exact interval of the first ends at 78.8 %, that of the second at 97.1 %."""


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("difference", "accuracy", "sides", "said"),
    [
        (GAIN, POOR, {"seen": 224, "files": 600}, ["Label more", "data.size=448"]),
        (GAIN, POOR, {"seen": 224, "files": 256}, ["Label more"]),
        (GAIN, GOOD, {"seen": 224, "files": 600}, ["Label more"]),
        (NO_GAIN, POOR, {"seen": 224, "files": 300}, ["data.size=288", "Try another network"]),
        (NO_GAIN, GOOD, {"seen": 224, "files": 600}, []),
        (UNSURE, POOR, {"seen": 224, "files": 256}, ["Label more", "too few to tell"]),
        (UNSURE, GOOD, {"seen": 224, "files": 256}, []),
    ],
    ids=["labels and pixels", "labels", "good enough", "network and pixels", "nothing", "few labels", "few, but good"],
)
def test_only_what_the_figures_speak_for_is_advised(
    tmp_path: Path, difference: dict[str, float], accuracy: float, sides: dict[str, int], said: list[str]
) -> None:
    worth = {"images": 20, "half": 0.7, "most": 0.7 + difference["estimate"], "difference": difference}
    folders = with_looks(write_folders(tmp_path / "in"), labels_worth=worth, input=sides | {"from_nothing": False})
    metrics = json.loads((folders["evaluate"] / "metrics.json").read_text())
    kept = {"model": "student", "images": 100, "baseline_validation_accuracy": 0.5}
    metrics["kept"] = kept | {"student_validation_accuracy": accuracy}
    for test in ({"estimate": 0.7, "low": 0.6, "high": 0.79}, {"estimate": 1.0, "low": 0.99, "high": 1.0}):
        metrics["student"]["accuracy"] = test  # nobody shall choose by it
        _assert_advised(folders, metrics, tmp_path / str(test["high"]), said)


def _assert_advised(folders: dict[str, Path], metrics: dict[str, Any], place: Path, said: list[str]) -> None:
    write(folders["evaluate"] / "metrics.json", metrics)
    found = advised(folders, place)
    everything_said = (
        "Label more",
        "too few to tell",
        "data.size=448",
        "data.size=288",
        "Try another network",
        "pretrained network",
    )
    assert [words for words in everything_said if words in found] == said
    assert ("70.0 % right of 100 validation images" in found) == any("Label" not in words for words in said)
    assert "test images" not in found


@pytest.mark.parametrize("difference", [GAIN, NO_GAIN, UNSURE], ids=["labels pay", "they do not", "unknown"])
def test_a_review_says_first_what_the_report_proposes(difference: dict[str, float]) -> None:
    worth = {"images": 20, "half": 0.3, "most": 0.3, "difference": difference}
    kept = {"model": "student", "images": 100, "student_validation_accuracy": 0.3}
    metrics = {"labels_worth": worth, "kept": kept}
    labels = {"unlabeled": 40, "accepted": 40, "coverage": 1.0}
    (proposed,) = proposals(metrics, labels)
    assert {"labels": "label more", "network": "another network"}[proposed.what] in first_step(metrics, labels)


@pytest.mark.usefixtures("undrawn")
def test_commands_in_advice_are_code_on_both_pages(tmp_path: Path) -> None:
    page, markdown = build(with_looks(write_folders(tmp_path / "in")), tmp_path / "out")
    assert "<code>semisup review RUN</code>" in page
    assert "`semisup review RUN`" in markdown
