"""A person's brain, wherever it was drawn, as the library gets it."""

import numpy as np
import pytest
from mrml import FLIPPED, GRIDS, OBLIQUE, SHAPE, a_context, move
from ProtoSegBrainScene.brainmask import brainMaskOf
from ProtoSegBrainScene.segmentation import fillBrain

from ProtoSegBrainLib.images.volume import Volume, resample

T1CE = Volume(np.ones(SHAPE, np.float32), OBLIQUE)


def a_brain(context, affine=OBLIQUE):
    segmentation = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:7, 3:9, 4:11] = 1
    mask[2, 3, 4] = 0
    fillBrain(segmentation, Volume(mask, affine))
    return segmentation, mask


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS)
def test_the_brain_is_where_it_was_drawn(affine):
    context = a_context()
    segmentation, mask = a_brain(context, affine)
    found = brainMaskOf(segmentation, Volume(T1CE.array, affine))
    np.testing.assert_array_equal(resample(found, SHAPE, affine, order=0).array, mask)


def test_a_transform_of_the_segmentation_counts():
    context = a_context()
    segmentation, mask = a_brain(context)
    move(context.scene, segmentation, FLIPPED)
    moved = FLIPPED @ OBLIQUE
    found = brainMaskOf(segmentation, Volume(T1CE.array, moved))
    np.testing.assert_array_equal(resample(found, SHAPE, moved, order=0).array, mask)


def test_the_segment_that_is_called_brain_is_taken():
    context = a_context()
    segmentation, _ = a_brain(context)
    inside = segmentation.GetSegmentation()
    inside.AddEmptySegment("scalp", "scalp")
    assert brainMaskOf(segmentation, T1CE).array.any()
    inside.GetSegment("Brain").SetName("head")
    with pytest.raises(ValueError, match="called brain, or one alone; it has: head, scalp"):
        brainMaskOf(segmentation, T1CE)


def test_what_is_no_mask_is_refused():
    context = a_context()
    nothing = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    with pytest.raises(ValueError, match="it has: none"):
        brainMaskOf(nothing, T1CE)
    nothing.GetSegmentation().AddEmptySegment("brain", "brain")
    with pytest.raises(ValueError, match="is empty"):
        brainMaskOf(nothing, T1CE)
    far = OBLIQUE.copy()
    far[:3, 3] += 900
    with pytest.raises(ValueError, match="does not lie on T1ce"):
        brainMaskOf(a_brain(context, far)[0], T1CE)
