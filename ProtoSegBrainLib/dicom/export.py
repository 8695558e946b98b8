"""A result as DICOM objects of the same patient and study as the series that it was made from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.dicom.examination import examinations
from ProtoSegBrainLib.dicom.measurement_report import measurement_report
from ProtoSegBrainLib.dicom.objects import highdicom
from ProtoSegBrainLib.dicom.parametric_map import similarity_map, uncertainty_map
from ProtoSegBrainLib.dicom.segmentation_object import classes_in, segmentation_object
from ProtoSegBrainLib.dicom.series import Series, read_folder
from ProtoSegBrainLib.dicom.stack import grid_of, without_copies
from ProtoSegBrainLib.images.volume import Volume, same_grid
from ProtoSegBrainLib.result.prediction import VOLUMES, Prediction

GRID_TOLERANCE_MM = 0.1
"""Positions in headers are rounded."""


def write_dicom(folder: Path, prediction: Prediction, source: Series, *, maps: bool = False) -> dict[str, Path]:
    """Write segmentation, report and maps of a result into a folder; paths by kind.

    A result without tumour has no segmentation.

    Args:
        folder: Where to; it exists, and holds no series.
        prediction: What to write.
        source: The series on whose grid it lies.
        maps: Whether to write a map for each prototype.

    Raises:
        ValueError: The result lies on another grid than the series.
        FileExistsError: The folder is that of the series, or lies in it.
        ImportError: highdicom is not installed.
    """
    hd = highdicom()
    _check(folder, prediction, source)
    tracking = {name: str(hd.UID()) for name in VOLUMES}
    objects: dict[str, Any] = {}
    if classes_in(prediction):
        objects["seg"] = segmentation_object(prediction, source, tracking)
    objects["report"] = measurement_report(prediction, source, objects.get("seg"), tracking)
    objects["uncertainty"] = uncertainty_map(prediction, source)
    files = {kind: _saved(made, folder / f"{kind}.dcm") for kind, made in objects.items()}
    for index in range(len(prediction.similarities) if maps else 0):
        kind = f"similarity_{index:02d}"
        files[kind] = _saved(similarity_map(prediction, source, index), folder / f"{kind}.dcm")
    return files


def read_reference(folder: str | os.PathLike[str]) -> Series:
    """The one series of a folder, to which DICOM of images from elsewhere shall refer.

    Raises:
        FileNotFoundError: No such folder, or no MR series in it.
        ValueError: It holds several; a series that cannot be read.
        ImportError: pydicom is not installed.
    """
    place = Path(folder)
    if not place.is_dir():
        raise FileNotFoundError(f"There is no folder {place}.")
    found = [series for examination in examinations(read_folder(place)) for series in examination.series]
    if not found:
        raise FileNotFoundError(f"{place}: no MR series found; expected that of T1ce (--dicom).")
    contrast = [series for series in found if series.role.role == "t1c"]
    chosen = found if len(found) == 1 else contrast
    if len(chosen) != 1:
        names = ", ".join(series.name for series in found)
        raise ValueError(f"{place} holds {len(found)} series ({names}); expected that of T1ce alone (--dicom).")
    return without_copies(chosen[0])


def _check(folder: Path, prediction: Prediction, source: Series) -> None:
    grid = grid_of(source)
    result = Volume(prediction.label, prediction.affine)
    if not same_grid(result, grid.shape, grid.affine, GRID_TOLERANCE_MM):
        raise ValueError(
            f"Case {prediction.case_id}: the result lies on a grid of {_size(prediction.label.shape)} voxels, series "
            f"{source.name} on one of {_size(grid.shape)} or elsewhere; give the series on whose grid T1ce is."
        )
    homes = {Path(str(frame.header.filename)).resolve().parent for frame in source.frames}
    if homes.intersection((folder.resolve(), *folder.resolve().parents)):
        raise FileExistsError(
            f"{folder} is, or lies in, the folder of series {source.name} itself; choose another one."
        )


def _size(shape: tuple[int, ...] | np.ndarray) -> str:
    return " x ".join(map(str, shape))


def _saved(made: Any, path: Path) -> Path:
    made.save_as(path)
    return path
