"""The results of a scene with their predictions: read once, changed by points and by what-if."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import teach
from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, listed
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.context import SceneContext
from ProtoSegBrainScene.correction import restoreCorrection, storeCorrection
from ProtoSegBrainScene.moves import showAligned
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE
from ProtoSegBrainScene.result import (
    ResultNodes,
    changedInputs,
    findResult,
    imagesOf,
    rest,
    showFirst,
    showPrediction,
    updateFirst,
)
from ProtoSegBrainScene.shown import showOnly
from ProtoSegBrainScene.stored import restorePrediction


@dataclass
class Result:
    """A result in the scene.

    Attributes:
        nodes: Of the scene.
        original: The network's own prediction.
        current: What is shown of it.
        disabled: Numbers of the prototypes without which that is, ascending.
        corrected: With a person's points; None where there are none.
        number: Of no other result.
        version: Counts the corrections.
        embedding: Of its images, by which points are learned; None as long as nobody needed it.
    """

    nodes: ResultNodes
    original: Prediction
    current: Prediction
    disabled: tuple[int, ...] = ()
    corrected: Prediction | None = None
    number: int = field(default_factory=itertools.count().__next__)
    version: int = 0
    embedding: Embedding | None = None

    @property
    def key(self) -> tuple[int, int, tuple[int, ...]]:
        """Tells what is shown from all else that is, or was, shown."""
        return self.number, self.version, self.disabled

    @property
    def whole(self) -> Prediction:
        """With all prototypes on, the model's and the person's."""
        return self.corrected or self.original


class Results:
    """The results of a scene by their segmentation nodes."""

    def __init__(self, context: SceneContext) -> None:
        self._context = context
        self._known: dict[str, Result | None] = {}

    def show(
        self,
        prediction: Prediction,
        inputs: Mapping[str, Any],
        segmentation: Any = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> ResultNodes:
        """Add a result, all or nothing, with its images aligned, and hide all others.

        Arguments and errors are those of ``result.showPrediction``.
        """
        return self._take(showPrediction(self._context, prediction, inputs, segmentation, fingerprints), prediction)

    def showFirst(
        self,
        prediction: Prediction,
        inputs: Mapping[str, Any],
        segmentation: Any = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> ResultNodes:
        """The same, but only what is seen at once; ``rest`` is still to be done."""
        return self._take(showFirst(self._context, prediction, inputs, segmentation, fingerprints), prediction)

    def _take(self, nodes: ResultNodes, prediction: Prediction) -> ResultNodes:
        self._known[nodes.segmentation.GetID()] = Result(nodes, prediction, prediction)
        showOnly(self._context.scene, nodes.segmentation)
        if not changedInputs(nodes.segmentation):
            showAligned(nodes, imagesOf(nodes.segmentation))
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
                corrected = restoreCorrection(segmentation, prediction)
                self._known[key] = Result(nodes, prediction, corrected or prediction, corrected=corrected)
        return self._known[key]

    def segmentationOf(self, inputs: Mapping[str, Any]) -> Any:
        """The segmentation node of the latest result of these volumes as they are now, whole or not; None without."""
        scene, kind = self._context.scene, "vtkMRMLSegmentationNode"
        every = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
        ours = [node for node in every if node.GetAttribute(RESULT_ATTRIBUTE) == "segmentation"]
        if not any(node is not None for node in inputs.values()):
            return None
        return next((node for node in reversed(ours) if _isOf(node, inputs) and not changedInputs(node)), None)

    def misfit(self, segmentation: Any, inputs: Mapping[str, Any]) -> str | None:
        """Why a segmentation is not to be shown over these volumes, in a sentence; None where it is their result.

        "" where it is just of others.
        """
        if not _isOf(segmentation, inputs):
            return ""
        changed = [MODALITY_NAMES[role] for role in changedInputs(segmentation)]
        if changed:
            return f"{listed(changed)} moved or changed after {segmentation.GetName()} was made."
        try:
            whole = self.of(segmentation) is not None
        except ValueError as error:
            return str(error)
        return None if whole else f"A part of {segmentation.GetName()} is missing."

    def whatIf(self, nodes: ResultNodes, disabled: Iterable[int]) -> Prediction:
        """Show a result without some prototypes; without none, the network's own.

        Raises:
            ValueError: The nodes are no result, or there is no such prototype; what is shown stays.
        """
        changed = self.whatIfFirst(nodes, disabled)
        for step in self.rest(nodes).values():
            step()
        return changed

    def whatIfFirst(self, nodes: ResultNodes, disabled: Iterable[int]) -> Prediction:
        """The same, but only what is seen at once; ``rest`` is still to be done."""
        result = self._whole(nodes)
        without = tuple(sorted(disabled))
        changed = whatif(result.whole, without) if without else result.whole
        updateFirst(nodes, changed)
        result.current, result.disabled = changed, without
        return changed

    def learnFrom(self, nodes: ResultNodes, embedding: Embedding) -> None:
        """Keep the embedding of a result's images, by which points are learned.

        Raises:
            ValueError: It is of other images or another model.
        """
        result = self._whole(nodes)
        embedding.check_is_of(result.original)
        result.embedding = embedding

    def teach(self, nodes: ResultNodes, points: Sequence[Point]) -> Prediction:
        """Correct a result by a person's points, in place of all that it had; without any, the model's own.

        Args:
            nodes: Of the result.
            points: All of them, in their order.

        Raises:
            ValueError: The nodes are no result, or a point lies outside the brain; what is shown stays.
            RuntimeError: There are points, and no embedding is there (``learnFrom``).
        """
        changed = self.teachFirst(nodes, points)
        for step in self.rest(nodes).values():
            step()
        return changed

    def teachFirst(self, nodes: ResultNodes, points: Sequence[Point]) -> Prediction:
        """The same, but only what is seen at once; ``rest`` is still to be done. Prototypes that are off stay off."""
        result = self._whole(nodes)
        if points and result.embedding is None:
            raise RuntimeError(f"{nodes.segmentation.GetName()}: points need the embedding of its images.")
        corrected = teach(result.original, result.embedding, points) if points and result.embedding else None
        whole = corrected or result.original
        without = tuple(index for index in result.disabled if index < len(whole.evidence.prototype_class))
        changed = whatif(whole, without) if without else whole
        updateFirst(nodes, changed)
        result.corrected, result.current, result.disabled = corrected, changed, without
        result.version += 1
        return changed

    def _whole(self, nodes: ResultNodes) -> Result:
        result = self.of(nodes.segmentation)
        if result is None:
            raise ValueError(f"{nodes.segmentation.GetName()} belongs to no result.")
        return result

    def rest(self, nodes: ResultNodes) -> dict[str, Callable[[], None]]:
        """What is left to do after ``showFirst``, ``whatIfFirst`` and ``teachFirst``, by name; of no result {}."""
        result = self._known.get(nodes.segmentation.GetID() or "")
        if result is None:
            return {}
        steps = rest(self._context, nodes, result.current)
        return {**steps, "correction": lambda: storeCorrection(nodes.segmentation, result.corrected)}

    def lose(self, node: Any) -> bool:
        """A node has gone: the result that it was part of, if any that was shown or read, is read again, or is none."""
        owners = [key for key, result in self._known.items() if result and node in vars(result.nodes).values()]
        for key in owners:
            del self._known[key]
        return bool(owners)

    def forget(self) -> None:
        """Read the scene again: nodes have gone or come."""
        self._known = {}


def _isOf(segmentation: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether these are the volumes from which a result was made, changed or not."""
    made = imagesOf(segmentation)
    return all(made.get(role) is inputs.get(role) for role in MODALITIES)
