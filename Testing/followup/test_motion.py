import numpy as np
import pytest
from made_up_visits import AFFINE, SHAPE, motion, visit

from ProtoSegBrainLib.followup.motion import Registration, compared, register
from ProtoSegBrainLib.images.volume import Volume

CORNERS = np.array([[i, j, k, 1] for i in (0, SHAPE[0]) for j in (0, SHAPE[1]) for k in (0, SHAPE[2])]).T


def registered(moved, **values):
    return register(visit(moved=moved, noise=1, **values), visit(), 0.8, 0.45)


@pytest.mark.parametrize(
    ("degrees", "mm"), [((0, 0, 0), (0, 0, 0)), ((4, -3, 6), (5, -4, 3)), ((-10, 8, 12), (15, 10, -12))]
)
def test_the_motion_between_two_scans_is_found(degrees, mm):
    moved = motion(degrees, mm)
    found = registered(moved)
    off = (found.motion @ moved - np.eye(4)) @ AFFINE @ CORNERS
    assert np.linalg.norm(off, axis=0).max() < 0.5
    assert found.is_same_head
    assert found.likeness > 0.9


def test_another_head_is_told_from_the_same_one():
    found = registered(motion(), head=7)
    assert not found.is_same_head
    assert abs(found.likeness) < 0.3


def test_brains_that_do_not_meet_have_no_overlap_and_no_likeness():
    there, here = visit(), visit(noise=1)
    apart = Volume(here.case.images[0], motion((0, 0, 0), (500, 0, 0)) @ here.case.affine)
    assert compared(apart, Volume(there.case.images[0], there.case.affine)) == (0.0, 0.0)


def test_shading_does_not_make_two_heads_alike():
    """What all heads have in common is smooth; alone it is no likeness."""
    shading = np.linspace(0, 100, SHAPE[0])[:, None, None]
    one, other = (
        np.where(image != 0, image + shading, 0) for image in (visit().case.images[0], visit(head=3).case.images[0])
    )
    assert compared(Volume(other, AFFINE), Volume(one, AFFINE))[1] < 0.3


def test_a_registration_is_the_same_after_json():
    found = registered(motion())
    again = Registration.from_dict(found.to_dict())
    np.testing.assert_allclose(again.motion, found.motion, atol=1e-7)
    assert again.is_same_head
    assert Registration.none().displacement_mm == 0
