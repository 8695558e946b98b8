"""What the panel has asked of the worker, and who waits for the answer."""

from dataclasses import dataclass
from typing import Any

from ProtoSegBrainScene.fingerprint import fingerprintsOf

from ProtoSegBrainLib.segmentation.process import Failed, Progress


@dataclass(frozen=True)
class Asked:
    """A request: who is told ``progress``, then ``done`` or ``failed``.

    Attributes:
        listener: Who is told.
        inputs: Of a segmentation: the volume nodes by modality, else None.
        fingerprints: What those were when they were sent.
    """

    listener: Any
    inputs: Any = None
    fingerprints: Any = None


class Requests:
    """Sends requests and passes on the news; nothing here waits."""

    def __init__(self, logic):
        self._logic = logic
        self._asked = {}

    def segment(self, inputs, listener, **settings):
        """Begin to segment volume nodes by modality; settings as of ``ProtoSegBrainLogic.request``."""
        number = self._logic.request(inputs, **settings)  # first: the worker begins meanwhile
        self._asked[number] = Asked(listener, dict(inputs), fingerprintsOf(inputs))

    def embed(self, nodes, listener, **settings):
        """Begin to read a result's images again for points; settings as of ``ProtoSegBrainLogic.requestEmbedding``."""
        self._asked[self._logic.requestEmbedding(nodes, **settings)] = Asked(listener)

    def check(self, listener, modelPath):
        """Ask what there is to compute with."""
        self._asked[self._logic.worker.check(model=modelPath)] = Asked(listener)

    def poll(self):
        """Tell the listeners what the worker has said."""
        for event in self._logic.worker.poll() if self._asked else ():
            asked = self._asked.get(event.request)
            if isinstance(event, Progress):
                asked.listener.progress(event.fraction, event.message)
                continue
            del self._asked[event.request]
            if isinstance(event, Failed):
                asked.listener.failed(event.message, event.details)
            else:
                asked.listener.done(event, asked)

    def cancel(self):
        """End the worker, its children and all requests, at once."""
        self._asked.clear()
        self._logic.cancel()

    @property
    def isWaiting(self):
        """Whether anything was asked and not answered yet."""
        return bool(self._asked)

    @property
    def isSegmenting(self):
        """Whether a segmentation runs."""
        return any(asked.inputs is not None for asked in self._asked.values())

    def waits(self, listener):
        """Whether this listener has asked for anything that was not answered yet."""
        return any(asked.listener is listener for asked in self._asked.values())

    def needs(self, node):
        """Whether a segmentation of this volume runs."""
        return any(node is volume for asked in self._asked.values() for volume in (asked.inputs or {}).values())
