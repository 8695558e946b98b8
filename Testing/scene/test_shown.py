"""One result at a time: of two patients in a scene, pixels are those of the one alone."""

import numpy as np
import pytest
import slicer
from mrml import OBLIQUE, a_context, a_prediction, add_inputs, needs_opengl
from ProtoSegBrainScene.heatmap import showPrototype
from ProtoSegBrainScene.layout import compositeNodes
from ProtoSegBrainScene.offscreen import SliceView, ThreeDView
from ProtoSegBrainScene.parts import partsOf
from ProtoSegBrainScene.rendering import paintSurface, showVolumeRendering
from ProtoSegBrainScene.result import changedInputs, findResult, imagesOf, showPrediction
from ProtoSegBrainScene.results import Results
from ProtoSegBrainScene.segmentation import show3D
from ProtoSegBrainScene.shown import bringImages, showOnly

SIZE = 120


class Scene:
    """Views, and any number of patients in them, each 4 mm beside the one before."""

    def __init__(self):
        self.context = a_context()
        self.slice = SliceView(self.context, "Red", "Axial", SIZE, SIZE)
        self.solid = ThreeDView(self.context, "1", SIZE, SIZE)
        self.count = 0

    def add(self):
        moved = OBLIQUE.copy()
        moved[0, 3] += 4 * self.count
        self.count += 1
        prediction = a_prediction(moved)
        images = add_inputs(self.context.scene, moved)
        nodes = showPrediction(self.context, prediction, images)
        show3D(self.context, nodes, True)
        showPrototype(self.context, nodes, prediction, 3, images["t1c"], self.composites(), 0.1, 0.7)
        showVolumeRendering(self.context, nodes, True)
        return prediction, nodes

    def composites(self):
        return list(compositeNodes(self.context.scene).values())

    def pixels(self, prediction):
        middle = (prediction.affine @ [3, 7, 7, 1])[:3]
        self.slice.look(middle, 40)
        self.solid.look((0.3, 1.0, 0.4), 1.0)
        return np.concatenate([self.slice.pixels(), self.solid.pixels()])


@needs_opengl
def test_the_pixels_of_a_second_patient_are_as_if_there_were_no_first():
    alone = Scene()
    alone.count = 1
    prediction, _ = alone.add()
    wanted = alone.pixels(prediction)
    both = Scene()
    first, nodes = both.add()
    paintSurface(both.context, nodes, first, True)
    second, later = both.add()
    mixed = both.pixels(second)
    showOnly(both.context.scene, later.segmentation)
    clean = both.pixels(second)
    assert np.abs(mixed.astype(int) - wanted).mean() > 1  # else the test says nothing
    assert np.abs(clean.astype(int) - wanted).mean() < 0.1


def test_a_table_of_another_result_is_not_shown():
    scene = Scene()
    _, first = scene.add()
    view = scene.context.scene.AddNewNodeByClass("vtkMRMLTableViewNode")
    view.SetTableNodeID(first.volumes.GetID())
    _, second = scene.add()
    showOnly(scene.context.scene, second.segmentation)
    assert view.GetTableNode() is None
    view.SetTableNodeID(second.volumes.GetID())
    showOnly(scene.context.scene, second.segmentation)
    assert view.GetTableNode() is second.volumes


def test_what_is_left_of_a_result_is_hidden_too():
    scene = Scene()
    _, nodes = scene.add()
    scene.context.scene.RemoveNode(nodes.segmentation)
    nodes.regions.GetDisplayNode().SetVisibility(True)
    showOnly(scene.context.scene, None)
    assert not nodes.regions.GetDisplayNode().GetVisibility()
    assert {composite.GetForegroundVolumeID() for composite in scene.composites()} == {None}
    logic = scene.context.volumeRendering
    assert not logic.GetFirstVolumeRenderingDisplayNode(nodes.similarity).GetVisibility()


@pytest.mark.parametrize("layer", ["Background", "Foreground", "Label"])
def test_maps_of_others_leave_every_layer_and_other_volumes_stay(layer):
    scene = Scene()
    _, nodes = scene.add()
    own = add_inputs(scene.context.scene)["t2w"]
    (composite,) = scene.composites()
    for volume, left in ((nodes.uncertainty, None), (own, own.GetID())):
        getattr(composite, f"Set{layer}VolumeID")(volume.GetID())
        showOnly(scene.context.scene, None)
        assert getattr(composite, f"Get{layer}VolumeID")() == left


def test_images_of_another_patient_are_replaced_in_slicers_own_views_and_what_is_empty_stays():
    scene = Scene()
    first, second = (add_inputs(scene.context.scene) for _ in range(2))
    (composite,) = scene.composites()
    bringImages(scene.context.scene, second)
    assert composite.GetBackgroundVolumeID() is None
    composite.SetBackgroundVolumeID(first["t2f"].GetID())
    bringImages(scene.context.scene, second)
    assert composite.GetBackgroundVolumeID() == second["t1c"].GetID()
    composite.SetBackgroundVolumeID(second["t2w"].GetID())
    bringImages(scene.context.scene, second)
    assert composite.GetBackgroundVolumeID() == second["t2w"].GetID()
    bringImages(scene.context.scene, dict.fromkeys(second))
    assert composite.GetBackgroundVolumeID() == second["t2w"].GetID()


def test_a_result_knows_its_images_and_whether_they_are_as_they_were():
    context = a_context()
    results = Results(context)
    images = add_inputs(context.scene)
    others = add_inputs(context.scene)
    nodes = results.show(a_prediction(), images)
    assert imagesOf(nodes.segmentation) == images
    assert results.segmentationOf(images) is nodes.segmentation
    assert results.segmentationOf(others) is None
    assert results.segmentationOf(dict.fromkeys(images)) is None
    assert results.misfit(nodes.segmentation, images) is None
    assert results.misfit(nodes.segmentation, {**images, "t2w": others["t2w"]}) == ""
    images["t1n"].GetImageData().GetPointData().GetScalars().Fill(0)
    images["t1n"].GetImageData().GetPointData().GetScalars().Modified()
    assert changedInputs(nodes.segmentation) == ["t1n"]
    assert results.segmentationOf(images) is None
    assert "T1 moved or changed" in results.misfit(nodes.segmentation, images)


def test_results_of_one_name_have_numbers_and_a_replaced_one_keeps_its_name():
    context = a_context()
    results = Results(context)
    images = [add_inputs(context.scene) for _ in range(3)]
    nodes = [results.show(a_prediction(), each) for each in images]
    assert [each.segmentation.GetName() for each in nodes] == ["by_hand", "by_hand 2", "by_hand 3"]
    again = results.show(a_prediction(), images[1], nodes[1].segmentation)
    assert again.similarity.GetName() == "by_hand 2 similarity"
    names = {part.GetName() for part in partsOf(again.segmentation)}
    assert all(name.startswith("by_hand 2") for name in names)


def test_only_the_latest_is_seen_and_a_damaged_one_is_replaced_whole():
    context = a_context()
    results = Results(context)
    first = results.show(a_prediction(), add_inputs(context.scene))
    images = add_inputs(context.scene)
    second = results.show(a_prediction(), images)
    assert [each.segmentation.GetDisplayNode().GetVisibility() for each in (first, second)] == [0, 1]
    count = context.scene.GetNumberOfNodes()
    context.scene.RemoveNode(second.brain)
    assert results.lose(second.brain)
    assert "missing" in results.misfit(second.segmentation, images)
    third = results.show(a_prediction(), images, second.segmentation)
    assert findResult(context.scene, third.segmentation) == third
    kinds = [context.scene.GetNthNode(n).GetClassName() for n in range(context.scene.GetNumberOfNodes())]
    assert kinds.count("vtkMRMLSegmentationNode") == 4
    assert context.scene.GetNumberOfNodes() == count


def test_an_older_scene_without_fingerprints_is_believed():
    context = a_context()
    results = Results(context)
    images = add_inputs(context.scene)
    nodes = results.show(a_prediction(), images)
    for role in images:
        nodes.segmentation.RemoveAttribute(f"ProtoSegBrain.{role}")
    assert results.misfit(nodes.segmentation, images) is None
    assert slicer.vtkMRMLSegmentationNode.SafeDownCast(results.segmentationOf(images)) is nodes.segmentation
