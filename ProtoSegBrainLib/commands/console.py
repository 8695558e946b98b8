"""What all commands share: what they return, the flags they have in common, the progress bar."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ProtoSegBrainLib.labels import LABEL_CONVENTIONS
from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    from ProtoSegBrainLib.result.prediction import Prediction


class Answer(NamedTuple):
    """What a command says when done: to a program, and to a person (the same values, where there is no text)."""

    values: dict[str, Any]
    text: str | None = None
    exit_code: int = 0


class Command(NamedTuple):
    """One word of the command line."""

    summary: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Answer]


# -- flags ---------------------------------------------------------------------------------------------------------


def add_model_flag(parser: argparse.ArgumentParser) -> None:
    """Which model to use."""
    parser.add_argument("--model", type=Path, help="weights, .safetensors (default: the bundled ones)")


def add_labelled_data_flag(parser: argparse.ArgumentParser) -> None:
    """Where the experts' labels come from."""
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder per case, labels included")


def add_result_flags(parser: argparse.ArgumentParser) -> None:
    """How the files of a result are written."""
    parser.add_argument("--labels", choices=tuple(LABEL_CONVENTIONS), default="brats2020", help="coding of the labels")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results of this case")


# -- saying it -----------------------------------------------------------------------------------------------------


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
