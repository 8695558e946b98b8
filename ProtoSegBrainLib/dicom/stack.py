"""The voxels of a series: slices in order, equal steps or a sentence on what is wrong with them."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np

from ProtoSegBrainLib.dicom.series import POSITION_TOLERANCE_MM, Frame, Series
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume

STEP_TOLERANCE = 0.01
"""Share of the median by which a step between slices may differ from it."""
READERS = {
    "1.2.840.10008.1.2.4.50": "pylibjpeg-libjpeg or python-gdcm",
    "1.2.840.10008.1.2.4.57": "pylibjpeg-libjpeg or python-gdcm",
    "1.2.840.10008.1.2.4.70": "pylibjpeg-libjpeg or python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg-rle",
}
"""Packages that decode a transfer syntax."""


def read_stack(series: Series) -> Volume:
    """The image of a series.

    Raises:
        ValueError: A slice is missing or lies elsewhere, two different images lie at one place, a file is cut off or
            of a transfer syntax that nothing here decodes. The sentence names the series and the slices.
    """
    frames, planes, copies = _without_copies(series, [_plane(series, frame) for frame in series.frames])
    step = _step(series, frames)
    first = frames[0]
    affine = np.eye(4)
    affine[:3, 0] = first.row * first.spacing_mm[1]
    affine[:3, 1] = first.column * first.spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position_mm
    # (slices, rows, columns) -> (i, j, k), i along a row.
    array = np.stack(planes).transpose(2, 1, 0)
    remarks = (f"Series {series.name}: {copies} slices are there twice, alike; each was taken once.",) if copies else ()
    return Volume(array, LPS_TO_RAS @ affine, remarks)


def _step(series: Series, frames: list[Frame]) -> np.ndarray:
    """(3,) from a slice to the next, LPS."""
    if len(frames) < 2:
        raise ValueError(f"Series {series.name} has one slice only; expected a stack.")
    along = np.array([frame.along_mm for frame in frames])
    steps = np.diff(along)
    median = float(np.median(steps))
    for index in np.flatnonzero(np.abs(steps - median) > max(STEP_TOLERANCE * median, POSITION_TOLERANCE_MM)):
        names = f"{_name(frames[index])} and {_name(frames[index + 1])}"
        lacking = round(steps[index] / median) - 1
        if lacking > 0 and abs(steps[index] - (lacking + 1) * median) < 0.05 * median:
            what = f"{lacking} slice{'s are' if lacking > 1 else ' is'} missing between {names}"
        else:
            what = f"the step between {names} is {steps[index]:.2f} mm, elsewhere {median:.2f} mm"
        raise ValueError(f"Series {series.name}: {what}. Export the series again, or choose another one.")
    step: np.ndarray = (frames[-1].position_mm - frames[0].position_mm) / (len(frames) - 1)
    return step


def _without_copies(series: Series, planes: list[np.ndarray]) -> tuple[list[Frame], list[np.ndarray], int]:
    """Each place once, where the images at it are alike; and how many were left out."""
    kept: list[Frame] = []
    arrays: list[np.ndarray] = []
    for frame, plane in zip(series.frames, planes, strict=True):
        if kept and abs(frame.along_mm - kept[-1].along_mm) <= POSITION_TOLERANCE_MM:
            if _digest(plane) != _digest(arrays[-1]):
                raise ValueError(
                    f"Series {series.name}: {_name(kept[-1])} and {_name(frame)} are two images of one place; it holds "
                    "two acquisitions or echoes that the headers do not tell apart. Export one of them."
                )
            continue
        kept.append(frame)
        arrays.append(plane)
    return kept, arrays, len(series.frames) - len(kept)


def _plane(series: Series, frame: Frame) -> np.ndarray:
    """(rows, columns) with the scale of the header."""
    import pydicom

    try:
        whole = _decoded(str(frame.header.filename))
        plane = whole if frame.number is None else whole[frame.number]
    except Exception as error:
        syntax = frame.header.file_meta.get("TransferSyntaxUID", "")
        reader = READERS.get(str(syntax))
        if reader and not isinstance(error, (OSError, EOFError)):
            name = pydicom.uid.UID(syntax).name
            raise ValueError(
                f"Series {series.name} is compressed ({name}), and nothing here reads that: pip install {reader}."
            ) from error
        raise ValueError(f"Series {series.name}: {_name(frame)} cannot be read ({error}); is it cut off?") from error
    slope, intercept = _scale(frame)
    if (slope, intercept) == (1.0, 0.0):
        return plane
    return (plane * np.float32(slope) + np.float32(intercept)).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _decoded(path: str) -> np.ndarray:
    """All pixels of a file; the last one is kept, as its other frames are asked for next."""
    import pydicom

    return np.asarray(pydicom.dcmread(path, force=True).pixel_array)


def _scale(frame: Frame) -> tuple[float, float]:
    header: Any = frame.header
    if frame.number is not None:
        for groups, at in (("PerFrameFunctionalGroupsSequence", frame.number), ("SharedFunctionalGroupsSequence", 0)):
            sequence = header.get(groups)
            if sequence and (found := sequence[at].get("PixelValueTransformationSequence")):
                return float(found[0].get("RescaleSlope", 1)), float(found[0].get("RescaleIntercept", 0))
    return float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)


def _name(frame: Frame) -> str:
    number = frame.header.get("InstanceNumber", "?")
    return f"image {number}" if frame.number is None else f"frame {frame.number + 1}"


def _digest(plane: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(plane).tobytes()).digest()
