"""The panel, open in a window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The ``OpenPanel``."""
    from open_panel import open_panel  # skips what asks for it where Qt or slicer-core is absent

    with open_panel(monkeypatch) as panel:
        yield panel
