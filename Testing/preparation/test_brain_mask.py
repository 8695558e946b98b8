"""Where the brain is: the way in and out of the networks by a stand-in that thresholds, and the networks themselves."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_case import AFFINE, BRAIN, SHAPE, write

from ProtoSegBrainLib.images.formats import read_volume, write_volume
from ProtoSegBrainLib.images.volume import Volume, begin_at, same_grid
from ProtoSegBrainLib.preparation import brain_mask as module
from ProtoSegBrainLib.preparation.brain_mask import (
    ENGINES,
    Engine,
    brain_mask_warnings,
    find_brain,
    installed_engine,
    read_brain_mask,
)

RAW = Path(__file__).parents[3] / "shared/data/raw_clinical/TCGA-FG-6692"
T1C = Volume(np.where(BRAIN, 300, 0).astype(np.int16), AFFINE)
UPRIGHT = np.diag([2.0, 2.0, 2.0, 1.0])


def thresholds(image: Volume) -> np.ndarray:
    assert image.array.dtype == np.float32
    assert image.array.min() >= 0
    assert image.array.max() <= 1
    return image.array


def engines(monkeypatch, find=thresholds, is_installed=True):
    monkeypatch.setattr(module, "ENGINES", {"Stand-in": Engine(lambda: is_installed, find, "pip install stand-in")})


def with_edge(value: float) -> np.ndarray:
    array = T1C.array.astype(np.float64)
    array[:2] = value
    return array


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def test_the_brain_lies_on_the_grid_of_t1ce(monkeypatch):
    engines(monkeypatch)
    mask, name = find_brain(T1C)
    assert name == "Stand-in"
    assert mask.array.dtype == np.uint8
    assert same_grid(mask, SHAPE, AFFINE)
    assert (mask.array == BRAIN).all()


@pytest.mark.parametrize(
    "array",
    [
        T1C.array.astype(np.float64) * 1e30,
        T1C.array - 1000,
        with_edge(np.nan),
        with_edge(-np.inf),
        BRAIN,
        np.where(BRAIN, 65000, 7).astype(np.uint16),
        np.asfortranarray(T1C.array)[::-1, :, ::-1][::-1, :, ::-1],
    ],
    ids=["huge", "negative", "NaN", "infinite", "bool", "uint16", "strided"],
)
def test_numbers_of_any_kind(array, monkeypatch):
    engines(monkeypatch)
    assert (find_brain(Volume(array, AFFINE))[0].array == BRAIN).all()


def test_a_few_extreme_voxels_change_nothing(monkeypatch):
    engines(monkeypatch)
    array = T1C.array.astype(np.float32)
    array[0, 0, 0], array[-1, -1, -1] = -1e6, 1e6
    assert (find_brain(Volume(array, AFFINE))[0].array == BRAIN).all()


def test_the_largest_part_counts_and_its_holes_are_filled(monkeypatch):
    array = T1C.array.copy()
    array[9, 12, 8] = 0  # a hole inside
    array[0, 0, :3] = 300  # a speck in the corner
    engines(monkeypatch)
    assert (find_brain(Volume(array, AFFINE))[0].array == BRAIN).all()


def test_no_brain_is_an_error(monkeypatch):
    engines(monkeypatch, lambda image: np.zeros(image.shape, np.float32))
    with pytest.raises(ValueError, match=r"^Stand-in found no brain on T1ce.*--brain-mask"):
        find_brain(T1C)


@pytest.mark.parametrize("value", [0, 5, np.nan])
def test_a_constant_image_is_an_error(value, monkeypatch):
    engines(monkeypatch)
    with pytest.raises(ValueError, match="empty or constant"):
        find_brain(Volume(np.full(SHAPE, value), AFFINE))


def test_without_a_network_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(
        module,
        "ENGINES",
        {name: Engine(lambda: False, each.probability, each.install) for name, each in ENGINES.items()},
    )
    assert installed_engine() is None
    with pytest.raises(ImportError) as caught:
        find_brain(T1C)
    for words in ('pip install "protosegbrain[raw]"', "pip install --no-deps deepbet", "--brain-mask"):
        assert words in str(caught.value)


def test_the_better_network_is_taken(monkeypatch):
    def engine(is_installed):
        return Engine(lambda: is_installed, thresholds, "")

    monkeypatch.setattr(module, "ENGINES", {"best": engine(False), "good": engine(True), "last": engine(True)})
    assert installed_engine() == "good"
    assert find_brain(T1C)[1] == "good"


# -- a person's mask -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_mask_of_any_format(suffix, tmp_path):
    mask = read_brain_mask(write(tmp_path / f"mask{suffix}", BRAIN.astype(np.uint8)), T1C)
    assert mask.array.dtype == np.uint8
    assert same_grid(mask, SHAPE, AFFINE)
    assert (mask.array == BRAIN).all()


@pytest.mark.parametrize(
    "array",
    [
        BRAIN * np.uint8(255),
        np.where(BRAIN, 0.7, 0),
        np.where(BRAIN, 1.0, np.nan),
        BRAIN * (1 + np.arange(SHAPE[2], dtype=np.int16)),
    ],
    ids=["255", "two values", "NaN outside", "parts of the brain"],
)
def test_what_is_not_0_is_brain(array, tmp_path):
    assert (read_brain_mask(write(tmp_path / "mask.nii", array), T1C).array == BRAIN).all()


def test_a_mask_may_be_stored_in_another_order_or_cut_to_a_box(tmp_path):
    image = nib.Nifti1Image(BRAIN.astype(np.uint8), AFFINE)
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    cut = image.slicer[1:18, 3:21, :]
    for number, each in enumerate((turned, cut)):
        nib.save(each, tmp_path / f"{number}.nii")
        assert (read_brain_mask(tmp_path / f"{number}.nii", T1C).array == BRAIN).all()


def shifted(voxels: float) -> np.ndarray:
    return begin_at(AFFINE, [voxels, 0, 0])


@pytest.mark.parametrize(
    ("array", "affine", "words"),
    [
        (np.zeros(SHAPE, np.uint8), AFFINE, "is empty"),
        (np.full(SHAPE, np.nan), AFFINE, "is empty"),
        (np.ones(SHAPE, np.uint8), AFFINE, "is 0 nowhere"),
        (np.linspace(0, 1, BRAIN.size).reshape(SHAPE), AFFINE, "holds fractions.*0.5"),
        (np.arange(BRAIN.size, dtype=np.int16).reshape(SHAPE), AFFINE, "7680 different values, as an image"),
        (np.stack([BRAIN, ~BRAIN], axis=3).astype(np.uint8), AFFINE, "2 channels"),
        (BRAIN[::2, ::2].astype(np.uint8), AFFINE @ np.diag([2, 2, 1, 1]), "another grid.*10 x 12 x 16.*20 x 24 x 16"),
        (BRAIN.astype(np.uint8), shifted(0.4), "another grid"),
        (BRAIN.astype(np.uint8), np.diag([1, 1, 1, 1.0]), "another grid"),
        (BRAIN.astype(np.uint8), shifted(40), "lies beside T1ce"),
    ],
)
def test_what_is_no_mask_of_t1ce_is_refused(array, affine, words, tmp_path):
    write_volume(tmp_path / "mask.nii", Volume(array, affine))
    with pytest.raises(ValueError, match=words) as caught:
        read_brain_mask(tmp_path / "mask.nii", T1C)
    assert "mask.nii" in str(caught.value)


def test_no_file_and_no_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mask\.nii"):
        read_brain_mask(tmp_path / "mask.nii", T1C)
    (tmp_path / "mask.nii").write_text("no image")
    with pytest.raises(ValueError, match=r"mask\.nii"):
        read_brain_mask(tmp_path / "mask.nii", T1C)


# -- what is odd about a mask --------------------------------------------------------------------------------------


def block(*ranges: tuple[int, int], affine: np.ndarray = UPRIGHT) -> Volume:
    """A box of 2 mm voxels in a field of view of 100³ voxels."""
    array = np.zeros((100, 100, 100), np.uint8)
    array[tuple(slice(*each) for each in ranges)] = 1
    return Volume(array, affine)


def test_a_whole_brain_gives_no_warning():
    assert brain_mask_warnings(block((20, 80), (20, 80), (20, 70))) == []  # 1440 ml


@pytest.mark.parametrize(("edge", "ml"), [(30, 216), (68, 2515)])
def test_a_brain_of_an_odd_size(edge, ml):
    (warning,) = brain_mask_warnings(block(*[(10, 10 + edge)] * 3))
    assert f"{ml} ml, expected 900 to 2200" in warning
    assert "--brain-mask" in warning


@pytest.mark.parametrize(
    ("ranges", "side"),
    [
        (((20, 80), (20, 80), (50, 100)), "upper"),
        (((20, 80), (20, 80), (0, 50)), "lower"),
        (((0, 50), (20, 80), (20, 80)), "left"),
        (((50, 100), (20, 80), (20, 80)), "right"),
        (((20, 80), (50, 100), (20, 80)), "front"),
        (((20, 80), (0, 50), (20, 80)), "rear"),
    ],
)
def test_a_brain_that_the_field_of_view_cuts(ranges, side):
    (warning,) = brain_mask_warnings(block(*ranges))
    assert f"cut off at the {side} (144 cm²) edge of T1ce's field of view" in warning


def test_sides_are_those_of_the_patient_not_of_the_array():
    mask = block((20, 80), (20, 80), (50, 100))
    affine = np.array([[0, 2.0, 0, 0], [0, 0, 2.0, 0], [-2.0, 0, 0, 198], [0, 0, 0, 1]])
    (warning,) = brain_mask_warnings(Volume(np.flip(mask.array.transpose(2, 0, 1), 0), affine))
    assert "the upper (144 cm²) edge" in warning


def test_a_brain_that_leaves_below_by_its_stem_or_ends_in_the_last_slice_gives_no_warning():
    mask = block((20, 80), (20, 80), (30, 80))
    mask.array[40:70, 40:70, :30] = 1  # 36 cm² of stem and cerebellum
    mask.array[40:60, 40:60, 80:] = 1  # 16 cm²
    assert brain_mask_warnings(mask) == []
    mask.array[40:70, 40:70, 80:] = 1
    assert "the upper (36 cm²) edge" in brain_mask_warnings(mask)[0]


# -- the networks --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not RAW.is_dir(), reason="no raw study here")
@pytest.mark.parametrize("name", ENGINES)
def test_networks_find_the_brain_of_a_raw_scan(name, monkeypatch):
    if not ENGINES[name].is_installed():
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(module, "ENGINES", {name: ENGINES[name]})
    image, known = (read_volume(next(RAW.glob(f"{kind}/*_t1c.nii.gz"))) for kind in ("scans", "brain_masks"))
    mask, found_by = find_brain(image)
    assert found_by == name
    assert dice(mask.array > 0, known.array > 0) >= 0.96
    assert brain_mask_warnings(mask) == []
