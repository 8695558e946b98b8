"""Two patients in one scene: whatever is done, all that is to be seen belongs to one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from open_panel import a_prediction, add_inputs
from slicer_stand_ins import slicer, vtk

from ProtoSegBrainLib.segmentation.process import Done

NOT_YET = "Not segmented yet."
PATIENTS = {"A", "B", "C"}


def of_patient(name: str) -> Any:
    return replace(a_prediction(), case_id=name)


def load(panel: Any, name: str) -> dict[str, Any]:
    nodes = add_inputs(f"{name} ")
    panel.inputs.choose(nodes)
    return nodes


def patient_of(node: Any) -> str:
    return node.GetName().split()[0]


def nodes_of_class(kind: str) -> list[Any]:
    return slicer.util.getNodesByClass(kind, slicer.mrmlScene)


def seen_in_slices() -> set[str]:
    """Patients of the volumes in all slice views, Slicer's own among them."""
    found = set()
    for composite in nodes_of_class("vtkMRMLSliceCompositeNode"):
        ids = [composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()]
        found |= {patient_of(slicer.mrmlScene.GetNodeByID(each)) for each in ids if each}
    return found


def seen_over_views() -> set[str]:
    """Patients of all that is drawn by itself: segments, surfaces, clouds, legends; of tables that are shown."""
    found = set()
    for node in nodes_of_class("vtkMRMLDisplayableNode"):
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        if any(display.GetVisibility() for display in displays if not display.IsA("vtkMRMLVolumeDisplayNode")):
            found.add(patient_of(node))
    tables = [view.GetTableNode() for view in nodes_of_class("vtkMRMLTableViewNode")]
    return PATIENTS & (found | {patient_of(table) for table in tables if table})


def assert_seen(panel: Any, patient: str, segmented: bool = True) -> None:
    """All that is to be seen is of this patient, and that is something, at once and when the window has rested."""
    assert_seen_now(panel, patient, segmented)
    panel.rest()
    assert_seen_now(panel, patient, segmented)


def assert_seen_now(panel: Any, patient: str, segmented: bool) -> None:
    assert seen_in_slices() == {patient}
    assert seen_over_views() == ({patient} if segmented else set())
    assert {patient_of(node) for node in panel.inputs.nodes().values()} == {patient}
    assert (panel.result is not None) == segmented
    if segmented:
        assert patient_of(panel.result.nodes.segmentation) == patient
        assert panel.ui.segmentationSelector.currentNode() is panel.result.nodes.segmentation
        assert not panel.ui.resultStateLabel.isVisible()
    else:
        assert panel.ui.segmentationSelector.currentNode() is None
        assert panel.text("resultStateLabel").startswith(NOT_YET)
        assert panel.ui.volumesTable.rowCount() == panel.ui.prototypesTable.rowCount() == 0


@pytest.fixture
def two(panel: Any) -> Any:
    """Both segmented, B shown; Slicer's own red view and a table view began with A."""
    images = load(panel, "A")
    for composite in nodes_of_class("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(images["t2f"].GetID())
    panel.a = panel.segment(of_patient("A"))
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableViewNode")
    view.SetTableNodeID(panel.a.nodes.volumes.GetID())
    load(panel, "B")
    panel.b = panel.segment(of_patient("B"))
    return panel


def choose(panel: Any, result: Any) -> None:
    panel.ui.segmentationSelector.setCurrentNode(result.nodes.segmentation)


def test_every_action_shows_one_patient(panel):
    load(panel, "A")
    assert_seen(panel, "A", segmented=False)
    a = panel.segment(of_patient("A"))
    assert_seen(panel, "A")
    load(panel, "B")
    assert_seen(panel, "B", segmented=False)
    b = panel.segment(of_patient("B"))
    assert_seen(panel, "B")
    for name in ("showThreeDCheckBox", "volumeRenderingCheckBox", "surfaceCheckBox", "showOutlinesCheckBox"):
        for result, patient in ((a, "A"), (b, "B")):
            panel.click(name)
            assert_seen(panel, patient_of(panel.result.nodes.segmentation))
            choose(panel, result)
            assert_seen(panel, patient)
    for result, patient in ((a, "A"), (b, "B")):
        choose(panel, result)
        panel.rest()
        panel.choose(4)
        panel.tick(2, False)
        assert_seen(panel, patient)
        panel.click("undoButton")
        assert_seen(panel, patient)
        for name in ("showMapCheckBox", "showUncertaintyCheckBox", "showUncertaintyCheckBox", "showMapCheckBox"):
            panel.click(name)
            assert_seen(panel, patient)


def test_3d_off_leaves_no_surface_of_another_result(two):
    display = two.b.nodes.segmentation.GetDisplayNode()
    if not two.parameters.showThreeD:
        two.click("showThreeDCheckBox")
    assert display.GetVisibility3D()
    choose(two, two.a)
    two.click("showThreeDCheckBox")
    for result in (two.a, two.b):
        for node in (result.nodes.segmentation, result.nodes.regions):
            shown = node.GetDisplayNode()
            assert not (shown.GetVisibility() and shown.GetVisibility3D())


def test_a_chosen_result_brings_its_images_and_its_switched_off_prototypes(two):
    two.tick(2, False)
    choose(two, two.a)  # before the window has done the rest of the what-if
    assert list(two.parameters.disabledPrototypes) == []
    assert_seen(two, "A")
    choose(two, two.b)
    assert list(two.parameters.disabledPrototypes) == [2]
    assert_seen(two, "B")
    selectors = [two.ui.inputFlairSelector, two.ui.inputT1Selector, two.ui.inputT1ceSelector, two.ui.inputT2Selector]
    assert {patient_of(selector.currentNode()) for selector in selectors} == {"B"}


def test_another_patient_is_gone_to_at_once_and_the_last_run_is_not_told_of_it(two):
    assert "Done in" in two.text("stageLabel")
    (crosshair,) = nodes_of_class("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(0, 0, 0)
    choose(two, two.a)
    assert two.text("stageLabel") == ""
    voxel = np.linalg.inv(two.a.original.affine) @ [*crosshair.GetCrosshairRAS(), 1]
    assert two.a.original.label[tuple(np.rint(voxel[:3]).astype(int))] > 0
    crosshair.SetCrosshairRAS(0, 0, 0)
    slicer.mrmlScene.RemoveNode(two.inputs.nodes()["t2w"])
    assert crosshair.GetCrosshairRAS() == (0, 0, 0)


def test_no_result_chosen_hides_all_and_says_so(two):
    two.ui.segmentationSelector.setCurrentNode(None)
    assert seen_over_views() == set()
    assert "hidden" in two.text("resultStateLabel")
    choose(two, two.b)
    assert_seen(two, "B")


def test_another_input_hides_the_result_and_the_first_brings_it_back(two):
    other = add_inputs("B ")["t2f"]
    own = two.inputs.nodes()["t2f"]
    two.ui.inputFlairSelector.setCurrentNode(other)
    assert_seen(two, "B", segmented=False)
    two.ui.inputFlairSelector.setCurrentNode(own)
    assert_seen(two, "B")


def test_a_moved_input_hides_the_result_until_it_is_back(two):
    two.parameters.prepare = "As it is"
    node = two.inputs.nodes()["t1c"]
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert_seen(two, "B")  # it moves nothing yet
    turned, straight = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    turned.SetElement(0, 3, 5.0)
    transform.SetMatrixTransformToParent(turned)
    assert_seen(two, "B", segmented=False)
    assert "T1ce moved or changed after B was made" in two.text("resultStateLabel")
    assert "resampled" in two.text("agreementLabel")
    choose(two, two.b)
    assert_seen(two, "B", segmented=False)
    transform.SetMatrixTransformToParent(straight)
    assert_seen(two, "B")
    assert "on one grid" in two.text("agreementLabel")


def test_other_voxels_hide_the_result_and_a_further_run_has_a_number(two):
    from ProtoSegBrainScene.grid import setVoxels, voxelsOf

    node = two.inputs.nodes()["t2w"]
    kept = voxelsOf(node).copy()
    setVoxels(node, kept + np.float32(1))
    assert_seen(two, "B", segmented=False)
    second = two.segment(of_patient("B"))
    assert second.nodes.segmentation.GetName() == "B 2"
    assert second.nodes.uncertainty.GetName() == "B 2 uncertainty"
    assert_seen(two, "B")
    setVoxels(node, kept)
    assert two.result.nodes == two.b.nodes
    assert_seen(two, "B")


def test_an_input_that_changes_during_the_run_is_noticed(panel):
    nodes = load(panel, "A")
    panel.click("segmentButton")
    nodes["t1n"].GetImageData().GetPointData().GetScalars().Fill(7)
    nodes["t1n"].GetImageData().GetPointData().GetScalars().Modified()
    panel.answer(Done(1, of_patient("A")))
    assert_seen(panel, "A", segmented=False)
    assert "T1 moved or changed" in panel.text("resultStateLabel")


@pytest.mark.parametrize("part", ["segmentation", "regions", "uncertainty", "brain", "details", "volumes"])
@pytest.mark.parametrize("shown", [True, False], ids=["shown", "hidden"])
def test_deleting_a_part_is_survived(two, part, shown):
    victim, other = (two.b, two.a) if shown else (two.a, two.b)
    slicer.mrmlScene.RemoveNode(getattr(victim.nodes, part))
    assert_seen(two, "B", segmented=not shown)
    assert not two.ui.messageFrame.isVisible()
    choose(two, other)
    assert_seen(two, patient_of(other.nodes.segmentation))


def test_deleting_the_folder_of_a_result_is_survived_and_it_can_be_made_again(two):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    two.click("surfaceCheckBox")
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(two.b.nodes.segmentation))
    assert hierarchy.GetItemName(folder) == "ProtoSegBrain B"
    hierarchy.RemoveItem(folder)
    assert_seen(two, "B", segmented=False)
    assert not [node for node in nodes_of_class("vtkMRMLModelNode") if "painted" in node.GetName()]
    assert two.ui.segmentationSelector.offered() == ["A"]
    again = two.segment(of_patient("B"))
    assert again.nodes.segmentation.GetName() == "B"
    assert_seen(two, "B")


def test_a_result_that_lost_a_part_is_mended_by_a_further_run(two):
    slicer.mrmlScene.RemoveNode(two.b.nodes.details)
    assert "A part of B is missing" in two.text("resultStateLabel")
    again = two.segment(of_patient("B"))
    assert again.nodes.segmentation is two.b.nodes.segmentation
    assert len([node for node in nodes_of_class("vtkMRMLSegmentationNode") if patient_of(node) == "B"]) == 2
    assert_seen(two, "B")


def test_a_removed_image_leaves_the_result_and_chooses_no_other(two):
    slicer.mrmlScene.RemoveNode(two.inputs.nodes()["t1c"])
    assert two.inputs.nodes()["t1c"] is None
    assert two.result is not None
    assert seen_over_views() == {"B"}


def test_a_scene_that_is_loaded_shows_one_patient_and_gives_the_other(two, tmp_path):
    two.click("volumeRenderingCheckBox")
    choose(two, two.a)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "two.mrb"))
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "two.mrb"), True)
    assert_seen(two, "A")
    (b,) = [node for node in nodes_of_class("vtkMRMLSegmentationNode") if node.GetName() == "B"]
    two.ui.segmentationSelector.setCurrentNode(b)
    assert_seen(two, "B")


def test_a_scene_that_is_added_to_another_mixes_no_patients(panel, tmp_path):
    load(panel, "A")
    panel.segment(of_patient("A"))
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "a.mrb"))
    slicer.mrmlScene.Clear(False)
    load(panel, "B")
    panel.segment(of_patient("B"))
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "a.mrb"), False)
    assert sorted(panel.ui.segmentationSelector.offered()) == ["A", "B"]
    now = patient_of(panel.result.nodes.segmentation)
    assert_seen(panel, now)
    for name in ("A", "B", "A"):
        (node,) = [node for node in nodes_of_class("vtkMRMLSegmentationNode") if node.GetName() == name]
        panel.ui.segmentationSelector.setCurrentNode(node)
        assert_seen(panel, name)


def test_the_whole_patient_can_be_deleted(two):
    for node in [*two.inputs.nodes().values(), *vars(two.b.nodes).values()]:
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)
    two.rest()
    two.wait(lambda: two.result is None)  # in a later turn of the event loop
    assert seen_over_views() == set()
    assert not any(two.inputs.nodes().values())
    assert not two.ui.messageFrame.isVisible()
    choose(two, two.a)
    assert_seen(two, "A")


def test_a_result_of_a_script_hides_the_one_before(two):
    inputs = add_inputs("C ")
    two.logic.results.show(replace(a_prediction(), case_id="C"), inputs)
    assert seen_over_views() == {"C"}
    two.inputs.choose(inputs)
    assert_seen(two, "C")


def test_only_results_and_images_are_offered(two):
    assert two.ui.segmentationSelector.offered() == ["A", "B"]
    images = {f"{patient} {name}" for patient in "AB" for name in ("FLAIR", "T1", "T1ce", "T2")}
    assert set(two.ui.inputFlairSelector.offered()) == images
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    assert other.GetName() not in two.ui.segmentationSelector.offered()


def test_deleted_classes_leave_no_hidden_regions_that_segment_editor_would_find(two):
    slicer.mrmlScene.RemoveNode(two.a.nodes.segmentation)
    two.rest()
    left = [node.GetName() for node in nodes_of_class("vtkMRMLSegmentationNode")]
    assert left == ["B", "B regions"]
    assert two.a.nodes.uncertainty.GetScene() is slicer.mrmlScene  # what can be seen in the Data module stays
    assert_seen(two, "B")


def test_the_classes_come_before_the_regions_in_the_scene(panel):
    result = panel.segment()
    first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert first is result.nodes.segmentation
    assert result.nodes.regions.GetHideFromEditors()
