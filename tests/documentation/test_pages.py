"""What the pages say is there: links, files, keys, commands, figures; and in the words of the field."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from docs.hooks import config_keys, results
from docs.hooks.site import MARK, filled
from docs.hooks.tables import cell
from flows.cli import app
from semisup.config import PipelineConfig, describe_keys, keys
from semisup.config.regression import RegressionConfig
from semisup.config.sources import SOURCES
from tests.documentation.pages import FENCE, PAGES, PROJECT, blocks, commands, prose, quoted, read

README = PROJECT / "README.md"
MOST_WORDS = 700
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))


def test_the_readme_is_read_in_a_few_minutes():
    assert len(read(README).split()) <= MOST_WORDS


@by_page
def test_every_relative_link_leads_to_a_file(page):
    for target, _ in LINK.findall(read(page)):
        assert "://" in target or (page.parent / target).exists(), target


@by_page
def test_every_file_of_the_project_that_a_page_names_is_there(page):
    for name in quoted(page):
        if re.fullmatch(r"(tests|semisup|flows|configs|benchmarks|deploy|docs)/[\w./-]*[\w/]", name):
            assert (PROJECT / name).exists() or "NAME" in name, name


@by_page
def test_every_config_key_that_a_page_names_exists(page):
    known = {*keys(), *keys(RegressionConfig)}
    sections = {key.partition(".")[0] for key in known if "." in key}
    for name in quoted(page):
        key = re.split(r"[=:\s]", name, maxsplit=1)[0]
        is_key = re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", key) and key.partition(".")[0] in sections
        if is_key and not re.search(r"\.(json|parquet|csv|png|py|yaml)$", key):
            assert key in known or key.startswith("joint.policy.options."), key


@by_page
def test_every_command_that_a_page_shows_is_one_that_the_command_line_takes(page):
    group = typer.main.get_command(app)
    brought = {"joint.policy.options.count", "data.options.side"}  # by the examples of CONTRIBUTING
    mistakes = {"joint.alpha_finl"}  # shown as such
    for line in commands(page):
        _, name, *arguments = shlex.split(line)
        if name in {"COMMAND", "champion"}:  # a placeholder, and the example of a new command
            continue
        context = group.commands[name].make_context(name, [word for word in arguments if word != "…"])
        for override in context.params.get("overrides") or []:
            key = override.partition("=")[0]
            assert key in {*keys(), *keys(RegressionConfig)} | brought | mistakes, line


def test_the_reference_holds_every_key_with_its_default():
    for kind, made in ((PipelineConfig, config_keys.pipeline("")), (RegressionConfig, config_keys.regression(""))):
        for key, default, _ in describe_keys(kind):
            assert f"| `{key}` | {config_keys.shown(default)} |" in made
        assert {key for key, _, _ in describe_keys(kind)} == set(re.findall(r"^\| `([\w.]+)` \|", made, re.MULTILINE))


def test_the_reference_holds_every_command_and_option():
    made = filled(read(PROJECT / "docs" / "reference" / "command-line.md"))
    for name, command in typer.main.get_command(app).commands.items():
        assert f"## `semisup {name}`" in made
        section = made.partition(f"## `semisup {name}`")[2].partition("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                assert option in section or parameter.metavar in section, (name, option)


def test_what_help_says_in_angle_brackets_is_no_html():
    assert cell("labeled/<class>/ or `<class>/`") == "labeled/&lt;class>/ or `<class>/`"
    made = filled(read(PROJECT / "docs" / "reference" / "command-line.md"))
    assert not re.findall(r"<(?!/?div)", re.sub(r"`[^`]*`", "", FENCE.sub("", made)))


def shown_results():
    """Names of result files, and the marks that show them."""
    marks = [mark for page in PAGES for mark in MARK.findall(read(page)) if mark[0] in {"results", "studies"}]
    files = {path.stem for path in results.RESULTS.glob("*.json")}
    shown = {name.partition("/")[0] for kind, name in marks if kind == "results"}
    for kind, names in marks:
        if kind == "studies":
            beginnings = tuple(f"study_{name}" for name in names.split())
            shown |= {name for name in files if name.startswith(beginnings)}
    return files, shown


def test_every_measured_file_is_shown_on_a_page():
    files, shown = shown_results()
    assert files - shown == {"review_seeds"}  # what `review` is the means of


def test_the_command_below_a_table_is_one_that_writes_its_file():
    for name in shown_results()[1]:
        words = shlex.split(results.source_of(name).command)
        _, _, module, *words = words[words.index("python") :]  # behind what is set for it
        path = PROJECT / module.replace(".", "/")
        source = read(path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__main__.py")
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in source, name


def test_every_figure_of_the_readmes_comparison_was_measured():
    measured = (results.RESULTS / "accuracy.json", results.RESULTS / "photographs.json")
    found = " ".join(json.dumps(json.loads(read(path)), ensure_ascii=False) for path in measured)
    rows = re.findall(r"^\|.*±.*\|$", read(README), re.MULTILINE)
    figures = re.findall(r"\d+\.\d+ ± \d+\.\d+", " ".join(rows))
    assert len(rows) == 5
    assert len(figures) == 19  # one cell was not measured
    for figure in figures:
        assert figure in found


NOT_OUR_WORDS = (
    r"ledgers?",
    r"opinions?",
    r"unheeded",
    r"(un|re)?labell\w+",
    r"(pseudo-)?labelling",
    r"joint (training|stage|step|loss)",
    r"learnt",
    r"answers of people",
)


@by_page
def test_prose_uses_the_words_of_the_field(page):
    for word in NOT_OUR_WORDS:
        assert not re.findall(rf"\b{word}\b", prose(page), re.IGNORECASE), word


def test_the_map_of_the_house_names_every_room():
    house = next(block for block in blocks(PROJECT / "CONTRIBUTING.md", "text") if "flows/" in block)
    on_it = set(re.findall(r"(?:[│├└─►\s]|^)([a-z_]+) {2,}\S", house))
    rooms = {path.parent.name for package in ("flows", "semisup") for path in (PROJECT / package).glob("*/__init__.py")}
    assert rooms <= on_it
    assert on_it - rooms <= {"budget", "errors", "wording"}  # these are single files


def clicks() -> dict[Path, int]:
    """Page of the site → the fewest links that lead there from its first page, by the text of the pages alone."""
    first = PROJECT / "docs" / "index.md"
    found, to_read = {first: 0}, [first]
    for page in to_read:
        for target, _ in LINK.findall(read(page)):
            linked = (page.parent / target).resolve()
            if linked.suffix == ".md" and linked.is_relative_to(PROJECT) and linked not in found:
                found[linked] = found[page] + 1
                to_read.append(linked)
    return found


MOST_CLICKS = 3
OF_THE_LONG_README = {
    "accuracy with 100 labels of MNIST in a minute": r"\| MNIST, 100 labels, 1 min \| 5 \| \d",
    "label spreading on CIFAR-10": r"\| CIFAR-10 \(JPEG\), 4,000 labels, 30 min \| \d+\.\d\d ± \d\.\d\d in \d+ s \|",
    "what others have published with as many labels": r"ladder networks \d\d\.\d\d",
    "what the two methods' own tutorial reached": r"\d\d\.\d\d % \(baseline\), \d\d\.\d\d % \(method 1\)",
    "photographs of trash, ten labels a class": r"\| trash \| 10 \| \d",
    "labels that pseudo-labels save": r"\| 50 \|.*about \d+ labels",
    "every method at one budget": r"\| flexmatch \|.* \d\d\.\d",
    "pipelines killed a hundred times": r"100 `kill -9`",
    "memory that a run needs at most": r"\| peak memory .*\d",
    "copies of test images in CIFAR-10": r"\d+ copies of test images",
}


def test_every_page_is_three_clicks_from_the_first_one_without_the_menu():
    found = clicks()
    far = {page for page in PAGES if found.get(page, MOST_CLICKS + 1) > MOST_CLICKS}
    assert far == {README}  # which the repository shows, and the site does not


@pytest.mark.parametrize("figure", OF_THE_LONG_README)
def test_ten_figures_of_the_readme_that_had_6667_words_are_three_clicks_from_the_first_page(figure):
    near = [page for page, count in clicks().items() if count <= MOST_CLICKS]
    assert any(re.search(OF_THE_LONG_README[figure], filled(read(page))) for page in near)


CITED = re.compile(
    r"([A-Z][\w-]+(?: & [A-Z][\w-]+| et al\.)?) (\d{4})(?:\]\(https://arxiv\.org/abs/| ?\((?:\w+, )?arXiv |, arXiv )"
    r"(\d{4}\.\d{4,5})"
)


def test_every_number_of_arxiv_stands_with_the_same_authors_and_year_wherever_it_is_cited():
    cited: dict[str, set[tuple[str, str]]] = {}
    sources = [*PAGES, *(PROJECT / "semisup").rglob("*.py"), *(PROJECT / "benchmarks").rglob("*.py")]
    for source in sources:
        text = re.sub(r"\s+", " ", read(source))
        for authors, year, number in CITED.findall(text):
            cited.setdefault(number, set()).add((authors, year))
        assert set(re.findall(r"(?:arXiv |arxiv\.org/abs/)(\d{4}\.\d{4,5})", text)) <= cited.keys(), source
    assert {number: names for number, names in cited.items() if len(names) > 1} == {}


def test_the_table_of_kinds_and_places_is_what_the_sources_state():
    lines = read(PROJECT / "docs/how-to/buckets.md").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    told = {
        name: places
        for names, *places in rows
        if set(places) <= {"yes", "–"}
        for name in re.findall("`([^`]+)`", names)
    }
    words = {True: "yes", False: "–"}
    assert told == {name: ["yes", words[SOURCES[name].remote], words[SOURCES[name].manifest]] for name in SOURCES.own}
