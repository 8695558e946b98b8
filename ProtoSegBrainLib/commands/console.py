"""What a command says: its answer when done, a bar of progress before; and the streams that carry it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    from ProtoSegBrainLib.result.prediction import Prediction


# -- streams -------------------------------------------------------------------------------------------------------


class Enduring:
    """A stream whose other end may be closed or full: what can no longer be written is dropped; ``lost`` says why."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.lost: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._enduring():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._enduring():
            self._stream.flush()

    @contextlib.contextmanager
    def _enduring(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.lost = self.lost or error
            with contextlib.suppress(OSError, ValueError):  # so that what waits in its buffer goes somewhere
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def open_streams() -> None:
    """Make the standard streams fit for use, however the program was started.

    One that was closed leads nowhere, so that no file of ours gets its number; letters that a terminal does not know
    are written as their codes; a reader that goes away stops nothing.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name) or _leading_nowhere(number)
        if number > 0:
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
            stream = Enduring(stream)
        setattr(sys, name, stream)


def _leading_nowhere(number: int) -> IO[str]:
    descriptor = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(descriptor, number)
        os.close(descriptor)
        descriptor = number
    os.set_inheritable(descriptor, True)
    return os.fdopen(descriptor, "r" if number == 0 else "w", encoding="utf-8")


# -- what is said --------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a command says when done: to a program, and to a person (the same values, where there is no text)."""

    values: dict[str, Any]
    text: str | None = None
    exit_code: int = 0


@contextlib.contextmanager
def progress_bar(start: str) -> Iterator[Progress]:
    """A bar on standard error with the time left; yields the `on_progress(fraction, message)` that moves it.

    What is logged meanwhile stands in lines of its own, above the bar.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    layout = "{desc:<44.44} {percentage:3.0f}%|{bar:24}| {elapsed}<{remaining}"
    with tqdm(total=1.0, file=sys.stderr, desc=start, bar_format=layout, disable=not is_first_process()) as bar:

        def on_progress(fraction: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(fraction - bar.n)
            bar.refresh()

        with logging_redirect_tqdm():
            yield on_progress


def is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # torchrun numbers the processes of one training


def brief(prediction: Prediction) -> dict[str, Any]:
    """The part of a prediction that fits into a few lines."""
    names = ("case_id", "volumes_ml", "model", "device", "timings_s", "warnings")
    found = {name: prediction.findings.get(name) for name in ("regions", "out_of_distribution")}
    done = {"preparation": prediction.preparation} if prediction.preparation else {}
    return {name: getattr(prediction, name) for name in names} | found | done


def indented(items: Iterable[object]) -> str:
    """One item a line."""
    return "\n".join(f"  {item}" for item in items)
