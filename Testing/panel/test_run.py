"""Segment and Cancel, what is seen meanwhile, what is told when it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from open_panel import OBLIQUE, a_prediction, add_inputs
from slicer_stand_ins import slicer

from ProtoSegBrainLib.segmentation.process import Done, Failed, Progress


def test_segment_sends_the_images_and_the_settings(panel):
    nodes = add_inputs("case_7 ")
    panel.inputs.choose(nodes)
    panel.ui.deviceComboBox.setCurrentText("CPU")
    panel.ui.testTimeAugmentationCheckBox.click()
    panel.click("segmentButton")
    (asked,) = panel.worker.asked
    assert (asked["case_id"], asked["device"], asked["tta"], asked["model"]) == ("case_7", "cpu", True, None)
    assert asked["volumes"]["t2f"].array.shape == (24, 20, 16)
    np.testing.assert_allclose(asked["volumes"]["t2f"].affine, OBLIQUE)


def test_while_it_runs_progress_is_shown_and_inputs_cannot_be_changed(panel):
    panel.inputs.choose(add_inputs())
    panel.click("segmentButton")
    assert panel.text("segmentButton") == "&Cancel"
    panel.answer(Progress(1, 0.3, "Running the network"))
    assert panel.ui.progressBar.value() == 30
    assert panel.text("stageLabel") == "Running the network"
    assert panel.text("elapsedLabel").endswith("s")
    assert "s  Running the network\nLoading torch." in panel.ui.logTextEdit.toPlainText()
    assert not panel.ui.inputFlairSelector.isEnabled()
    assert not panel.ui.loadFolderButton.isEnabled()


def test_a_second_run_on_the_same_volumes_replaces_the_first(panel):
    first = panel.segment()
    before = panel.nodes()
    second = panel.segment()
    assert second.nodes.segmentation is first.nodes.segmentation
    assert len(panel.nodes()) == len(before)
    panel.inputs.choose(add_inputs("other "))
    third = panel.segment()
    assert third.nodes.segmentation is not first.nodes.segmentation


def test_cancel_leaves_the_scene_as_it_was(panel):
    panel.inputs.choose(add_inputs())
    before = panel.nodes()
    panel.click("segmentButton")
    panel.click("segmentButton")
    assert panel.worker.cancelled == 1
    assert panel.text("segmentButton") == "&Segment"
    assert "Cancelled" in panel.text("stageLabel")
    assert panel.nodes() == before


def test_a_double_click_starts_once(panel):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    panel.inputs.choose(add_inputs())
    QTest.mouseClick(panel.ui.segmentButton, Qt.MouseButton.LeftButton)
    QTest.mouseDClick(panel.ui.segmentButton, Qt.MouseButton.LeftButton)  # its second press only
    QTest.mouseRelease(panel.ui.segmentButton, Qt.MouseButton.LeftButton)
    assert len(panel.worker.asked) == 1
    assert panel.worker.cancelled == 0
    assert panel.text("segmentButton") == "&Cancel"
    QTest.mouseClick(panel.ui.segmentButton, Qt.MouseButton.LeftButton)
    assert panel.worker.cancelled == 1


def test_a_failure_is_told_with_details_to_copy(panel):
    panel.inputs.choose(add_inputs())
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
    panel.inputs.choose(add_inputs())
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

    panel.inputs.choose(add_inputs())
    monkeypatch.setattr(panel.worker, "segment", full)
    panel.click("segmentButton")
    assert "No space left" in panel.text("messageLabel")
    assert panel.text("segmentButton") == "&Segment"
