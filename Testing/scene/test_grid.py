"""Arrays and affines between the library and nodes: every axis, every turn."""

import numpy as np
import pytest
from mrml import FLIPPED, GRIDS, OBLIQUE, a_context, add_inputs, bend, move
from ProtoSegBrainScene.grid import addVolume, setVoxels, voxelsOf, worldAffineOf

from ProtoSegBrainLib.images.volume import Volume


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_a_voxel_is_where_the_library_says(affine, rng):
    array = rng.normal(size=(3, 4, 5)).astype(np.float32)
    node = addVolume(a_context().scene, "vtkMRMLScalarVolumeNode", "x", Volume(array, affine))
    assert node.GetImageData().GetScalarComponentAsFloat(2, 1, 3, 0) == array[2, 1, 3]
    ras = np.zeros(4)
    ijk_to_ras = worldAffineOf(node)
    ras = ijk_to_ras @ [2, 1, 3, 1]
    assert np.allclose(ras, affine @ [2, 1, 3, 1], atol=1e-9)
    assert np.array_equal(voxelsOf(node), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_channels_keep_their_places(order, rng):
    array = np.asarray(rng.normal(size=(3, 4, 5, 7)).astype(np.float32), order=order)
    node = addVolume(a_context().scene, "vtkMRMLVectorVolumeNode", "x", Volume(array, OBLIQUE))
    assert node.GetImageData().GetNumberOfScalarComponents() == 7
    assert node.GetImageData().GetScalarComponentAsFloat(2, 1, 3, 6) == array[2, 1, 3, 6]
    assert np.array_equal(voxelsOf(node), array)


def test_parent_transforms_are_in_the_affine():
    context = a_context()
    node = add_inputs(context.scene, OBLIQUE)["t1n"]
    move(context.scene, node, FLIPPED)
    assert np.allclose(worldAffineOf(node), FLIPPED @ OBLIQUE, atol=1e-9)


def test_a_bent_volume_is_refused_in_one_sentence():
    context = a_context()
    node = add_inputs(context.scene)["t1n"]
    bend(context.scene, node)
    with pytest.raises(ValueError, match=r"case T1 lies under the transform .* not linear"):
        worldAffineOf(node)


def test_new_voxels_keep_the_place_and_take_a_new_size():
    node = addVolume(a_context().scene, "vtkMRMLScalarVolumeNode", "x", Volume(np.zeros((2, 2, 2), np.uint8), OBLIQUE))
    setVoxels(node, np.full((3, 2, 2), 5, np.float32))
    assert voxelsOf(node).shape == (3, 2, 2)
    assert np.allclose(worldAffineOf(node), OBLIQUE)
    setVoxels(node, np.full((3, 2, 2), 6, np.float32))
    assert (voxelsOf(node) == 6).all()


def test_a_node_without_an_image_says_so():
    node = a_context().scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    with pytest.raises(ValueError, match="hollow has no image"):
        voxelsOf(node)
