"""From a case to the network's grid and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.preprocess import MARGIN_VOXELS, prepare, to_reference
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.result.metrics import dice

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def reoriented(case: Case, axes: tuple[int, ...], signs: tuple[int, ...]) -> Case:
    """The same voxels at the same places in space, stored with other axes and flips."""
    flips = tuple(slice(None, None, sign) for sign in signs)
    images, label = (
        np.moveaxis(a, [-3, -2, -1], np.argsort(axes) - 3)[(..., *flips)] for a in (case.images, case.label)
    )
    steps = np.zeros((4, 4))
    steps[3, 3] = 1
    for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
        steps[old, new] = sign
        steps[old, 3] = 0 if sign > 0 else label.shape[new] - 1
    return Case(case.case_id, images.copy(), case.affine @ steps, label.copy())


def resampled(case: Case, shape: tuple[int, int, int], affine: np.ndarray) -> Case:
    images = [resample(Volume(image, case.affine), shape, affine, order=1).array for image in case.images]
    label = resample(Volume(case.label, case.affine), shape, affine, order=0).array
    return Case(case.case_id, np.stack(images), affine, label)


def oblique_grid(case: Case, spacing: tuple[float, float, float]) -> tuple[tuple[int, int, int], np.ndarray]:
    """A turned grid of this spacing (i to the left, k backwards) around the case's centre."""
    a, b = np.deg2rad(17), np.deg2rad(-9)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    axes = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]]).T
    nx, ny, nz = (int(60 / s) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ axes * spacing
    centre = case.affine @ [*((n - 1) / 2 for n in case.label.shape), 1]
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ ((np.array([nx, ny, nz]) - 1) / 2)
    return (nx, ny, nz), affine


def test_the_grid_is_ras_1_mm_and_cropped_to_the_brain(a_case):
    network_input = prepare(a_case)
    np.testing.assert_allclose(network_input.affine[:3, :3], np.eye(3), atol=1e-6)
    brain = (a_case.images != 0).any(axis=0)
    assert network_input.brain.sum() == brain.sum()
    for axis in range(3):
        inside = np.flatnonzero(network_input.brain.any(axis=tuple(a for a in range(3) if a != axis)))
        assert inside[0] <= MARGIN_VOXELS
        assert network_input.brain.shape[axis] - 1 - inside[-1] <= MARGIN_VOXELS
    assert network_input.images.dtype == np.float32
    assert network_input.images.flags.c_contiguous
    assert not network_input.images[:, ~network_input.brain].any()


def test_a_voxel_keeps_its_place_in_space():
    images = np.zeros((4, 20, 22, 24), np.float32)
    images[:, 6:15, 7:16, 8:17] = np.random.default_rng(0).normal(100, 5, (9, 9, 9))
    images[1, 9, 11, 13] = 1  # the darkest voxel: the brightest are clipped
    affine = np.array([[-1, 0, 0, 50], [0, -1, 0, 60], [0, 0, 1, 70], [0, 0, 0, 1.0]])
    network_input = prepare(Case("a", images, affine))
    darkest = np.unravel_index(network_input.images[1].argmin(), network_input.brain.shape)
    np.testing.assert_allclose(network_input.affine @ [*darkest, 1], affine @ [9, 11, 13, 1])
    assert network_input.brain.shape == (13, 13, 13)  # nine voxels and the margin


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_axis_order_and_flips_change_nothing_and_map_back_exactly(a_case, axes, signs):
    expected, case = prepare(a_case), reoriented(a_case, axes, signs)
    network_input = prepare(case)
    np.testing.assert_array_equal(network_input.images, expected.images)
    np.testing.assert_array_equal(network_input.label, expected.label)
    np.testing.assert_allclose(network_input.affine, expected.affine, atol=1e-9)
    np.testing.assert_array_equal(to_reference(network_input.label, network_input, order=0), case.label)


@pytest.mark.parametrize("spacing", [(1.0, 1.2, 2.5), (1.1, 1.0, 1.5), (3.0, 1.0, 1.1)])
def test_an_oblique_anisotropic_label_survives_the_way_there_and_back(a_case, spacing):
    case = resampled(a_case, *oblique_grid(a_case, spacing))
    network_input = prepare(case)
    np.testing.assert_allclose(np.linalg.norm(network_input.affine[:3, :3], axis=0), 1)
    back = to_reference(network_input.label, network_input, order=0)
    assert back.shape == case.label.shape
    assert back.dtype == np.uint8
    for index in (1, 2, 3):
        assert dice(back == index, case.label == index) >= 0.95
    probability = to_reference((network_input.label > 0).astype(np.float32), network_input, order=1)
    assert dice(probability > 0.5, case.label > 0) >= 0.95


def test_several_channels_map_back_like_each_alone(a_case):
    network_input = prepare(reoriented(a_case, (2, 0, 1), (1, -1, 1)))
    back = to_reference(network_input.images, network_input, order=1)
    assert back.shape == (4, *network_input.reference_shape)
    np.testing.assert_array_equal(back[2], to_reference(network_input.images[2], network_input, order=1))


def test_other_voxels_meet_the_network_on_whole_millimetres_of_ras(rng):
    images = rng.uniform(1, 2, (4, 6, 7, 5)).astype(np.float32)
    affine = np.array([[0, 0, -3.0, 20.25], [-2, 0, 0, 7], [0, 1, 0, -3], [0, 0, 0, 1]])
    network_input = prepare(Case("a", images, affine))
    # The box of the voxels: x from 6.75 to 21.75, y from -4 to 8, z from -3.5 to 3.5.
    np.testing.assert_array_equal(network_input.affine[:3, :3], np.eye(3))
    np.testing.assert_array_equal(network_input.affine[:3, 3], [7, -4, -3])
    assert network_input.brain.shape == (15, 13, 7)


def test_the_rim_of_the_brain_does_not_fade_into_the_zeros_around_it(rng):
    images = np.zeros((4, 20, 20, 20), np.float32)
    images[:, 4:16, 5:15, 3:17] = rng.uniform(100, 101, (4, 12, 10, 14))
    images[:, 9, 9, 9] = 50  # so that fading would not be hidden by the z-score
    affine = oblique_grid(Case("a", images, np.eye(4), np.zeros((20, 20, 20), np.uint8)), (1.4, 1.2, 1.5))[1]
    scores = prepare(Case("a", images, affine)).images
    far = scores[scores != 0].min()
    assert (scores[scores != 0] < far / 2).sum() < 4 * 40  # the dark voxel's neighbours, and nothing at the rim


def test_four_grids_are_interpolated_once_from_the_files_own_voxels(a_case):
    wanted = prepare(a_case)
    grids = [
        oblique_grid(a_case, spacing) for spacing in ((1.0, 0.9, 1.3), (1.2, 1.0, 0.8), (0.9, 1.1, 1.0), (1, 1, 1.2))
    ]
    originals = tuple(
        resample(Volume(image, a_case.affine), *grid, order=1) for image, grid in zip(a_case.images, grids, strict=True)
    )
    on_reference = np.stack([resample(volume, *grids[1], order=1).array for volume in originals])
    once = prepare(Case("a", on_reference, grids[1][1], originals=originals))
    twice = prepare(Case("a", on_reference, grids[1][1]))

    def error(found):
        shift = np.rint(wanted.affine[:3, 3] - found.affine[:3, 3]).astype(int)
        steps = np.linalg.inv(found.affine) @ wanted.affine
        np.testing.assert_allclose(steps[:3, :3], np.eye(3), atol=1e-9)
        np.testing.assert_allclose(steps[:3, 3], shift, atol=1e-6)  # the lattice of the aligned case
        inside = np.argwhere(wanted.brain)
        inside = inside[((inside + shift >= 0) & (inside + shift < found.brain.shape)).all(axis=1)]
        pairs = (found.images[(slice(None), *(inside + shift).T)], wanted.images[(slice(None), *inside.T)])
        return float(np.abs(pairs[0] - pairs[1])[[0, 2, 3]].mean())  # T1ce is the reference

    assert error(once) < 0.8 * error(twice)


def test_voxels_of_nearly_1_mm_are_taken_as_they_are():
    images = np.random.default_rng(1).uniform(1, 2, (4, 6, 7, 5)).astype(np.float32)
    network_input = prepare(Case("a", images, np.diag([1.01, 0.99, 1.0, 1.0])))
    assert network_input.brain.shape == (6, 7, 5)
    assert network_input.label is None


def test_z_scores_have_mean_0_and_deviation_1_over_a_modalitys_own_voxels(rng):
    images = np.zeros((4, 16, 16, 16), np.float32)
    images[:, 2:14, 2:14, 2:14] = rng.normal(500, 40, (4, 12, 12, 12)) * np.reshape([1, 2, 3, 4], (4, 1, 1, 1))
    images[2, 5:8, 2:14, 2:14] = 0  # this modality's field of view is smaller
    scores = prepare(Case("a", images, np.eye(4))).images
    for index in range(4):
        own = scores[index][scores[index] != 0]
        assert own.size == (images[index] != 0).sum()
        assert own.mean() == pytest.approx(0, abs=1e-4)
        assert own.std() == pytest.approx(1, abs=1e-4)
    assert not scores[2, 5:8].any()  # two voxels of margin remain on each side


def test_the_brightest_voxels_do_not_set_the_scale(rng):
    images = rng.normal(100, 10, (4, 32, 32, 32)).astype(np.float32)
    plain = prepare(Case("a", images, np.eye(4))).images
    images[1, 16, 16, 16] = 1e6  # one artefact
    with_artefact = prepare(Case("a", images, np.eye(4))).images
    assert with_artefact.max() < 10
    with_artefact[1, 16, 16, 16] = plain[1, 16, 16, 16]
    np.testing.assert_allclose(with_artefact, plain, atol=0.3)  # 0.02 but for the clipped voxels


def test_constant_and_empty_modalities_become_0_not_nan(rng):
    images = np.zeros((4, 8, 8, 8), np.float32)
    images[0] = rng.normal(10, 1, (8, 8, 8))
    images[1, 2:6] = 7
    scores = prepare(Case("a", images, np.eye(4))).images
    assert np.isfinite(scores).all()
    assert scores[0].any()
    assert not scores[1:].any()


def test_the_case_is_left_as_it_was_and_memory_order_does_not_matter(a_case):
    before = a_case.images.copy()
    first = prepare(Case("a", np.ascontiguousarray(a_case.images), a_case.affine, a_case.label))
    fortran = np.ascontiguousarray(a_case.images.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    second = prepare(Case("a", fortran, a_case.affine, a_case.label))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(a_case.images, before)


def test_a_case_without_a_brain_is_refused():
    with pytest.raises(ValueError, match="Case empty_one: every voxel is zero"):
        prepare(Case("empty_one", np.zeros((4, 8, 8, 8), np.float32), np.eye(4)))


def test_a_real_case_comes_back_exactly(real_data):
    folder = list_cases(real_data / "brats")[0].place
    case = read_case(folder)
    network_input = prepare(case)
    assert max(network_input.brain.shape) < 200
    assert network_input.label is not None
    np.testing.assert_array_equal(to_reference(network_input.label, network_input, order=0), case.label)
