"""The prototypes: table, maps, what-if; the uncertainty in the place of a map."""

from __future__ import annotations

import time

import numpy as np
import pytest
from open_panel import add_inputs, foregrounds
from slicer_stand_ins import slicer


def test_the_table_names_the_prototypes(panel):
    panel.segment()
    table = panel.ui.prototypesTable
    row = panel.row_of(2)
    assert table.rowCount() == 5
    assert table.item(row, 1).text() == "ED"
    assert table.item(row, 2).text() == "bright on T1ce and FLAIR"
    assert table.item(row, 2).toolTip() == "ED: bright on T1ce and FLAIR: oedema"
    assert table.item(row, 3).text().endswith("%")


def test_choosing_a_row_shows_its_map_at_once(panel):
    nodes = panel.segment().nodes
    started = time.perf_counter()
    panel.choose(4)
    assert time.perf_counter() - started < 0.2
    assert panel.parameters.prototype == 4
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
    assert panel.parameters.prototype == panel.widget.panel.prototypes._rows[2].index


def test_threshold_opacity_and_map_follow_their_controls(panel):
    nodes = panel.segment().nodes
    assert foregrounds() == {None}
    panel.click("showMapCheckBox")
    panel.ui.thresholdSlider.setProperty("value", 0.45)
    panel.ui.opacitySlider.setProperty("value", 0.8)
    assert nodes.similarity.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.45)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", slicer.mrmlScene)
    assert {composite.GetForegroundOpacity() for composite in composites} == {0.8}
    panel.click("showMapCheckBox")
    assert foregrounds() == {None}
    panel.choose(1)  # whoever clicks on a prototype wants to see it
    assert foregrounds() == {nodes.similarity.GetID()}


def test_the_map_lies_over_the_chosen_image(panel):
    panel.segment()
    panel.ui.backgroundComboBox.setCurrentText("T2")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", slicer.mrmlScene)
    assert {composite.GetBackgroundVolumeID() for composite in composites} == {panel.inputs.nodes()["t2w"].GetID()}


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
    assert list(panel.parameters.disabledPrototypes) == [2]
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
    panel.choose(2)
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
    panel.click("surfaceCheckBox")
    panel.rest()
    (model,) = [nodes.segmentation.GetNodeReference("ProtoSegBrain.surface")]
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
    panel.choose(4)
    assert foregrounds() == {nodes.uncertainty.GetID()}
    panel.click("showUncertaintyCheckBox")
    assert foregrounds() == {nodes.similarity.GetID()}
    panel.click("showMapCheckBox")
    assert foregrounds() == {None}


def test_another_result_takes_the_place_of_the_first_and_gives_it_back(panel):
    first = panel.segment()
    panel.tick(2, False)
    panel.click("showMapCheckBox")
    panel.click("volumeRenderingCheckBox")
    panel.inputs.choose(add_inputs("other "))
    second = panel.segment()
    assert foregrounds() == {second.nodes.similarity.GetID()}
    assert list(panel.parameters.disabledPrototypes) == []
    logic = panel.logic.context.volumeRendering
    clouds = [logic.GetFirstVolumeRenderingDisplayNode(result.nodes.similarity) for result in (first, second)]
    assert [cloud.GetVisibility() for cloud in clouds] == [0, 1]
    panel.ui.segmentationSelector.setCurrentNode(first.nodes.segmentation)
    panel.rest()
    assert panel.result is first
    assert list(panel.parameters.disabledPrototypes) == [2]
    assert foregrounds() == {first.nodes.similarity.GetID()}
    assert [cloud.GetVisibility() for cloud in clouds] == [1, 0]
