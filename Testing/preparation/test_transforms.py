"""Motions in files: what ITK does with them is what the library means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from made_up_head import T1CE, T2, grid, scanned
from scipy.spatial.transform import Rotation

from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume, resample
from ProtoSegBrainLib.preparation.transforms import read_transform, write_transform


def motion() -> np.ndarray:
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix()
    made[:3, 3] = 11.0, -23.0, 5.5
    return made


def as_itk(volume: Volume) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(volume.array.T)
    affine = LPS_TO_RAS @ volume.affine
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((affine[:3, :3] / volume.spacing_mm).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def test_resampling_by_the_file_is_resampling_the_moved_image(tmp_path: Path) -> None:
    fixed = scanned(T1CE, grid((5, 6, 7), (3, 0, -6)))
    moving = scanned(T2, grid((6, 5, 8), (0, 9, 2)))
    write_transform(motion(), tmp_path / "t2_to_t1ce.tfm")
    transform = SimpleITK.ReadTransform(str(tmp_path / "t2_to_t1ce.tfm"))
    by_file = SimpleITK.Resample(as_itk(moving), as_itk(fixed), transform, SimpleITK.sitkLinear, 0.0)
    by_affine = resample(Volume(moving.array, motion() @ moving.affine), fixed.shape, fixed.affine, order=1)
    values = SimpleITK.GetArrayFromImage(by_file).T
    seen = (values != 0) & (by_affine.array != 0)
    assert seen.mean() > 0.5
    assert np.abs(values - by_affine.array)[seen].max() < 0.1  # of 600


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_transform(motion(), tmp_path / "moved.tfm")
    assert np.allclose(read_transform(tmp_path / "moved.tfm"), motion(), atol=1e-12)


def test_transforms_of_others_are_read(tmp_path: Path) -> None:
    turn = SimpleITK.Euler3DTransform((10.0, 20.0, 30.0), 0.1, -0.2, 0.3, (1.0, 2.0, 3.0))
    path = str(tmp_path / "composite.h5")
    SimpleITK.WriteTransform(SimpleITK.CompositeTransform([turn, SimpleITK.TranslationTransform(3, (4, 5, 6))]), path)
    back = np.linalg.inv(LPS_TO_RAS @ read_transform(path) @ LPS_TO_RAS)
    place = np.array([17.0, -5.0, 40.0])
    expected = turn.TransformPoint((place + np.array([4, 5, 6])).tolist())
    assert np.allclose((back @ [*place, 1.0])[:3], expected)


def test_what_is_no_linear_transform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no transform"):
        read_transform(tmp_path / "none.tfm")
    (tmp_path / "text.tfm").write_text("Hello")
    with pytest.raises(ValueError, match="could not be read as a transform"):
        read_transform(tmp_path / "text.tfm")
    SimpleITK.WriteTransform(SimpleITK.BSplineTransform(3), str(tmp_path / "bent.tfm"))
    with pytest.raises(ValueError, match="expected a linear transform"):
        read_transform(tmp_path / "bent.tfm")


@pytest.mark.parametrize(
    ("given", "name", "said"),
    [
        (np.eye(4), "moved.nii", "end in .tfm"),
        (np.eye(3), "moved.tfm", "invertible 4x4"),
        (np.zeros((4, 4)), "moved.tfm", "invertible 4x4"),
        (np.full((4, 4), np.nan), "moved.tfm", "invertible 4x4"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, given: np.ndarray, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_transform(given, tmp_path / name)
    assert not list(tmp_path.iterdir())
