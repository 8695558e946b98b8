"""The results of a scene with their predictions: read once, changed by what-if."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.context import SceneContext
from ProtoSegBrainScene.result import ResultNodes, findResult, showPrediction, updateResult
from ProtoSegBrainScene.stored import restorePrediction


@dataclass
class Result:
    """A result in the scene.

    Attributes:
        nodes: Of the scene.
        original: The network's own prediction.
        current: What is shown of it.
        disabled: Numbers of the prototypes without which that is, ascending.
        number: Of no other result.
    """

    nodes: ResultNodes
    original: Prediction
    current: Prediction
    disabled: tuple[int, ...] = ()
    number: int = field(default_factory=itertools.count().__next__)

    @property
    def key(self) -> tuple[int, tuple[int, ...]]:
        """Tells what is shown from all else that is, or was, shown."""
        return self.number, self.disabled


class Results:
    """The results of a scene by their segmentation nodes."""

    def __init__(self, context: SceneContext) -> None:
        self._context = context
        self._known: dict[str, Result | None] = {}

    def show(self, prediction: Prediction, inputs: Mapping[str, Any], segmentation: Any = None) -> ResultNodes:
        """Add a result, all or nothing; arguments and errors as of ``result.showPrediction``."""
        nodes = showPrediction(self._context, prediction, inputs, segmentation)
        self._known[nodes.segmentation.GetID()] = Result(nodes, prediction, prediction)
        return nodes

    def of(self, segmentation: Any) -> Result | None:
        """The result that a segmentation node belongs to, read from the scene where need be; None if it has none.

        Raises:
            ValueError: It is damaged; said once, None after that.
        """
        if segmentation is None:
            return None
        key = segmentation.GetID()
        if key not in self._known:
            self._known[key] = None
            nodes = findResult(self._context.scene, segmentation)
            if nodes is not None:
                prediction = restorePrediction(nodes)
                self._known[key] = Result(nodes, prediction, prediction)
        return self._known[key]

    def whatIf(self, nodes: ResultNodes, disabled: Iterable[int]) -> Prediction:
        """Show a result without some prototypes; without none, the network's own.

        Raises:
            ValueError: The nodes are no result, or there is no such prototype; what is shown stays.
        """
        result = self.of(nodes.segmentation)
        if result is None:
            raise ValueError(f"{nodes.segmentation.GetName()} belongs to no result.")
        without = tuple(sorted(disabled))
        changed = whatif(result.original, without) if without else result.original
        updateResult(self._context, nodes, changed)
        result.current, result.disabled = changed, without
        return changed

    def holds(self, node: Any) -> bool:
        """Whether a node is part of a result that was shown or read."""
        known = [result.nodes for result in self._known.values() if result is not None]
        return any(node is part for nodes in known for part in vars(nodes).values())

    def forget(self) -> None:
        """Read the scene again: nodes have gone or come."""
        self._known = {}
