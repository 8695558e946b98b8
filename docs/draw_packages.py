"""The library's packages and the imports between them, read from its code and drawn: ``python docs/draw_packages.py``.

A box is a package, with the line that the library's docstring has on it. An arrow goes with the data: the package at
its head imports the one at its foot. An import that a longer way of arrows implies is left out, so what no way of
arrows joins does not import each other. Standard library only.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "ProtoSegBrainLib"
PICTURE = Path(__file__).with_name("packages.svg")

FILES = sorted(LIBRARY.rglob("*.py"))
PACKAGES = sorted(path.parent for path in LIBRARY.glob("*/__init__.py"))

WIDTH, MARGIN = 736, 20
BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW = 200, 98, 216, 138
COMMANDS_HEIGHT = 58
CHARACTERS = 31
COLOURS = {"in": "#e0edfe", "decide": "#fdf3cd", "work": "#def5e6", "out": "#e8ecf2"}
PLACES: dict[str, tuple[float, float, str]] = {
    "images": (0, 0.5, "in"),
    "network": (0, 1.5, "in"),
    "simulation": (1, 0, "in"),
    "patches": (1, 1, "in"),
    "result": (1, 2, "decide"),
    "sharing": (2, 2.3, "work"),
    "dicom": (2, 0, "in"),
    "explanation": (2, 1.15, "decide"),
    "preparation": (3, 0, "in"),
    "correction": (3, 2.3, "decide"),
    "followup": (4, 0.4, "decide"),
    "pictures": (5, 0.4, "decide"),
    "training": (6, 0, "work"),
    "segmentation": (6, 1, "work"),
    "checking": (6, 2, "work"),
    "evaluation": (7, 0.5, "work"),
    "commands": (8, 0, "out"),
}
"""Row and column of each package's box, and its colour."""


# -- reading -------------------------------------------------------------------------------------------------------


def module_of(path: Path) -> str:
    """Its name below the library: ``images/case.py`` is "images.case", ``images/__init__.py`` is "images"."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported_modules(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports anywhere, `from package import module` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: import absolutely, not relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def modules() -> frozenset[str]:
    """All of the library's, as ``module_of`` names them."""
    return frozenset(map(module_of, FILES))


def library_imports(path: Path) -> Iterator[str]:
    """Modules of the library that a file imports, as ``module_of`` names them."""
    for name in imported_modules(path):
        if name.startswith("ProtoSegBrainLib."):
            parts = name.removeprefix("ProtoSegBrainLib.").split(".")
            yield next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in modules())


@functools.cache
def imports() -> Mapping[str, set[str]]:
    """What each package imports from the library: other packages, and files at the library's top."""
    found: dict[str, set[str]] = {package.name: set() for package in PACKAGES}
    for path in FILES:
        package = path.relative_to(LIBRARY).parts[0]
        if package in found:
            found[package] |= {name.split(".")[0] for name in library_imports(path)} - {package}
    return found


def arrows(imported: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """(foot, head) of every arrow: the imports between packages that no longer way implies."""

    def below(package: str) -> set[str]:
        own = imported[package] & set(imported)
        return own.union(*map(below, own))

    own = {package: names & set(imported) for package, names in imported.items()}
    return {(foot, head) for head in own for foot in own[head] - set().union(*map(below, own[head]))}


def descriptions() -> dict[str, str]:
    """What the library's docstring says of each package and of each file at its top."""
    text = ast.get_docstring(ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))) or ""
    return dict(re.findall(r"(?m)^([a-z_]+) {2,}(\S.*)$", text))


# -- drawing -------------------------------------------------------------------------------------------------------


def picture() -> str:
    """The whole picture as SVG."""
    said = descriptions()
    packages = [package.name for package in PACKAGES]
    for_all = ", ".join(name for name in said if name not in packages)
    bottom = MARGIN + PLACES["commands"][0] * ROW + COMMANDS_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 48}" width="{WIDTH}" '
        'font-family="Inter, Segoe UI, Helvetica, Arial, sans-serif">',
        "<title>The packages of ProtoSegBrainLib; an arrow goes from a package to one that imports it</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0.5 L7.5 4 L0 7.5 z" fill="#64748b"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{bottom + 48}" rx="10" fill="#ffffff"/>',
        *_arrows(arrows(imports())),
        *(_box(name, said[name].replace("->", "→")) for name in packages),
        _text(MARGIN, bottom + 28, f"For all of them: {for_all}. These import nothing of the library.", "#475569", 13),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _frame(name: str) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box; that of the commands is as wide as the picture."""
    row, column, _ = PLACES[name]
    left, top = MARGIN + column * COLUMN, MARGIN + row * ROW
    if name == "commands":
        return left, top, WIDTH - 2 * MARGIN, COMMANDS_HEIGHT
    return left, top, BOX_WIDTH, BOX_HEIGHT


def _box(name: str, said: str) -> str:
    left, top, width, height = _frame(name)
    lines = textwrap.wrap(said, CHARACTERS)
    shape = f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="8" '
    texts = [_text(left + 12, top + 24, name, "#0f172a", 15, "600")]
    texts += [_text(left + 12, top + 43 + 15 * number, line, "#334155", 12) for number, line in enumerate(lines)]
    fill = COLOURS[PLACES[name][2]]
    return "\n".join([f'<g id="package-{name}">', f'{shape}fill="{fill}" stroke="#94a3b8"/>', *texts, "</g>"])


def _arrows(pairs: Collection[tuple[str, str]]) -> Iterator[str]:
    """Lines from the lower edge of one box to the upper edge of another, spread along both."""
    for foot, head in sorted(pairs):
        left, top, width, height = _frame(foot)
        to_left, to_top, to_width, _ = _frame(head)
        x = left + width * _share(head, [h for f, h in pairs if f == foot])
        to_x = to_left + to_width * _share(foot, [f for f, h in pairs if h == head])
        if head == "commands":  # straight down, past what stands between
            x = to_x = left + width - 28
        y, to_y = top + height, to_top - 12
        middle = (y + to_y) / 2
        path = f"M{x:g} {y:g} C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g} v10"
        look = 'fill="none" stroke="#64748b" stroke-width="1.5" marker-end="url(#head)"'
        yield f'<path id="arrow-{foot}-{head}" d="{path}" {look}/>'


def _share(name: str, others: Collection[str]) -> float:
    """Where along an edge the arrow to or from a box ends, among those to or from others: left to right."""
    order = sorted(others, key=lambda other: PLACES[other][1])
    return (order.index(name) + 1) / (len(order) + 1)


def _text(x: float, y: float, words: str, colour: str, size: int, weight: str = "400") -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
