"""Where a raw study was aligned: images seen where they were moved to, or as they were scanned.

Nothing is resampled: each image that was moved is put under a linear transform, a part of its result, which may lie
under the transform that the image had. Whatever is computed takes images as they were scanned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import vtk

from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.labels import MODALITY_NAMES
from ProtoSegBrainScene.grid import affineOfMatrix, matrixOf, toWorld
from ProtoSegBrainScene.parts import MOVE, addPart, isMove

ABOVE = "ProtoSegBrain.above"
"""Attribute of a move, as JSON: what the transform above it did, to world, when it was put under that."""


def addMoves(scene: Any, preparation: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Add a linear transform node for each image that was moved; the images stay where they are.

    Args:
        scene: Where they go.
        preparation: Of a ``Prediction``; {} has none.
        name: With which their names begin.

    Returns:
        By field of ``result.ResultNodes``.

    Raises:
        ValueError: It is no preparation.
    """
    nodes = {}
    moves = Preparation.from_dict(preparation).moves if preparation else {}
    for role, move in moves.items():
        if not move.is_kept:
            title = f"{name} {MODALITY_NAMES[role]} to {MODALITY_NAMES['t1c']}"
            node = addPart(scene, "vtkMRMLLinearTransformNode", title, MOVE + role)
            node.SetMatrixTransformToParent(matrixOf(move.motion))
            nodes[MOVE + role] = node
    return nodes


def asMoved(preparation: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``Prediction`` says of its preparation, for images that lie where they were moved to: the same sentence.

    Raises:
        ValueError: It is no preparation.
    """
    if not preparation:
        return {}
    done = Preparation.from_dict(preparation)
    moved = replace(done, brain="", brain_ml=0.0).sentence.removesuffix(".")
    return replace(done, looked=moved, moves={}).to_dict()


def movesOf(nodes: Any) -> dict[str, Any]:
    """The transform nodes of a result by modality; {} where nothing was moved.

    Args:
        nodes: ``result.ResultNodes``.
    """
    found = {field.removeprefix(MOVE): node for field, node in vars(nodes).items() if field.startswith(MOVE)}
    return {role: node for role, node in found.items() if node is not None}


def showAligned(nodes: Any, inputs: Mapping[str, Any]) -> None:
    """Show the images of a result where they were moved to, in the world: what moved them before moves them still.

    Args:
        nodes: ``result.ResultNodes``.
        inputs: Volume nodes by modality.

    Raises:
        ValueError: An image lies under a transform that is not linear.
    """
    for role, move in movesOf(nodes).items():
        node = inputs.get(role)
        if node is None or node.GetParentTransformNode() is move:
            continue
        putBack([node])
        _hang(move, node)
        node.SetAndObserveTransformNodeID(move.GetID())


def showAsScanned(nodes: Any, inputs: Mapping[str, Any]) -> None:
    """Show the images of a result where the scanner, or whoever moved them before, had them; arguments as above."""
    putBack(node for role, node in inputs.items() if node is not None and role in movesOf(nodes))


def putBack(volumes: Iterable[Any]) -> None:
    """Put volume nodes that lie under a move of any result back under what they lay under before."""
    for node in volumes:
        move = node.GetParentTransformNode()
        if isMove(move):
            above = move.GetParentTransformNode()
            node.SetAndObserveTransformNodeID(None if above is None else above.GetID())


def putAllBack(scene: Any, but: Iterable[Any] = ()) -> None:
    """Put all volumes back, but those under these nodes."""
    kept, kind = {node.GetID() for node in but}, "vtkMRMLScalarVolumeNode"
    volumes = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    putBack(node for node in volumes if node.GetTransformNodeID() not in kept)


@contextmanager
def asScannedFor(volumes: Iterable[Any]) -> Iterator[None]:
    """Inside, volumes lie as they were scanned: for what of Slicer asks them where they lie."""
    moved = {node: move for node in volumes if node is not None and isMove(move := node.GetParentTransformNode())}
    putBack(moved)
    try:
        yield
    finally:
        for node, move in moved.items():
            node.SetAndObserveTransformNodeID(move.GetID())


def asScanned(node: Any) -> np.ndarray:
    """4x4, voxel of a volume node -> world RAS mm, as ``grid.worldAffineOf``, but without a move of a result.

    Raises:
        ValueError: A parent transform is not linear.
    """
    move = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return toWorld(move if isMove(move) else node) @ affineOfMatrix(matrix)


def _hang(move: Any, node: Any) -> None:
    """Put a move under what an image lies under, so that in the world it does the same as before.

    What somebody changed of its matrix stays changed.
    """
    above, outer = node.GetParentTransformNode(), toWorld(node)
    before = np.array(json.loads(move.GetAttribute(ABOVE) or "null") or np.eye(4))
    if not np.array_equal(before, outer):
        inner = vtk.vtkMatrix4x4()
        move.GetMatrixTransformToParent(inner)
        motion = before @ affineOfMatrix(inner) @ np.linalg.inv(before)
        move.SetMatrixTransformToParent(matrixOf(np.linalg.inv(outer) @ motion @ outer))
        move.SetAttribute(ABOVE, json.dumps(outer.tolist()))
    move.SetAndObserveTransformNodeID(None if above is None else above.GetID())
