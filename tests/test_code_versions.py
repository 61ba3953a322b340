"""Code versions: which change of the source makes which stage stale, and what is kept of that."""

import ast
import shutil
from pathlib import Path

import pytest

import semisup
from semisup import code_versions as module
from semisup.code_versions import canonical_source, code_version, code_versions, kept_versions
from semisup.stages import STAGES

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


TRAINING = {"baseline", "member", "joint"}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("training/loop.py", TRAINING),
        ("training/schedules.py", TRAINING),
        ("losses.py", TRAINING),
        ("data/augment.py", TRAINING | {"calibrate", "pseudo_label", "evaluate", "evaluate_ensemble"}),  # views
        ("data/split.py", set(STAGES) - {"promote"}),
        ("pseudo_labels/ledger.py", {"pseudo_label"}),
        ("pseudo_labels/online.py", {"joint"}),
        ("stages/split.py", {"split"}),
        ("plots/style.py", {"evaluate"}),
        ("report/__init__.py", {"evaluate"}),
        ("report/report.html.jinja", {"evaluate"}),
        ("config_files.py", set()),
        ("stages/__init__.py", set()),
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


def test_a_source_that_moves_is_a_change(copy, tmp_path):
    """The same texts under other names."""
    file = tmp_path / "versions.json"
    before = kept_versions(copy, file)
    one, other = copy / "losses.py", copy / "targets.py"
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(texts[1])
    other.write_bytes(texts[0])
    assert kept_versions(copy, file)["joint"] != before["joint"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sources": "0", "versions": {}}', "\x00"])
def test_a_damaged_file_is_written_anew(text, copy, tmp_path, unparsed):
    file = tmp_path / "versions.json"
    file.write_text(text, encoding="utf-8")
    versions = kept_versions(copy, file)
    assert versions == code_versions(copy)
    unparsed()
    assert kept_versions(copy, file) == versions


def test_where_nothing_can_be_kept_the_versions_are_the_same(copy, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    assert kept_versions(copy, tmp_path / "file" / "versions.json") == code_versions(copy)


def test_a_user_without_a_home_gets_the_versions_all_the_same(monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(module, "user_cache", nowhere)
    assert module._installed.__wrapped__() == code_versions(PACKAGE)
