from dataclasses import replace

import numpy as np
import pytest
from made_up_visits import AFFINE, motion, visit

from ProtoSegBrainLib.followup.maps import CHANGE_COLOURS, CHANGES, GONE, NEW, STAYED, change_map
from ProtoSegBrainLib.images.volume import voxel_ml


def with_label(made, label, affine=None):
    affine = made.prediction.affine if affine is None else affine
    case = replace(made.case, images=np.ones((4, *label.shape), np.float32), affine=affine)
    return replace(made, case=case, prediction=replace(made.prediction, label=label, affine=affine))


def block(*sides):
    label = np.zeros(visit().prediction.label.shape, np.uint8)
    label[sides] = 3
    return label


def test_each_voxel_stayed_is_new_or_is_gone():
    earlier = with_label(visit(), block(slice(10, 14), slice(10, 12), slice(5, 6)))
    later = with_label(visit(noise=1), block(slice(12, 18), slice(10, 12), slice(5, 6)))
    found = change_map("ET", (earlier, later), (0, 1), np.eye(4))
    values = found.on_earlier.array[:, 10, 5]
    assert values[10:18].tolist() == [GONE, GONE, STAYED, STAYED, NEW, NEW, NEW, NEW]
    assert (found.on_later.array == found.on_earlier.array).all()
    ml = voxel_ml(AFFINE)
    assert found.volumes_ml == {
        "stayed": pytest.approx(4 * ml),
        "new": pytest.approx(8 * ml),
        "gone": pytest.approx(4 * ml),
    }


def test_a_head_that_moved_shows_no_change():
    """The same tissue on an oblique grid, which the motion takes back."""
    moved = motion((8, -5, 12), (9, -6, 4))
    found = change_map("WT", (visit(), visit(moved=moved, noise=1)), (0, 1), np.linalg.inv(moved))
    assert found.volumes_ml["stayed"] > 20
    assert found.volumes_ml["new"] == 0
    assert found.volumes_ml["gone"] == 0
    np.testing.assert_allclose(found.on_later.affine, moved @ AFFINE)


def test_flipped_and_thicker_grids_give_the_same_volumes():
    made = visit(noise=1)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = made.prediction.label.shape[0] - 1
    flipped = with_label(made, made.prediction.label[::-1], made.prediction.affine @ flip)
    thick = with_label(made, made.prediction.label[:, :, ::2], made.prediction.affine @ np.diag([1, 1, 2.0, 1]))
    assert change_map("WT", (visit(), flipped), (0, 1), np.eye(4)).volumes_ml["new"] == 0
    assert change_map("WT", (visit(), flipped), (0, 1), np.eye(4)).volumes_ml["gone"] == 0
    coarse = change_map("WT", (visit(), thick), (0, 1), np.eye(4))
    assert coarse.on_later.array.shape == thick.prediction.label.shape
    assert coarse.volumes_ml["stayed"] > 0.9 * visit().prediction.volumes_ml["WT"]


def test_where_there_is_no_tumour_there_is_no_change():
    healthy = visit(0, 0, 0)
    found = change_map("WT", (healthy, visit(0, 0, 0, noise=1)), (0, 1), np.eye(4))
    assert not found.on_earlier.array.any()
    assert set(CHANGE_COLOURS) == set(CHANGES[1:])
