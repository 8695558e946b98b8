import base64
import json

import numpy as np
import pytest

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.pictures.mesh import surfaces

AFFINE = np.array([[-1.5, 0, 0, 40], [0, 1.5, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1]], float)
KINDS = {"f4": np.float32, "u4": np.uint32}


def numbers(column):
    return np.frombuffer(base64.b64decode(column["bdata"]), KINDS[column["dtype"]])


def a_ball(radius, shape=(40, 40, 40)):
    index = np.stack(np.mgrid[tuple(slice(n) for n in shape)]) - 19.5
    return np.linalg.norm(index, axis=0) <= radius


def test_a_ball_comes_out_at_its_place_and_size():
    label = np.where(a_ball(10), 3, 0).astype(np.uint8)
    traces = {trace["name"]: trace for trace in surfaces(Volume(label, AFFINE), Volume(a_ball(18), AFFINE))[2:]}
    assert set(traces) == {"Whole tumour", "Enhancing tumour"}  # there is no core
    surface = traces["Enhancing tumour"]
    positions = np.stack([numbers(surface[axis]) for axis in "xyz"], axis=1)
    centre = (AFFINE @ [19.5, 19.5, 19.5, 1])[:3]
    assert np.linalg.norm(positions - centre, axis=1) == pytest.approx(np.full(len(positions), 15), abs=1.5)
    triangles = np.stack([numbers(surface[corner]) for corner in "ijk"])
    assert triangles.max() == len(positions) - 1
    assert surface["color"] == "rgb(64, 116, 222)"


def test_without_a_tumour_there_is_the_brain_and_its_sides():
    nothing = Volume(np.zeros((40, 40, 40), np.uint8), AFFINE)
    brain, sides = surfaces(nothing, Volume(a_ball(18), AFFINE))
    assert brain["name"] == "Brain"
    place = {letter: (sides["x"][n], sides["y"][n], sides["z"][n]) for n, letter in enumerate(sides["text"])}
    assert place["R"][0] > place["L"][0]  # RAS, though the grid runs to the left
    assert place["A"][1] > place["P"][1]
    assert place["S"][2] > place["I"][2]


@pytest.mark.parametrize("edge", range(1, 8))
@pytest.mark.parametrize("thin", [False, True])
def test_no_part_is_too_small_for_a_surface(edge, thin):
    label = np.zeros((40, 40, 40), np.uint8)
    label[16 : 16 + edge, 17 : 17 + edge, 18 : 19 if thin else 18 + edge] = 3
    traces = surfaces(Volume(label, AFFINE), Volume(a_ball(18), AFFINE))[2:]
    assert [trace["name"] for trace in traces] == ["Whole tumour", "Enhancing tumour"]
    positions = np.stack([numbers(traces[1][axis]) for axis in "xyz"], axis=1)
    middle = [16 + (edge - 1) / 2, 17 + (edge - 1) / 2, 18 if thin else 18 + (edge - 1) / 2]
    assert (positions.min(0) + positions.max(0)) / 2 == pytest.approx((AFFINE @ [*middle, 1])[:3], abs=0.8)


def test_one_voxel_is_not_lost_and_nothing_at_all_is_no_error():
    label = np.zeros((40, 40, 40), np.uint8)
    label[20, 20, 20] = 1
    traces = surfaces(Volume(label, AFFINE), Volume(a_ball(18), AFFINE))
    names = [trace.get("name") for trace in json.loads(json.dumps(traces))]
    assert "Necrotic / non-enhancing core" in names
    nothing = np.zeros((4, 4, 4), np.uint8)
    assert surfaces(Volume(nothing, AFFINE), Volume(nothing > 0, AFFINE)) == []
