"""Motions as files: ITK's text format (.tfm), which 3D Slicer, ANTs and SimpleITK read.

A motion of the library takes a place in the moving image to the fixed one, in RAS mm. A transform in ITK's sense is for
resampling: it takes a place in the fixed image to the moving one, in LPS mm. In Slicer, such a transform put over the
moving volume lays it on the fixed one.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.volume import LPS_TO_RAS

SUFFIXES = (".tfm", ".txt", ".mat", ".h5", ".xfm")


def write_transform(motion: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Write a motion as an affine transform of ITK; its folder must exist.

    Args:
        motion: 4x4, RAS mm, moving image -> fixed image.
        path: Ends in .tfm; by it programs know the format.

    Raises:
        ValueError: Another ending, or no motion that can be undone.
    """
    if Path(path).suffix != ".tfm":
        raise ValueError(f"Expected a transform's file to end in .tfm, got {Path(path).name!r}.")
    motion = np.asarray(motion, np.float64)
    if motion.shape != (4, 4) or not np.isfinite(motion).all() or abs(np.linalg.det(motion)) < 1e-9:
        raise ValueError(f"Expected an invertible 4x4 motion, got {motion.tolist()}.")
    to_moving = LPS_TO_RAS @ np.linalg.inv(motion) @ LPS_TO_RAS
    numbers = " ".join(repr(float(number)) for number in (*to_moving[:3, :3].ravel(), *to_moving[:3, 3]))
    write_whole(
        path,
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
    )


def read_transform(path: str | os.PathLike[str]) -> np.ndarray:
    """The motion in a linear transform of ITK, as ``write_transform``, Slicer or ANTs wrote it: 4x4, RAS mm.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no transform, or one that bends.
    """
    import SimpleITK

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no transform {path}.")
    try:
        transform = SimpleITK.ReadTransform(os.fspath(path))
    except RuntimeError as error:
        raise ValueError(
            f"{path} could not be read as a transform of ITK (expected one of {', '.join(SUFFIXES)})."
        ) from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise ValueError(f"{path} holds a {transform.GetName()}; expected a linear transform of three dimensions.")
    places = np.vstack([np.zeros(3), np.eye(3)])
    origin, *ends = (np.array(transform.TransformPoint(place.tolist())) for place in places)
    to_moving = np.eye(4)
    to_moving[:3, :3] = np.array(ends).T - origin[:, None]
    to_moving[:3, 3] = origin
    return np.asarray(LPS_TO_RAS @ np.linalg.inv(to_moving) @ LPS_TO_RAS)
