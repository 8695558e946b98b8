"""Segmentation in a process of its own, asked for from here: `Worker` starts it, sends, polls, cancels.

For programs that must stay responsive and may not load torch: needs neither torch nor Qt, and no call but ``wait``
takes longer than writing images, reading a result or killing does. The other side, and the lines that pass between the
two, is worker.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.exchange import send_volumes
from ProtoSegBrainLib.segmentation.process import Arrived, Done, Ended, Event, Failed, Process, Progress, why_it_ended

COMMAND = (sys.executable, "-m", "ProtoSegBrainLib", "worker")
SHOWN_LINES = 20
"""Of the worker's messages, in the details of a failure."""
POLLING_S = 0.02
GIVEN_TO_LISTENERS_S = 0.005
"""By each ``poll``: where Python is embedded, as in 3D Slicer, no thread of it runs while the application waits."""


@dataclass
class _Request:
    """What was asked; ``heard`` once anything came back."""

    line: str
    folder: Path | None = None
    heard: bool = False


class Worker:
    """A worker process: started by the first request, kept warm between requests, ended by ``close``.

    Not for use from several threads at once.

    Args:
        command: What starts it, the word `worker` included, for example
            ``["PythonSlicer", "-m", "ProtoSegBrainLib", "worker"]``.
        environment: All its environment variables; None for those of this process.
    """

    def __init__(self, command: Sequence[str] = COMMAND, environment: Mapping[str, str] | None = None) -> None:
        self._command = tuple(command)
        self._environment = None if environment is None else dict(environment)
        self._process: Process | None = None
        self._pending: dict[int, _Request] = {}
        self._unclaimed: list[Event] = []
        self._last_request = 0
        self._log: list[str] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._pending)

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines that workers wrote to standard error."""
        return tuple(self._log)

    def segment(
        self,
        volumes: Mapping[str, Volume],
        case_id: str,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        tta: bool = False,
        prepare: str = "none",
    ) -> int:
        """Ask for the segmentation of four images by role (t1n, t1c, t2w, t2f); returns the number of the request.

        ``prepare`` is none, auto or all (``PreparationConfig``); a fifth image, brain, is a person's mask of it.

        Raises:
            OSError: The worker cannot be started, or the images could not be written; nothing stays behind.
        """
        asked = {"case_id": case_id, "model": _absolute(model), "device": device, "tta": tta, "prepare": prepare}
        return self._ask_with_images({"task": "segment", **asked}, volumes)

    def embed(
        self,
        volumes: Mapping[str, Volume],
        case_id: str,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        prepare: str = "none",
    ) -> int:
        """Ask for the ``Embedding`` of images that were segmented; returns the number of the request.

        Arguments, and what is raised, as of ``segment``. Where they are those of its last request, what was made of a
        raw study is still there, and the network alone is run.
        """
        asked = {"case_id": case_id, "model": _absolute(model), "device": device, "prepare": prepare}
        return self._ask_with_images({"task": "embed", **asked}, volumes)

    def check(self, *, model: str | os.PathLike[str] | None = None) -> int:
        """Ask what there is to compute with (the values of environment.py); returns the number of the request.

        Raises:
            OSError: The worker cannot be started.
        """
        return self._ask({"task": "check", "model": _absolute(model)}, None)

    def poll(self) -> list[Event]:
        """What has happened since the last call; never waits for the worker."""
        events, self._unclaimed = self._unclaimed, []
        if self._process is not None:
            time.sleep(GIVEN_TO_LISTENERS_S)
        while self._process is not None and (news := self._process.news()) is not None:
            if isinstance(news, Ended):
                events += self._after_end(news)
            elif news.request in self._pending:
                self._pending[news.request].heard = True
                event = news.read() if isinstance(news, Arrived) else news
                if not isinstance(event, Progress):
                    self._forget(event.request)
                events.append(event)
        return events

    def wait(self, request: int, on_progress: Callable[[float, str], None] | None = None) -> Prediction:
        """The answer to a request of ``segment``, for scripts; events of other requests are kept for later.

        Raises:
            ValueError: Something about the images, the model or the settings must change.
            RuntimeError: All else that went wrong.
        """
        prediction = self._answer(request, on_progress).prediction
        if prediction is None:
            raise TypeError(f"Request {request} did not ask for a segmentation; take wait_for_values.")
        return prediction

    def wait_for_embedding(self, request: int) -> Embedding:
        """The answer to a request of ``embed``; raises as ``wait`` does."""
        embedding = self._answer(request, None).embedding
        if embedding is None:
            raise TypeError(f"Request {request} did not ask for an embedding.")
        return embedding

    def wait_for_values(self, request: int) -> dict[str, Any]:
        """The answer to a request of ``check``; raises as ``wait`` does."""
        return self._answer(request, None).values

    def cancel(self) -> None:
        """End the worker and its children at once, and with them all requests; their files are gone, too."""
        if self._process is not None:
            self._process.kill()
        self._process = None
        self._unclaimed = []
        for request in [*self._pending]:
            self._forget(request)

    def close(self) -> None:
        """End the worker; a request after that starts another."""
        self.cancel()

    def _start(self) -> Process:
        if self._process is None:
            self._process = Process(self._command, self._environment, self._log)
        return self._process

    def _ask_with_images(self, values: Mapping[str, Any], volumes: Mapping[str, Volume]) -> int:
        self._start()  # before the images are written, so that it loads torch meanwhile
        folder = Path(tempfile.mkdtemp(prefix="protosegbrain_"))
        try:
            send_volumes(volumes, folder / "volumes")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self._ask({**values, "folder": str(folder)}, folder)

    def _ask(self, values: Mapping[str, Any], folder: Path | None) -> int:
        self._last_request += 1
        line = json.dumps({"id": self._last_request, **values})
        process = self._start()
        self._pending[self._last_request] = _Request(line, folder)
        process.tell(line)
        return self._last_request

    def _answer(self, request: int, on_progress: Callable[[float, str], None] | None) -> Done:
        others: list[Event] = []
        while True:
            waiting = request in self._pending
            events = self.poll()
            others += [event for event in events if event.request != request]
            for event in (event for event in events if event.request == request):
                if not isinstance(event, Progress):
                    self._unclaimed = others
                    return _done(event)
                if on_progress is not None:
                    on_progress(event.fraction, event.message)
            if not waiting:
                self._unclaimed = others
                raise ValueError(f"There is no request {request} to wait for: it was answered or cancelled.")
            time.sleep(POLLING_S)

    def _after_end(self, ended: Ended) -> list[Event]:
        """A worker that ended in idleness just before a request reached it is replaced; any other end is a failure."""
        missed = ended.code == 0 and ended.spoke and not any(request.heard for request in self._pending.values())
        self._process = None
        if missed and self._pending:
            process = self._start()
            for request in self._pending.values():
                process.tell(request.line)
            return []
        last_words = self._log[-SHOWN_LINES:]
        message, details = why_it_ended(ended.code, last_words), "\n".join([f"Exit code {ended.code}.", *last_words])
        events: list[Event] = [Failed(request, "internal", message, details) for request in self._pending]
        for number in [*self._pending]:
            self._forget(number)
        return events

    def _forget(self, request: int) -> None:
        folder = self._pending.pop(request).folder
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _done(event: Done | Failed) -> Done:
    if isinstance(event, Done):
        return event
    if event.kind == "input":
        raise ValueError(event.message)
    raise RuntimeError(f"{event.message}\n{event.details}".strip())


def _absolute(model: str | os.PathLike[str] | None) -> str | None:
    return None if model is None else os.path.abspath(model)
