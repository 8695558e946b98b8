"""What a command says: its answer when done, a bar of progress before."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    from ProtoSegBrainLib.result.prediction import Prediction


class Answer(NamedTuple):
    """What a command says when done: to a program, and to a person (the same values, where there is no text)."""

    values: dict[str, Any]
    text: str | None = None
    exit_code: int = 0


@contextlib.contextmanager
def progress_bar(start: str) -> Iterator[Progress]:
    """A bar on standard error with the time left; yields the `on_progress(fraction, message)` that moves it."""
    from tqdm import tqdm

    layout = "{desc:<44.44} {percentage:3.0f}%|{bar:24}| {elapsed}<{remaining}"
    with tqdm(total=1.0, file=sys.stderr, desc=start, bar_format=layout, disable=not is_first_process()) as bar:

        def on_progress(fraction: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(fraction - bar.n)
            bar.refresh()

        yield on_progress


def is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # torchrun numbers the processes of one training


def brief(prediction: Prediction) -> dict[str, Any]:
    """The part of a prediction that fits into a few lines."""
    names = ("case_id", "volumes_ml", "model", "device", "timings_s", "warnings")
    return {name: getattr(prediction, name) for name in names}


def indented(items: Iterable[object]) -> str:
    """One item a line."""
    return "\n".join(f"  {item}" for item in items)
