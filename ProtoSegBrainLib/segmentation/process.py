"""A worker's process, as the one who started it sees it: lines go in, events and a log come out, and it ends.

Needs neither torch nor Qt.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.exchange import receive_embedding, receive_prediction

KEPT_LINES = 500
"""Of the worker's messages."""
PATIENCE_S = 5.0
"""For a process that was killed to be gone, and for its last words."""
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
    """The answer to a request: the ``prediction`` of ``segment``, the ``embedding`` of ``embed``, ``values``."""

    request: int
    prediction: Prediction | None = None
    embedding: Embedding | None = None
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


@dataclass(frozen=True)
class Arrived:
    """A result that lies in a folder, or an embedding."""

    request: int
    folder: Path
    is_embedding: bool = False

    def read(self) -> Done | Failed:
        try:
            if self.is_embedding:
                return Done(self.request, embedding=receive_embedding(self.folder))
            return Done(self.request, receive_prediction(self.folder))
        except (OSError, ValueError, MemoryError, KeyError) as error:
            return Failed(self.request, "internal", f"The result could not be read: {error}", traceback.format_exc())


@dataclass(frozen=True)
class Ended:
    """The process is gone; ``spoke`` if it had said anything before."""

    code: int
    spoke: bool


class Process:
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
        self._news: queue.SimpleQueue[Event | Arrived | Ended] = queue.SimpleQueue()
        self._listeners = [_in_thread(self._hear), _in_thread(self._keep_log)]
        self._watcher = _in_thread(self._watch)

    def tell(self, line: str) -> None:
        """One request; where the process is gone, the news of its end says so."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # a broken pipe, a closed one
            self._popen.stdin.write(f"{line}\n")
            self._popen.stdin.flush()

    def news(self) -> Event | Arrived | Ended | None:
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
        self._news.put(Ended(code, self._spoke))


def _event(line: str) -> Event | Arrived | None:
    """What the worker's line says; None if it is not one of the worker's."""
    try:
        values = json.loads(line)
        request, kind = values.pop("id"), values.pop("event")
        if kind == "progress":
            return Progress(request, values["fraction"], values["message"])
        if kind == "failed":
            return Failed(request, values["kind"], values["message"], values["details"])
        if "embedding" in values:
            return Arrived(request, Path(values["embedding"]), is_embedding=True)
        folder = values.pop("folder", None)
        return Arrived(request, Path(folder)) if folder else Done(request, values=values["values"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def why_it_ended(code: int, last_words: Sequence[str]) -> str:
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
