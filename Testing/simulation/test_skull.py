"""What is painted around a simulated brain: in which order, and where."""

from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.simulation.anatomy import Space, draw_head
from ProtoSegBrainLib.simulation.raw import SIGNAL
from ProtoSegBrainLib.simulation.skull import Layer, draw_layers, room_around

Painted = tuple[Space, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def painted() -> Painted:
    """The room, the brain in it, and the name of the last tissue that covers most of each voxel."""
    head = draw_head(np.random.default_rng(4), (60, 60, 39), None)
    room, inner = room_around(head.space)
    brain = np.zeros(room.points[0].shape, bool)
    brain[inner] = head.brain
    tissue = np.full(brain.shape, "air", dtype="U12")
    for layer in draw_layers(np.random.default_rng(1), room, brain):
        assert layer.tissue in SIGNAL
        assert 0 <= layer.share.min() <= layer.share.max() <= 1
        tissue[layer.part] = np.where(layer.share > 0.5, layer.tissue, tissue[layer.part])
    return room, brain, tissue


def test_the_room_goes_on_as_the_box_does() -> None:
    space = draw_head(np.random.default_rng(4), (60, 60, 39), None).space
    room, inner = room_around(space)
    for whole, part in zip(room.points, space.points, strict=True):
        np.testing.assert_allclose(whole[inner], part, atol=1e-3)
    low, high = (tuple(round(float(f(axis))) for axis in room.points) for f in (np.min, np.max))
    assert all(abs(a - b) < 5 for a, b in zip(low + high, (-92, -126, -140, 92, 112, 86), strict=True))


def test_from_the_brain_outwards_come_fluid_bone_fat_skin_and_air(painted: Painted) -> None:
    room, brain, tissue = painted
    assert (tissue[brain] == "fluid").mean() > 0.95  # the brain itself is put in last
    middle = [int(np.abs(np.moveaxis(p, axis, 0)[:, 0, 0]).argmin()) for axis, p in enumerate(room.points)]
    upwards = tissue[middle[0] + 4, middle[1], middle[2] :]
    order = [name for n, name in enumerate(upwards) if n == 0 or upwards[n - 1] != name]
    assert order[0] == "fluid"
    assert order[-1] == "air"
    assert [name for name in order if name in ("fluid", "bone", "fat", "air")][:2] == ["fluid", "bone"]
    assert order.index("bone") < order.index("fat") < order.index("air")


def test_both_eyes_lie_in_front_of_the_brain_and_below_it(painted: Painted) -> None:
    room, brain, tissue = painted
    x, y, z = room.points
    eyes = tissue == "vitreous"
    ml = eyes.sum() / room.scale**3 / 1000
    assert 6 < ml < 16  # two of about 6 ml each, less the lens
    assert (x[eyes] < -20).any()
    assert (x[eyes] > 20).any()
    assert y[eyes].max() < -60
    assert z[eyes].max() < z[brain].mean()


def test_nothing_of_the_face_is_within_the_dura(painted: Painted) -> None:
    _, brain, tissue = painted
    assert np.isin(tissue[brain], ["fluid", "dura", "vessel"]).mean() > 0.99


def test_a_layer_fits_its_part() -> None:
    head = draw_head(np.random.default_rng(4), (60, 60, 39), None)
    room, inner = room_around(head.space)
    brain = np.zeros(room.points[0].shape, bool)
    brain[inner] = head.brain
    layer: Layer
    for layer in draw_layers(np.random.default_rng(1), room, brain):
        assert layer.share.shape == brain[layer.part].shape
