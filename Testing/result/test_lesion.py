"""Shapes whose diameters, foci and places are known on paper, on grids of every kind."""

import numpy as np
import pytest

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.result.lesion import count_foci, crop, largest_diameters_mm, locate, midline

TURN = np.deg2rad(20)
ABOUT_Z = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])
ABOUT_X = np.array([[1, 0, 0], [0, np.cos(TURN), -np.sin(TURN)], [0, np.sin(TURN), np.cos(TURN)]])


def affine_of(linear, origin=(3.0, -7.0, 11.0)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, origin
    return affine


GRIDS = {
    "1 mm": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "turned in plane": ABOUT_Z,
    "oblique": ABOUT_X @ ABOUT_Z @ np.diag([-1.0, 1.0, 1.0]),
    "thick slices": np.diag([1.0, 1.0, 5.0]),
}


@pytest.mark.parametrize("linear", GRIDS.values(), ids=GRIDS)
def test_a_cross_is_as_long_and_as_wide_as_its_bars(linear):
    mask = np.zeros((20, 16, 4), bool)
    mask[3:16, 7, 1] = True  # 13 voxels along i, one wide
    mask[9, 4:11, 1] = True  # 7 along j
    mask[2, 2, 3] = True  # another, smaller focus
    found = largest_diameters_mm(mask, affine_of(linear))
    assert found.longest_mm == pytest.approx(13)
    assert found.perpendicular_mm == pytest.approx(7)
    assert found.product_mm2 == pytest.approx(91)
    assert not found.measurable  # the shorter one is below 10 mm
    ends = np.array([(2.5, 7, 1), (15.5, 7, 1)]) @ linear.T + [3.0, -7.0, 11.0]
    assert np.array(sorted(found.longest_ends_mm)) == pytest.approx(np.array(sorted(ends.tolist())))


def test_voxels_that_are_not_square():
    mask = np.zeros((12, 12, 3), bool)
    mask[2:8, 5, 1] = True  # 6 voxels of 2 mm
    mask[4, 2:10, 1] = True  # 8 voxels of 3 mm
    found = largest_diameters_mm(mask, np.diag([2.0, 3.0, 4.0, 1.0]))
    assert (found.longest_mm, found.perpendicular_mm) == pytest.approx((24, 12))
    assert found.measurable


def test_the_axial_slice_is_found_whatever_the_order_of_axes():
    mask = np.zeros((20, 9, 9), bool)
    mask[2:18, 4, 4] = True  # along i, which is up-down here: not in an axial slice
    mask[5, 2:7, 4] = True
    upright = affine_of(np.array([[0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]]))
    assert largest_diameters_mm(mask, upright).longest_mm == pytest.approx(5)


def test_a_disc_and_a_ring_measure_their_outer_diameter():
    i, j = np.mgrid[:64, :64] - 31.5
    radius = np.hypot(i, j)
    for mask in (radius <= 20, (radius <= 20) & (radius >= 16)):
        found = largest_diameters_mm(mask[:, :, None], np.eye(4))
        assert found.longest_mm == pytest.approx(40, abs=1)
        assert found.perpendicular_mm == pytest.approx(40, abs=1)


def test_a_square_on_its_corner_has_two_equal_diagonals():
    i, j = np.mgrid[:41, :41] - 20
    found = largest_diameters_mm((np.abs(i) + np.abs(j) <= 15)[:, :, None], np.eye(4))
    assert (found.longest_mm, found.perpendicular_mm) == pytest.approx((31, 31))


def test_a_bent_lesion_is_not_as_wide_as_its_bend():
    i, j = np.mgrid[:80, :80] - 39.5
    radius = np.hypot(i, j)
    arc = (radius <= 30) & (radius >= 24) & (j > 0)
    found = largest_diameters_mm(arc[:, :, None], np.eye(4))
    assert found.longest_mm == pytest.approx(60, abs=1)
    assert found.perpendicular_mm == pytest.approx(19, abs=1)  # where the inner edge ends; the hull is 30 wide


def test_two_foci_are_not_measured_as_one():
    mask = np.zeros((40, 10, 1), bool)
    mask[2:10, 5], mask[30:36, 5] = True, True
    assert largest_diameters_mm(mask, np.eye(4)).longest_mm == pytest.approx(8)


def test_parts_apart_in_the_slice_are_one_only_where_the_core_joins_them():
    mask, core = np.zeros((2, 32, 12, 11), bool)
    mask[2:6, 2:10, 0], mask[26:30, 2:10, 0] = True, True
    for i in range(6, 26):  # a bridge one voxel thick through the other slices
        mask[i, 2, min(i - 5, 26 - i)] = True
    assert largest_diameters_mm(mask, np.eye(4)).longest_mm == pytest.approx(np.hypot(4, 8), abs=0.6)
    core[6:26, 4:8, 0] = True
    rim = largest_diameters_mm(mask, np.eye(4), core)
    assert rim.longest_mm == pytest.approx(np.hypot(28, 8), abs=0.6)
    assert largest_diameters_mm(np.zeros_like(mask), np.eye(4), core) is None


def test_one_voxel_and_none():
    mask = np.zeros((5, 5, 5), bool)
    assert largest_diameters_mm(mask, np.eye(4)) is None
    assert count_foci(mask, np.eye(4)) == 0
    mask[0, 4, 2] = True
    assert largest_diameters_mm(mask, np.eye(4)).longest_mm == pytest.approx(1)


def test_foci_are_counted_from_a_tenth_of_a_millilitre():
    mask = np.zeros((12, 12, 12), bool)
    mask[0:5, 0:5, 0:4] = True  # 100 mm3: counts
    mask[8:11, 8:11, 8:11] = True  # 27 mm3
    mask[11, 11, 11] = True  # touches it by a corner
    assert count_foci(mask, np.eye(4)) == 1
    assert count_foci(mask, np.diag([2.0, 2.0, 2.0, 1.0])) == 2
    assert count_foci(mask, np.eye(4), least_ml=0.028) == 2
    assert count_foci(mask, np.eye(4), least_ml=0.029) == 1


def ball(shape, centre, radius, linear):
    """Voxels whose position (origin 0) lies within ``radius`` mm of ``centre``."""
    index = np.stack(np.mgrid[tuple(slice(n) for n in shape)], axis=-1) - (np.array(shape) - 1) / 2
    return np.linalg.norm(index @ np.asarray(linear).T - centre, axis=-1) <= radius


@pytest.mark.parametrize("name", ["1 mm", "flipped", "oblique"])
def test_the_place_in_a_round_brain(name):
    linear, shape = 2 * GRIDS[name], (44, 44, 44)
    affine = affine_of(linear, -linear @ (np.array(shape) - 1) / 2)
    brain = Volume(ball(shape, (0, 0, 0), 40, linear), affine)
    lesion = ball(shape, (18, 24, -20), 6, linear)
    found = locate(lesion, affine, brain)
    assert found.centre_mm == pytest.approx((18, 24, -20), abs=0.6)
    assert (found.side, found.share_right) == ("right", 1.0)
    assert (found.front, found.height) == pytest.approx((0.8, 0.25), abs=0.02)
    turned = 0 if name != "oblique" else 20  # a ball has a middle in every direction: that of the grid is taken
    if not turned:
        assert found.midline_mm == pytest.approx(18, abs=0.6)
        assert "18 mm right of the midline, in the front third" in found.sentence
        assert "lower third" in found.sentence


def test_left_and_both_sides():
    brain = Volume(ball((40, 40, 40), (0, 0, 0), 19, np.eye(3)), np.eye(4))
    left = locate(ball((40, 40, 40), (-10, 0, 0), 4, np.eye(3)), np.eye(4), brain)
    assert (left.side, left.share_right) == ("left", 0.0)
    assert "On the left side. The centre lies 10 mm left" in left.sentence
    middle = locate(ball((40, 40, 40), (0, 0, 0), 4, np.eye(3)), np.eye(4), brain)
    assert middle.side == "both"
    assert "On both sides, 50% of it right of the midline. The centre lies on the midline" in middle.sentence


def test_the_midline_follows_a_turned_head():
    """An ellipsoid, longer from front to back, turned by 10 degrees about the vertical axis."""
    turn = np.deg2rad(10)
    across = np.array([np.cos(turn), np.sin(turn), 0])
    index = np.stack(np.mgrid[:60, :80, :40], axis=-1) - [29.5, 39.5, 19.5]
    x, y, z = index @ across, index @ [-np.sin(turn), np.cos(turn), 0], index[..., 2]
    brain = (x / 22) ** 2 + (y / 34) ** 2 + (z / 18) ** 2 <= 1
    normal, offset = midline(Volume(brain, np.eye(4)))
    assert offset == pytest.approx(normal @ [29.5, 39.5, 19.5], abs=0.2)
    assert np.rad2deg(np.arccos(normal @ across)) < 6  # the outline of an ellipsoid tells about half of the turn


def test_no_lesion_or_no_brain_has_no_place():
    nothing, something = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    assert locate(nothing, np.eye(4), Volume(something, np.eye(4))) is None
    assert locate(something, np.eye(4), Volume(nothing, np.eye(4))) is None


def test_the_crop_lies_where_the_voxels_were():
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[1:3, 4, 2:6] = 2
    affine = affine_of(ABOUT_Z @ np.diag([-1.0, 2.0, 3.0]))
    tight = crop(mask, affine)
    assert tight.shape == (2, 1, 4)
    assert (tight.array == 2).all()
    corners = {tuple(np.round(affine @ [i, 4, k, 1], 6)) for i in (1, 2) for k in (2, 5)}
    ends = {tuple(np.round(tight.affine @ [i, 0, k, 1], 6)) for i in (0, 1) for k in (0, 3)}
    assert corners == ends
