"""The worker process: segments on request and keeps torch and the model between requests.

One JSON object a line. Requests, on standard input:

``{"id": 1, "task": "segment", "folder": ..., "case_id": ..., "model": null, "device": "auto", "tta": false}``
    The images lie in ``folder/volumes`` (exchange.py). The folder is made for this request alone: its sender removes
    it, or the worker does if the sender is gone. ``model`` is a path or null for the bundled weights; ``precision``
    may be given, too, and ``prepare``: none (the default), auto or all, as of ``PreparationConfig``. An image "brain"
    among the volumes is a person's mask of the brain.
``{"id": 3, "task": "embed", "folder": ..., "case_id": ..., "model": null, "device": "auto"}``
    As ``segment``, for the ``Embedding`` by which points of a person are learned. Of the images of the last request,
    what was made of a raw study is still there.
``{"id": 2, "task": "check", "model": null}``
    What there is to compute with (environment.py).
``{"task": "stop"}``
    End, after what was asked before.

Events, on standard output, where nothing else is ever written:

``{"id": 1, "event": "progress", "fraction": 0.3, "message": "Running the network"}``

``{"id": 1, "event": "done", "folder": ...}`` or ``{"id": 2, "event": "done", "values": {...}}``
    The last event of a request; the folder holds the result (``exchange.receive_prediction``).
``{"id": 3, "event": "done", "embedding": ...}``
    The same with a folder that holds an embedding (``exchange.receive_embedding``).
``{"id": 1, "event": "failed", "kind": "input", "message": ..., "details": ...}``
    The last event, too. ``input``: something that was sent must change; ``internal``: all else.

The worker ends when it was idle for long, and at once, whatever it does, when standard input closes: then the program
that asked is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import shutil
import sys
import threading
import traceback
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ProtoSegBrainLib.errors import BAD_INPUT, sentence
from ProtoSegBrainLib.progress import Progress, part_of
from ProtoSegBrainLib.segmentation.environment import environment

if TYPE_CHECKING:
    from ProtoSegBrainLib.images.case import Case
    from ProtoSegBrainLib.images.volume import Volume
    from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
    from ProtoSegBrainLib.network.weights import ModelCard

STOP = "stop"
BRAIN = "brain"
"""Among the images of a request: a person's mask."""


def private_pipes() -> tuple[IO[str], IO[str]]:
    """Standard input and output as they are now, for requests and events alone, for the rest of the process's life.

    Whatever else is printed, also by C code, goes to standard error.
    """
    sys.stdout.flush()
    requests, events = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return requests, events


class Server:
    """Reads requests, answers with events.

    Args:
        requests: Lines of JSON.
        events: Where lines of JSON are written.
        idle_minutes: How long to wait for a request.
    """

    def __init__(self, requests: IO[str], events: IO[str], idle_minutes: float) -> None:
        self._requests = requests
        self._events = events
        self._idle_s = 60 * idle_minutes
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._kept: tuple[object, Case] | None = None
        self._model: tuple[tuple[object, ...], tuple[SegmentationNet, ModelCard]] | None = None

    def serve(self) -> str:
        """Answer until told to stop or nothing is asked for too long; returns why it ended."""
        threading.Thread(target=self._listen, daemon=True).start()
        with contextlib.suppress(ImportError):  # while the first images are written; what is missing is said when asked
            importlib.import_module("ProtoSegBrainLib.segmentation.predict")
        while True:
            try:
                line = self._lines.get(timeout=self._idle_s)
            except queue.Empty:
                return "idle"
            if self._answer(line) == STOP:
                return STOP

    def _listen(self) -> None:
        """Takes in requests while another is worked on, and notices when there will be no more."""
        folders: list[str] = []
        for line in self._requests:
            self._lines.put(line)
            with contextlib.suppress(ValueError, KeyError):
                folders = [*filter(os.path.exists, folders), _parsed(line)["folder"]]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # nobody waits for an answer; a network that is running would take seconds to see that

    def _answer(self, line: str) -> str | None:
        """Do what one line asks for; ``STOP`` if that was to stop."""
        number = None
        try:
            request = _parsed(line)
            number = request.get("id")
            if request["task"] == STOP:
                return STOP
            do = {"segment": self._segment, "embed": self._embed, "check": _check}[request["task"]]
            self._tell(number, "done", **do(request))
        except Exception as error:
            traceback.print_exc()
            kind = "input" if isinstance(error, BAD_INPUT) else "internal"
            self._tell(number, "failed", kind=kind, message=sentence(error), details=traceback.format_exc())
        return None

    def _tell(self, number: object, event: str, **values: Any) -> None:
        self._events.write(json.dumps({"id": number, "event": event, **values}) + "\n")
        self._events.flush()

    def _progress_of(self, request: Mapping[str, Any]) -> Progress:
        def on_progress(fraction: float, message: str) -> None:
            self._tell(request["id"], "progress", fraction=round(fraction, 4), message=message)

        return on_progress

    def _segment(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from ProtoSegBrainLib.segmentation.exchange import send_prediction
        from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

        on_progress, folder = self._progress_of(request), Path(request["folder"])
        chosen = {name: request[name] for name in ("device", "precision", "tta") if name in request}
        config = PredictConfig(**chosen)
        on_progress(0.0, "Loading the model")
        model = self._load(request.get("model"))
        on_progress(0.02, "Reading the images")
        case = self._case(request, part_of(on_progress, 0.05, 0.55))
        prediction = predict(case, model, config, part_of(on_progress, 0.55, 0.95))
        on_progress(0.95, "Handing over the result")
        send_prediction(prediction, folder / "prediction")
        return {"folder": str(folder / "prediction")}

    def _embed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from ProtoSegBrainLib.correction.embedding import embedding_of
        from ProtoSegBrainLib.segmentation.exchange import send_embedding

        on_progress, folder = self._progress_of(request), Path(request["folder"])
        model = self._load(request.get("model"))
        case = self._case(request, part_of(on_progress, 0.0, 0.5))
        on_progress(0.5, "Running the network")
        embedding = embedding_of(case, model, request.get("device", "auto"), request.get("precision", "auto"))
        send_embedding(embedding, folder / "embedding")
        return {"embedding": str(folder / "embedding")}

    def _case(self, request: Mapping[str, Any], on_progress: Progress) -> Case:
        """The images of a request as a case; those of the last one are prepared still."""
        from ProtoSegBrainLib.images.study import study_of_volumes
        from ProtoSegBrainLib.preparation.prepare import PreparationConfig, prepare_study
        from ProtoSegBrainLib.segmentation.exchange import receive_volumes

        volumes, how = receive_volumes(Path(request["folder"]) / "volumes"), request.get("prepare", "none")
        marks = {role: _mark(volume) for role, volume in volumes.items()}
        asked = (request["case_id"], how, marks)
        if self._kept is None or self._kept[0] != asked:
            self._kept = None
            mask = volumes.pop(BRAIN, None)
            study = study_of_volumes(volumes, request["case_id"])
            self._kept = asked, prepare_study(study, PreparationConfig(how), on_progress, mask)
        return self._kept[1]

    def _load(self, path: str | None) -> tuple[SegmentationNet, ModelCard]:
        """The model of the last request, if the files of this one are the same and unchanged."""
        from ProtoSegBrainLib.network.weights import BUNDLED, load_model

        weights = Path(path) if path else BUNDLED
        files = [weights, weights.with_suffix(".json")]
        state = (weights, *((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()))
        if self._model is None or self._model[0] != state:
            self._model = state, load_model(weights)
        return self._model[1]


def _parsed(line: str) -> dict[str, Any]:
    """One request.

    Raises:
        ValueError: It is none, or lacks something.
    """
    request = json.loads(line)
    images = {"id", "task", "folder", "case_id"}
    needed = {"segment": images, "embed": images, "check": {"id", "task"}, STOP: {"task"}}
    if not isinstance(request, dict) or request.get("task") not in needed:
        raise ValueError(f"Expected a JSON object with a task of {', '.join(needed)}; got {line.strip()[:200]}")
    missing = needed[request["task"]] - set(request)
    if missing:
        raise ValueError(f"A request to {request['task']} needs {', '.join(sorted(missing))}; got {line.strip()[:200]}")
    return request


def _mark(volume: Volume) -> tuple[object, ...]:
    """By which the same image is known again."""
    array = np.ascontiguousarray(volume.array.T)
    return array.shape, zlib.crc32(array.data.cast("B")), volume.affine.tobytes()


def _check(request: Mapping[str, Any]) -> dict[str, Any]:
    path = request.get("model")
    return {"values": environment(Path(path) if path else None)}
