"""`semisup init`: whatever it makes a config for, `semisup run` takes; whatever it cannot, it says in one line."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.begin import init as command
from flows.cli.begin.init import _takes, few_test_images
from semisup.config import DataConfig, PipelineConfig
from semisup.config.files import load_config
from semisup.data.datasets import UNLABELED
from semisup.data.own_images import forget
from semisup.data.own_images.proposal import propose_split
from semisup.data.own_images.recipes import are_signs
from semisup.data.roles.growing import draw_by_content
from semisup.data.roles.known_roles import KnownRoles, contents_of
from semisup.data.roles.seats import validation_seats
from semisup.errors import UserError
from semisup.stages.preflight.check import Checked, check
from semisup.stages.preflight.estimate import Estimate, estimate
from tests.data.corpus import encoded, put


@dataclass
class Folder:
    """What lies where, in images."""

    layout: str
    """`labeled` or `Train` above the classes, `root` (nothing) or a `manifest`."""
    labeled: list[int]
    """Of each class."""
    unlabeled: int = 0
    validation: list[int] = field(default_factory=list)
    test: list[int] = field(default_factory=list)
    broken: int = 0
    copies: int = 0
    """Of labeled images, among the test images."""
    side: int = 4

    def make(self, folder: Path) -> list[str]:
        """The arguments of `init` for it, made in a folder."""
        rng, root, rows = np.random.default_rng(0), folder / "photos", []

        def add(place: str, name: str, label: str, role: str, content: bytes | None = None) -> bytes:
            image = rng.integers(0, 256, (self.side, self.side, 3), dtype=np.uint8)
            content = encoded(image, "PNG") if content is None else content
            put(root / place / name, content)
            rows.append((f"{place}/{name}", label, role))
            return content

        above = {"labeled": "labeled/", "Train": "Train/", "root": "", "manifest": "any/"}[self.layout]
        made = []
        for place, role, counts in ((above, "", self.labeled), *self._named()):
            for number, count in enumerate(counts):
                label = f"{'xyzuvw'[number]} {number}"
                (root / place / label).mkdir(parents=True, exist_ok=True)
                for image in range(count):
                    made.append(add(f"{place}{label}", f"{role}{image}.png", label, role))
        for image in range(self.unlabeled):
            add("unlabeled" if self.layout != "manifest" else "more", f"{image}.png", "", "")
        for image in range(self.broken):
            add(f"{above}x 0", f"broken {image}.png", "x 0", "", b"not an image")
        for image in range(min(self.copies, len(made))):
            add("test/x 0", f"copy {image}.png", "x 0", "test", made[image])
        arguments = [str(root), "--cache", str(folder / "cache"), "--out", str(folder / "c.yaml")]
        if self.layout != "manifest":
            return arguments
        with (folder / "m.csv").open("w", newline="") as opened:
            csv.writer(opened).writerows([("path", "label", "role"), *rows])
        return [*arguments, "--manifest", str(folder / "m.csv")]

    def _named(self):
        return (("validation/", "validation", self.validation), ("Testing/", "test", self.test))


def init(arguments):
    forget()
    return CliRunner().invoke(app, ["init", *arguments])


def run_takes(config: Path) -> Checked:
    """Loading, split and preflight of `semisup run`, as in another process."""
    forget()
    checked = check(load_config(config))
    forget()
    return checked


counts = st.lists(st.integers(0, 9), min_size=1, max_size=4)
folders = st.builds(
    Folder,
    layout=st.sampled_from(["labeled", "Train", "root", "manifest"]),
    labeled=counts,
    unlabeled=st.sampled_from([0, 0, 1, 5]),
    validation=st.just([]) | counts,
    test=st.just([]) | counts,
    broken=st.integers(0, 2),
    copies=st.sampled_from([0, 0, 1, 4]),
    side=st.sampled_from([1, 4]),
)


@given(folder=folders)
@example(folder=Folder("root", [12, 3, 1]))
@example(folder=Folder("labeled", [12, 3, 1], unlabeled=4))
@example(folder=Folder("labeled", [1, 1], unlabeled=4))
@example(folder=Folder("manifest", [5, 5], broken=1))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_run_takes_every_config_that_init_writes_and_init_says_the_rest_in_one_line(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("init")
    result = init(folder.make(place))
    if result.exit_code == 0:
        assert f"{run_takes(place / 'c.yaml').images['labeled']:,} labels are learned from" in result.output
        return
    assert result.exit_code == 2, result.output
    said = [
        line for line in result.output.strip().splitlines() if not line.startswith(("images: ", "init: "))
    ]  # progress
    assert [line[:7] for line in said] == ["error: "]
    assert not (place / "c.yaml").exists()


sensible = st.builds(
    Folder,
    layout=st.sampled_from(["labeled", "Train", "manifest"]),
    labeled=st.lists(st.integers(2, 9), min_size=2, max_size=4).filter(lambda images: max(images) > 2),
    unlabeled=st.sampled_from([0, 3]),
    test=st.just([2, 2]),
)


@given(folder=sensible)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
def test_init_makes_a_config_for_every_folder_with_two_labels_of_each_class_and_test_images(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("init")
    result = init(folder.make(place))
    assert result.exit_code == 0, result.output
    lines = (place / "c.yaml").read_text().splitlines()
    assert len(lines) <= 15
    assert sum(line.startswith("model: {") for line in lines) == 1


# --- how many labels --------------------------------------------------------------------------------------------------


def drawn(images, unlabeled, proposal):
    """(labeled, validation, unlabeled) of every class, as a run draws them."""
    labels = np.r_[np.repeat(np.arange(len(images)), images), np.full(unlabeled, UNLABELED)]
    labeled = proposal.labeled_per_class
    roles = draw_by_content(
        labels,
        [str(label) for label in range(len(images))],
        contents_of([f"{number:012x}" for number in range(len(labels))]),
        labeled_per_class=None if labeled == "all" else [labeled] * len(images),
        validation_per_class=proposal.validation_per_class,
        calibration_images=0,
        seed=0,
        given=np.full(len(labels), "", dtype=object),
        before=KnownRoles.none(),
    )
    wanted = ("labeled", "validation", "unlabeled")
    return [[int(((roles == role) & (labels == label)).sum()) for role in wanted] for label in range(len(images))]


classes = st.lists(st.integers(1, 400), min_size=2, max_size=8)


@given(images=classes, unlabeled=st.integers(0, 9))
@example(images=[120, 30, 1], unlabeled=0)
@example(images=[26, 26, 26, 26], unlabeled=0)
@settings(deadline=None, max_examples=200)
def test_the_proposed_split_can_be_drawn_and_hides_at_most_half_of_the_labels(images, unlabeled):
    try:
        proposal = propose_split(images, unlabeled=unlabeled, named_validation=False)
        classes = drawn(images, unlabeled, proposal)
    except UserError:
        assert max(images) == 1 or (not unlabeled and max(images) == 2)
        return
    for count, (labeled, validating, hidden) in zip(images, classes, strict=True):
        assert labeled >= 1
        assert validating <= count // 2 or validating == proposal.validation_per_class
        assert labeled + validating + hidden == count
    if unlabeled:
        assert sum(hidden for _, _, hidden in classes) == 0
    else:
        labeled, hidden = (sum(one[place] for one in classes) for place in (0, 2))
        assert 0 < hidden <= labeled


def test_a_rare_class_lowers_no_others_validation():
    proposal = propose_split([120, 120, 120, 1], unlabeled=5, named_validation=False)
    assert proposal.validation_per_class == 30
    assert drawn([120, 120, 120, 1], 5, proposal) == [[90, 30, 0]] * 3 + [[1, 0, 0]]


@given(asked=st.integers(1, 60), labeled=st.integers(1, 60) | st.none(), images=st.integers(0, 130))
def test_as_many_validate_as_are_asked_for_where_enough_are_left_and_at_most_half_elsewhere(asked, labeled, images):
    seats = validation_seats(asked, labeled, images)
    if images >= asked + (asked if labeled is None else labeled):
        assert seats == asked
    else:
        assert seats == min(asked, images // 2)


# --- letters and digits, and how long it takes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "signs"),
    [
        (["a", "B", "ß"], True),
        (["0", "7", "10"], True),
        (["digit_3", "letter A", "sign-x"], True),
        (["seven", "Eight"], True),
        (["a", "ant"], False),
        (["cat", "dog"], False),
        (["type 1", "2020"], False),
    ],
)
def test_classes_called_like_one_letter_or_digit_are_signs(names, signs):
    assert are_signs(names) is signs


@pytest.mark.parametrize("names", [("a", "b"), ("ant", "bee")])
def test_photographs_of_letters_are_not_mirrored_and_a_warning_says_why(tmp_path, names):
    rng = np.random.default_rng(0)
    for name in names:
        for image in range(6):
            put(tmp_path / "p" / name / f"{image}.png", encoded(rng.integers(0, 256, (30, 30, 3), np.uint8), "PNG"))
    result = init([str(tmp_path / "p"), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "c.yaml")])
    assert result.exit_code == 0, result.output
    letters = names == ("a", "b")
    assert load_config(tmp_path / "c.yaml").model.mirror is not letters
    assert ("('a', 'b'): a mirrored one is another" in result.output) == letters
    assert "to look at each of 12 images" in result.output
    assert len((tmp_path / "c.yaml").read_text().splitlines()) <= 15


def test_the_time_to_look_is_that_of_every_image_and_of_both_trainings_their_budgets(monkeypatch):
    monkeypatch.setattr("semisup.stages.preflight.estimate.seconds_an_image", lambda *_: 0.25)
    monkeypatch.setattr("semisup.stages.preflight.estimate.held_up", lambda: 1.5)
    graph = PipelineConfig.model_validate({"recipe": "graph", "model": {"name": "efficientnet_lite0"}})
    assert estimate(graph, 1_000, (3, 32, 32)) == Estimate(looking=250, training=None, held_up=1.5)
    parts = {part: {"budget": budget} for part, budget in (("baseline", "2 min"), ("joint", "90s"))}
    assert estimate(PipelineConfig.model_validate(parts), 1_000, (3, 32, 32)) == Estimate(
        None, training=210, held_up=1.5
    )


# --- what is said -----------------------------------------------------------------------------------------------------


def test_labels_used_and_hidden_are_stated_in_one_sentence(tmp_path):
    result = init(Folder("Train", [10, 10], test=[2, 2]).make(tmp_path))
    (line,) = [line for line in result.output.splitlines() if "hides some" in line]
    images = run_takes(tmp_path / "c.yaml").images
    figures = [int(figure) for figure in re.findall(r"\d+", line)]
    assert figures == [images["labeled"], images["validation"], images["unlabeled"]]
    assert sum(figures) == 20


def test_copies_and_files_that_cannot_be_used_are_named_not_only_counted(tmp_path):
    folder = Folder("labeled", [6, 6], unlabeled=3, test=[3, 3], copies=1, broken=1, side=16)
    arguments = folder.make(tmp_path)
    of_another = tmp_path / "photos" / "labeled" / "y 1"
    (of_another / "again.png").write_bytes((of_another / "3.png").read_bytes())
    outcome = init(arguments)
    assert outcome.exit_code == 0, outcome.stderr
    rows = [" ".join(line.split()) for line in outcome.stdout.splitlines()]
    of_test = rows.index("Copies of test images among the others 1")
    assert rows[of_test + 1] == "such as labeled/x 0/0.png and test/x 0/copy 0.png"
    further = rows.index("Further copies 1")
    assert rows[further + 1] in {
        f"such as labeled/y 1/{first}.png and labeled/y 1/{second}.png"
        for first, second in (("3", "again"), ("again", "3"))
    }
    assert any("1, such as labeled/x 0/broken 0.png (it begins with " in row for row in rows)


def test_most_files_may_not_be_broken_unless_that_is_said(tmp_path):
    arguments = Folder("labeled", [10, 10], unlabeled=7, test=[2, 2], broken=29).make(tmp_path)
    refused = init(arguments)
    assert refused.exit_code == 2
    assert "data.max_broken=0.1, but 29 of 60 files cannot be used" in refused.output
    assert not (tmp_path / "c.yaml").exists()
    assert init([*arguments, "--max-broken", "0.5"]).exit_code == 0
    assert load_config(tmp_path / "c.yaml").data.max_broken == 0.49
    run_takes(tmp_path / "c.yaml")


@pytest.mark.parametrize(("broken", "files"), [(29, 100), (57, 100), (7, 100)])
def test_a_share_in_full_percent_is_enough_for_that_many_broken_files(tmp_path, broken, files):
    # 0.29 · 100, 0.57 · 100 and 0.07 · 100 are no whole numbers in floating point
    arguments = Folder("labeled", [4, 4], unlabeled=files - broken - 10, test=[1, 1], broken=broken, side=1)
    result = init([*arguments.make(tmp_path), "--max-broken", "1"])
    assert result.exit_code == 0, result.output
    assert load_config(tmp_path / "c.yaml").data.max_broken == broken / 100


@pytest.mark.parametrize("count", [1, 12, 99])
def test_of_few_test_images_the_interval_that_they_can_give_is_said(count):
    right = round(0.9 * count)
    ends = binomtest(right, count).proportion_ci(0.95, "exact")
    (line,) = few_test_images(count, DataConfig(name="folder", root=Path("photos")))
    assert (f"{count} test images remain" if count > 1 else "1 test image remains") in line
    assert f"{right} of {count} right would mean an accuracy from {ends.low:.0%} to {ends.high:.0%}" in line
    assert "data.test_share" in line


@pytest.mark.parametrize("count", [0, 100, 10_000])
def test_enough_test_images_are_no_warning_and_none_is_a_mistake_of_its_own(count):
    assert few_test_images(count, DataConfig(name="folder", root=Path("photos"))) == []


def test_before_anything_that_takes_long_a_line_on_stderr_says_what_it_is(tmp_path, monkeypatch, capsys):
    from semisup.data import own_images
    from semisup.stages.preflight import check as checks
    from semisup.stages.preflight import estimate as estimates

    last, (place, *_) = {}, Folder("labeled", [12, 12], unlabeled=4, side=4).make(tmp_path)

    def watched(name, real):
        def listened(*given, **more):
            last[name] = capsys.readouterr().err.strip().splitlines()[-1]
            return real(*given, **more)

        return listened

    for room, name in ((own_images, "survey"), (checks, "check"), (estimates, "estimate")):
        monkeypatch.setattr(room, name, watched(name, getattr(room, name)))
    forget()
    command.init(place, out=tmp_path / "c.yaml", cache=tmp_path / "cache")
    assert last == {
        "survey": f"init: looking through {place}",
        "check": "init: checking that a run can take c.yaml",
        "estimate": "init: measuring how long a run takes on this machine",
    }
    assert "init: " not in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_told_in_one_line_before_anything_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.start.display.looking", lambda *_, **__: pytest.fail("something was looked at"))
    outcome = CliRunner().invoke(app, ["init", str(tmp_path / "nowhere"), "--out", str(tmp_path / "c.yaml")])
    assert outcome.exit_code == 2
    (line,) = outcome.stderr.splitlines()
    assert line == f"error: FOLDER {tmp_path / 'nowhere'} does not exist; name the folder with your images"


def test_a_time_below_two_minutes_is_told_in_seconds_as_its_parts_are(monkeypatch):
    found = Estimate(looking=4.0, training=None, held_up=80 / 45)
    monkeypatch.setattr("semisup.stages.preflight.estimate.estimate", lambda *_: found)
    assert _takes(PipelineConfig(), 100, (3, 8, 8)).startswith("a run takes about 84 s on this machine")


def test_a_config_that_could_not_be_written_is_a_mistake_before_any_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("semisup.data.own_images.survey", lambda *_, **__: pytest.fail("images were read"))
    outcome = CliRunner().invoke(app, ["init", str(tmp_path), "--out", str(tmp_path / "no" / "photos.yaml")])
    assert outcome.exit_code == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: --out ")
    assert "there is no folder" in line
