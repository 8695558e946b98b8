"""The result in numbers and surfaces, and saved."""

from __future__ import annotations

from open_panel import a_prediction, add_inputs
from slicer_stand_ins import FileDialog, slicer


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
    from ProtoSegBrainLib.result.prediction_files import read_prediction

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
    from ProtoSegBrainLib.result.prediction_files import read_prediction

    panel.segment()
    panel.tick(2, False)
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    saved = read_prediction(tmp_path)
    assert saved.volumes_ml["ED"] == 0
    assert saved.findings["regions"]["WT"]["volume_ml"] == saved.volumes_ml["WT"]


def test_a_report_that_fails_leaves_no_files(panel, tmp_path):
    nodes = add_inputs()
    panel.inputs.choose(nodes)
    panel.segment()
    slicer.mrmlScene.RemoveNode(nodes["t2f"])
    FileDialog.answers.append(str(tmp_path))
    panel.click("saveResultsButton")
    assert "FLAIR not given" in panel.text("messageLabel")
    assert list(tmp_path.iterdir()) == []
