"""What the panel does when nodes go, when the scene is closed, when another is loaded."""

from __future__ import annotations

import pytest
from open_panel import a_prediction, add_inputs, foregrounds
from slicer_stand_ins import slicer

from ProtoSegBrainLib.segmentation.process import Done


def test_closing_the_scene_ends_the_run(panel):
    panel.inputs.choose(add_inputs())
    panel.click("segmentButton")
    slicer.mrmlScene.Clear(False)
    assert panel.worker.cancelled == 1
    assert "closed" in panel.text("messageLabel")
    assert not panel.ui.segmentButton.isEnabled()
    panel.worker.events.append(Done(1, a_prediction()))
    panel.widget.panel.poll()
    assert panel.result is None


def test_removing_an_input_ends_the_run(panel):
    nodes = add_inputs()
    panel.inputs.choose(nodes)
    panel.click("segmentButton")
    slicer.mrmlScene.RemoveNode(nodes["t1c"])
    assert panel.worker.cancelled == 1
    assert "T1ce was removed" in panel.text("messageLabel")
    assert "T1ce" in panel.text("agreementLabel")


def test_removing_the_result_empties_the_panel(panel):
    result = panel.segment()
    slicer.mrmlScene.RemoveNode(result.nodes.segmentation)
    assert panel.result is None
    assert panel.ui.volumesTable.rowCount() == panel.ui.prototypesTable.rowCount() == 0
    assert not panel.ui.saveResultsButton.isEnabled()
    assert not panel.ui.messageFrame.isVisible()
    assert foregrounds() == {None}


def test_removing_a_part_of_the_result_empties_the_panel(panel):
    result = panel.segment()
    slicer.mrmlScene.RemoveNode(result.nodes.similarity)
    assert panel.result is None
    assert panel.ui.prototypesTable.rowCount() == 0


def test_cleanup_ends_the_worker_and_follows_nothing_any_more(panel):
    panel.segment()
    worker = panel.logic._worker
    panel.widget.cleanup()
    assert worker.closed == 1
    assert panel.widget.panel.Observations == []
    slicer.mrmlScene.Clear(False)


def test_a_scene_that_is_loaded_brings_all_back(panel, tmp_path):
    panel.segment()
    panel.choose(4)
    panel.ui.thresholdSlider.setProperty("value", 0.45)
    panel.tick(2, False)
    changed = panel.result.current.volumes_ml
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert panel.result is None
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    panel.rest()
    result = panel.result
    assert result is not None
    assert result.disabled == (2,)
    assert result.current.volumes_ml == changed
    assert result.original.volumes_ml == a_prediction().volumes_ml
    assert panel.parameters.prototype == 4
    assert panel.ui.thresholdSlider.property("value") == pytest.approx(0.45)
    assert panel.ui.prototypesTable.currentRow() == panel.row_of(4)
    assert panel.ui.resetButton.isEnabled()
    assert [node.GetName() for node in panel.inputs.nodes().values()] == [
        f"by hand {name}" for name in ("FLAIR", "T1", "T1ce", "T2")
    ]
    panel.click("resetButton")
    assert result.current.volumes_ml == a_prediction().volumes_ml
