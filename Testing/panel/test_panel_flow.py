"""From four volumes to a result and to what can be done with it, by clicks; MRML is the real one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from by_hand import without_prototypes
from open_panel import OBLIQUE, OpenPanel, a_prediction, add_inputs, open_panel
from slicer_stand_ins import FileDialog, slicer, vtk

from ProtoSegBrainLib.segmentation.client import Done, Failed, Progress


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPanel]:
    with open_panel(monkeypatch) as panel:
        yield panel


def crosshair_at(*ras: float) -> None:
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*ras)


def foregrounds() -> set[str | None]:
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", slicer.mrmlScene)
    return {composite.GetForegroundVolumeID() for composite in composites}


# -- inputs ----------------------------------------------------------------------------------------------------------


def test_inputs_are_chosen_by_their_names_when_the_module_is_opened(monkeypatch):
    with open_panel(monkeypatch, entered=False) as panel:
        nodes = add_inputs()
        panel.widget.enter()
        assert panel.widget.inputs.nodes() == nodes
        assert "on one grid" in panel.text("agreementLabel")
        assert panel.ui.segmentButton.isEnabled()


def test_volumes_that_are_loaded_meanwhile_are_chosen(panel):
    nodes = add_inputs()
    panel.wait(lambda: panel.widget.inputs.nodes() == nodes)
    assert panel.ui.segmentButton.isEnabled()


def test_inputs_that_were_chosen_are_not_replaced(panel):
    nodes = add_inputs()
    panel.ui.inputFlairSelector.setCurrentNode(nodes["t2w"])
    panel.widget.inputs.fillEmpty()
    assert panel.widget.inputs.nodes() == {"t2f": nodes["t2w"], "t1n": None, "t1c": None, "t2w": None}
    panel.click("fillInputsButton")
    assert panel.widget.inputs.nodes() == nodes


def test_names_that_tell_nothing_are_told(panel):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "something")
    panel.click("fillInputsButton")
    assert "No volume of the scene has a name" in panel.text("messageLabel")


def test_one_volume_for_two_modalities_cannot_be_segmented(panel):
    nodes = add_inputs()
    panel.widget.inputs.choose({**nodes, "t2f": nodes["t1n"]})
    assert "chosen for" in panel.text("agreementLabel")
    assert not panel.ui.segmentButton.isEnabled()


def test_a_transform_on_an_input_is_seen(panel):
    nodes = add_inputs()
    panel.widget.inputs.choose(nodes)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 3000.0)
    transform.SetMatrixTransformToParent(matrix)
    nodes["t2f"].SetAndObserveTransformNodeID(transform.GetID())
    panel.widget.refresh()
    assert "different spaces" in panel.text("agreementLabel")
    assert not panel.ui.segmentButton.isEnabled()


def test_a_folder_is_loaded_and_its_modalities_assigned(panel, tmp_path, a_case):
    from ProtoSegBrainLib.images.simulate import write_case

    FileDialog.answers.append(str(write_case(a_case, tmp_path)))
    panel.click("loadFolderButton")
    names = [node.GetName() for node in panel.widget.inputs.nodes().values()]
    assert names == [f"{a_case.case_id} {name}" for name in ("FLAIR", "T1", "T1ce", "T2")]
    assert panel.ui.segmentButton.isEnabled()


def test_a_folder_without_a_case_adds_nothing(panel, tmp_path):
    before = panel.nodes()
    FileDialog.answers.append(str(tmp_path))
    panel.click("loadFolderButton")
    assert "no file found for" in panel.text("messageLabel")
    assert panel.nodes() == before


# -- segmenting ------------------------------------------------------------------------------------------------------


def test_segment_sends_the_images_and_the_settings(panel):
    nodes = add_inputs("case_7 ")
    panel.widget.inputs.choose(nodes)
    panel.ui.deviceComboBox.setCurrentText("CPU")
    panel.ui.testTimeAugmentationCheckBox.click()
    panel.click("segmentButton")
    (asked,) = panel.worker.asked
    assert (asked["case_id"], asked["device"], asked["tta"], asked["model"]) == ("case_7", "cpu", True, None)
    assert asked["volumes"]["t2f"].array.shape == (24, 20, 16)
    np.testing.assert_allclose(asked["volumes"]["t2f"].affine, OBLIQUE)


def test_while_it_runs_progress_is_shown_and_inputs_cannot_be_changed(panel):
    panel.widget.inputs.choose(add_inputs())
    panel.click("segmentButton")
    assert panel.text("segmentButton") == "&Cancel"
    panel.answer(Progress(1, 0.3, "Running the network"))
    assert panel.ui.progressBar.value() == 30
    assert panel.text("stageLabel") == "Running the network"
    assert panel.text("elapsedLabel").endswith("s")
    assert "s  Running the network\nLoading torch." in panel.ui.logTextEdit.toPlainText()
    assert not panel.ui.inputFlairSelector.isEnabled()
    assert not panel.ui.loadFolderButton.isEnabled()


def test_the_result_is_shown_with_its_volumes(panel):
    result = panel.segment()
    segments = result.nodes.segmentation.GetSegmentation()
    assert [segments.GetNthSegment(n).GetName() for n in range(3)] == ["NCR", "ED", "ET"]
    table = panel.ui.volumesTable
    shown = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount())]
    whole = f"{a_prediction().volumes_ml['WT']:.1f} ml"
    assert shown[0] == ["Whole tumour (WT)", whole, "1.5 to 6.0 ml", "0.85"]
    assert len(shown) == 5
    assert "T2 was resampled." in panel.text("warningsLabel")
    assert "like those learned from" in panel.text("familiarityLabel")
    assert panel.text("segmentButton") == "&Segment"
    assert "Done in" in panel.text("stageLabel")


def test_a_second_run_on_the_same_volumes_replaces_the_first(panel):
    first = panel.segment()
    before = panel.nodes()
    second = panel.segment()
    assert second.nodes.segmentation is first.nodes.segmentation
    assert len(panel.nodes()) == len(before)
    panel.widget.inputs.choose(add_inputs("other "))
    third = panel.segment()
    assert third.nodes.segmentation is not first.nodes.segmentation


def test_cancel_leaves_the_scene_as_it_was(panel):
    panel.widget.inputs.choose(add_inputs())
    before = panel.nodes()
    panel.click("segmentButton")
    panel.click("segmentButton")
    assert panel.worker.cancelled == 1
    assert panel.text("segmentButton") == "&Segment"
    assert "Cancelled" in panel.text("stageLabel")
    assert panel.nodes() == before


def test_a_failure_is_told_with_details_to_copy(panel):
    panel.widget.inputs.choose(add_inputs())
    before = panel.nodes()
    panel.click("segmentButton")
    panel.answer(Failed(1, "internal", "The worker was killed by the system.", "Exit code -9."))
    assert panel.text("messageLabel") == "The worker was killed by the system."
    assert panel.ui.messageFrame.isVisible()
    panel.click("copyDetailsButton")
    copied = slicer.app.clipboard().text()
    assert "Exit code -9." in copied
    assert "Loading torch." in copied
    assert panel.nodes() == before
    assert slicer.dialogs == []
    panel.click("closeMessageButton")
    assert not panel.ui.messageFrame.isVisible()


def test_a_result_that_cannot_be_shown_leaves_the_scene_as_it_was(panel):
    panel.widget.inputs.choose(add_inputs())
    before = panel.nodes()
    panel.click("segmentButton")
    damaged = replace(a_prediction(), similarities=np.zeros((3, 2, 2, 2), np.float32))
    panel.answer(Done(1, damaged))
    assert panel.ui.messageFrame.isVisible()
    assert "could not be shown" in panel.text("stageLabel")
    assert panel.nodes() == before
    assert panel.text("segmentButton") == "&Segment"


def test_a_full_disk_is_told(panel, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device: the images could not be sent.")

    panel.widget.inputs.choose(add_inputs())
    monkeypatch.setattr(panel.worker, "segment", full)
    panel.click("segmentButton")
    assert "No space left" in panel.text("messageLabel")
    assert panel.text("segmentButton") == "&Segment"


def test_closing_the_scene_ends_the_run(panel):
    panel.widget.inputs.choose(add_inputs())
    panel.click("segmentButton")
    slicer.mrmlScene.Clear(False)
    assert panel.worker.cancelled == 1
    assert "closed" in panel.text("messageLabel")
    assert not panel.ui.segmentButton.isEnabled()
    panel.worker.events.append(Done(1, a_prediction()))
    panel.widget.poll()
    assert panel.widget.result is None


def test_removing_an_input_ends_the_run(panel):
    nodes = add_inputs()
    panel.widget.inputs.choose(nodes)
    panel.click("segmentButton")
    slicer.mrmlScene.RemoveNode(nodes["t1c"])
    assert panel.worker.cancelled == 1
    assert "T1ce was removed" in panel.text("messageLabel")
    assert "T1ce" in panel.text("agreementLabel")


def test_removing_the_result_empties_the_panel(panel):
    result = panel.segment()
    slicer.mrmlScene.RemoveNode(result.nodes.segmentation)
    assert panel.widget.result is None
    assert panel.ui.volumesTable.rowCount() == panel.ui.prototypesTable.rowCount() == 0
    assert not panel.ui.saveResultsButton.isEnabled()
    assert not panel.ui.messageFrame.isVisible()
    assert foregrounds() == {None}


def test_removing_a_part_of_the_result_empties_the_panel(panel):
    result = panel.segment()
    slicer.mrmlScene.RemoveNode(result.nodes.similarity)
    assert panel.widget.result is None
    assert panel.ui.prototypesTable.rowCount() == 0


def test_cleanup_ends_the_worker_and_follows_nothing_any_more(panel):
    panel.segment()
    worker = panel.widget.logic._worker
    panel.widget.cleanup()
    assert worker.closed == 1
    assert panel.widget.Observations == []
    slicer.mrmlScene.Clear(False)


# -- the result ------------------------------------------------------------------------------------------------------


def test_3d_and_outlines(panel):
    nodes = panel.segment().nodes
    panel.click("showThreeDCheckBox")
    assert nodes.segmentation.GetDisplayNode().GetVisibility3D()
    panel.click("showOutlinesCheckBox")
    assert not nodes.segmentation.GetDisplayNode().GetVisibility()
    assert nodes.regions.GetDisplayNode().GetVisibility()
    panel.click("showOutlinesCheckBox")
    panel.click("showThreeDCheckBox")
    assert nodes.segmentation.GetDisplayNode().GetVisibility()
    assert not nodes.segmentation.GetDisplayNode().GetVisibility3D()


def test_results_are_saved_as_the_command_line_saves_them(panel, tmp_path):
    from ProtoSegBrainLib.result.prediction import read_prediction

    panel.segment()
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert "Wrote 6 files" in panel.text("messageLabel")
    assert read_prediction(tmp_path).volumes_ml == a_prediction().volumes_ml
    assert (tmp_path / "by_hand_report.html").is_file()
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert "already holds results" in panel.text("messageLabel")


def test_a_what_if_is_saved_with_its_findings(panel, tmp_path):
    from ProtoSegBrainLib.result.prediction import read_prediction

    panel.segment()
    panel.tick(2, False)
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    saved = read_prediction(tmp_path)
    assert saved.volumes_ml["ED"] == 0
    assert saved.findings["regions"]["WT"]["volume_ml"] == saved.volumes_ml["WT"]


def test_a_report_that_fails_leaves_no_files(panel, tmp_path):
    nodes = add_inputs()
    panel.widget.inputs.choose(nodes)
    panel.segment()
    slicer.mrmlScene.RemoveNode(nodes["t2f"])
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert "FLAIR not given" in panel.text("messageLabel")
    assert list(tmp_path.iterdir()) == []


# -- prototypes ------------------------------------------------------------------------------------------------------


def test_the_table_names_the_prototypes(panel):
    panel.segment()
    table = panel.ui.prototypesTable
    row = panel.row_of(2)
    assert table.rowCount() == 5
    assert table.item(row, 1).text() == "ED"
    assert table.item(row, 2).text() == "bright on T1ce and FLAIR: oedema"
    assert table.item(row, 3).text().endswith("%")


def test_choosing_a_row_shows_its_map_at_once(panel):
    nodes = panel.segment().nodes
    started = time.perf_counter()
    panel.ui.prototypesTable.selectRow(panel.row_of(4))
    assert time.perf_counter() - started < 0.2
    assert panel.widget.parameters.prototype == 4
    assert panel.text("chosenLabel").startswith("Prototype 4, ET: ")
    assert nodes.similarity.GetAttribute("ProtoSegBrain.prototype") == "4"
    assert foregrounds() == {nodes.similarity.GetID()}


def test_arrow_keys_step_through_the_prototypes(panel):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    panel.segment()
    panel.ui.prototypesTable.selectRow(1)
    panel.ui.prototypesTable.setFocus()
    QTest.keyClick(panel.ui.prototypesTable, Qt.Key.Key_Down)
    assert panel.widget.parameters.prototype == panel.widget.prototypes._rows[2].index


def test_threshold_opacity_and_map_follow_their_controls(panel):
    nodes = panel.segment().nodes
    panel.ui.thresholdSlider.setProperty("value", 0.45)
    panel.ui.opacitySlider.setProperty("value", 0.8)
    assert nodes.similarity.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.45)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", slicer.mrmlScene)
    assert {composite.GetForegroundOpacity() for composite in composites} == {0.8}
    panel.click("showMapCheckBox")
    assert foregrounds() == {None}
    panel.ui.prototypesTable.selectRow(panel.row_of(1))
    assert foregrounds() == {None}
    panel.click("showMapCheckBox")
    assert foregrounds() == {nodes.similarity.GetID()}


def test_the_map_lies_over_the_chosen_image(panel):
    panel.segment()
    panel.ui.backgroundComboBox.setCurrentText("T2")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", slicer.mrmlScene)
    assert {composite.GetBackgroundVolumeID() for composite in composites} == {
        panel.widget.inputs.nodes()["t2w"].GetID()
    }


def test_a_cleared_box_changes_result_and_table_undo_and_reset_bring_it_back(panel):
    result = panel.segment()
    own = result.original.volumes_ml
    started = time.perf_counter()
    panel.tick(2, False)
    assert time.perf_counter() - started < 0.5
    assert result.current.volumes_ml["ED"] < own["ED"]
    assert f"{result.current.volumes_ml['WT']:.1f} ml" == panel.ui.volumesTable.item(0, 1).text()
    assert "without prototype 2" in panel.text("whatIfLabel")
    panel.tick(1, False)
    assert "without prototypes 1, 2" in panel.text("whatIfLabel")
    panel.click("undoButton")
    assert list(panel.widget.parameters.disabledPrototypes) == [2]
    panel.click("resetButton")
    assert result.current is result.original
    assert not panel.ui.resetButton.isEnabled()
    panel.click("undoButton")
    assert result.disabled == (2,)
    panel.click("undoButton")
    panel.click("undoButton")
    assert result.disabled == ()
    assert not panel.ui.undoButton.isEnabled()


def test_a_new_run_has_all_prototypes_on(panel):
    panel.segment()
    panel.tick(2, False)
    result = panel.segment()
    assert result.disabled == ()
    assert not panel.ui.undoButton.isEnabled()
    assert not panel.ui.whatIfLabel.isVisible()


def test_the_strongest_spot_is_one_click_away(panel):
    result = panel.segment()
    panel.ui.prototypesTable.selectRow(panel.row_of(2))
    panel.click("strongestSpotButton")
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    expected = (result.original.similarity_affine @ (5, 4, 4, 1))[:3]
    np.testing.assert_allclose(crosshair.GetCrosshairRAS(), expected, atol=1e-4)


def test_cloud_and_painted_surface(panel):
    nodes = panel.segment().nodes
    panel.click("volumeRenderingCheckBox")
    (cloud,) = [
        slicer.mrmlScene.GetNthNode(n)
        for n in range(slicer.mrmlScene.GetNumberOfNodes())
        if slicer.mrmlScene.GetNthNode(n).IsA("vtkMRMLVolumeRenderingDisplayNode")
    ]
    assert cloud.GetVisibility()
    panel.click("showThreeDCheckBox")
    panel.click("surfaceCheckBox")
    (model,) = slicer.util.getNodesByClass("vtkMRMLModelNode", slicer.mrmlScene)[-1:]
    assert model.GetDisplayNode().GetVisibility()
    assert not nodes.segmentation.GetDisplayNode().GetVisibility3D()
    panel.click("surfaceCheckBox")
    panel.click("volumeRenderingCheckBox")
    assert not model.GetDisplayNode().GetVisibility()
    assert not cloud.GetVisibility()
    assert nodes.segmentation.GetDisplayNode().GetVisibility3D()


def test_the_uncertainty_takes_the_place_of_the_map_and_gives_it_back(panel):
    nodes = panel.segment().nodes
    panel.click("showUncertaintyCheckBox")
    assert foregrounds() == {nodes.uncertainty.GetID()}
    panel.ui.prototypesTable.selectRow(panel.row_of(4))
    assert foregrounds() == {nodes.uncertainty.GetID()}
    panel.click("showUncertaintyCheckBox")
    assert foregrounds() == {nodes.similarity.GetID()}


def test_another_result_takes_the_place_of_the_first_and_gives_it_back(panel):
    first = panel.segment()
    panel.tick(2, False)
    panel.click("volumeRenderingCheckBox")
    panel.widget.inputs.choose(add_inputs("other "))
    second = panel.segment()
    assert foregrounds() == {second.nodes.similarity.GetID()}
    assert list(panel.widget.parameters.disabledPrototypes) == []
    logic = panel.widget.logic.context.volumeRendering
    clouds = [logic.GetFirstVolumeRenderingDisplayNode(result.nodes.similarity) for result in (first, second)]
    assert [cloud.GetVisibility() for cloud in clouds] == [0, 1]
    panel.ui.segmentationSelector.setCurrentNode(first.nodes.segmentation)
    assert panel.widget.result is first
    assert list(panel.widget.parameters.disabledPrototypes) == [2]
    assert foregrounds() == {first.nodes.similarity.GetID()}
    assert [cloud.GetVisibility() for cloud in clouds] == [1, 0]


# -- why -------------------------------------------------------------------------------------------------------------


def test_the_crosshair_is_explained(panel):
    result = panel.segment()
    crosshair_at(*(OBLIQUE @ (12, 11, 9, 1))[:3])
    panel.wait(lambda: "logit of" in panel.text("whyLabel"))
    assert "Nearest: prototype" in panel.text("nearestCardLabel")
    explanation = panel.widget.logic.explainAt(result.nodes, (OBLIQUE @ (12, 11, 9, 1))[:3])
    assert f"<b>{explanation.class_name}</b>" in panel.text("whyLabel")
    crosshair_at(900, 0, 0)
    panel.wait(lambda: "outside the image" in panel.text("whyLabel"))
    assert not panel.ui.messageFrame.isVisible()


def test_the_explanation_follows_a_mouse_that_does_not_rest(panel):
    panel.segment()
    panel.wait(lambda: "outside the image" in panel.text("whyLabel"))
    started = time.monotonic()
    while "logit of" not in panel.text("whyLabel"):
        assert time.monotonic() - started < 5
        crosshair_at(*(OBLIQUE @ (12 + 0.1 * (time.monotonic() % 1), 11, 9, 1))[:3])
        slicer.app.processEvents()


def test_the_explanation_follows_a_what_if(panel):
    panel.segment()
    crosshair_at(*(OBLIQUE @ (10, 8, 8, 1))[:3])
    panel.wait(lambda: "logit of" in panel.text("whyLabel"))
    before = panel.text("whyLabel")
    panel.tick(2, False)
    panel.wait(lambda: "logit of" in panel.text("whyLabel") and panel.text("whyLabel") != before)


def test_terms_sum_to_the_logit(panel):
    from ProtoSegBrainPanel.why import termsOf

    from ProtoSegBrainLib.explanation.explain import explain

    prediction = a_prediction()
    explanation = explain(prediction, (OBLIQUE @ (12, 11, 9, 1))[:3])
    terms = termsOf(explanation, prediction.evidence)
    assert terms[0] == ("bias", 0.25)
    assert sum(value for _, value in terms) == pytest.approx(explanation.logits[explanation.class_name])


# -- coming and going ------------------------------------------------------------------------------------------------


def test_the_layout_is_ours_in_the_module_and_what_it_was_outside(panel):
    from ProtoSegBrainScene.layout import LAYOUT_ID

    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == LAYOUT_ID
    panel.widget.exit()
    assert layout.GetViewArrangement() != LAYOUT_ID
    panel.widget.enter()
    assert layout.GetViewArrangement() == LAYOUT_ID


def test_a_layout_that_was_chosen_meanwhile_stays(panel):
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutOneUp3DView)
    panel.segment()
    panel.widget.exit()
    assert layout.GetViewArrangement() == layout.SlicerLayoutOneUp3DView


def test_each_modality_has_its_view(panel):
    from ProtoSegBrainScene.layout import VIEWS, compositeNodes

    panel.widget.inputs.choose(add_inputs())
    views, nodes = compositeNodes(slicer.mrmlScene), panel.widget.inputs.nodes()
    shown = {role: views[name].GetBackgroundVolumeID() for role, name in VIEWS.items()}
    assert shown == {role: node.GetID() for role, node in nodes.items()}


def test_the_crosshair_is_seen_in_the_module_and_as_before_outside(panel):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    panel.widget.exit()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair


def test_a_scene_that_is_loaded_brings_all_back(panel, tmp_path):
    panel.segment()
    panel.ui.prototypesTable.selectRow(panel.row_of(4))
    panel.ui.thresholdSlider.setProperty("value", 0.45)
    panel.tick(2, False)
    changed = panel.widget.result.current.volumes_ml
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert panel.widget.result is None
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    result = panel.widget.result
    assert result is not None
    assert result.disabled == (2,)
    assert result.current.volumes_ml == changed
    assert result.original.volumes_ml == a_prediction().volumes_ml
    assert panel.widget.parameters.prototype == 4
    assert panel.ui.thresholdSlider.property("value") == pytest.approx(0.45)
    assert panel.ui.prototypesTable.currentRow() == panel.row_of(4)
    assert panel.ui.resetButton.isEnabled()
    assert [node.GetName() for node in panel.widget.inputs.nodes().values()] == [
        f"by hand {name}" for name in ("FLAIR", "T1", "T1ce", "T2")
    ]
    panel.click("resetButton")
    assert result.current.volumes_ml == a_prediction().volumes_ml


# -- without prototypes ------------------------------------------------------------------------------------------------


MUTE = "This model (mute) has no prototypes, so it cannot say why."


def test_without_prototypes_the_sections_say_so(panel):
    result = panel.segment(without_prototypes(a_prediction()))
    assert result.nodes.similarity is None
    assert panel.text("chosenLabel") == panel.text("whyLabel") == MUTE
    assert panel.ui.chosenLabel.isVisible()
    assert panel.ui.prototypesTable.rowCount() == 0
    for name in ("prototypesHintLabel", "mapScaleLabel", "whatIfLabel", "nearestCardLabel", "messageLabel"):
        assert not getattr(panel.ui, name).isVisible(), name
    for name in ("prototypesTable", "showMapCheckBox", "strongestSpotButton", "resetButton", "undoButton"):
        assert not getattr(panel.ui, name).isEnabled(), name
    crosshair_at(0, 0, 0)
    panel.wait(lambda: not panel.widget.why._isDue)
    assert panel.text("whyLabel") == MUTE
    assert panel.ui.volumesTable.rowCount() == 5
    panel.ui.showThreeDCheckBox.click()
    panel.ui.showOutlinesCheckBox.click()
    assert not panel.ui.messageLabel.isVisible()


def test_without_prototypes_the_uncertainty_comes_and_goes(panel):
    result = panel.segment(without_prototypes(a_prediction()))
    assert foregrounds() == {None}
    panel.ui.showUncertaintyCheckBox.click()
    assert foregrounds() == {result.nodes.uncertainty.GetID()}
    panel.ui.showUncertaintyCheckBox.click()
    assert foregrounds() == {None}
    panel.ui.showUncertaintyCheckBox.click()
    again = panel.segment()  # of a model with prototypes, in the same segmentation
    panel.ui.showUncertaintyCheckBox.click()
    assert foregrounds() == {again.nodes.similarity.GetID()}
    assert panel.ui.prototypesHintLabel.isVisible()
    assert panel.text("chosenLabel").startswith("Prototype ")
    panel.segment(without_prototypes(a_prediction()))
    assert foregrounds() == {None}
    assert panel.text("chosenLabel") == MUTE


def test_a_loaded_scene_without_prototypes_shows_what_it_showed(panel, tmp_path):
    mute = without_prototypes(a_prediction())
    panel.segment(mute)
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    result = panel.widget.result
    assert result.original.volumes_ml == mute.volumes_ml
    assert np.array_equal(np.bincount(result.original.label.ravel()), np.bincount(mute.label.ravel()))
    assert panel.text("chosenLabel") == MUTE


def test_results_without_prototypes_are_saved(panel, tmp_path):
    panel.segment(without_prototypes(a_prediction()))
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"by_hand_{ending}" for ending in ("prediction.json", "prob.nii.gz", "report.html", "seg.nii.gz", "unc.nii.gz")
    ]
