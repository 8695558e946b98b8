"""Whether four images show one brain: a phantom as it is, and with each fault that files have."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from phantom import AFFINE, phantom
from scipy import ndimage

from ProtoSegBrainLib.images.brains import brain_warnings
from ProtoSegBrainLib.images.case import case_from_volumes
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.simulation.simulate import simulate_case

Images = dict[str, np.ndarray]
WITH_20_MM = AFFINE + np.array([[0, 0, 0, 20]] + [[0] * 4] * 3)


@pytest.fixture(scope="module")
def images() -> Images:
    return phantom()


def volumes_of(images: Images) -> dict[str, Volume]:
    return {role: Volume(image, AFFINE) for role, image in images.items()}


def z_scored(image: np.ndarray) -> np.ndarray:
    return np.where(image, (image - image[image != 0].mean()) / image.std(), 0)


def upper_half(image: np.ndarray) -> np.ndarray:
    return image * (np.arange(image.shape[2]) < image.shape[2] // 2)


def specks(image: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(image)
    kept[30:33, 36, 36] = image[30:33, 36, 36]
    return kept


@pytest.mark.parametrize("change", [np.asarray, z_scored, np.ascontiguousarray, lambda image: image * 1e-6])
def test_nothing_is_said_of_one_brain(images: Images, change: Callable[[np.ndarray], np.ndarray]) -> None:
    assert brain_warnings(volumes_of({role: change(image) for role, image in images.items()})) == []


def test_grids_may_differ(images: Images) -> None:
    """Another order of axes, thick slices, an oblique grid."""
    volumes = volumes_of({role: image.astype(np.float32) for role, image in images.items()})
    turned = np.eye(4)[:, [2, 0, 1, 3]]
    volumes["t1n"] = Volume(images["t1n"].transpose(2, 0, 1), AFFINE @ turned)
    thick = AFFINE @ np.diag([1, 1, 5, 1.0])
    thick[:3, 3] += 2 * AFFINE[:3, 2]
    volumes["t2w"] = Volume(volumes["t2w"].array[..., :70].reshape(72, 72, 14, 5).mean(axis=3), thick)
    oblique = AFFINE.copy()
    oblique[:3, :3] = AFFINE[:3, :3] @ [[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]
    oblique[:3, 3] -= oblique[:3, :3] @ [36, 36, 36] - AFFINE[:3, :3] @ [36, 36, 36]
    volumes["t2f"] = resample(volumes["t2f"], (72, 72, 72), oblique, order=1)
    assert brain_warnings(volumes) == []
    volumes["t2w"] = Volume(np.roll(volumes["t2w"].array, 14, axis=0), thick)
    assert "T2 does not lie where" in brain_warnings(volumes)[0]


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("t1c", lambda image: np.roll(image, 20, axis=0), "T1ce does not lie where FLAIR, T1 and T2 show the brain"),
        ("t2f", lambda image: np.roll(image, -12, axis=2), "FLAIR does not lie where T1, T1ce and T2 show the brain"),
        ("t2w", lambda image: np.roll(image, 6, axis=1), "brain masks agree by a Dice of 0.8"),
        ("t1c", lambda image: image[::-1], "T1ce seems to be mirrored left-right against FLAIR, T1 and T2"),
        ("t2f", upper_half, "FLAIR shows only 5[01]% of the brain"),
        ("t2f", specks, r"FLAIR is empty but for 3 voxels \(0.003 ml\), where other images show 11\d ml"),
    ],
)
def test_what_is_wrong_with_an_image_is_said_once(
    images: Images, role: str, change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    (said,) = brain_warnings(volumes_of({**images, role: change(images[role])}))
    assert re.search(words, said)


def test_a_move_by_the_header_is_said_in_millimetres(images: Images) -> None:
    (said,) = brain_warnings({**volumes_of(images), "t1c": Volume(images["t1c"], WITH_20_MM)})
    assert "T1ce does not lie where" in said
    assert "centres lie 20 mm apart" in said


def test_two_images_that_moved_together_are_named_together(images: Images) -> None:
    moved = {role: np.roll(images[role], 12, axis=1) for role in ("t1n", "t1c")}
    (said,) = brain_warnings(volumes_of({**images, **moved}))
    assert "T1 and T1ce do not lie where FLAIR and T2 show the brain" in said


def test_four_images_in_four_places_are_one_sentence(images: Images) -> None:
    places = {"t1n": (12, 0), "t1c": (12, 1), "t2w": (12, 2), "t2f": (-12, 0)}
    moved = {role: np.roll(images[role], *move) for role, move in places.items()}
    (said,) = brain_warnings(volumes_of(moved))
    assert "do not lie where" in said


@pytest.mark.parametrize("change", [np.asarray, lambda image: 2.5 * image, lambda image: (image > 0) * (2000 - image)])
def test_an_image_given_twice_is_named(images: Images, change: Callable[[np.ndarray], np.ndarray]) -> None:
    (said,) = brain_warnings(volumes_of({**images, "t1c": change(images["t1n"])}))
    assert "T1 and T1ce are the same image" in said
    assert ("dark and bright exchanged" in said) == (change(np.array([1, 2]))[0] > 1000)


def test_t1_and_t1ce_exchanged(images: Images) -> None:
    (said,) = brain_warnings(volumes_of({**images, "t1n": images["t1c"], "t1c": images["t1n"]}))
    assert "T1 and T1ce seem to be exchanged" in said


def test_a_turned_brain_and_another_patients(images: Images) -> None:
    """The phantom is round; the simulator's heads are not."""
    case, other = (simulate_case(seed, (160, 160, 112)) for seed in (1, 2))
    heads = {role: Volume(image, case.affine) for role, image in zip(MODALITIES, case.images, strict=True)}
    assert brain_warnings(heads) == []
    turned = ndimage.rotate(case.images[1], 10, axes=(0, 1), reshape=False, order=0)
    for image in (turned, other.images[1]):
        (said,) = brain_warnings({**heads, "t1c": Volume(image, case.affine)})
        assert "T1ce does not lie where T1, T2 and FLAIR show the brain" in said


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 30, 30), (9, 9, 9), (40, 1, 40)])
def test_images_too_small_to_judge_are_not_judged(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    volumes = {role: Volume(rng.normal(size=shape).astype(np.float32), np.eye(4)) for role in MODALITIES}
    assert brain_warnings(volumes) == []


def test_noise_and_skull_do_not_stop_it() -> None:
    """Four images of nothing but noise show no brain; whatever is said, nothing is raised."""
    rng = np.random.default_rng(0)
    volumes = {role: Volume(rng.normal(size=(60, 60, 60)), np.eye(4)) for role in MODALITIES}
    assert len(brain_warnings(volumes)) <= 1


def test_a_case_from_memory_has_the_warning_too(images: Images) -> None:
    moved = {**images, "t1c": np.roll(images["t1c"], 20, axis=0)}
    case = case_from_volumes(volumes_of(moved), "x")
    assert any("T1ce does not lie where" in sentence for sentence in case.warnings)
