"""A result on the grids of the scanner's own series, as transforms, and the mask beside it."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from by_hand import evidence_for, prediction_for
from small_case import AFFINE, BRAIN, CLASSES, images

from ProtoSegBrainLib.images.case import Case, case_from_volumes
from ProtoSegBrainLib.images.formats import is_result, read_volume
from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.volume import Grid, Volume, resample
from ProtoSegBrainLib.segmentation.native import NativeConfig, label_on, write_native

MOTION = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.2, 0.05), [6, -3, 4])
THICK = Grid((10, 20, 20), AFFINE @ nib.affines.from_matvec(np.diag([2.0, 1.2, 0.8]), [0.63, 0.13, -0.07]))
"""Where FLAIR lay before it was moved."""


@pytest.fixture
def case() -> Case:
    """FLAIR was stored elsewhere and moved onto T1ce; the others were left where they were."""
    plain = case_from_volumes({role: Volume(array, AFFINE) for role, array in images().items()}, "p1")
    moves = {"t2f": Move(MOTION, 8.0, 12.0, 0.6, 0.3), "t1n": Move(np.eye(4), 0, 0, 0.7, 0.7)}
    stored = Grid(THICK.shape, np.linalg.inv(MOTION) @ THICK.affine)
    done = Preparation("With skull, not aligned", moves, "HD-BET", 1400.0)
    return replace(plain, mask=BRAIN, grids={**plain.grids, "t2f": stored}, preparation=done)


@pytest.fixture
def prediction(case):
    return replace(
        prediction_for(np.ones((1, 10, 12, 8)), evidence_for(["ED"])), case_id="p1", label=CLASSES, affine=AFFINE
    )


def test_the_label_lies_on_the_grid_as_it_was_stored(case, prediction):
    label = label_on(case, prediction, "t2f")
    assert label.array.shape == THICK.shape
    np.testing.assert_allclose(label.affine, np.linalg.inv(MOTION) @ THICK.affine)
    expected = resample(Volume(CLASSES, AFFINE), THICK.shape, THICK.affine, order=0).array
    np.testing.assert_array_equal(label.array, expected)
    assert label.array.any()


def test_on_a_grid_that_was_left_where_it_was_it_is_the_label_itself(case, prediction):
    np.testing.assert_array_equal(label_on(case, prediction, "t1n").array, CLASSES)


def test_the_files_are_named_by_what_they_are(case, prediction, tmp_path):
    files = write_native(tmp_path, case, prediction, "brats2020", NativeConfig(on=("flair",)))
    assert {kind: path.name for kind, path in files.items()} == {
        "brain": "p1_brain.nii.gz",
        "flair_to_t1ce": "p1_flair_to_t1ce.tfm",
        "t1_to_t1ce": "p1_t1_to_t1ce.tfm",
        "seg_on_flair": "p1_seg_on_flair.nii.gz",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files.values())
    np.testing.assert_array_equal(read_volume(files["brain"]).array, BRAIN)
    assert is_result(files["brain"])
    assert set(np.unique(read_volume(files["seg_on_flair"]).array)) <= {0, 1, 2, 4}


def test_the_transform_moves_the_image_as_other_programs_read_it(case, prediction, tmp_path):
    """ITK's transforms lead from the fixed image's places to the moving one's, in LPS."""
    files = write_native(tmp_path, case, prediction, "brats2020", NativeConfig())
    transform = SimpleITK.ReadTransform(str(files["flair_to_t1ce"]))
    fixed = np.array([12.0, -7.0, 20.0, 1.0])
    lps = transform.TransformPoint((-fixed[0], -fixed[1], fixed[2]))
    np.testing.assert_allclose([-lps[0], -lps[1], lps[2]], (np.linalg.inv(MOTION) @ fixed)[:3], atol=1e-4)


def test_all_means_every_grid(case, prediction, tmp_path):
    files = write_native(tmp_path, case, prediction, "brats2023", NativeConfig(on=("all",)))
    assert {kind for kind in files if kind.startswith("seg_on")} == {
        "seg_on_flair", "seg_on_t1", "seg_on_t1ce", "seg_on_t2"
    }  # fmt: skip


def test_a_case_that_was_taken_as_it_is_has_nothing_beside_it(case, prediction, tmp_path):
    plain = replace(case, mask=None, preparation=None)
    assert write_native(tmp_path, plain, prediction, "brats2020", NativeConfig()) == {}
    assert not [*tmp_path.iterdir()]


def test_a_grid_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="flair, t1, t1ce, t2, all"):
        NativeConfig(on=("t1c",))
