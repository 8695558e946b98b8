"""Images of a raw study in a scene: aligned or as scanned, and computed with as scanned wherever they are seen."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from mrml import (
    FLIPPED,
    GRIDS,
    OBLIQUE,
    a_context,
    a_prediction,
    add_inputs,
    bend,
    contents,
    hierarchy_of,
    label_seen,
    move,
    nodes_of,
    read_scene,
)
from ProtoSegBrainScene.brainmask import brainMaskOf
from ProtoSegBrainScene.fingerprint import fingerprintsOf
from ProtoSegBrainScene.grid import affineOfMatrix, matrixOf, toWorld, worldAffineOf
from ProtoSegBrainScene.inputs import describeAgreement, volumeOf
from ProtoSegBrainScene.moves import asMoved, asScanned, movesOf, showAligned, showAsScanned
from ProtoSegBrainScene.parts import removeOrphans
from ProtoSegBrainScene.result import changedInputs, findResult, findResults, inputsOf, removeResult, showPrediction
from ProtoSegBrainScene.results import Results
from ProtoSegBrainScene.shown import showOnly
from ProtoSegBrainScene.stored import restorePrediction

from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.volume import resample

TURN = np.array([[0.8, -0.6, 0, 4.0], [0.6, 0.8, 0, -3.0], [0, 0, 1, 2.0], [0, 0, 0, 1]])
"""A rigid motion that is exact in a few digits."""
TILT = np.array([[1, 0, 0, -1.0], [0, 0.6, 0.8, 0.0], [0, -0.8, 0.6, 5.0], [0, 0, 0, 1]])
MOVES = {"t1n": np.eye(4), "t2w": TILT, "t2f": TURN}
MOVED = ("t2w", "t2f")
REFERENCE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


def a_preparation(brain="a network"):
    moves = {role: Move(motion, 5.0, 3.0, 1.0, 0.5) for role, motion in MOVES.items()}
    return Preparation("with skull, on four grids", moves, brain, 1300.0)


def prepared(affine=OBLIQUE, brain="a network"):
    return replace(a_prediction(affine), preparation=a_preparation(brain).to_dict())


def a_result(affine=OBLIQUE, moved_before=None):
    """Context, inputs, their places as scanned, nodes; the inputs lay under a transform before."""
    context = a_context()
    inputs = add_inputs(context.scene, affine)
    if moved_before is not None:
        for node in inputs.values():
            move(context.scene, node, moved_before)
    places = {role: worldAffineOf(node) for role, node in inputs.items()}
    nodes = showPrediction(context, prepared(places["t1c"]), inputs)
    return context, inputs, places, nodes


def matrix_of(transform):
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToParent(matrix)
    return affineOfMatrix(matrix)


def assert_aligned(inputs, places):
    for role, node in inputs.items():
        assert np.allclose(worldAffineOf(node), MOVES.get(role, np.eye(4)) @ places[role], atol=1e-9), role


def assert_as_scanned(inputs, places):
    for role, node in inputs.items():
        assert np.allclose(worldAffineOf(node), places[role], atol=1e-12), role


@pytest.mark.parametrize("before", [None, FLIPPED, TILT], ids=["unmoved", "flipped", "tilted"])
@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_aligned_and_as_scanned_there_and_back(affine, before):
    _context, inputs, places, nodes = a_result(affine, before)
    parents = {role: node.GetParentTransformNode() for role, node in inputs.items()}
    for _ in range(3):
        showAligned(nodes, inputs)
        assert_aligned(inputs, places)
        showAligned(nodes, inputs)
        assert_aligned(inputs, places)
        showAsScanned(nodes, inputs)
        assert_as_scanned(inputs, places)
        assert {role: node.GetParentTransformNode() for role, node in inputs.items()} == parents


def test_only_what_was_moved_has_a_transform_and_it_is_a_part_that_can_be_seen():
    context, _, _, nodes = a_result()
    assert set(movesOf(nodes)) == set(MOVED)
    assert nodes.move_t1n is None
    assert nodes.move_t2f.GetName() == "by_hand FLAIR to T1ce"
    assert not nodes.move_t2f.GetHideFromEditors()
    assert nodes.segmentation.GetNodeReference("ProtoSegBrain.move_t2f") is nodes.move_t2f
    assert np.allclose(matrix_of(nodes.move_t2f), TURN)
    hierarchy = hierarchy_of(context.scene)
    there = [node for node in vars(nodes).values() if node is not None]
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in there}
    assert [hierarchy.GetItemName(folder) for folder in folders] == ["ProtoSegBrain by_hand"]


def test_no_voxel_is_copied():
    _context, inputs, _, nodes = a_result()
    images = [node.GetImageData() for node in inputs.values()]
    showAligned(nodes, inputs)
    assert [node.GetImageData() for node in inputs.values()] == images


def test_a_result_that_was_not_prepared_has_neither_moves_nor_mask():
    context = a_context()
    inputs = add_inputs(context.scene)
    nodes = showPrediction(context, a_prediction(), inputs)
    assert movesOf(nodes) == {}
    assert nodes.mask is None
    showAligned(nodes, inputs)
    assert all(node.GetParentTransformNode() is None for node in inputs.values())


def test_what_is_computed_takes_images_as_they_were_scanned():
    _context, inputs, places, nodes = a_result(moved_before=TILT)
    fingerprints, agreement = fingerprintsOf(inputs), describeAgreement(inputs)
    showAligned(nodes, inputs)
    assert fingerprintsOf(inputs) == fingerprints
    assert changedInputs(nodes.segmentation) == []
    assert describeAgreement(inputs) == agreement
    for role, node in inputs.items():
        assert np.array_equal(asScanned(node), places[role])
        assert np.array_equal(volumeOf(node).affine, places[role])


def test_what_a_person_moves_below_or_above_is_noticed():
    context, inputs, _, nodes = a_result(moved_before=TILT)
    showAligned(nodes, inputs)
    above = nodes.move_t2f.GetParentTransformNode()
    above.SetMatrixTransformToParent(matrixOf(FLIPPED))
    assert changedInputs(nodes.segmentation) == ["t2f"]
    above.SetMatrixTransformToParent(matrixOf(TILT))
    assert changedInputs(nodes.segmentation) == []
    inputs["t2w"].HardenTransform()  # aligned for good: others than were scanned
    assert changedInputs(nodes.segmentation) == ["t2w"]
    move(context.scene, inputs["t2f"], TURN)
    assert changedInputs(nodes.segmentation) == ["t2w", "t2f"]


def test_a_transform_above_that_was_changed_and_restored_does_no_harm():
    _context, inputs, places, nodes = a_result(moved_before=TILT)
    showAligned(nodes, inputs)
    above = nodes.move_t2f.GetParentTransformNode()
    above.SetMatrixTransformToParent(matrixOf(FLIPPED))
    showAsScanned(nodes, inputs)
    showAligned(nodes, inputs)
    above.SetMatrixTransformToParent(matrixOf(TILT))
    showAsScanned(nodes, inputs)
    showAligned(nodes, inputs)
    assert_aligned(inputs, places)


def test_a_transform_before_may_be_hardened_or_go():
    context, inputs, places, nodes = a_result(moved_before=TILT)
    showAligned(nodes, inputs)
    showAsScanned(nodes, inputs)
    above = inputs["t2f"].GetParentTransformNode()
    inputs["t2f"].HardenTransform()
    context.scene.RemoveNode(above)
    assert changedInputs(nodes.segmentation) == []
    showAligned(nodes, inputs)
    assert_aligned(inputs, places)


def test_a_move_that_a_person_mends_stays_mended():
    _context, inputs, places, nodes = a_result(moved_before=TILT)
    showAligned(nodes, inputs)
    nudge = np.eye(4)
    nudge[:3, 3] = 1, 2, 3
    inner = matrix_of(nodes.move_t2f)
    nodes.move_t2f.SetMatrixTransformToParent(matrixOf(nudge @ inner))
    wanted = worldAffineOf(inputs["t2f"])
    showAsScanned(nodes, inputs)
    assert_as_scanned(inputs, places)
    showAligned(nodes, inputs)
    assert np.allclose(worldAffineOf(inputs["t2f"]), wanted, atol=1e-9)
    assert changedInputs(nodes.segmentation) == []


def test_an_image_that_was_bent_meanwhile_is_refused_and_changed():
    context, inputs, _, nodes = a_result()
    bend(context.scene, inputs["t2f"])
    assert changedInputs(nodes.segmentation) == ["t2f"]
    with pytest.raises(ValueError, match="not linear"):
        showAligned(nodes, inputs)


@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "as scanned"])
@pytest.mark.parametrize("before", [None, TILT], ids=["unmoved", "tilted"])
def test_a_scene_that_is_saved_and_loaded(tmp_path, aligned, before):
    context, inputs, _, nodes = a_result(moved_before=before)
    if aligned:
        showAligned(nodes, inputs)
    assert context.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = read_scene(tmp_path / "scene.mrb", tmp_path / "unpacked")
    (found,) = findResults(again.scene)
    seen = inputsOf(found)
    assert set(movesOf(found)) == set(MOVED)
    assert changedInputs(found.segmentation) == []
    if aligned:
        assert_close(seen, inputs)
    showAligned(found, seen)
    showAligned(nodes, inputs)
    assert_close(seen, inputs)
    showAsScanned(found, seen)
    showAsScanned(nodes, inputs)
    assert_close(seen, inputs)
    restored = restorePrediction(found)
    assert Preparation.from_dict(restored.preparation).sentence == a_preparation().sentence
    assert segments_of(found.mask) == ["Brain"]


def assert_close(seen, inputs):
    """In a corner of each image, for Slicer turns grids that are left-handed."""
    for role, node in inputs.items():
        middle = (np.array([*node.GetImageData().GetDimensions(), 3]) - 1) / 2
        assert np.allclose(worldAffineOf(seen[role]) @ middle, worldAffineOf(node) @ middle, atol=1e-4), role
        steps = [worldAffineOf(each)[:3, :2] for each in (seen[role], node)]
        assert np.allclose(*steps, atol=1e-4), role


def test_images_go_back_before_their_result_goes():
    context, inputs, places, nodes = a_result(moved_before=TILT)
    parents = {role: node.GetParentTransformNode() for role, node in inputs.items()}
    count = len(nodes_of(context.scene))
    again = showPrediction(context, prepared(places["t1c"]), inputs)
    showAligned(again, inputs)
    removeResult(again)
    assert {role: node.GetParentTransformNode() for role, node in inputs.items()} == parents
    assert_as_scanned(inputs, places)
    assert len(nodes_of(context.scene)) == count
    assert findResults(context.scene) == [nodes]


def test_a_second_result_replaces_the_first_while_that_is_shown_aligned():
    context, inputs, places, first = a_result(moved_before=TILT)
    showAligned(first, inputs)
    count = len(nodes_of(context.scene))
    second = showPrediction(context, prepared(places["t1c"]), inputs, first.segmentation)
    assert_as_scanned(inputs, places)
    assert changedInputs(second.segmentation) == []
    showAligned(second, inputs)
    assert_aligned(inputs, places)
    assert len(nodes_of(context.scene)) == count


def test_of_two_results_of_the_same_images_each_has_its_own_moves():
    context, inputs, places, first = a_result(moved_before=TILT)
    other = replace(prepared(places["t1c"]), case_id="other")
    back = {role: replace(move, motion=np.linalg.inv(move.motion)) for role, move in a_preparation().moves.items()}
    other = replace(other, preparation=replace(a_preparation(), moves=back).to_dict())
    second = showPrediction(context, other, inputs)
    showAligned(first, inputs)
    showAligned(second, inputs)
    for role in MOVED:
        assert np.allclose(worldAffineOf(inputs[role]), np.linalg.inv(MOVES[role]) @ places[role])
    showAligned(first, inputs)
    assert_aligned(inputs, places)
    showOnly(context.scene, second.segmentation)
    assert_as_scanned(inputs, places)


def test_a_hidden_result_shows_its_images_as_scanned_and_another_may_stay_aligned():
    context, inputs, places, nodes = a_result()
    showAligned(nodes, inputs)
    showOnly(context.scene, nodes.segmentation)
    assert_aligned(inputs, places)
    showOnly(context.scene, None)
    assert_as_scanned(inputs, places)


def test_a_result_of_a_script_is_aligned():
    context = a_context()
    inputs = add_inputs(context.scene)
    places = {role: worldAffineOf(node) for role, node in inputs.items()}
    nodes = Results(context).show(prepared(), inputs)
    assert_aligned(inputs, places)
    assert findResult(context.scene, nodes.segmentation) == nodes


def test_orphans_of_a_deleted_segmentation_go_and_the_images_go_back():
    context, inputs, places, nodes = a_result(moved_before=TILT)
    showAligned(nodes, inputs)
    context.scene.RemoveNode(nodes.segmentation)
    removeOrphans(context.scene)
    assert_as_scanned(inputs, places)
    assert nodes.move_t2f.GetScene() is None
    assert nodes.mask.GetScene() is context.scene  # it can be seen, and somebody may have worked on it


def test_without_a_move_the_rest_of_the_result_stays():
    context, inputs, _, nodes = a_result()
    context.scene.RemoveNode(nodes.move_t2f)
    found = findResult(context.scene, nodes.segmentation)
    assert found is not None
    assert set(movesOf(found)) == {"t2w"}
    showAligned(found, inputs)


def test_a_failure_leaves_images_where_they_were():
    context, inputs, places, nodes = a_result()
    showAligned(nodes, inputs)
    bad = replace(prepared(places["t1c"]), preparation={"looked": "something else"})
    before = contents(context.scene)
    with pytest.raises(ValueError, match="preparation"):
        showPrediction(context, bad, inputs, nodes.segmentation)
    assert contents(context.scene) == before
    assert_aligned(inputs, places)


def segments_of(node):
    inside = node.GetSegmentation()
    return [inside.GetNthSegment(n).GetName() for n in range(inside.GetNumberOfSegments())]


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_mask_is_the_brain_of_the_result_hidden_at_first(affine):
    _context, inputs, _, nodes = a_result(affine)
    assert segments_of(nodes.mask) == ["Brain"]
    assert nodes.mask.GetName() == "by_hand brain mask"
    assert not nodes.mask.GetHideFromEditors()
    assert not nodes.mask.GetDisplayNode().GetVisibility()
    brain = prepared(affine).probabilities[0] < 1
    assert np.array_equal(label_seen(nodes.mask, inputs["t1c"], ("Brain",)) > 0, brain)
    assert nodes.mask.GetNodeReference(REFERENCE) is inputs["t1c"]
    assert "SCT^12738006^Brain" in nodes.mask.GetSegmentation().GetSegment("Brain").GetTerminology()


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_mask_can_be_sent_again_and_gives_the_same_brain(affine):
    _context, inputs, _, nodes = a_result(affine, TILT)
    showAligned(nodes, inputs)
    t1ce = volumeOf(inputs["t1c"])
    sent = brainMaskOf(nodes.mask, t1ce)
    brain = resample(sent, t1ce.shape, t1ce.affine, order=0).array > 0
    assert np.array_equal(brain, prepared().probabilities[0] < 1)


def test_where_no_brain_was_looked_for_there_is_no_mask():
    context = a_context()
    nodes = showPrediction(context, prepared(brain=""), add_inputs(context.scene))
    assert nodes.mask is None
    assert set(movesOf(nodes)) == set(MOVED)


def test_the_reference_is_t1ce_as_it_was_scanned_and_the_study_is_its_own():
    context = a_context()
    inputs = add_inputs(context.scene)
    hierarchy = hierarchy_of(context.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    studies = {role: hierarchy.CreateStudyItem(patient, f"study of {role}") for role in inputs}
    for role, node in inputs.items():
        folder = hierarchy.CreateFolderItem(studies[role], "a folder")
        hierarchy.SetItemParent(hierarchy.CreateItem(folder, node), folder)
    nodes = showPrediction(context, prepared(), inputs)
    assert nodes.segmentation.GetNodeReference(REFERENCE) is inputs["t1c"]
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.segmentation))
    assert hierarchy.GetItemParent(folder) == studies["t1c"]


def test_images_that_are_moved_already_are_not_moved_twice():
    said = asMoved(prepared().preparation)
    assert Preparation.from_dict(said).moves == {}
    assert Preparation.from_dict(said).sentence == a_preparation().sentence
    assert asMoved({}) == {}


def test_a_move_does_the_same_in_the_world_for_what_else_lies_under_it():
    context, inputs, _, nodes = a_result(moved_before=TILT)
    showAligned(nodes, inputs)
    drawn = context.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    drawn.SetAndObserveTransformNodeID(nodes.move_t2f.GetID())
    wanted = toWorld(drawn)
    showAsScanned(nodes, inputs)
    assert np.array_equal(toWorld(drawn), wanted)
    removeResult(nodes)
    assert drawn.GetParentTransformNode() is inputs["t2f"].GetParentTransformNode()
