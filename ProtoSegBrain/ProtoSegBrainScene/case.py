"""A case in a scene: its images as volume nodes, and its name from theirs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainScene.grid import addVolume


def addCase(scene: Any, case: Case) -> dict[str, Any]:
    """Add the images of a case, each on the grid that it was read on; volume nodes by modality."""
    volumes = case.originals or [Volume(image, case.affine) for image in case.images]
    nodes = {}
    for role, volume in zip(MODALITIES, volumes, strict=True):
        name = f"{case.case_id} {MODALITY_NAMES[role]}"
        nodes[role] = addVolume(scene, "vtkMRMLScalarVolumeNode", name, volume)
        nodes[role].CreateDefaultDisplayNodes()
    return nodes


def caseIdOf(inputs: Mapping[str, Any]) -> str:
    """What the names of the volumes begin with, fit for a file name; "case" where they have nothing in common."""
    names = [node.GetName() for node in inputs.values()]
    start = "".join(letters[0] for letters in itertools.takewhile(_areEqual, zip(*names, strict=False)))
    if any(name[len(start) : len(start) + 1].isalnum() for name in names):  # not in the middle of a word
        start = re.sub(r"[^\W_]+$", "", start)
    return re.sub(r"[^\w.-]+", "_", start).strip("_.-") or "case"


def _areEqual(letters: tuple[str, ...]) -> bool:
    return len(set(letters)) == 1
