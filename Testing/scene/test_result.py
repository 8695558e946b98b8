"""A result in a scene: all or nothing, changed, found again, removed."""

import numpy as np
import pytest
import slicer
from mrml import (
    GRIDS,
    a_context,
    a_mute_prediction,
    a_prediction,
    add_inputs,
    bend,
    contents,
    hierarchy_of,
    label_seen,
    nodes_of,
    shown,
)
from ProtoSegBrainScene import result
from ProtoSegBrainScene.grid import voxelsOf, worldAffineOf
from ProtoSegBrainScene.result import findResult, findResults, inputsOf, removeResult, showPrediction, updateResult
from ProtoSegBrainScene.stored import restorePrediction

from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.result.uncertainty import entropy


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_maps_have_their_own_grid(affine):
    _context, _, prediction, nodes = shown(affine)
    assert np.array_equal(np.moveaxis(voxelsOf(nodes.similarities), -1, 0), prediction.similarities)
    for node in (nodes.similarities, nodes.similarity):
        assert np.allclose(worldAffineOf(node), prediction.similarity_affine, atol=1e-9)
    assert np.array_equal(voxelsOf(nodes.uncertainty), entropy(prediction.probabilities))
    assert voxelsOf(nodes.uncertainty).dtype == np.float32
    assert np.array_equal(voxelsOf(nodes.brain) > 0, prediction.probabilities[0] < 1)
    for node in (nodes.uncertainty, nodes.brain):
        assert np.allclose(worldAffineOf(node), affine, atol=1e-9)


def test_the_reference_grid_is_that_of_an_input():
    _context, inputs, _, nodes = shown()
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert nodes.segmentation.GetNodeReference(role) in inputs.values()


def test_it_stands_in_the_study_of_its_inputs():
    context = a_context()
    hierarchy = hierarchy_of(context.scene)
    inputs = add_inputs(context.scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    for node in inputs.values():
        hierarchy.SetItemParent(hierarchy.CreateItem(study, node), study)
    nodes = showPrediction(context, a_prediction(), inputs)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.segmentation))
    assert hierarchy.GetItemName(folder) == "ProtoSegBrain by_hand"
    assert hierarchy.GetItemParent(folder) == study


def test_without_inputs_it_can_be_shown_too():
    context = a_context()
    nodes = showPrediction(context, a_prediction(), {})
    assert inputsOf(nodes) == {}
    assert np.array_equal(label_seen(nodes.segmentation, nodes.brain), a_prediction().label)


def test_it_is_found_again():
    context, inputs, _, nodes = shown()
    assert findResult(context.scene, nodes.segmentation) == nodes
    assert findResults(context.scene) == [nodes]
    assert inputsOf(nodes) == inputs
    context.scene.RemoveNode(nodes.brain)
    assert findResult(context.scene, nodes.segmentation) is None
    assert findResult(context.scene, nodes.regions) is None


def test_after_a_what_if_the_models_own_result_is_restored():
    context, _, prediction, nodes = shown()
    changed = whatif(prediction, disabled=[3])
    updateResult(context, nodes, changed)
    assert np.array_equal(voxelsOf(nodes.uncertainty), entropy(changed.probabilities))
    assert nodes.volumes.GetTable().GetValue(2, 1).ToString() == "0.0 ml"  # ET
    assert np.array_equal(restorePrediction(nodes).label, prediction.label)


FAILING = ("_addFolder", "_addMaps", "storePrediction", "_fillSegmentation", "fillPrototypeTable")


@pytest.mark.parametrize("step", FAILING)
@pytest.mark.parametrize("given", [False, True], ids=["new", "given"])
def test_an_error_leaves_the_scene_as_it_was(monkeypatch, step, given):
    context, _, prediction, nodes = shown()
    inputs = inputsOf(nodes)
    label = label_seen(nodes.segmentation, inputs["t1c"])
    before, items = contents(context.scene), sorted(result._items(hierarchy_of(context.scene)))

    def fail(*arguments):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(result, step, fail)
    with pytest.raises(RuntimeError, match="no more memory"):
        showPrediction(context, whatif(prediction, [3]), inputs, nodes.segmentation if given else None)
    assert contents(context.scene) == before
    assert sorted(result._items(hierarchy_of(context.scene))) == items
    assert findResult(context.scene, nodes.segmentation) == nodes
    assert np.array_equal(label_seen(nodes.segmentation, inputs["t1c"]), label)


def test_a_segmentation_under_a_bent_transform_is_refused_unchanged():
    context = a_context()
    inputs = add_inputs(context.scene)
    segmentation = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentation.GetSegmentation().AddEmptySegment("bone", "Bone")
    bend(context.scene, segmentation)
    before = contents(context.scene)
    with pytest.raises(ValueError, match="mine lies under the transform"):
        showPrediction(context, a_prediction(), inputs, segmentation)
    assert contents(context.scene) == before
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1


def test_a_second_result_in_the_same_segmentation_replaces_the_first():
    context, inputs, prediction, first = shown()
    count = len(nodes_of(context.scene))
    second = showPrediction(context, whatif(prediction, [3]), inputs, first.segmentation)
    assert len(nodes_of(context.scene)) == count
    assert findResults(context.scene) == [second]
    hierarchy = hierarchy_of(context.scene)
    folders = [i for i in result._items(hierarchy) if hierarchy.GetItemName(i) == "ProtoSegBrain by_hand"]
    assert len(folders) == 1


def test_two_results_live_beside_each_other():
    context, inputs, prediction, first = shown()
    second = showPrediction(context, whatif(prediction, [3]), inputs)
    assert findResults(context.scene) == [first, second]
    removeResult(second)
    assert findResults(context.scene) == [first]


def test_nothing_is_left_of_a_removed_result():
    context = a_context()
    inputs = add_inputs(context.scene)
    removeResult(showPrediction(context, a_prediction(), inputs))  # what it leaves: the colours, the first input's item
    before, items = contents(context.scene), result._items(hierarchy_of(context.scene))
    removeResult(showPrediction(context, a_prediction(), inputs))
    assert contents(context.scene) == before
    assert result._items(hierarchy_of(context.scene)) == items


def test_a_result_that_lost_its_similarities_is_not_taken_for_one_without_prototypes():
    context, _, _, nodes = shown()
    context.scene.RemoveNode(nodes.similarities)
    assert findResult(context.scene, nodes.segmentation) is None


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_model_without_prototypes_may_follow_one_that_has_them(affine):
    mute = a_mute_prediction(affine)
    context, inputs, _, first = shown(affine)
    count = len(nodes_of(context.scene))
    second = showPrediction(context, mute, inputs, first.segmentation)
    assert len(nodes_of(context.scene)) == count - 2  # one map and its display less, one store for another
    assert findResults(context.scene) == [second]
    removeResult(second)
    assert findResults(context.scene) == []
