"""The result in numbers and surfaces, and saved."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
from open_panel import a_prediction, add_inputs
from slicer_stand_ins import FileDialog, slicer


def test_the_result_is_shown_with_its_volumes(panel):
    result = panel.segment()
    segments = result.nodes.segmentation.GetSegmentation()
    assert [segments.GetNthSegment(n).GetName() for n in range(3)] == ["NCR", "ED", "ET"]
    table = panel.ui.volumesTable
    shown = [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount())]
    whole = f"{a_prediction().volumes_ml['WT']:.1f} ml"
    assert shown[0] == ["WT", whole, "1.5 to 6.0 ml", "0.85"]
    assert [row[0] for row in shown] == ["WT", "TC", "ET", "ED", "NCR"]
    assert table.item(0, 0).toolTip() == "Whole tumour"
    assert [table.item(row, 0).font().bold() for row in range(5)] == [True, True, True, False, False]
    assert "T2 was resampled." in panel.text("warningsLabel")
    assert "like those learned from" in panel.text("familiarityLabel")
    assert panel.text("segmentButton") == "&Segment"
    assert "Done in" in panel.text("stageLabel")


def test_3d_and_outlines(panel):
    nodes = panel.segment().nodes
    assert nodes.segmentation.GetDisplayNode().GetVisibility3D()
    brain = nodes.segmentation.GetNodeReference("ProtoSegBrain.brainSurface")
    assert brain.GetDisplayNode().GetVisibility()
    panel.click("showOutlinesCheckBox")
    assert not nodes.segmentation.GetDisplayNode().GetVisibility()
    assert nodes.regions.GetDisplayNode().GetVisibility()
    panel.click("showOutlinesCheckBox")
    panel.click("showThreeDCheckBox")
    assert nodes.segmentation.GetDisplayNode().GetVisibility()
    assert not nodes.segmentation.GetDisplayNode().GetVisibility3D()
    panel.rest()
    assert not brain.GetDisplayNode().GetVisibility()


def test_results_are_saved_as_the_command_line_saves_them(panel, tmp_path):
    from ProtoSegBrainLib.result.prediction_files import read_prediction

    panel.segment()
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert "Wrote 6 files" in panel.text("messageLabel")
    assert read_prediction(tmp_path).volumes_ml == a_prediction().volumes_ml
    assert (tmp_path / "by_hand_report.html").is_file()


def test_earlier_files_are_replaced_at_a_click_and_not_before(panel, tmp_path):
    panel.segment()
    for _ in range(2):
        FileDialog.answers.append(str(tmp_path))
        panel.click("saveResultsButton")
    said = panel.text("messageLabel")
    assert "already holds results of by_hand: by_hand_prediction.json" in said
    assert "--" not in said
    assert panel.text("messageActionButton") == "Overwrite"
    before = (tmp_path / "by_hand_seg.nii.gz").stat().st_mtime_ns
    panel.click("messageActionButton")
    assert "Wrote 6 files" in panel.text("messageLabel")
    assert not panel.ui.messageActionButton.isVisible()
    assert (tmp_path / "by_hand_seg.nii.gz").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "scans/x.nii"), "scans/x.nii: No such file or directory."),
        (OSError(28, "No space left on device"), "No space left on device."),
        (OSError("The scene could not be written."), "The scene could not be written."),
        (FileExistsError("F holds results. Choose another folder, or overwrite them (--overwrite)."), None),
        (ValueError("No file found; other names can be given by role."), None),
        (RuntimeError("Name one file that all can read (--model)."), "Name one file that all can read."),
        (OSError("Not read ([Errno 2] No such file)."), "Not read (No such file)."),
    ],
)
def test_a_window_does_not_speak_as_a_command_line(panel, error, said):
    def fail(_self):
        raise error

    attempt = panel.widget.panel.guarded(types.MethodType(fail, panel))
    attempt()
    text = panel.text("messageLabel")
    assert said in (None, text)
    for word in ("--", "by role", "[Errno"):
        assert word not in text


def test_what_is_to_be_known_first_stands_above_the_volumes_in_a_colour(panel):
    panel.segment()
    label, table = panel.ui.warningsLabel, panel.ui.volumesTable
    assert panel.text("warningsLabel") == "• T2 was resampled."
    assert "background-color: #fcebc2" in label.styleSheet()
    assert label.mapTo(panel.window, label.rect().bottomLeft()).y() < table.mapTo(panel.window, table.pos()).y()
    flag = {"flag": True, "score": 9.0, "sentence": "Unlike all scans that the model learned from."}
    unlike = replace(a_prediction(), findings={**a_prediction().findings, "out_of_distribution": flag})
    panel.segment(unlike)
    assert panel.text("warningsLabel").splitlines() == [f"• {flag['sentence']}", "• T2 was resampled."]
    assert "background-color: #f9d2ce" in label.styleSheet()
    panel.segment(replace(a_prediction(), warnings=()))
    assert not label.isVisible()


def test_a_simulated_brain_is_said_to_be_one(panel):
    panel.segment(replace(a_prediction(), warnings=(), case_id="simulated_1"))
    assert panel.text("warningsLabel") == "• A simulated brain: no patient."
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert not panel.ui.warningsLabel.isVisible()


def test_a_what_if_is_saved_with_its_findings(panel, tmp_path):
    from ProtoSegBrainLib.result.prediction_files import read_prediction

    panel.segment()
    panel.tick(2, False)
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    saved = read_prediction(tmp_path)
    assert saved.volumes_ml["ED"] == 0
    assert saved.findings["regions"]["WT"]["volume_ml"] == saved.volumes_ml["WT"]


def test_a_scene_that_is_saved_at_once_is_whole(panel, monkeypatch, tmp_path):
    from ProtoSegBrainScene.grid import voxelsOf

    from ProtoSegBrainLib.segmentation.process import Done

    panel.inputs.choose(add_inputs())
    monkeypatch.setattr(slicer.util, "saveScene", lambda path: slicer.mrmlScene.WriteToMRB(path))
    panel.click("segmentButton")
    panel.worker.events.append(Done(1, a_prediction()))
    panel.widget.panel.poll()
    FileDialog.answers.append(str(tmp_path / "scene"))
    panel.click("saveSceneButton")
    assert (tmp_path / "scene.mrb").is_file()
    assert voxelsOf(panel.result.nodes.uncertainty).max() > 0


def test_a_report_that_fails_leaves_no_files(panel, tmp_path):
    nodes = add_inputs()
    panel.inputs.choose(nodes)
    panel.segment()
    slicer.mrmlScene.RemoveNode(nodes["t2f"])
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert "FLAIR not given" in panel.text("messageLabel")
    assert list(tmp_path.iterdir()) == []
