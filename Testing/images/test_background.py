"""What surrounds the brain: however a file says "nothing here", the network sees the same."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from phantom import AFFINE, phantom, write_phantom

from ProtoSegBrainLib.images.background import with_zero_background
from ProtoSegBrainLib.images.case import Case, case_from_volumes, read_case
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES

EDGE = 72
ZEROS = (slice(30, 33), 40, 36)
"""Inside the brain."""


def whole_z_score(image: np.ndarray) -> np.ndarray:
    return ((image - image.mean()) / image.std()).astype(np.float32)


def to_minus_one_to_one(image: np.ndarray) -> np.ndarray:
    return (2.0 * image / image.max() - 1).astype(np.float32)


def with_rounding(image: np.ndarray) -> np.ndarray:
    """As interpolation leaves it."""
    noise = np.random.default_rng(1).normal(0, 1e-6, image.shape)
    return (whole_z_score(image) + noise).astype(np.float32)


def zeros_with_rounding(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 1e-5, image.shape)
    return np.where(image == 0, noise, image).astype(np.float32)


def padded(image: np.ndarray) -> np.ndarray:
    """Normalised as a whole, then put into a larger grid of zeros: two layers."""
    z_score = whole_z_score(image)
    z_score[[0, 1, 2, -1, -2, -3]] = 0
    z_score[:, :2] = 0
    z_score[:, :, -4:] = 0
    return z_score


def nan_around(image: np.ndarray, value: float = np.nan) -> np.ndarray:
    spoiled = np.where(image == 0, value, image).astype(np.float32)
    spoiled[ZEROS] = 0
    return spoiled


def infinity_around(image: np.ndarray) -> np.ndarray:
    return nan_around(image, -np.inf)


def nan_at_one_side(image: np.ndarray) -> np.ndarray:
    spoiled = image.astype(np.float32)
    spoiled[:, :3] = np.nan
    return spoiled


def nan_behind_zeros(image: np.ndarray) -> np.ndarray:
    spoiled = nan_around(image)
    spoiled[:3] = spoiled[-3:] = 0
    return spoiled


CHANGES = {
    "offset": (lambda image: image + np.int16(10), "a constant other than 0 (10"),
    "negative offset": (lambda image: image - np.int16(1000), "a constant other than 0 (-1000"),
    "unsigned offset": (lambda image: (image + 5).astype(np.uint16), "a constant other than 0 (5"),
    "whole z-score": (whole_z_score, "a constant other than 0 (-0."),
    "-1 to 1": (to_minus_one_to_one, "a constant other than 0 (-1"),
    "rounding": (with_rounding, "a constant other than 0 (-0."),
    "rounded zeros": (zeros_with_rounding, "0 but for rounding"),
    "padded": (padded, "a constant other than 0 (-0."),
    "nan": (nan_around, "NaN or infinity around the brain"),
    "infinity": (infinity_around, "NaN or infinity around the brain"),
    "nan at one side": (nan_at_one_side, "NaN or infinity around the brain"),
    "nan behind zeros": (nan_behind_zeros, "NaN or infinity around the brain"),
}


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """With voxels of the brain that are 0, as every case has some."""
    found = phantom()
    for image in found.values():
        image[ZEROS] = 0
    return found


def case_of(images: dict[str, np.ndarray], affine: np.ndarray = AFFINE) -> Case:
    return case_from_volumes({role: Volume(images[role], affine) for role in MODALITIES}, "x")


def assert_network_sees_the_same(case: Case, plain: Case, atol: float = 2e-4) -> None:
    found, expected = prepare(case), prepare(plain)
    np.testing.assert_array_equal(found.brain, expected.brain)
    np.testing.assert_array_equal(found.images != 0, expected.images != 0)
    np.testing.assert_allclose(found.images, expected.images, atol=atol)


@pytest.mark.parametrize("name", CHANGES)
def test_every_background_is_taken_as_zero_and_said(images, name):
    change, sentence = CHANGES[name]
    case = case_of({role: change(image) for role, image in images.items()})
    assert_network_sees_the_same(case, case_of(images))
    (said,) = case.warnings
    assert sentence in said
    assert said.startswith("T1, T1ce, T2, FLAIR: ")


def test_each_image_has_its_own_background(images):
    mixed = dict(zip(images, (lambda i: i, whole_z_score, nan_around, lambda i: i - np.int16(7)), strict=True))
    case = case_of({role: mixed[role](image) for role, image in images.items()})
    assert_network_sees_the_same(case, case_of(images))
    assert len(case.warnings) == 2


def test_a_brain_value_of_zero_is_tissue_where_the_background_is_another(images):
    changed = {role: image - np.int16(500) for role, image in images.items()}
    assert (changed["t1n"][images["t1n"] == 500] == 0).all()
    assert (images["t1n"] == 500).any()
    assert_network_sees_the_same(case_of(changed), case_of(images), atol=1e-6)


def test_four_grids_keep_their_backgrounds_out_of_the_interpolation(images):
    moved = {role: AFFINE @ nib.affines.from_matvec(np.eye(3), [0.3 * n, 0, 0]) for n, role in enumerate(images)}
    plain = case_from_volumes({role: Volume(images[role], moved[role]) for role in MODALITIES}, "x")
    shifted = case_from_volumes({role: Volume(images[role] + np.int16(300), moved[role]) for role in MODALITIES}, "x")
    assert len(plain.originals) == 4
    assert_network_sees_the_same(shifted, plain, atol=1e-5)


def test_from_files(tmp_path, images):
    write_phantom(tmp_path / "z", images={role: whole_z_score(image) for role, image in images.items()})
    write_phantom(tmp_path / "plain", images=images)
    case = read_case(tmp_path / "z")
    assert_network_sees_the_same(case, read_case(tmp_path / "plain"))
    assert "a constant other than 0" in case.warnings[0]


def test_nan_in_the_brain_stays_an_error(images):
    for change in (lambda image: image.astype(np.float32), nan_around):
        spoiled = change(images["t2f"])
        spoiled[36, 36, 50] = np.nan
        with pytest.raises(ValueError, match=r"FLAIR: expected finite numbers.*in 1 voxels"):
            case_of(images | {"t2f": spoiled})
    with pytest.raises(ValueError, match="FLAIR: expected finite"):
        case_of(images | {"t2f": np.full((EDGE,) * 3, np.nan)})


@pytest.mark.parametrize("factor", [1e-12, 1e-40, 1e-300, 1e-312, 1e9, 1e37, 1e300])
def test_units_of_any_size_give_the_same(images, factor):
    case = case_of({role: image.astype(np.float64) * factor for role, image in images.items()})
    assert np.isfinite(case.images).all()
    assert_network_sees_the_same(case, case_of(images), atol=1e-4)
    assert case.warnings == ()


def test_offset_and_unit_together(images):
    case = case_of({role: (image.astype(np.float64) - 100) * 1e-200 for role, image in images.items()})
    assert_network_sees_the_same(case, case_of(images), atol=1e-4)


@pytest.mark.parametrize(
    "invert", [lambda image: -image, lambda image: image.max() - image, lambda image: (-image).astype(np.float32) + 3]
)
def test_a_brain_darker_than_its_background_is_warned_about(images, invert):
    case = case_of(images | {"t2f": invert(images["t2f"])})
    assert [s for s in case.warnings if s.startswith("FLAIR: the brain is darker than its background")]


def test_what_is_ordinary_is_not_touched(images):
    inside = images["t1n"].astype(np.float32)
    inside[inside != 0] = (inside[inside != 0] - inside[inside != 0].mean()) / inside[inside != 0].std()
    rng = np.random.default_rng(0)
    air = rng.rayleigh(6, (EDGE,) * 3)
    cropped = images["t2f"][8:-8, 5:-5, 9:-9]  # to the brain's box
    ordinary = {
        "t1n": Volume(inside, AFFINE),  # half of the brain is negative
        "t1c": Volume(np.where(images["t1c"], images["t1c"], air).astype(np.int16), AFFINE),  # with air, as scanned
        "t2w": Volume(np.where(images["t2w"], images["t2w"], air).astype(np.float32), AFFINE),
        "t2f": Volume(cropped, AFFINE),
    }
    volumes, said = with_zero_background(ordinary)
    assert said == []
    assert all(volumes[role] is volume for role, volume in ordinary.items())
    slab = {"t2f": Volume(images["t2f"][30:40, 20:50, 20:50], AFFINE)}  # brain at every face
    assert with_zero_background(slab) == (slab, [])


def test_real_cases_are_left_as_they_are(real_data):
    for folder in sorted((real_data / "brats").iterdir())[:2]:
        if folder.is_dir():
            assert read_case(folder).warnings == ()


def test_a_brain_of_nothing_but_nan_is_left_for_the_check_of_images():
    spoiled = np.where(phantom()["t2f"] > 0, np.nan, 0)
    images = {role: Volume(image, AFFINE) for role, image in {**phantom(), "t2f": spoiled}.items()}
    with pytest.raises(ValueError, match="FLAIR: expected finite numbers"):
        case_from_volumes(images, "x")
