"""Where a voxel lands in the picture, and what is drawn there."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.pictures.slices import (
    HEAT,
    PLANES,
    Slice,
    grey_layer,
    heat,
    heat_layer,
    line_layer,
    outline_layer,
    picture,
    slices_through,
)

SHAPE = (6, 8, 10)
OBLIQUE = np.array([[1.9, 0.1, 0.3, -4], [-0.1, 3.0, 0.2, 7], [-0.3, -0.2, 4.0, 1], [0, 0, 0, 1]])
AXIAL, CORONAL, SAGITTAL = PLANES


def view_of(plane, index, affine=OBLIQUE):
    return Slice(plane, index, SHAPE, affine, (0.0, 0.0), 40.0)


def pixels(layer):
    data = re.search(r'href="data:image/png;base64,([^"]+)"', layer).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_right_is_left_and_front_and_top_are_up():
    mark = np.zeros(SHAPE)
    mark[5, 7, 9] = 1  # the voxel farthest to the right, the front and the top
    for plane, corner in ((AXIAL, (0, 0)), (CORONAL, (0, 0)), (SAGITTAL, (0, 0))):
        view = view_of(plane, SHAPE[plane.axis] - 1)
        assert tuple(np.argwhere(view.cut(mark))[0]) == corner
    assert (AXIAL.left, CORONAL.left, SAGITTAL.left) == ("R", "R", "A")


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_a_position_is_placed_on_the_pixel_of_its_voxel(plane):
    index = (1, 5, 7)
    mark = np.zeros(SHAPE)
    mark[index] = 1
    view = view_of(plane, index[plane.axis])
    row, column = np.argwhere(view.cut(mark))[0]
    position = (OBLIQUE @ [*index, 1])[:3]
    expected = (np.array([column, row]) + 0.5) * view.pixel_mm
    assert view.place([position])[0] == pytest.approx(expected)


def test_another_grid_is_shown_voxel_by_voxel():
    """Maps of half the resolution: each of their voxels covers two by two pixels, no value lies between theirs."""
    rng = np.random.default_rng(0)
    values = rng.random((3, 4, 5)).astype(np.float32)
    half = np.diag([2.0, 2.0, 2.0, 1.0])
    half[:3, 3] = 0.5
    shown = view_of(AXIAL, 5, np.eye(4)).sample(Volume(values, half))
    assert shown.shape == (8, 6)
    expected = np.kron(values[:, :, 2], np.ones((2, 2)))[::-1, ::-1].T
    np.testing.assert_array_equal(shown, expected)


def test_grey_and_heat_values_by_hand():
    image = np.zeros(SHAPE, np.float32)
    image[5, 7, 3], image[4, 7, 3], image[3, 7, 3] = 10, 20, 40
    view = view_of(AXIAL, 3)
    grey = pixels(grey_layer(view, image, (10, 30)))
    assert grey[0, :4].tolist() == [0, 127, 255, 0]
    inside = view.cut(image) > 0
    colours = pixels(heat_layer(view, view.cut(image), inside, (0, 40)))
    assert colours[0, 2].tolist() == [*HEAT[-1], 216]
    assert colours[0, 1, :3].tolist() == list(HEAT[2])
    assert colours[~inside][:, 3].max() == 0


def test_colours_beyond_the_scale_are_those_of_its_ends():
    assert heat(np.array([-1.0, 0.25, 2.0])).tolist() == [list(HEAT[0]), list(HEAT[1]), list(HEAT[-1])]


def test_the_outline_of_a_pixel_runs_around_its_centre():
    mask = np.zeros((10, 8), bool)
    mask[4, 2] = True
    path = outline_layer(view_of(AXIAL, 0, np.diag([2.0, 3.0, 1.0, 1.0])), mask, (255, 0, 16))
    points = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.split(' d="')[1]), float)
    assert points.mean(axis=0) == pytest.approx((5.0, 13.5))  # (2 + .5) * 2 mm, (4 + .5) * 3 mm
    assert 'stroke="#ff0010"' in path
    assert outline_layer(view_of(AXIAL, 0), np.zeros((10, 8), bool), (0, 0, 0)) == ""


def test_an_outline_at_the_edge_is_closed():
    path = outline_layer(view_of(AXIAL, 0), np.ones((8, 6), bool), (0, 0, 0))
    assert path.count("M") == path.count("Z") == 1


def test_a_line_ends_at_its_positions():
    view = view_of(AXIAL, 0, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert line_layer(view, [(0, 0, 0), (5, 7, 0)]).count('x1="5.5" y1="7.5" x2="0.5" y2="0.5"') == 1


def test_all_windows_have_one_size_and_hold_the_brain():
    brain = np.zeros((20, 30, 10), bool)
    brain[2:8, 5:25, 3:9] = True
    views = slices_through(Volume(brain.astype(np.uint8), np.diag([2.0, 1.0, 3.0, 1.0])), brain, (4, 6, 5))
    assert [view.index for view in views] == [5, 6, 4]
    assert {view.side_mm for view in views} == {20 * 1.06}  # the brain is 12 x 20 x 18 mm
    axial = views[0]
    # Along the picture's width the brain begins 12 voxels of 2 mm from the left: centre 24 + 6.
    assert axial.corner_mm == pytest.approx((30 - 10.6, 15 - 10.6))


def test_a_window_around_a_mask_stays_inside_the_whole_one():
    view = Slice(AXIAL, 0, (100, 100, 10), np.eye(4), (0.0, 0.0), 100.0)
    mask = np.zeros((100, 100), bool)
    mask[40:50, 90:96] = True
    around = view.around(mask, 5)
    assert around.side_mm == 20
    assert around.corner_mm == (80.0, 35.0)
    assert view.around(np.zeros((100, 100), bool), 5) is view
    assert view.around(np.ones((100, 100), bool), 5).side_mm == 100


def test_the_picture_names_its_sides_and_its_scale():
    drawn = picture(view_of(SAGITTAL, 0), ["<g/>"])
    assert drawn.window == "0.00 0.00 40.00 40.00"
    assert drawn.drawing.startswith("<g/>")
    assert ">A<" in drawn.drawing
    assert ">P<" in drawn.drawing
    assert "2 cm" in drawn.drawing
