"""A case in a scene: its images as volume nodes, and its name from theirs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import slicer

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.study import Study
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainScene.grid import addVolume
from ProtoSegBrainScene.hierarchy import itemOf

SCALAR = "vtkMRMLScalarVolumeNode"


def addCase(scene: Any, case: Case) -> dict[str, Any]:
    """Add the images of a case, each on the grid that it was read on; volume nodes by modality."""
    volumes = case.originals or [Volume(image, case.affine) for image in case.images]
    nodes = {}
    for role, volume in zip(MODALITIES, volumes, strict=True):
        name = f"{case.case_id} {MODALITY_NAMES[role]}"
        nodes[role] = addVolume(scene, SCALAR, name, volume)
        nodes[role].CreateDefaultDisplayNodes()
    return nodes


def addStudy(scene: Any, study: Study) -> dict[str, Any]:
    """Add the images of a study as they were stored; volume nodes by modality.

    Those of DICOM say which series and instances they are, and stand in an item of their study, as if Slicer's DICOM
    module had loaded them.
    """
    nodes = {}
    for role in MODALITIES:
        name = f"{study.case_id} {MODALITY_NAMES[role]}"
        nodes[role] = addVolume(scene, SCALAR, name, study.volumes[role])
        nodes[role].CreateDefaultDisplayNodes()
        if role in study.series:
            _markSeries(nodes[role], study.series[role], study.case_id)
    return nodes


def _markSeries(node: Any, series: Any, caseId: str) -> None:
    node.SetAttribute("DICOM.SeriesDescription", series.description)
    instances = dict.fromkeys(str(frame.header.SOPInstanceUID) for frame in series.frames)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(instances))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    study = hierarchy.GetItemByUID("DICOM", series.study)
    if not study:
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), caseId)
        hierarchy.SetItemUID(study, "DICOM", series.study)
    item = itemOf(hierarchy, node)
    hierarchy.SetItemParent(item, study)
    hierarchy.SetItemUID(item, "DICOM", series.uid)


def caseIdOf(inputs: Mapping[str, Any]) -> str:
    """What the names of the volumes begin with, fit for a file name; "case" where they have nothing in common."""
    names = [node.GetName() for node in inputs.values()]
    start = "".join(letters[0] for letters in itertools.takewhile(_areEqual, zip(*names, strict=False)))
    if any(name[len(start) : len(start) + 1].isalnum() for name in names):  # not in the middle of a word
        start = re.sub(r"[^\W_]+$", "", start)
    return re.sub(r"[^\w.-]+", "_", start).strip("_.-") or "case"


def _areEqual(letters: tuple[str, ...]) -> bool:
    return len(set(letters)) == 1
