"""The simulated case: geometry, contrast, repeatability, and what is written of it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.simulation.anatomy import BRATS_SHAPE
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case, write_case

SMALL = (60, 60, 40)


@pytest.fixture(scope="module")
def whole() -> Case:
    return simulate_case(1)


def means(case: Case) -> np.ndarray:
    """(4 modalities, 4 classes) mean intensities, z-scored within the brain."""
    brain = case.images[0] > 0
    z = [(image - image[brain].mean()) / image[brain].std() for image in case.images]
    assert case.label is not None
    return np.array([[image[brain & (case.label == k)].mean() for k in range(4)] for image in z])


def test_geometry_and_numbers_of_brats(whole: Case) -> None:
    assert whole.images.shape == (4, *BRATS_SHAPE)
    assert whole.images.dtype == np.float32
    np.testing.assert_array_equal(whole.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    brain = whole.images[0] > 0
    assert all(np.array_equal(image > 0, brain) for image in whole.images)
    assert 1.0e6 < brain.sum() < 1.9e6  # ml as in BraTS: 1146 to 1747
    assert np.array_equal(whole.images, np.rint(whole.images))
    assert whole.images.max() < 2**15
    assert not brain[0].any()
    assert not brain[:, 0].any()
    assert ndimage.label(brain)[1] == 1


def test_tumour_has_all_classes_and_lies_in_the_brain(whole: Case) -> None:
    assert whole.label is not None
    assert whole.label.dtype == np.uint8
    volumes_ml = np.bincount(whole.label.ravel(), minlength=4)[1:] / 1000
    assert (volumes_ml > 3).all()
    assert volumes_ml.sum() < 300
    assert not whole.label[whole.images[0] == 0].any()
    around_necrosis = ndimage.binary_dilation(whole.label == 1, iterations=2) & (whole.label != 1)
    assert (whole.label[around_necrosis] == 3).mean() > 0.8  # the rim encloses it


def test_contrast_is_that_of_real_cases(whole: Case) -> None:
    z = means(whole)
    assert z.shape == (4, 4)
    t1n, t1c, t2w, t2f = z
    assert t1c[3] > 1.5 > t1c[2] + 1  # ET bright on T1ce, oedema not
    assert t1c[1] < 0.3  # necrosis is not
    assert t2f[2] > 1.2 and t2w[2] > 0.3  # oedema bright on FLAIR and T2 # noqa: PT018
    assert t2w[1] > 1.0  # necrosis bright on T2
    assert abs(t1n[1:]).max() < 1.5


def test_same_seed_same_case_other_seed_another() -> None:
    first, again, other = simulate_case(7, SMALL), simulate_case(7, SMALL), simulate_case(8, SMALL)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.label, again.label)
    assert (first.label != other.label).any()  # type: ignore[union-attr]
    assert first.case_id == "simulated_7"
    assert "simulated" in first.warnings[0]


def test_low_grade_has_no_enhancement() -> None:
    case = simulate_case(2, SMALL, SimulationConfig(tumour="low_grade"))
    assert set(np.unique(case.label)) == {0, 1, 2}
    assert means_of_core_on_t1c(case) < 0.5


def means_of_core_on_t1c(case: Case) -> float:
    brain, t1c = case.images[1] > 0, case.images[1]
    return float((t1c[case.label == 1].mean() - t1c[brain].mean()) / t1c[brain].std())


def test_healthy_brain() -> None:
    case = simulate_case(2, SMALL, SimulationConfig(tumour=None))
    assert case.label is not None
    assert not case.label.any()
    assert (case.images > 0).any()


def test_written_case_reads_back(a_case: Case, tmp_path: Path) -> None:
    folder = write_case(a_case, tmp_path)
    names = ["flair", "seg", "t1", "t1ce", "t2"]
    assert sorted(path.name for path in folder.iterdir()) == [f"simulated_3_{name}.nii.gz" for name in names]
    back = read_case(folder)
    np.testing.assert_array_equal(back.images, a_case.images)
    np.testing.assert_array_equal(back.label, a_case.label)
    np.testing.assert_array_equal(back.affine, a_case.affine)
    header = nib.load(folder / "simulated_3_t1ce.nii.gz").header
    assert b"simulated" in bytes(header["descrip"])
    assert header.get_data_dtype() == np.int16
    assert set(np.unique(nib.load(folder / "simulated_3_seg.nii.gz").dataobj)) == {0, 1, 2, 4}
    with pytest.raises(FileExistsError, match="simulated_3"):
        write_case(a_case, tmp_path)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        simulate_case(-1)
    with pytest.raises(ValueError, match="shape"):
        simulate_case(1, (240, 240, 8))
    with pytest.raises(ValueError, match="tumour"):
        simulate_case(1, SMALL, SimulationConfig(tumour="benign"))  # type: ignore[arg-type]
