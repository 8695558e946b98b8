"""Templates: what is escaped, what is not, and what is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from ProtoSegBrainLib.pictures import page as module
from ProtoSegBrainLib.pictures.page import page


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """With templates of the test."""
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    module._templates.cache_clear()
    yield tmp_path
    module._templates.cache_clear()


def test_values_are_text_and_attributes_whatever_they_hold(folder: Path) -> None:
    (folder / "a.html").write_text('<p title="{{ name }}">{{ name }}</p>')
    name = "&lt;b&gt;x&lt;/b&gt; &amp; &#34;y&#34;"
    assert page("a.html", {"name": '<b>x</b> & "y"'}) == f'<p title="{name}">{name}</p>'


def test_a_file_beside_the_template_is_taken_as_it_is(folder: Path) -> None:
    (folder / "a.html").write_text('<script>{{ beside("a.js") }}</script>')
    (folder / "a.js").write_text("if (1 < 2 && {{}}) {% %} {# #}")
    assert page("a.html", {}) == "<script>if (1 < 2 && {{}}) {% %} {# #}</script>"


def test_a_name_that_nobody_gave_is_an_error(folder: Path) -> None:
    (folder / "a.html").write_text("{% if nmae %}{% endif %}")
    with pytest.raises(UndefinedError, match="nmae"):
        page("a.html", {"name": 1})


def test_shares_are_told_in_whole_per_cent(folder: Path) -> None:
    (folder / "a.html").write_text("{{ 0.126|per_cent }}")
    assert page("a.html", {}) == "13%"
