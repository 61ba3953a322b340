"""Code versions: which change of the source makes which stage stale, and what is kept of that."""

import ast
import json
import shutil
from pathlib import Path

import pytest

import semisup
from semisup.lineage import code_versions as module
from semisup.lineage.code_versions import canonical_source, code_version, code_versions, kept_versions
from semisup.pipeline.specs import SPECS, STAGES

PACKAGE = Path(semisup.__file__).parent


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package that may be changed."""
    folder = tmp_path / "semisup"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def changed_by(package: Path, file: str, text: str) -> set[str]:
    before, path = code_versions(package), package / file
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    after = code_versions(package)
    return {stage for stage in STAGES if before[stage] != after[stage]}


TRAINING = {"choose", "baseline", "member", "joint"}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("training/loop.py", TRAINING),
        ("training/optimization/schedules.py", TRAINING),
        ("training/losses.py", TRAINING),
        (
            "data/augmentation/augment.py",
            TRAINING | {"calibrate", "pseudo_label", "keep", "labels", "evaluate", "evaluate_ensemble"},
        ),  # views
        ("data/roles/split.py", {stage for stage in STAGES if "data" in SPECS[stage].sections}),
        ("pseudo_labels/table.py", {"pseudo_label", "labels", "evaluate"}),
        ("pseudo_labels/policies/online.py", {"choose", "baseline", "joint"}),
        ("stages/split.py", {"split"}),
        ("plots/style.py", {"evaluate"}),
        ("report/__init__.py", {"evaluate"}),
        ("report/report.html.jinja", {"evaluate"}),
        ("config/files.py", set()),
        ("pipeline/specs.py", set()),
        ("tracking/tracker.py", set()),
    ],
)
def test_a_change_of_code_reaches_exactly_the_stages_that_import_it(file, stages, copy):
    assert changed_by(copy, file, "\nSOMETHING_NEW = 1\n") == stages


@pytest.mark.parametrize("text", ["\n# why it is so\n", "\n\n\n", '\n"""A word about it."""\n'])
def test_comments_docstrings_and_blank_lines_are_no_change_of_code(text, copy):
    assert changed_by(copy, "training/loop.py", text) == set()


def test_a_hash_sign_within_a_string_is_no_comment():
    source = 'x = "a # b"  # a comment\n\n\ndef f():\n    """Says so."""\n    return f"{x} # {x}"\n'
    assert canonical_source(source) == 'x = "a # b"\ndef f():\n    return f"{x} # {x}"'


def test_a_blank_line_within_a_text_counts():
    first, second = ('x = """a\n\nb"""\n', 'x = """a\nb"""\n')
    assert canonical_source(first) != canonical_source(second)


def test_what_is_left_of_a_source_is_the_same_program():
    """Compiled without docstrings, both give the same code."""
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        trees = []
        for text in (source, canonical_source(source)):
            tree = ast.parse(text)
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list):
                    node.body = [  # type: ignore[attr-defined]
                        child
                        for child in body
                        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
                    ]
            trees.append(ast.dump(tree))
        assert trees[0] == trees[1], path.name


def renamed(package: Path, old: str, new: str) -> None:
    """Moves a module and follows it in all imports, as an editor does: the lines stand in another order afterwards."""
    (package / f"{new}.py").parent.mkdir(exist_ok=True)
    (package / f"{old}.py").rename(package / f"{new}.py")
    was, name, parent = (
        f"semisup/{old}".replace("/", "."),
        Path(new).stem,
        f"semisup/{Path(new).parent}".replace("/", "."),
    )
    for path in package.rglob("*.py"):
        lines = (
            path.read_text(encoding="utf-8").replace(f"from {was} import", f"from {parent}.{name} import").splitlines()
        )
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("training/losses", "elsewhere/costs"),
        ("data/rows", "system/lines"),
        ("stages/support/images", "errands/images"),
    ],
)
def test_a_module_that_is_only_moved_makes_nothing_stale(old, new, copy):
    before = code_versions(copy)
    renamed(copy, old, new)
    assert code_versions(copy) == before


def test_a_block_that_only_imports_has_a_version(copy):
    block = "\n\ndef later():\n    from semisup.errors import UserError\n\n\nif later:\n    import semisup.errors\n"
    assert changed_by(copy, "training/losses.py", block) == TRAINING


def test_another_module_imported_in_its_place_is_a_change(copy):
    """Even where both are known already, and what is imported has the same name."""
    before = code_versions(copy)
    for name in ("schedules", "optimizers"):
        path = copy / "training" / "optimization" / f"{name}.py"
        path.write_text(path.read_text(encoding="utf-8") + "\n\ndef alike():\n    return __name__\n", encoding="utf-8")
    loop = copy / "training" / "loop.py"
    text = loop.read_text(encoding="utf-8")
    versions = []
    for name in ("schedules", "optimizers"):
        loop.write_text(f"{text}\nfrom semisup.training.optimization.{name} import alike\n", encoding="utf-8")
        versions.append(code_versions(copy)["joint"])
    assert len({before["joint"], *versions}) == 3


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.fixture
def unparsed(monkeypatch):
    """From now on nothing is parsed any more."""

    def forget():
        monkeypatch.setattr(module, "_version", lambda stage, package: pytest.fail("the sources were parsed again"))

    return forget


def test_what_is_kept_is_what_the_sources_say_and_they_are_parsed_once(copy, tmp_path, unparsed):
    file = tmp_path / "cache" / "versions.json"
    first = kept_versions(copy, file)
    assert first == code_versions(copy) == {stage: code_version(stage) for stage in first}
    unparsed()
    assert kept_versions(copy, file) == first
    assert [*file.parent.iterdir()] == [file]


def test_a_changed_source_is_not_answered_for_by_what_was_kept(copy, tmp_path):
    file = tmp_path / "versions.json"
    before = kept_versions(copy, file)
    source = copy / "stages" / "split.py"
    source.write_text(source.read_text(encoding="utf-8") + "\nSOMETHING_NEW = 1\n", encoding="utf-8")
    after = kept_versions(copy, file)
    assert after == code_versions(copy)
    assert {stage for stage in STAGES if after[stage] != before[stage]} == {"split"}


def test_a_source_under_another_name_is_a_change(copy, tmp_path):
    """Though all bytes are the same, in the same order."""
    file = tmp_path / "versions.json"
    kept_versions(copy, file)
    (copy / "training" / "losses.py").rename(copy / "training" / "losses_.py")
    assert kept_versions(copy, file) == code_versions(copy)


def test_sources_that_are_edited_while_they_are_read_are_not_kept(copy, tmp_path, monkeypatch):
    """What was derived may be of the new ones, and would be taken for that of the old ones once these are back."""
    file, source = tmp_path / "versions.json", copy / "training" / "losses.py"
    old, derive = source.read_bytes(), module.code_versions

    def edited(package):
        source.write_bytes(old + b"\nSOMETHING_NEW = 1\n")
        return derive(package)

    monkeypatch.setattr(module, "code_versions", edited)
    new = kept_versions(copy, file)
    monkeypatch.setattr(module, "code_versions", derive)
    source.write_bytes(old)
    assert kept_versions(copy, file) == code_versions(copy) != new


def test_what_an_editor_leaves_beside_the_sources_does_not_matter(copy, tmp_path):
    for folder in (copy, copy / "stages"):
        (folder / ".#loop.py").symlink_to("someone@somewhere.1234")
        (folder / "gone.py").symlink_to("nowhere")
        (folder / "._loop.py").write_bytes(b"\x00\x05\x16\x07")
    assert kept_versions(copy, tmp_path / "versions.json") == code_versions(PACKAGE)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"sources": "0", "versions": {}}', "\x00", '{"sources": "SOURCES"}']
    + [f'{{"sources": "SOURCES", "versions": {versions}}}' for versions in ("{}", "[]", "3", '{"split": "0"}')],
)
def test_a_damaged_file_is_written_anew(text, copy, tmp_path, unparsed):
    file = tmp_path / "versions.json"
    kept_versions(copy, file)
    sources = json.loads(file.read_text(encoding="utf-8"))["sources"]
    file.write_text(text.replace("SOURCES", sources), encoding="utf-8")
    versions = kept_versions(copy, file)
    assert versions == code_versions(copy)
    unparsed()
    assert kept_versions(copy, file) == versions


def test_where_nothing_can_be_kept_the_versions_are_the_same(copy, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    assert kept_versions(copy, tmp_path / "file" / "versions.json") == code_versions(copy)
