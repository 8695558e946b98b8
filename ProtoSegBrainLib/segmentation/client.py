"""Segmentation in a process of its own, asked for from here: `Worker` starts it, sends, polls, cancels.

For programs that must stay responsive and may not load torch: needs neither torch nor Qt, and no call but ``wait``
takes longer than writing images, reading a result or killing does. The other side, and the lines that pass between the
two, is worker.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.exchange import receive_prediction, send_volumes

COMMAND = (sys.executable, "-m", "ProtoSegBrainLib", "worker")
KEPT_LINES = 500
"""Of the worker's messages."""
SHOWN_LINES = 20
"""Of them in the details of a failure."""
PATIENCE_S = 5.0
"""For a process that was killed to be gone, and for its last words."""
POLLING_S = 0.02
GIVEN_TO_LISTENERS_S = 0.005
"""By each ``poll``: where Python is embedded, as in 3D Slicer, no thread of it runs while the application waits."""
KILLED = 9
"""The signal that cannot be refused."""


@dataclass(frozen=True)
class Progress:
    """How far a request is, 0 to 1, and what is being done."""

    request: int
    fraction: float
    message: str


@dataclass(frozen=True)
class Done:
    """The answer to a request: the ``prediction`` of ``segment``, the ``values`` of ``check``."""

    request: int
    prediction: Prediction | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A request that has no answer.

    Attributes:
        request: Its number.
        kind: ``input``: something about the images, the model or the settings must change; ``internal``: all else.
        message: One or two sentences for a person.
        details: For a report of the bug: traceback, or the worker's last words.
    """

    request: int
    kind: str
    message: str
    details: str = ""


Event = Progress | Done | Failed


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
        self._process: _Process | None = None
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
    ) -> int:
        """Ask for the segmentation of four images by role (t1n, t1c, t2w, t2f); returns the number of the request.

        Raises:
            OSError: The worker cannot be started, or the images could not be written; nothing stays behind.
        """
        self._start()  # before the images are written, so that it loads torch meanwhile
        folder = Path(tempfile.mkdtemp(prefix="protosegbrain_"))
        try:
            send_volumes(volumes, folder / "volumes")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        asked = {"folder": str(folder), "case_id": case_id, "model": _absolute(model), "device": device, "tta": tta}
        return self._ask({"task": "segment", **asked}, folder)

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
            if isinstance(news, _Ended):
                events += self._after_end(news)
            elif news.request in self._pending:
                self._pending[news.request].heard = True
                event = news.read() if isinstance(news, _Arrived) else news
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

    def _start(self) -> _Process:
        if self._process is None:
            self._process = _Process(self._command, self._environment, self._log)
        return self._process

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

    def _after_end(self, ended: _Ended) -> list[Event]:
        """A worker that ended in idleness just before a request reached it is replaced; any other end is a failure."""
        missed = ended.code == 0 and ended.spoke and not any(request.heard for request in self._pending.values())
        self._process = None
        if missed and self._pending:
            process = self._start()
            for request in self._pending.values():
                process.tell(request.line)
            return []
        last_words = self._log[-SHOWN_LINES:]
        message, details = _why_it_ended(ended.code, last_words), "\n".join([f"Exit code {ended.code}.", *last_words])
        events: list[Event] = [Failed(request, "internal", message, details) for request in self._pending]
        for number in [*self._pending]:
            self._forget(number)
        return events

    def _forget(self, request: int) -> None:
        folder = self._pending.pop(request).folder
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Arrived:
    """A result that lies in a folder."""

    request: int
    folder: Path

    def read(self) -> Done | Failed:
        try:
            return Done(self.request, receive_prediction(self.folder))
        except (OSError, ValueError, MemoryError, KeyError) as error:
            return Failed(self.request, "internal", f"The result could not be read: {error}", traceback.format_exc())


@dataclass(frozen=True)
class _Ended:
    """The process is gone; ``spoke`` if it had said anything before."""

    code: int
    spoke: bool


class _Process:
    """A running worker and the threads that listen to it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None, log: list[str]) -> None:
        try:
            self._popen = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                **_apart(),
            )
        except OSError as error:
            raise OSError(f"The worker could not be started ({' '.join(command)}): {error}") from error
        self._log = log
        self._spoke = False
        self._news: queue.SimpleQueue[Event | _Arrived | _Ended] = queue.SimpleQueue()
        self._listeners = [_in_thread(self._hear), _in_thread(self._keep_log)]
        self._watcher = _in_thread(self._watch)

    def tell(self, line: str) -> None:
        """One request; where the process is gone, the news of its end says so."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # a broken pipe, a closed one
            self._popen.stdin.write(f"{line}\n")
            self._popen.stdin.flush()

    def news(self) -> Event | _Arrived | _Ended | None:
        """The next that has happened; None if nothing has."""
        try:
            return self._news.get_nowait()
        except queue.Empty:
            return None

    def kill(self) -> None:
        """End it and all that it started, and wait until they are gone."""
        _kill_with_children(self._popen)
        self._watcher.join(PATIENCE_S)

    def _hear(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            event = _event(line)
            if event is None:  # of the command's own, a launcher perhaps
                self._note(line)
            else:
                self._spoke = True
                self._news.put(event)

    def _keep_log(self) -> None:
        assert self._popen.stderr is not None
        for line in self._popen.stderr:
            self._note(line)

    def _note(self, line: str) -> None:
        self._log.append(line.rstrip("\n"))
        del self._log[:-KEPT_LINES]

    def _watch(self) -> None:
        """Waits for the end and reports it after all else; children left over would hold the pipes open."""
        code = self._popen.wait()
        _kill_with_children(self._popen)
        for listener in self._listeners:
            listener.join(PATIENCE_S)
        self._news.put(_Ended(code, self._spoke))


def _event(line: str) -> Event | _Arrived | None:
    """What the worker's line says; None if it is not one of the worker's."""
    try:
        values = json.loads(line)
        request, kind = values.pop("id"), values.pop("event")
        if kind == "progress":
            return Progress(request, values["fraction"], values["message"])
        if kind == "failed":
            return Failed(request, values["kind"], values["message"], values["details"])
        folder = values.pop("folder", None)
        return _Arrived(request, Path(folder)) if folder else Done(request, values=values["values"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _done(event: Done | Failed) -> Done:
    if isinstance(event, Done):
        return event
    if event.kind == "input":
        raise ValueError(event.message)
    raise RuntimeError(f"{event.message}\n{event.details}".strip())


def _why_it_ended(code: int, last_words: Sequence[str]) -> str:
    """One or two sentences about a worker that ended without an answer."""
    if code == -KILLED:
        return (
            "The worker was killed by the system or by another program. Systems do so when memory runs out: "
            "close other programs, or use a machine with more memory."
        )
    if code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else "unknown"
        return f"The worker crashed (signal {-code}, {name})."
    shown = f"0x{code:X}" if code > 255 else str(code)  # Windows writes a crash's code so
    reason = next((line.strip() for line in reversed(last_words) if line.strip()), "it wrote no message")
    return f"The worker ended without an answer (exit code {shown}): {reason}"


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _apart() -> dict[str, Any]:
    """What makes a process the first of a group that can be ended as one, and opens no window."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _kill_with_children(process: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)


def _absolute(model: str | os.PathLike[str] | None) -> str | None:
    return None if model is None else os.path.abspath(model)
