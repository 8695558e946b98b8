"""The pictures of a raw study: four series in two planes, each where it was moved to, with the brain's outline."""

from dataclasses import replace

import numpy as np
import pytest
from small_case import AFFINE, BRAIN, images

from ProtoSegBrainLib.images.case import Case, case_from_volumes
from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.pictures.prepared import ORDER, prepared_pictures

SHIFT = np.array([[1.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def case() -> Case:
    volumes = {role: Volume(array, AFFINE) for role, array in images().items()}
    plain = case_from_volumes(volumes, "p1")
    done = Preparation("With skull, not aligned", {"t2f": Move(SHIFT, 7.0, 0.0, 0.8, 0.2)}, "HD-BET", 1400.0)
    originals = tuple(volumes[role] for role in MODALITIES)
    return replace(plain, originals=originals, mask=BRAIN, preparation=done)


def test_each_series_is_shown_in_two_planes(case):
    pictures = prepared_pictures(case)
    assert [(each.plane, each.modality) for each in pictures] == [
        (plane, role) for plane in ("Axial", "Sagittal") for role in ORDER
    ]
    assert all('class="outline"' in each.picture.drawing for each in pictures)


def test_the_outline_is_the_same_and_the_images_are_not(case):
    axial = [each.picture.drawing for each in prepared_pictures(case) if each.plane == "Axial"]
    outlines = {drawing[drawing.index('<path class="outline"') :] for drawing in axial}
    assert len(outlines) == 1
    assert len(set(axial)) == 4


def test_an_image_that_lies_elsewhere_is_drawn_there(case):
    away = replace(case, originals=tuple(Volume(each.array, SHIFT @ each.affine) for each in case.originals))
    assert all(
        here.picture.drawing != there.picture.drawing
        for here, there in zip(prepared_pictures(case), prepared_pictures(away), strict=True)
    )


def test_a_case_that_was_taken_as_it_is_has_none(case):
    assert prepared_pictures(replace(case, preparation=None, mask=None)) == []
