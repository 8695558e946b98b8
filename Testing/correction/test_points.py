import numpy as np
import pytest

from ProtoSegBrainLib.correction.points import LARGEST_PIECE, Point, parse_point, points_of_label
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASSES


@pytest.mark.parametrize(
    ("text", "class_name"), [("ET:12,-30,41", "ET"), ("none:12,-30,41", "background"), ("ed: 12, -30, 41", "ED")]
)
def test_points_are_read_as_people_type_them(text, class_name):
    assert parse_point(text) == Point((12, -30, 41), class_name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ET", "expected CLASS:R,A,S"),
        ("ET:1,2", "expected CLASS:R,A,S"),
        ("ET:1,2,far", "expected CLASS:R,A,S"),
        ("WT:1,2,3", "expected NCR, ED, ET, none; got 'WT'"),
        ("ET:1,2,nan", "three numbers in mm"),
    ],
)
def test_what_is_no_point_is_told(text, said):
    with pytest.raises(ValueError, match=said):
        parse_point(text)


def test_each_painted_piece_is_a_point_of_all_its_places():
    array = np.zeros((8, 8, 8), np.uint8)
    array[1:4, 1, 1], array[6, 6, 6], array[1, 6, 6] = 4, 4, 1
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    points = points_of_label(Volume(array, affine))
    assert [point.class_name for point in points] == ["background", "ET", "ET"]
    row = points[1]
    assert row.position_ras_mm == (-4, 1, 3)
    assert sorted(row.places_ras_mm) == [(-6, 1, 3), (-4, 1, 3), (-2, 1, 3)]
    assert Point((1, 2, 3), "ET").places.tolist() == [[1, 2, 3]]


def test_of_a_large_piece_some_places_are_drawn():
    (point,) = points_of_label(Volume(np.full((20, 20, 20), 2, np.uint8), np.eye(4)), CLASSES)
    assert len(point.places_ras_mm) == LARGEST_PIECE


@pytest.mark.parametrize(("value", "said"), [(0, "Nothing was painted"), (5, "got 5"), (0.5, r"got 0\.5")])
def test_a_label_without_points_is_refused(value, said):
    with pytest.raises(ValueError, match=said):
        points_of_label(Volume(np.full((3, 3, 3), value, np.float32), np.eye(4)))
