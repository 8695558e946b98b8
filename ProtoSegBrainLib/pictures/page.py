"""HTML pages: the templates beside this file, filled with values.

A page's markup and words stand in its template, its look in the style sheet of the same name; Python says what is
known. Values are escaped wherever they stand, but for ``Markup``: what ``beside`` reads and what ``slices`` draws.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent


def page(template: str, values: dict[str, Any]) -> str:
    """The whole page.

    Args:
        template: Name of a file in this folder.
        values: By the names that the template has for them.

    Raises:
        jinja2.UndefinedError: The template asks for what is not among them.
    """
    return _templates().get_template(template).render(values)


def beside(name: str) -> Markup:
    """A file of this folder as it is, to be part of a page: a style sheet, a script."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # loads on first use

    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["beside"] = beside
    templates.filters["per_cent"] = "{:.0%}".format
    return templates
