"""The shipped weights: what a user gets from them, on simulated cases, which they have not seen in training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ProtoSegBrainLib.case import Case, read_case, read_case_files
from ProtoSegBrainLib.labels import MODALITIES, REGIONS
from ProtoSegBrainLib.metrics import dice
from ProtoSegBrainLib.predict import predict
from ProtoSegBrainLib.prediction import Prediction
from ProtoSegBrainLib.simulate import simulate_case
from ProtoSegBrainLib.volume import Volume, resample, write_volume
from ProtoSegBrainLib.weights import BUNDLED, load_model

SEED = 1


@pytest.fixture(scope="module")
def a_simulated_case() -> Case:
    return simulate_case(SEED)


@pytest.fixture(scope="module")
def its_prediction(a_simulated_case: Case) -> Prediction:
    return predict(a_simulated_case)


def region_dice(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    return {name: dice(np.isin(first, classes), np.isin(second, classes)) for name, classes in REGIONS.items()}


def test_weights_are_small_and_know_their_origin() -> None:
    network, card = load_model()
    assert BUNDLED.stat().st_size < 8_000_000
    assert len(card.prototypes) == len(network.prototype_class)
    assert all(prototype.case_id in card.training["cases"] for prototype in card.prototypes)
    assert not any("simulated" in case_id for case_id in card.training["cases"])
    counts = np.bincount(network.prototype_class, minlength=4)
    assert counts.min() >= 5


def test_no_image_is_in_the_card() -> None:
    """A card names a case and a place; it holds no list long enough to be a patch."""
    content = json.loads(BUNDLED.with_suffix(".json").read_text())
    assert all(len(json.dumps(prototype)) < 500 for prototype in content["prototypes"])


def test_simulated_tumour_is_found(a_simulated_case: Case, its_prediction: Prediction) -> None:
    assert region_dice(its_prediction.label, a_simulated_case.label)["WT"] >= 0.80


def test_the_brain_far_from_the_tumour_stays_free(a_simulated_case: Case, its_prediction: Prediction) -> None:
    """Less than 1 ml may be painted more than 10 mm away from the true tumour."""
    every_second = (slice(None, None, 2),) * 3
    distance_mm = ndimage.distance_transform_edt(a_simulated_case.label[every_second] == 0, sampling=2)
    far = (its_prediction.label[every_second] > 0) & (distance_mm > 10)
    assert np.count_nonzero(far) * 8 < 1000


def test_four_oblique_grids_give_what_the_aligned_case_gives(real_data, tmp_path) -> None:
    case = read_case(real_data / "original_format" / "BraTS2021_00006", with_label=False)
    agreement = dice_of_four_grids(case, predict(case), tmp_path)
    assert agreement["WT"] >= 0.95
    assert agreement["TC"] >= 0.95


def test_four_oblique_grids_of_a_simulated_case(a_simulated_case: Case, its_prediction: Prediction, tmp_path) -> None:
    """Looser than the real case's: interpolation takes away more of the simulation's noise, which has no grain."""
    assert dice_of_four_grids(a_simulated_case, its_prediction, tmp_path)["WT"] >= 0.9


def dice_of_four_grids(case: Case, aligned: Prediction, folder: Path) -> dict[str, float]:
    """Each modality turned, moved and sampled otherwise: agreement, on the exact grid of the reference."""
    files, grids = {}, {}
    for number, role in enumerate(MODALITIES):
        shape, affine = an_oblique_grid(case, degrees=3 + 4 * number, spacing=(1.0, 0.9, 1.2), shift=number)
        files[role], grids[role] = folder / f"scan_{role}.nii.gz", (shape, affine)
        write_volume(files[role], resample(Volume(case.images[number], case.affine), shape, affine, order=1))

    prediction = predict(read_case_files(**files))

    shape, affine = grids["t1c"]
    assert prediction.label.shape == shape
    np.testing.assert_allclose(prediction.affine, affine, atol=1e-4)
    assert any("resampled" in sentence for sentence in prediction.warnings)
    expected = resample(Volume(aligned.label, aligned.affine), shape, affine, order=0).array
    return region_dice(prediction.label, expected)


def an_oblique_grid(
    case: Case, degrees: float, spacing: tuple[float, float, float], shift: float
) -> tuple[tuple[int, int, int], np.ndarray]:
    """A grid around the same centre: turned about two axes, with unequal voxels and moved by fractions of one."""
    angle = np.deg2rad(degrees)
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing)
    nx, ny, nz = (int(np.ceil(size * 1.15 / step)) for size, step in zip(case.images.shape[1:], spacing, strict=True))
    middle = (np.array(case.images.shape[1:]) - 1) / 2
    centre = case.affine[:3, :3] @ middle + case.affine[:3, 3] + 0.3 * shift
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array([nx, ny, nz]) - 1) / 2)
    return (nx, ny, nz), affine


def test_a_mirrored_brain_gives_the_mirrored_tumour(a_simulated_case: Case, its_prediction: Prediction) -> None:
    """Mirrored anatomy (not only a mirrored array) is another brain; the tumour must follow it."""
    mirrored = dataclasses.replace(a_simulated_case, images=a_simulated_case.images[:, ::-1].copy(), label=None)
    prediction = predict(mirrored)
    assert region_dice(prediction.label[::-1], its_prediction.label)["WT"] >= 0.9
