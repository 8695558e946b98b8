import numpy as np
import pytest
import slicer
from mrml import GRIDS, move, read_scene, shown
from ProtoSegBrainScene.grid import orientedImage
from ProtoSegBrainScene.parts import partsOf
from ProtoSegBrainScene.points import (
    PART,
    areTaught,
    colourOf,
    inBrain,
    isPoints,
    numberPoints,
    paintedPoints,
    placedClass,
    pointNode,
    pointNodes,
    pointsOf,
    setPoints,
    showPoints,
    startPlacing,
    stopPlacing,
)
from ProtoSegBrainScene.result import findResult, removeResult
from ProtoSegBrainScene.segmentation import LABELMAP

from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASS_COLOURS

THREE = [Point((1.0, 2.0, 3.0), "ET"), Point((4.0, 5.0, 6.0), "background"), Point((7.0, 8.0, 9.0), "ET")]


@pytest.fixture
def result():
    context, _, prediction, nodes = shown()
    for name in ("Interaction", "Selection"):
        node = getattr(slicer, f"vtkMRML{name}Node")()
        context.scene.AddNode(node)
    return context, prediction, nodes


def test_points_of_all_classes_have_one_order(result):
    _context, _, nodes = result
    setPoints(nodes.segmentation, THREE)
    assert pointsOf(nodes.segmentation) == THREE
    found = pointNodes(nodes.segmentation)
    assert set(found) == {"ET", "background"}
    assert found["ET"].GetNthControlPointLabel(1) == "ET 3"
    assert found["background"].GetNthControlPointLabel(0) == "No tumour 2"
    assert isPoints(found["ET"])
    assert colourOf("ET") == CLASS_COLOURS[3]


def test_a_new_point_comes_last_and_gaps_close(result):
    _context, _, nodes = result
    setPoints(nodes.segmentation, THREE)
    pointNode(nodes.segmentation, "background").AddControlPointWorld((0.0, 0.0, 0.0))
    pointNode(nodes.segmentation, "ET").RemoveNthControlPoint(0)
    numberPoints(nodes.segmentation)
    assert [(point.class_name, *point.position_ras_mm) for point in pointsOf(nodes.segmentation)] == [
        ("background", 4, 5, 6),
        ("ET", 7, 8, 9),
        ("background", 0, 0, 0),
    ]
    assert pointNode(nodes.segmentation, "ET").GetNthControlPointLabel(0) == "ET 2"


def test_points_under_a_transform_are_where_they_are_seen(result):
    context, _, nodes = result
    setPoints(nodes.segmentation, THREE)
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turn[:3, 3] = [10, 0, 0]
    move(context.scene, pointNodes(nodes.segmentation)["ET"], turn)
    first = pointsOf(nodes.segmentation)[0]
    assert first.position_ras_mm == pytest.approx((8, 1, 3))


def test_points_are_part_of_the_result_and_go_with_it(result):
    context, _, nodes = result
    setPoints(nodes.segmentation, THREE)
    parts = [node.GetAttribute("ProtoSegBrain.part") for node in partsOf(nodes.segmentation)]
    assert {PART + "ET", PART + "background"} <= set(parts)
    removeResult(nodes)
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 0


def test_points_are_hidden_and_shown(result):
    _context, _, nodes = result
    setPoints(nodes.segmentation, THREE)
    showPoints(nodes.segmentation, False)
    assert not any(node.GetDisplayVisibility() for node in pointNodes(nodes.segmentation).values())
    showPoints(nodes.segmentation, True)
    assert all(node.GetDisplayVisibility() for node in pointNodes(nodes.segmentation).values())


def test_points_come_back_with_a_saved_scene(result, tmp_path):
    context, _, nodes = result
    piece = Point((1.0, 1.0, 1.0), "NCR", ((1.0, 1.0, 1.0), (2.0, 1.0, 1.0)))
    setPoints(nodes.segmentation, [*THREE, piece])
    assert context.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = read_scene(tmp_path / "scene.mrb", tmp_path / "unpacked")
    segmentation = again.scene.GetFirstNodeByName(nodes.segmentation.GetName())
    assert findResult(again.scene, segmentation) is not None
    back = pointsOf(segmentation)
    assert [point.class_name for point in back] == ["ET", "background", "ET", "NCR"]
    np.testing.assert_allclose(
        [point.position_ras_mm for point in back], [p.position_ras_mm for p in [*THREE, piece]], atol=1e-3
    )
    assert back[3].places_ras_mm == piece.places_ras_mm


def test_placing_is_slicers_own_and_ends(result):
    context, _, nodes = result
    assert placedClass(nodes.segmentation) is None
    startPlacing(nodes.segmentation, "ED", True)
    assert placedClass(nodes.segmentation) == "ED"
    startPlacing(nodes.segmentation, "ET", False)
    assert placedClass(nodes.segmentation) == "ET"
    stopPlacing(nodes.segmentation)
    assert placedClass(nodes.segmentation) is None
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 2


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_which_places_lie_in_the_brain(affine):
    _context, _, prediction, _ = shown(affine)
    places = (affine @ np.array([[5, 5, 5, 1], [0, 5, 5, 1], [-9, 0, 0, 1], [99, 0, 0, 1]]).T)[:3].T
    assert inBrain(prediction, places).tolist() == [True, False, False, False]


def test_painted_pieces_are_points_of_the_class_that_their_segment_is_called_after(result):
    context, _, _ = result
    painted = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "painted")
    painted.GetSegmentation().SetSourceRepresentationName(LABELMAP)
    for name, box in (("ET", np.s_[1:3, 1:3, 1]), ("No tumour", np.s_[7, 7, 7])):
        array = np.zeros((9, 9, 9), np.uint8)
        array[box] = 1
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation(LABELMAP, orientedImage(Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))))
        painted.GetSegmentation().AddSegment(segment, name)
    points = {point.class_name: point for point in paintedPoints(painted)}
    assert set(points) == {"ET", "background"}
    assert sorted(points["ET"].places_ras_mm) == [(2, 2, 2), (2, 4, 2), (4, 2, 2), (4, 4, 2)]
    assert points["background"].position_ras_mm == (14, 14, 14)
    painted.GetSegmentation().GetSegment("ET").SetName("Segment_1")
    with pytest.raises(ValueError, match="Segment 'Segment_1' of painted: expected one called No tumour, NCR, ED, ET"):
        paintedPoints(painted)
    painted.GetSegmentation().RemoveAllSegments()
    with pytest.raises(ValueError, match="Nothing is painted in painted"):
        paintedPoints(painted)


def test_whether_a_result_was_made_with_these_points():
    assert areTaught([], [])
    assert not areTaught(THREE, [])
