"""README and docs against the code: the picture of the packages, links, commands, flags, names, lines of Python."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from draw_packages import LIBRARY, PICTURE, ROOT, arrows, imports, picture
from test_architecture import MAY_IMPORT

from ProtoSegBrainLib import Case
from ProtoSegBrainLib.commands.cli import build_parser
from ProtoSegBrainLib.images.formats import FORMATS
from ProtoSegBrainLib.images.naming import role_of_name
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS
from ProtoSegBrainLib.simulation.simulate import write_case

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "experiments").glob("*.md"))]
USED = [page for page in PAGES if page.parent != DOCS / "experiments" and page.name != "CHANGELOG.md"]
"""Pages that say what holds now; the others tell what once did."""
MOST_LINES = {README: 150, DOCS / "results.md": 200}
FLAGS_OF_OTHERS = {
    *("--index-url", "--editable"),  # pip
    *("--nproc-per-node", "--standalone"),  # torchrun
    *("--no-splash", "--no-main-window", "--python-script", "--python-code", "--testing", "--additional-module-paths"),
}

FENCE = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def label_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [code for _, found, code in FENCE.findall(text_of(page)) if found == language]


# -- the picture of the packages -----------------------------------------------------------------------------------


def ids(kind: str) -> set[str]:
    return set(re.findall(rf'id="{kind}-([a-z-]+)"', PICTURE.read_text(encoding="utf-8")))


def test_an_arrow_of_the_picture_is_an_import_that_no_longer_way_implies() -> None:
    assert ids("arrow") == {f"{foot}-{head}" for foot, head in arrows(imports())}, "python docs/draw_packages.py"


def test_the_picture_has_a_box_for_each_package() -> None:
    assert ids("package") == set(MAY_IMPORT)


def test_the_ways_of_the_picture_lead_to_all_that_a_package_may_import() -> None:
    ways = {package: {foot for foot, head in arrows(imports()) if head == package} for package in MAY_IMPORT}
    for package in MAY_IMPORT:  # from the bottom to the top
        ways[package] = ways[package].union(*(ways[below] for below in ways[package]))
        assert MAY_IMPORT[package] <= ways[package]


def test_the_picture_is_what_would_be_drawn_now() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "python docs/draw_packages.py"


def test_an_import_that_a_longer_way_implies_gets_no_arrow() -> None:
    chain = {"a": set(), "b": {"a"}, "c": {"a", "b", "labels"}}
    assert arrows(chain) == {("a", "b"), ("b", "c")}


# -- lengths and links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", MOST_LINES, ids=label_of)
def test_a_page_stays_short(page: Path) -> None:
    assert len(text_of(page).splitlines()) <= MOST_LINES[page]


def anchors(page: Path) -> set[str]:
    """What headings are called in links, on GitHub and on the site."""
    titles = re.findall(r"(?m)^#+ (.*)$", FENCE.sub("", text_of(page)))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=label_of)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


# -- commands and flags --------------------------------------------------------------------------------------------


def subparsers(arguments: list[str]) -> dict[str, argparse.ArgumentParser]:
    actions = build_parser(arguments)._actions
    return next(dict(action.choices) for action in actions if isinstance(action, argparse._SubParsersAction))


COMMANDS = {name: set(parser._option_string_actions) for name, parser in subparsers(list(subparsers([]))).items()}
FLAGS_OF_SCRIPTS = {
    flag for script in (ROOT / "benchmarks").glob("*.py") for flag in re.findall(r'"(--[a-z-]+)"', text_of(script))
}


def code_of(page: Path) -> Iterator[str]:
    """Every piece of code: lines of blocks, continued ones joined, and what stands between ticks."""
    text = text_of(page)
    for _, language, code in FENCE.findall(text):
        if language in ("", "bash"):
            yield from re.sub(r"\\\n\s*", "", code).splitlines()
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


@pytest.mark.parametrize("page", USED, ids=label_of)
def test_commands_and_their_flags_exist(page: Path) -> None:
    for code in code_of(page):
        found = re.match(r"protosegbrain ([a-z-]+)(.*)", code)
        if found:
            assert found[1] in COMMANDS, code
            assert set(FLAG.findall(found[2])) <= COMMANDS[found[1]], code


@pytest.mark.parametrize("page", USED, ids=label_of)
def test_flags_exist(page: Path) -> None:
    known = FLAGS_OF_SCRIPTS.union(FLAGS_OF_OTHERS, *COMMANDS.values())
    for code in code_of(page):
        assert set(FLAG.findall(code)) <= known, code


def test_the_table_of_commands_has_them_all_with_their_own_flags() -> None:
    rows = re.findall(r"(?m)^\| `([a-z-]+)([^`]*)` \| (.*) \|$", text_of(DOCS / "command-line.md").split("## What")[0])
    assert {name for name, _, _ in rows} == set(COMMANDS)
    for name, flags, said in rows:
        said = re.sub(r"`[a-z]+ --[a-z-]+`", "", said)  # of another command
        assert set(FLAG.findall(flags + said)) <= COMMANDS[name], name


# -- Python --------------------------------------------------------------------------------------------------------


def test_the_lines_of_the_readme_run(
    a_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (lines,) = blocks(README, "python")
    write_case(replace(a_case, case_id="patient_001"), tmp_path / "patients")
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "README.md", "exec"), {})
    assert "Contribution(" in capsys.readouterr().out


def test_readme_and_documentation_show_the_same_lines() -> None:
    assert blocks(README, "python") == blocks(DOCS / "python.md", "python")


@pytest.mark.parametrize("page", PAGES, ids=label_of)
def test_lines_of_python_compile(page: Path) -> None:
    for code in blocks(page, "python"):
        compile(code, page.name, "exec")


def test_the_way_of_one_case_names_what_each_package_has() -> None:
    section = text_of(DOCS / "architecture.md").split("## The way of one case")[1].split("## Where")[0]
    steps = re.findall(r"(?m)^\d+\. \*\*(\w+)\*\* (.*(?:\n {3}.*)*)", section)
    assert len(steps) > 10
    for package, said in steps:
        files = [ast.parse(text_of(path)) for path in (LIBRARY / package).glob("*.py")]
        there = {node.name for tree in files for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert set(re.findall(r"`(\w+)`", said)) <= there, package


def test_the_rows_on_where_a_change_belongs_name_each_package_once() -> None:
    section = (
        text_of(DOCS / "architecture.md").split("## Where does a change belong?")[1].split("In `ProtoSegBrain/`")[0]
    )
    assert re.findall(r"(?m)\| `(\w+)` \|$", section) == list(MAY_IMPORT)


# -- figures -------------------------------------------------------------------------------------------------------


def test_figures_of_the_readme_stand_in_the_results() -> None:
    figures = set(re.findall(r"\.\d{2,3} / \.\d{2,3} / \.\d{2,3}", text_of(README)))
    assert figures
    missing = {figure for figure in figures if figure not in text_of(DOCS / "results.md")}
    assert not missing


# -- files ---------------------------------------------------------------------------------------------------------

ROLES = {"T1": "t1n", "T1ce": "t1c", "T2": "t2w", "FLAIR": "t2f", "Label": "label", "None of these": None}


def rows_of(page: Path, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    part = text_of(page).split(f"# {heading}\n", 1)[1]
    table = re.search(r"(?m)(^\|.*\n)+", part)
    assert table, heading
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table[0].splitlines()[2:]]


@pytest.mark.parametrize("row", rows_of(DOCS / "files.md", "Names"), ids=lambda row: row[0].strip("| "))
def test_names_of_files_are_what_the_page_says(row: list[str]) -> None:
    names = re.findall("`([^`]+)`", row[-1])
    assert names
    for name in names:
        assert role_of_name(name.removeprefix("…")) == ROLES[row[0].strip("| ")], name


def test_the_page_of_files_names_every_format_and_coding() -> None:
    formats = text_of(DOCS / "files.md").split("# Formats\n", 1)[1]
    for suffix in (suffix for kind in FORMATS for suffix in kind.suffixes):
        assert f"`{suffix.replace('.hdr.gz', '.hdr')}`" in formats, suffix
    codings = {row[0].strip("| `"): row[1:5] for row in rows_of(DOCS / "files.md", "Codings of labels")}
    assert set(codings) == set(LABEL_CONVENTIONS)
    for name, cells in codings.items():
        said = {int(value): index for index, cell in enumerate(cells) for value in cell.split(",")}
        assert said == LABEL_CONVENTIONS[name], name
