"""What an input was: the same after a scene was saved, another as soon as a voxel or a place is another."""

import numpy as np
import pytest
from mrml import GRIDS, OBLIQUE, SHAPE, a_context, add_inputs, bend, move, read_scene
from ProtoSegBrainScene.fingerprint import fingerprintOf, fingerprintsOf, hasChanged
from ProtoSegBrainScene.grid import addVolume, voxelsOf

from ProtoSegBrainLib.images.volume import Volume


def an_input(affine=OBLIQUE):
    context = a_context()
    return context, add_inputs(context.scene, affine)["t1c"]


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_an_input_that_stays_has_not_changed(affine):
    _context, node = an_input(affine)
    taken = fingerprintOf(node)
    node.CreateDefaultDisplayNodes()
    node.SetName("another name")
    assert not hasChanged(node, taken)


def test_one_voxel_is_noticed():
    _context, node = an_input()
    taken = fingerprintOf(node)
    voxelsOf(node)[3, 4, 5] += 1
    node.GetImageData().GetPointData().GetScalars().Modified()
    assert hasChanged(node, taken)
    voxelsOf(node)[3, 4, 5] -= 1
    node.GetImageData().GetPointData().GetScalars().Modified()
    assert not hasChanged(node, taken)


def test_a_transform_that_moves_it_is_noticed_and_one_that_does_not_is_none():
    context, node = an_input()
    taken = fingerprintOf(node)
    move(context.scene, node, np.eye(4))
    assert not hasChanged(node, taken)
    turned = np.eye(4)
    turned[0, 1] = 0.01
    move(context.scene, node, turned)
    assert hasChanged(node, taken)
    node.HardenTransform()
    assert hasChanged(node, taken)
    node.SetAndObserveTransformNodeID(None)
    bend(context.scene, node)
    assert hasChanged(node, taken)


def test_an_image_that_is_gone_has_changed():
    _context, node = an_input()
    taken = fingerprintOf(node)
    node.SetAndObserveImageData(None)
    assert hasChanged(node, taken)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_scene_that_is_saved_keeps_it(tmp_path, affine, kind):
    context = a_context()
    voxels = np.arange(np.prod(SHAPE), dtype=kind).reshape(SHAPE)
    node = addVolume(context.scene, "vtkMRMLScalarVolumeNode", "an image", Volume(voxels, affine))
    taken = fingerprintOf(node)
    assert context.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = read_scene(tmp_path / "scene.mrb", tmp_path / "unpacked")
    assert not hasChanged(again.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode"), taken)


def test_what_is_not_there_has_none():
    _context, node = an_input()
    assert fingerprintsOf({"t1c": node, "t2w": None}) == {"t1c": fingerprintOf(node)}
