"""The four input volumes in a scene: which is which, do they agree, what will be done, as images of the library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ProtoSegBrainLib.images.background import with_zero_background
from ProtoSegBrainLib.images.case import choose_reference
from ProtoSegBrainLib.images.checks import GOOD_OVERLAP, LEAST_OVERLAP
from ProtoSegBrainLib.images.naming import role_of_name
from ProtoSegBrainLib.images.volume import Volume, overlap, same_grid, same_lattice
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, listed
from ProtoSegBrainLib.preparation.look import Look, look_at
from ProtoSegBrainScene.grid import voxelsOf
from ProtoSegBrainScene.moves import asScanned
from ProtoSegBrainScene.parts import RESULT_ATTRIBUTE

SCALAR = "vtkMRMLScalarVolumeNode"
NOT_FIT = "the network knows no such images, so the result would be wrong; let them be prepared (Automatic)."


@dataclass(frozen=True)
class Agreement:
    """Whether chosen volumes make a case.

    Attributes:
        sentence: What is right, what will be done, or what is wrong.
        canRun: Whether they can be segmented.
    """

    sentence: str
    canRun: bool


def roleOfVolume(nameOrNode: Any) -> str | None:
    """The modality that the name of a volume or the description of its DICOM series gives; None if neither does."""
    if isinstance(nameOrNode, str):
        texts = (nameOrNode,)
    else:
        texts = (nameOrNode.GetName() or "", nameOrNode.GetAttribute("DICOM.SeriesDescription") or "")
    return next((role for role in map(role_of_name, texts) if role in MODALITIES), None)


def proposeInputs(scene: Any) -> dict[str, Any]:
    """A volume for each modality that the scene has, of one study; {} where nothing tells.

    Of several studies (subject hierarchy) that with most modalities is taken, of equals the one loaded last. Where a
    study has two volumes for one modality, that whose name shares most with the others' is taken.
    """
    best: dict[str, Any] = {}
    for volumes in _byStudy(scene).values():
        found = _onePerRole(volumes)
        if found and len(found) >= len(best):
            best = found
    return {role: best[role] for role in MODALITIES if role in best}


def volumeOf(node: Any) -> Volume:
    """A volume node as the library has it: (I, J, K), a view of the node's voxels, and the affine to world RAS mm.

    Raises:
        ValueError: Not a scalar volume with an image, or under a transform that is not linear.
    """
    problem = _problemOf(node)
    if problem:
        raise ValueError(problem)
    return Volume(voxelsOf(node), asScanned(node))


def describeAgreement(nodes: Mapping[str, Any]) -> Agreement:
    """Whether four volumes lie in one space and what will be resampled; no voxel is read.

    Args:
        nodes: By modality; a missing one or None is one not chosen yet.
    """
    missing = [MODALITY_NAMES[role] for role in MODALITIES if nodes.get(role) is None]
    if missing:
        return Agreement(f"Choose a volume for {listed(missing)}.", False)
    problem = _firstProblem({role: nodes[role] for role in MODALITIES})
    if problem:
        return Agreement(problem, False)
    try:
        grids = {role: _gridOf(nodes[role]) for role in MODALITIES}
    except ValueError as error:
        return Agreement(str(error), False)
    return _agreement(grids, {role: nodes[role].GetName() for role in MODALITIES})


def lookAt(nodes: Mapping[str, Any]) -> Look:
    """What four volumes show, skull or not, aligned or not; all voxels are read, in about half a second.

    Args:
        nodes: By modality; volumes that agree (``describeAgreement``).

    Raises:
        ValueError: As of ``volumeOf``.
    """
    return look_at(with_zero_background({role: volumeOf(nodes[role]) for role in MODALITIES})[0])


def describePlan(nodes: Mapping[str, Any], look: Look, prepare: str, hasMask: bool) -> str:
    """What four volumes that agree show, and what will be done to them.

    Args:
        nodes: By modality.
        look: What ``lookAt`` gave.
        prepare: auto, none or all.
        hasMask: Whether a person's mask of the brain is given.
    """
    agreed = describeAgreement(nodes).sentence
    if prepare == "none":
        return agreed if look.is_ready else f"{agreed} {look.sentence}: {NOT_FIT}"
    if prepare == "auto" and look.is_ready and not hasMask:
        return f"{look.sentence}: taken as it is. {agreed}"
    done = [] if look.is_ready and prepare != "all" else ["aligned to T1ce"]
    if hasMask:
        done.append("cut to the brain mask")
    elif "t1c" in look.with_skull or prepare == "all":
        done.append("the brain found")
    else:
        done.append("cut to the brain that T1ce shows")
    return f"{look.sentence}: will be {', and '.join(done)}. The result lies on T1ce, {_size(_gridOf(nodes['t1c']))}."


# --- names ---


def _byStudy(scene: Any) -> dict[int, list[Any]]:
    """Scalar volumes that belong to no result, by the subject hierarchy item above them."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    studies: dict[int, list[Any]] = {}
    nodes = [scene.GetNthNodeByClass(n, SCALAR) for n in range(scene.GetNumberOfNodesByClass(SCALAR))]
    for node in nodes:
        if _problemOf(node) is None and not node.GetAttribute(RESULT_ATTRIBUTE):
            item = hierarchy.GetItemByDataNode(node)
            studies.setdefault(hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID(), []).append(node)
    return studies


def _onePerRole(volumes: Iterable[Any]) -> dict[str, Any]:
    candidates: dict[str, list[Any]] = {}
    for node in volumes:
        role = roleOfVolume(node)
        if role:
            candidates.setdefault(role, []).append(node)
    everyone = [node for nodes in candidates.values() for node in nodes]
    return {role: max(nodes, key=lambda node: _likeness(node, everyone)) for role, nodes in candidates.items()}


def _likeness(node: Any, others: Iterable[Any]) -> int:
    """How many characters the beginnings of names have in common, over all other volumes."""
    return sum(_commonStart(node.GetName(), other.GetName()) for other in others if other is not node)


def _commonStart(first: str, second: str) -> int:
    same = [a == b for a, b in zip(first, second, strict=False)]
    return (*same, False).index(False)


# --- space ---


def _problemOf(node: Any) -> str | None:
    """Why a node is no input, in a sentence; None where it is one."""
    if node is None or not node.IsA(SCALAR):
        return f"{'Nothing' if node is None else node.GetName()} is not a volume; choose an image."
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        return f"{node.GetName()} is a label map; choose an image."
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        return f"{node.GetName()} has no voxels; load it again or choose another volume."
    if image.GetNumberOfScalarComponents() != 1:
        return f"{node.GetName()} has {image.GetNumberOfScalarComponents()} values per voxel; choose a scalar volume."
    return None


def _firstProblem(nodes: Mapping[str, Any]) -> str | None:
    chosen: dict[str, str] = {}
    for role, node in nodes.items():
        problem = _problemOf(node)
        if problem:
            return f"{MODALITY_NAMES[role]}: {problem}"
        if node.GetID() in chosen:
            both = f"{MODALITY_NAMES[chosen[node.GetID()]]} and for {MODALITY_NAMES[role]}"
            return f"{node.GetName()} is chosen for {both}; choose four different volumes."
        chosen[node.GetID()] = role
    return None


def _gridOf(node: Any) -> Volume:
    """The grid of a volume node, with an image that takes no memory."""
    return Volume(np.broadcast_to(np.float32(0), node.GetImageData().GetDimensions()), asScanned(node))


def _agreement(grids: Mapping[str, Volume], names: Mapping[str, str]) -> Agreement:
    reference = choose_reference(grids)
    target = grids[reference]
    where = f"the grid of {MODALITY_NAMES[reference]}, {_size(target)}"
    others = {role: grid for role, grid in grids.items() if not same_grid(grid, target.shape, target.affine)}
    if not others:
        return Agreement(f"All four are on one grid: {_size(target)}.", True)
    sentences = []
    for role, grid in others.items():
        share = overlap(grid, target)
        if share < LEAST_OVERLAP:
            both = f"{MODALITY_NAMES[role]} ({names[role]}) and {MODALITY_NAMES[reference]} ({names[reference]})"
            return Agreement(f"{both} lie in different spaces; choose images of one patient, registered.", False)
        if share < GOOD_OVERLAP:
            sentences.append(f"{MODALITY_NAMES[role]} shares only {share:.0%} of its field of view: check it.")
    copied = [MODALITY_NAMES[r] for r, grid in others.items() if same_lattice(grid, target.shape, target.affine)]
    resampled = [MODALITY_NAMES[role] for role in others if MODALITY_NAMES[role] not in copied]
    if resampled:
        sentences.insert(0, f"{listed(resampled)} will be resampled to {where}, which has the smallest voxels.")
    if copied:
        sentences.insert(0, f"{listed(copied)} will be copied, voxel by voxel, to {where}.")
    return Agreement(" ".join(sentences), True)


def _size(grid: Volume) -> str:
    voxels, spacing = (" × ".join(f"{n:.3g}" for n in numbers) for numbers in (grid.shape, grid.spacing_mm))
    return f"{voxels} voxels of {spacing} mm"
