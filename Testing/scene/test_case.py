"""A case's images in a scene, and its name from theirs."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
from mrml import OBLIQUE
from ProtoSegBrainScene.case import addCase, caseIdOf
from ProtoSegBrainScene.inputs import volumeOf

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES


@pytest.mark.parametrize("on_four_grids", [False, True])
def test_each_image_comes_on_the_grid_it_was_read_on(on_four_grids):
    case = Case("case_7", np.arange(4 * 24, dtype=np.float32).reshape(4, 2, 3, 4), OBLIQUE)
    expected = [Volume(image, OBLIQUE) for image in case.images]
    if on_four_grids:
        expected = [Volume(image[:1], OBLIQUE @ np.diag([2.0, 1, 1, 1])) for image in case.images]
        case = replace(case, originals=tuple(expected))
    scene = slicer.vtkMRMLScene()
    nodes = addCase(scene, case)
    assert list(nodes) == list(MODALITIES)
    for (role, node), volume in zip(nodes.items(), expected, strict=True):
        assert node.GetName() == f"case_7 {MODALITY_NAMES[role]}"
        assert node.GetDisplayNode() is not None
        np.testing.assert_array_equal(volumeOf(node).array, volume.array)
        np.testing.assert_allclose(volumeOf(node).affine, volume.affine)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("case_1_flair", "case_1_t1", "case_1_t1ce", "case_1_t2"), "case_1"),
        (("simulated_1 FLAIR", "simulated_1 T1", "simulated_1 T1ce", "simulated_1 T2"), "simulated_1"),
        (("FLAIR", "T1", "T1ce", "T2"), "case"),
        (("T2 flair", "T1 ax", "T1 gd", "T2 ax"), "case"),
        (("7: FLAIR ax/tra", "7: T1", "7: T1 gd", "7: T2"), "7"),
    ],
)
def test_a_case_is_named_by_what_its_volumes_share(names, expected):
    scene = slicer.vtkMRMLScene()
    nodes = [scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in names]
    assert caseIdOf(dict(zip(("t2f", "t1n", "t1c", "t2w"), nodes, strict=True))) == expected
