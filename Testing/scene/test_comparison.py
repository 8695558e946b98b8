import numpy as np
import pytest
import slicer
from made_up_visits import AFFINE, motion, visit
from mrml import a_context, contents
from ProtoSegBrainScene.comparison import (
    ATTRIBUTE,
    VIEWS,
    blend,
    compare,
    removeComparison,
    showChange,
    showSideBySide,
    tableRows,
)
from ProtoSegBrainScene.grid import addVolume, worldAffineOf
from ProtoSegBrainScene.layout import compositeNodes
from ProtoSegBrainScene.result import showPrediction

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES

MOVED = motion()


def add(context, made, name):
    """A date in the scene: its images and its result."""
    inputs = {
        role: addVolume(context.scene, "vtkMRMLScalarVolumeNode", f"{name} {role}", Volume(image, made.case.affine))
        for role, image in zip(MODALITIES, made.case.images, strict=True)
    }
    return showPrediction(context, made.prediction, inputs), made.prediction


@pytest.fixture
def context():
    return a_context()


@pytest.fixture
def dates(context):
    return [add(context, visit(4, 2), "Day 1"), add(context, visit(6, 3, noise=1, moved=MOVED), "Day 90")]


def ours(scene):
    every = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    return [node for node in every if node.GetAttribute(ATTRIBUTE)]


def test_both_dates_lie_on_each_other_and_nothing_is_resampled(context, dates):
    found = compare(context.scene, dates)
    later = found.images["Later", "t1c"]
    np.testing.assert_allclose(worldAffineOf(found.images["Earlier", "t1c"]), AFFINE, atol=1e-9)
    np.testing.assert_allclose(worldAffineOf(later), AFFINE, atol=0.02)
    source = context.scene.GetFirstNodeByName("Day 90 t1c")
    assert later.GetImageData() is source.GetImageData()
    np.testing.assert_allclose(worldAffineOf(source), MOVED @ AFFINE, atol=1e-9)


@pytest.mark.parametrize("region", ["WT", "TC", "ET"])
def test_what_changed_is_a_segmentation(context, dates, region):
    found = compare(context.scene, dates)
    showChange(found, region)
    inside = found.changes.GetSegmentation()
    ids = [inside.GetNthSegmentID(n) for n in range(inside.GetNumberOfSegments())]
    assert ids == [f"{region} stayed", f"{region} new", f"{region} gone"]
    ml = next(each for each in found.followup.maps if each.region == region).volumes_ml
    assert f"{ml['new']:.1f} ml" in inside.GetSegment(f"{region} new").GetName()
    bounds = np.zeros(6)
    found.changes.GetRASBounds(bounds)
    assert np.isfinite(bounds).all()


def test_the_numbers_are_a_table(context, dates):
    found = compare(context.scene, dates)
    rows = tableRows(found.followup)
    assert found.table.GetNumberOfRows() == len(rows) == 6
    whole = next(row for row in rows if row[0] == "WT")
    first, last = (prediction.volumes_ml["WT"] for _, prediction in dates)
    assert whole[1:3] == (f"{first:.1f} ml", f"{last:.1f} ml")
    assert whole[3].startswith(f"{last - first:+.1f} ml")


def test_what_a_comparison_added_goes_and_the_results_stay(context, dates):
    before = contents(context.scene)
    compare(context.scene, dates)
    count = len(ours(context.scene))
    compare(context.scene, dates)
    assert len(ours(context.scene)) == count == 6
    removeComparison(context.scene)
    assert ours(context.scene) == []
    assert contents(context.scene) == before


def test_two_patients_leave_the_scene_as_it_is(context, dates):
    stranger = add(context, visit(head=5, noise=2), "Someone")
    count = context.scene.GetNumberOfNodes()
    with pytest.raises(ValueError, match="look like two patients"):
        compare(context.scene, [dates[0], stranger])
    assert context.scene.GetNumberOfNodes() == count


def test_the_dates_of_the_studies_put_them_into_order(context, dates):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(context.scene)
    for name, day in (("Day 1", "20240901"), ("Day 90", "20240301")):
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), name)
        hierarchy.SetItemAttribute(study, "DICOM.StudyDate", day)
        node = context.scene.GetFirstNodeByName(f"{name} t1c")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node), study)
    found = compare(context.scene, dates)
    assert [each.name for each in found.followup.visits] == ["2024-03-01", "2024-09-01"]
    assert (
        found.images["Earlier", "t1c"].GetImageData() is context.scene.GetFirstNodeByName("Day 90 t1c").GetImageData()
    )


def test_dates_stand_side_by_side_and_fade(context, dates):
    layout = slicer.vtkMRMLLayoutLogic()
    layout.SetMRMLScene(context.scene)
    found = compare(context.scene, dates)
    showSideBySide(context.scene, layout.GetLayoutNode(), found)
    composites = compositeNodes(context.scene)
    for (date, role), name in VIEWS.items():
        if name in composites:
            assert composites[name].GetBackgroundVolumeID() == found.images[date, role].GetID()
    assert set(VIEWS.values()) <= {view.GetLayoutName() for view in _views(context.scene)}
    blend(context.scene, 0.4)
    for (date, _), name in VIEWS.items():
        if name in composites:
            assert composites[name].GetForegroundOpacity() == pytest.approx(0.4 if date == "Earlier" else 0)
    layout.SetMRMLScene(None)


def _views(scene):
    kind = "vtkMRMLSliceNode"
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
