"""The images of a raw study in the panel: aligned while their result is shown, as scanned wherever it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from open_panel import a_prediction, a_prepared_prediction, add_inputs, assert_moved, places_of
from slicer_stand_ins import slicer, vtk

from ProtoSegBrainLib.segmentation.process import Done

SHIFT = vtk.vtkMatrix4x4()
SHIFT.SetElement(0, 3, 4.0)


def load(panel: Any, name: str) -> dict[str, Any]:
    nodes = add_inputs(f"{name} ")
    panel.inputs.choose(nodes)
    return nodes


def test_a_raw_study_is_shown_aligned_or_as_scanned(panel):
    inputs = add_inputs()
    panel.inputs.choose(inputs)
    places = places_of(inputs)
    result = panel.segment(a_prepared_prediction())
    assert panel.ui.showAlignedCheckBox.isEnabled()
    assert panel.ui.showAlignedCheckBox.isChecked()
    assert_moved(inputs, places)
    assert panel.text("resultStateLabel").startswith("Prepared: with skull, on four grids; T1 was left where it was;")
    assert "FLAIR was moved by 5.0 mm" in panel.text("resultStateLabel")
    assert "Prepared" not in panel.text("warningsLabel")
    assert "background" not in panel.ui.resultStateLabel.styleSheet()
    for _ in range(2):
        panel.click("showAlignedCheckBox")
        assert places_of(inputs) == pytest.approx(places)
        assert panel.result.nodes == result.nodes
        panel.click("showAlignedCheckBox")
        assert_moved(inputs, places)
    panel.click("showAlignedCheckBox")
    panel.segment(a_prepared_prediction())
    assert panel.ui.showAlignedCheckBox.isChecked()
    assert_moved(inputs, places)


def test_a_study_is_sent_as_it_was_scanned_however_it_is_shown(panel):
    panel.inputs.choose(add_inputs())
    panel.segment(a_prepared_prediction())
    panel.segment(a_prepared_prediction())
    first, second = (asked["volumes"] for asked in panel.worker.asked)
    for role, volume in first.items():
        assert second[role].affine == pytest.approx(volume.affine)


def test_where_nothing_was_moved_there_is_nothing_to_switch(panel):
    panel.segment()
    assert not panel.ui.showAlignedCheckBox.isEnabled()
    assert not panel.ui.resultStateLabel.isVisible()
    panel.segment(a_prepared_prediction())
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert not panel.ui.showAlignedCheckBox.isEnabled()


def test_a_what_if_leaves_the_images_aligned(panel):
    inputs = add_inputs()
    panel.inputs.choose(inputs)
    places = places_of(inputs)
    panel.segment(a_prepared_prediction())
    panel.tick(2, False)
    panel.rest()
    assert_moved(inputs, places)
    assert "Prepared" in panel.text("resultStateLabel")


def test_a_mask_that_was_chosen_outlives_the_result_it_came_with(panel):
    nodes = panel.segment(a_prepared_prediction()).nodes
    panel.parameters.brainMask = nodes.mask
    again = panel.segment(a_prepared_prediction()).nodes
    assert panel.parameters.brainMask is nodes.mask
    assert nodes.mask.GetScene() is slicer.mrmlScene
    assert nodes.mask.GetName() == "by_hand brain mask, kept"
    assert again.mask is not nodes.mask
    panel.segment(a_prepared_prediction())
    assert panel.parameters.brainMask is nodes.mask
    assert nodes.mask.GetName() == "by_hand brain mask, kept"


@pytest.fixture
def raw(panel: Any) -> Any:
    """A of a raw study, whose images lay under a transform before; B of a prepared one, shown."""
    panel.images = load(panel, "A")
    panel.above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "A before")
    for node in panel.images.values():
        node.SetAndObserveTransformNodeID(panel.above.GetID())
    panel.above.SetMatrixTransformToParent(SHIFT)
    panel.places = places_of(panel.images)
    panel.a = panel.segment(replace(a_prepared_prediction(), case_id="A"))
    assert_moved(panel.images, panel.places)
    load(panel, "B")
    panel.b = panel.segment(replace(a_prediction(), case_id="B"))
    return panel


def assert_as_scanned(raw: Any) -> None:
    assert places_of(raw.images) == pytest.approx(raw.places)
    assert {node.GetParentTransformNode() for node in raw.images.values()} == {raw.above}


def test_images_are_aligned_while_their_result_is_shown_and_only_then(raw):
    assert_as_scanned(raw)
    raw.ui.segmentationSelector.setCurrentNode(raw.a.nodes.segmentation)
    assert_moved(raw.images, raw.places)
    assert raw.result.current.case_id == "A"
    raw.ui.segmentationSelector.setCurrentNode(None)
    assert_as_scanned(raw)
    raw.ui.segmentationSelector.setCurrentNode(raw.a.nodes.segmentation)
    assert_moved(raw.images, raw.places)
    raw.ui.segmentationSelector.setCurrentNode(raw.b.nodes.segmentation)
    assert_as_scanned(raw)


def test_what_a_person_moves_hides_the_result_and_back_it_is_aligned_again(raw):
    raw.ui.segmentationSelector.setCurrentNode(raw.a.nodes.segmentation)
    raw.above.SetMatrixTransformToParent(vtk.vtkMatrix4x4())
    assert raw.result is None
    assert {node.GetParentTransformNode() for node in raw.images.values()} == {raw.above}
    raw.above.SetMatrixTransformToParent(SHIFT)
    assert raw.result.current.case_id == "A"
    assert_moved(raw.images, raw.places)


@pytest.mark.parametrize("part", ["segmentation", "mask", "brain", "folder"])
def test_images_go_back_when_their_result_is_deleted_in_part(raw, part):
    raw.ui.segmentationSelector.setCurrentNode(raw.a.nodes.segmentation)
    if part == "folder":
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        hierarchy.RemoveItem(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(raw.a.nodes.segmentation)))
    else:
        slicer.mrmlScene.RemoveNode(getattr(raw.a.nodes, part))
    raw.rest()
    assert not raw.ui.messageFrame.isVisible()
    if part == "mask":
        assert_moved(raw.images, raw.places)
    else:
        assert raw.result is None
        assert_as_scanned(raw)


def test_a_move_that_is_deleted_leaves_its_image_as_it_was_scanned(raw):
    raw.ui.segmentationSelector.setCurrentNode(raw.a.nodes.segmentation)
    slicer.mrmlScene.RemoveNode(raw.a.nodes.move_t2f)
    assert raw.images["t2f"].GetParentTransformNode() is raw.above
    assert raw.result.current.case_id == "A"
    assert raw.ui.showAlignedCheckBox.isEnabled()
    slicer.mrmlScene.RemoveNode(raw.a.nodes.move_t2w)
    assert_as_scanned(raw)
    assert raw.result.current.case_id == "A"
    assert not raw.ui.showAlignedCheckBox.isEnabled()


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "as scanned"])
def test_a_scene_with_a_raw_study_is_loaded_as_it_was_left(raw, tmp_path, aligned):
    raw.ui.segmentationSelector.setCurrentNode(raw.a.nodes.segmentation)
    if not aligned:
        raw.click("showAlignedCheckBox")
    raw.rest()
    seen = corners_of(raw.images)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "raw.mrb"))
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "raw.mrb"), True)
    assert raw.result.current.case_id == "A"
    assert raw.ui.showAlignedCheckBox.isChecked() == aligned
    assert corners_of(raw.inputs.nodes()) == pytest.approx(seen, abs=1e-3)
    raw.click("showAlignedCheckBox")
    assert raw.result.current.case_id == "A"
    assert corners_of(raw.inputs.nodes()) != pytest.approx(seen, abs=1e-3)
    raw.click("showAlignedCheckBox")
    assert corners_of(raw.inputs.nodes()) == pytest.approx(seen, abs=1e-3)


def corners_of(images: dict[str, Any]) -> np.ndarray:
    """The box of each image in the world, for Slicer turns grids that are left-handed."""
    boxes = []
    for role in sorted(images):
        bounds = [0.0] * 6
        images[role].GetRASBounds(bounds)
        boxes.append(bounds)
    return np.array(boxes)


def test_a_study_that_is_moved_during_its_run_is_not_aligned(panel):
    nodes = load(panel, "A")
    panel.click("segmentButton")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(SHIFT)
    nodes["t2f"].SetAndObserveTransformNodeID(transform.GetID())
    panel.answer(Done(1, replace(a_prepared_prediction(), case_id="A")))
    assert panel.result is None
    assert nodes["t2f"].GetParentTransformNode() is transform


def test_a_chosen_mask_that_is_deleted_leaves_none_chosen(panel):
    nodes = panel.segment(a_prepared_prediction()).nodes
    panel.parameters.brainMask = nodes.mask
    slicer.mrmlScene.RemoveNode(nodes.mask)
    assert panel.parameters.brainMask is None
    assert panel.result is not None
    assert not panel.ui.messageFrame.isVisible()


def test_the_mask_is_offered_as_a_brain_mask_and_the_tumour_is_not(panel):
    nodes = panel.segment(a_prepared_prediction()).nodes
    assert panel.ui.brainMaskSelector.offered() == [nodes.mask.GetName()]
    assert panel.ui.segmentationSelector.offered() == [nodes.segmentation.GetName()]
