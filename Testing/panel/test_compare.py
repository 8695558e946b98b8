import pytest
from made_up_visits import motion, visit
from slicer_stand_ins import FileDialog, slicer

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES


def add(panel, made, name):
    """A date that was segmented."""
    from ProtoSegBrainScene.grid import addVolume

    inputs = {
        role: addVolume(slicer.mrmlScene, "vtkMRMLScalarVolumeNode", f"{name} {role}", Volume(image, made.case.affine))
        for role, image in zip(MODALITIES, made.case.images, strict=True)
    }
    panel.inputs.choose(inputs)
    return panel.segment(made.prediction)


@pytest.fixture
def two_dates(panel):
    """The later one is shown."""
    earlier = add(panel, visit(4, 2, case_id="day_1"), "Day 1")
    later = add(panel, visit(6, 3, noise=1, moved=motion(), case_id="day_90"), "Day 90")
    return panel, earlier, later


def arrangement():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode").GetViewArrangement()


def compared(two_dates):
    panel, earlier, _ = two_dates
    panel.ui.earlierSelector.setCurrentNode(earlier.nodes.segmentation)
    panel.click("compareButton")
    return panel


def test_the_shown_result_is_not_offered_as_the_earlier_one(two_dates):
    panel, earlier, later = two_dates
    assert panel.result is later
    assert panel.ui.earlierSelector.offered() == [earlier.nodes.segmentation.GetName()]
    assert not panel.ui.compareButton.isEnabled()
    panel.ui.earlierSelector.setCurrentNode(earlier.nodes.segmentation)
    assert panel.ui.compareButton.isEnabled()


def test_both_dates_stand_side_by_side_with_what_changed(two_dates):
    before = arrangement()
    panel = compared(two_dates)
    assert "WT: " in panel.text("compareLabel")
    assert "no response assessment" in panel.text("compareLabel")
    assert panel.ui.comparisonTable.rowCount() == 6
    assert arrangement() != before
    changes = slicer.mrmlScene.GetFirstNodeByName("Change first to second")
    assert changes.GetSegmentation().GetSegment("WT new")
    panel.ui.changeRegionComboBox.setCurrentIndex(2)
    assert changes.GetSegmentation().GetSegment("ET new")
    shown = two_dates[2].nodes.segmentation.GetDisplayNode()
    assert not shown.GetVisibility()
    panel.click("closeComparisonButton")
    assert shown.GetVisibility()
    assert arrangement() == before
    assert slicer.mrmlScene.GetFirstNodeByName("Change first to second") is None
    assert panel.ui.comparisonTable.rowCount() == 0
    assert panel.result is two_dates[2]


def test_the_slider_fades_the_left_views(two_dates):
    panel = compared(two_dates)
    panel.ui.blendSlider.setProperty("value", 0.5)
    from ProtoSegBrainScene.layout import compositeNodes

    composites = compositeNodes(slicer.mrmlScene)
    assert composites["PSB-Earlier-T1ce"].GetForegroundOpacity() == pytest.approx(0.5)
    assert composites["PSB-Later-T1ce"].GetForegroundOpacity() == 0


def test_two_patients_are_one_sentence(panel):
    mine = add(panel, visit(case_id="mine"), "Mine")
    add(panel, visit(head=5, noise=1, case_id="theirs"), "Theirs")
    before = arrangement()
    panel.ui.earlierSelector.setCurrentNode(mine.nodes.segmentation)
    panel.click("compareButton")
    assert "look like two patients" in panel.text("messageLabel")
    assert arrangement() == before
    assert not panel.ui.closeComparisonButton.isEnabled()


def test_a_comparison_is_saved_with_its_report(two_dates, tmp_path):
    panel = compared(two_dates)
    for _ in range(2):
        FileDialog.answers.append(str(tmp_path))
        panel.click("saveComparisonButton")
    assert (tmp_path / "followup.json").is_file()
    assert "already holds a follow-up" in panel.text("messageLabel")
    assert "day_90" in (tmp_path / "followup.html").read_text(encoding="utf-8")


def test_a_comparison_is_there_again_when_the_module_is_opened_again(two_dates):
    panel = compared(two_dates)
    side_by_side = arrangement()
    panel.widget.exit()
    panel.widget.enter()
    assert arrangement() == side_by_side
    slicer.mrmlScene.Clear(0)
    assert not panel.ui.closeComparisonButton.isEnabled()
