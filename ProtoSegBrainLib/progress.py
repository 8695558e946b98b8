"""How far a long piece of work is: what is called meanwhile, and the progress of a part as that of the whole."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with a fraction from 0 to 1 and what is being done."""


def part_of(on_progress: Progress, start: float, stop: float) -> Progress:
    """The progress of one stage, which takes the whole from ``start`` to ``stop``."""
    return lambda fraction, message: on_progress(start + fraction * (stop - start), message)
