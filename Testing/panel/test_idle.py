"""What can wait is done in its order, the latest of each name, a step at a time."""

from __future__ import annotations

import time

import numpy as np
from open_panel import a_prediction
from slicer_stand_ins import slicer

from ProtoSegBrainLib.segmentation.process import Done


def test_steps_are_done_one_by_one_and_the_latest_of_a_name_holds(panel):
    idle, done = panel.widget.panel.idle, []
    idle.later("a", lambda: done.append("old a"))
    idle.later("b", lambda: done.append("b"))
    idle.later("a", lambda: done.append("a"))
    assert done == []
    panel.wait(lambda: len(done) == 1)
    assert done == ["b"]
    panel.rest()
    assert done == ["b", "a"]
    idle.later("c", lambda: done.append("c"))
    idle.forget()
    assert not idle.isBusy
    idle.later("d", lambda: done.append("d"))
    idle.finish()
    assert done == ["b", "a", "d"]


def test_a_step_that_fails_is_told_and_the_others_are_done(panel):
    done = []
    panel.widget.panel.idle.later("bad", lambda: {}["x"])
    panel.widget.panel.idle.later("good", lambda: done.append("good"))
    panel.rest()
    assert done == ["good"]
    assert panel.ui.messageFrame.isVisible()


def test_labels_come_first_and_the_rest_follows(panel):
    panel.segment()
    panel.inputs.choose(panel.inputs.nodes())
    panel.click("segmentButton")
    panel.answer(Done(len(panel.worker.asked), a_prediction()))
    nodes = panel.result.nodes
    assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert panel.ui.volumesTable.rowCount() == 5
    panel.rest()
    assert nodes.prototypes.GetTable().GetNumberOfRows() == 5
    assert np.ptp(slicer.util.arrayFromVolume(nodes.uncertainty)) > 0
    assert panel.ui.prototypesTable.rowCount() == 5
    assert nodes.segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_a_what_if_shows_its_labels_at_once_and_its_surface_after(panel):
    nodes = panel.segment().nodes
    inside = nodes.segmentation.GetSegmentation()
    before = slicer.util.arrayFromVolume(nodes.uncertainty).copy()
    panel.tick(2, False)
    assert panel.result.current.volumes_ml["ED"] == 0
    assert inside.GetSegment("ED").GetRepresentation("Closed surface") is None
    panel.rest()
    assert inside.GetSegment("ET").GetRepresentation("Closed surface").GetNumberOfPoints() > 0
    assert not np.array_equal(slicer.util.arrayFromVolume(nodes.uncertainty), before)


def test_what_was_left_for_later_is_in_a_saved_scene(panel, tmp_path):
    panel.segment()
    panel.tick(2, False)
    assert panel.widget.panel.idle.isBusy
    slicer.mrmlScene.StartState(slicer.mrmlScene.SaveState)
    slicer.mrmlScene.EndState(slicer.mrmlScene.SaveState)
    assert not panel.widget.panel.idle.isBusy


def test_a_result_that_goes_meanwhile_is_no_error(panel):
    result = panel.segment()
    panel.tick(2, False)
    slicer.mrmlScene.RemoveNode(result.nodes.segmentation)
    panel.rest()
    assert not panel.ui.messageFrame.isVisible()
    panel.segment()
    panel.tick(1, False)
    slicer.mrmlScene.Clear(False)
    panel.rest()
    started = time.monotonic()
    panel.wait(lambda: time.monotonic() - started > 0.1)
    assert not panel.widget.panel.idle.isBusy
