"""The voxels of a series: slices in order, equal steps or a sentence on what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ProtoSegBrainLib.dicom.series import POSITION_TOLERANCE_MM, Frame, Series
from ProtoSegBrainLib.errors import sentence
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Grid, Volume

STEP_TOLERANCE = 0.01
"""Share of the median by which a step between slices may differ from it."""
LEAST_ASIDE_MM = 0.1
READERS = {
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70)), "python-gdcm"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), "pyjpegls"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203)), "pylibjpeg pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.5": "pylibjpeg pylibjpeg-rle",
}
"""Free packages that decode a transfer syntax."""


def read_stack(series: Series) -> Volume:
    """The image of a series; slice k is that of ``series.frames[k]``.

    Args:
        series: Without copies (``without_copies``).

    Raises:
        ValueError: A slice is missing or lies elsewhere, two different images lie at one place, a file is cut off or
            of a transfer syntax that nothing here decodes. The sentence names the series and the slices.
    """
    fault = fault_of(series)
    if fault:
        raise ValueError(fault)
    # (slices, rows, columns) -> (i, j, k), i along a row.
    array = np.stack(_planes(series, series.frames)).transpose(2, 1, 0)
    remarks = (_copies_said(series),) if series.copies else ()
    return Volume(array, grid_of(series).affine, remarks)


def grid_of(series: Series) -> Grid:
    """Where the voxels of a series lie, by its headers; it has no copies and no fault (``fault_of``)."""
    first, last = series.frames[0], series.frames[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.row * first.spacing_mm[1]
    affine[:3, 1] = first.column * first.spacing_mm[0]
    affine[:3, 2] = (last.position_mm - first.position_mm) / (len(series.frames) - 1)
    affine[:3, 3] = first.position_mm
    header = first.header
    return Grid((int(header.Columns), int(header.Rows), len(series.frames)), LPS_TO_RAS @ affine)


def fault_of(series: Series) -> str:
    """What is wrong with where the slices lie, in a sentence, by their headers alone; "" of nothing."""
    places = series.places_mm
    if len(places) < 2:
        return f"Series {series.name} has one slice only; expected a stack."
    along, steps = series.along_mm, np.diff(places)
    median = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - median) > max(STEP_TOLERANCE * median, POSITION_TOLERANCE_MM))
    if wrong.size:
        n = int(wrong[np.argmax(steps[wrong])])
        before = series.frames[int(np.flatnonzero(along <= places[n] + POSITION_TOLERANCE_MM)[-1])]
        behind = series.frames[int(np.flatnonzero(along >= places[n + 1])[0])]
        what = _step_said(float(steps[n]), median, f"{before.name} and {behind.name}")
        more = f" (and {wrong.size - 1} more such places)" if wrong.size > 1 else ""
        return f"Series {series.name}: {what}{more}. Export the series again, or choose another one."
    return _shear_said(series)


def short_fault(fault: str) -> str:
    """The same in a few words, for where the series is named already."""
    return re.sub(r"^Series .*?(?:: | has )|[.;] (?:Export|Resample|expected) .*$", "", fault).rstrip(".")


def without_copies(series: Series) -> Series:
    """Each place once, where the images at it are alike.

    Raises:
        ValueError: Two different images lie at one place, or one of them cannot be read.
    """
    if len(series.places_mm) == len(series.frames):
        return series
    kept: list[Frame] = []
    copies: list[tuple[Frame, Frame]] = []
    at = -np.inf
    for frame, place in zip(series.frames, series.along_mm, strict=True):
        if place - at > POSITION_TOLERANCE_MM:
            kept.append(frame)
            at = place
        else:
            copies.append((kept[-1], frame))
    planes = _planes(series, [frame for pair in copies for frame in pair])
    for (first, second), plane, other in zip(copies, planes[::2], planes[1::2], strict=True):
        if not np.array_equal(plane, other):
            raise ValueError(
                f"Series {series.name}: {first.name} and {second.name} are two images of one place; it holds two "
                "acquisitions, echoes or time points that the headers do not tell apart. Export one of them as a "
                "series, or choose another one."
            )
    return replace(series, frames=tuple(kept), copies=len(copies))


def _copies_said(series: Series) -> str:
    if series.copies == 1:
        return f"Series {series.name}: one slice is there twice, alike; it was taken once."
    return f"Series {series.name}: {series.copies} slices are there twice, alike; each was taken once."


def _step_said(step: float, median: float, between: str) -> str:
    lacking = round(step / median) - 1
    if lacking > 0 and abs(step - (lacking + 1) * median) < 0.05 * median:
        return f"{lacking} slice{'s are' if lacking > 1 else ' is'} missing between {between}"
    return f"the step between {between} is {step:.2f} mm, elsewhere {median:.2f} mm"


def _shear_said(series: Series) -> str:
    """Slices that do not lie straight behind each other: a tilted gantry, or a patient who was moved meanwhile."""
    offsets = np.array([frame.position_mm for frame in series.frames]) - series.frames[0].position_mm
    along = offsets @ series.normal
    aside = np.linalg.norm(offsets - np.outer(along, series.normal), axis=1)
    allowed = np.maximum(STEP_TOLERANCE * along, LEAST_ASIDE_MM)
    if (aside <= allowed).all():
        return ""
    n = int(np.argmax(aside - allowed))
    return (
        f"Series {series.name}: {series.frames[n].name} lies {aside[n]:.1f} mm beside the line on which the slices are "
        "stacked, as with a tilted gantry. Resample the series to slices straight behind each other, or choose another."
    )


def _planes(series: Series, frames: Sequence[Frame]) -> list[np.ndarray]:
    """(rows, columns) of each, with the scale of its header; a file of many frames is decoded once."""
    decoded: dict[str, np.ndarray] = {}
    planes = []
    for frame in frames:
        path = str(frame.header.filename)
        try:
            if frame.number is None:
                plane = _pixels(path)
            else:
                if path not in decoded:
                    decoded[path] = _pixels(path)
                plane = decoded[path].reshape(-1, *decoded[path].shape[-2:])[frame.number]
            planes.append(_scaled(plane, frame))
        except Exception as error:  # decoders raise whatever they like
            raise ValueError(_unreadable(series, frame, error)) from error
    return planes


def _pixels(path: str) -> np.ndarray:
    import pydicom

    return np.asarray(pydicom.dcmread(path, force=True).pixel_array)


def _scaled(plane: np.ndarray, frame: Frame) -> np.ndarray:
    slope, intercept = frame.value("RescaleSlope"), frame.value("RescaleIntercept")
    slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    if (slope, intercept) == (1.0, 0.0):
        return plane
    return (plane * np.float32(slope) + np.float32(intercept)).astype(np.float32)


def _unreadable(series: Series, frame: Frame, error: Exception) -> str:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(str(frame.header.file_meta.get("TransferSyntaxUID", "")))
    try:
        can_be_read = not syntax.is_compressed or get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):  # pydicom knows no decoder of it, or it is no transfer syntax
        can_be_read = False
    if can_be_read:
        return f"Series {series.name}: {frame.name} cannot be read ({sentence(error)}); is the file cut off?"
    reader = f"install what reads it: pip install {READERS[syntax]}" if syntax in READERS else "export it uncompressed"
    return f"Series {series.name} is compressed ({syntax.name}), which nothing here decodes; {reader}."
