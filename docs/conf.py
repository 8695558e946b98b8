"""How the documentation is built: ``make docs``. The reference is made from the docstrings, a page for each package."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

import draw_packages  # noqa: E402

import ProtoSegBrainLib  # noqa: E402

REFERENCE = DOCS / "reference"
MAP_ROW = re.compile(r"(?m)^([a-z_]+) {2,}(\S.*(?:\n {2,}\S.*)*)$")
SEVERAL_RETURNED = re.compile(r"(?m)^Returns:\n((?: {4}[^\s:][^:\n]*: .*\n(?: {8}.*\n)*){2,})")

project = "ProtoSegBrain"
author = "The ProtoSegBrain contributors"
copyright = "the ProtoSegBrain contributors. Research use only: not a medical device"  # noqa: A001
extensions = ["myst_parser", "sphinx_design", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "ProtoSegBrain"
html_logo = "../Resources/ProtoSegBrain.png"
html_favicon = "../Resources/ProtoSegBrain.png"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sphinx = False

default_role = "literal"
highlight_language = "text"
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_use_rtype = False
suppress_warnings = ["ref.python"]  # a name in a type that is public is there by its home, too


# -- the reference -------------------------------------------------------------------------------------------------


def write_reference(app: Sphinx) -> None:
    """A page for each package: its map, then what each module holds. What is public stands on "From Python" alone."""
    REFERENCE.mkdir(exist_ok=True)
    pages = {package.name: _page(package) for package in draw_packages.PACKAGES}
    for name, text in pages.items():
        path = REFERENCE / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in REFERENCE.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()


def _page(package: Path) -> str:
    title = f"{package.name}\n{'=' * len(package.name)}"
    parts = [title, f".. automodule:: ProtoSegBrainLib.{package.name}"]
    for path in sorted(package.glob("[!_]*.py")):
        module = f"{package.name}.{path.stem}"
        public = ", ".join(name for name, home in ProtoSegBrainLib._HOME.items() if home == module)
        parts += [f"{module}\n{'-' * len(module)}", f".. automodule:: ProtoSegBrainLib.{module}\n   :members:"]
        if public:
            parts[-1] += f"\n   :exclude-members: {public}"
            parts.append(f"Public, so described in :doc:`/python`: {public}.")
    return "\n\n".join(parts) + "\n"


def show_what_speaks_for_itself(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Functions whose names say it all belong to the reference; the fields of a tuple stand in its signature."""
    if type(member).__name__ == "_tuplegetter":
        return True
    if skip and not name.startswith("_") and inspect.isfunction(member) and not member.__doc__:
        return False
    return None


def shape_docstring(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text with ``code`` in it. Here they become what docutils reads.

    The map of a package becomes a list, so do several values that are returned, each by its name. The fields of a
    configuration are described by the help of their flags.
    """
    text = "\n".join(map(_escaped, lines))
    if isinstance(member, ModuleType):
        text = re.sub(r"(?m)^(In|Out):", r"\n**\1:**", MAP_ROW.sub(_map_row, text))
    text = re.sub(SEVERAL_RETURNED, lambda found: f":returns:\n{_as_list(found[1])}", text)
    if inspect.isclass(member) and dataclasses.is_dataclass(member):
        helps = {field.name: field.metadata.get("help") for field in dataclasses.fields(member)}
        text += "\n".join(["", *(f":ivar {field}: {_escaped(said)}" for field, said in helps.items() if said), ""])
    lines[:] = text.splitlines()


def _escaped(line: str) -> str:
    """Stars and bars are signs of mathematics, but for code, which stands between double ticks."""
    parts = line.split("``")
    parts[::2] = [re.sub(r"[*|]", r"\\\g<0>", part) for part in parts[::2]]
    return "``".join(parts)


def _map_row(found: re.Match[str]) -> str:
    return f"* **{found[1]}**: {' '.join(found[2].split())}"


def _as_list(items: str) -> str:
    return re.sub(r"(?m)^ {4}(\S[^:\n]*): ", r"    * **\1**: ", re.sub(r"(?m)^ {8}", " " * 6, items))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-skip-member", show_what_speaks_for_itself)
    app.connect("autodoc-process-docstring", shape_docstring, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
