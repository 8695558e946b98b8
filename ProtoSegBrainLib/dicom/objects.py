"""What every DICOM object that is written here has in common: who made it, where it lies, what it refers to."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from ProtoSegBrainLib.dicom.codes import PROGRAM, RESEARCH, Code
from ProtoSegBrainLib.dicom.series import Series
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume
from ProtoSegBrainLib.result.prediction import Prediction

FIRST_SERIES_NUMBER = 9000
"""Of what is written here: behind those of any scanner."""
SERIAL_NUMBER = "0"
"""Of a program there is none, and DICOM wants one."""


def highdicom() -> Any:
    """The package that writes them.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module("highdicom")
    except ImportError as error:
        raise ImportError(f'DICOM needs pydicom and highdicom ({error}): pip install "protosegbrain[dicom]"') from error


def concept(code: Code) -> Any:
    """A code as highdicom has it."""
    return highdicom().sr.CodedConcept(code.value, code.scheme, code.meaning)


def sources(series: Series) -> list[Any]:
    """The headers of a series, each once, in the order of its slices."""
    seen: dict[str, Any] = {}
    for frame in series.frames:
        seen.setdefault(str(frame.header.SOPInstanceUID), frame.header)
    return [*seen.values()]


def placed(volume: Volume, series: Series) -> Any:
    """An image in the space of a series as highdicom has it: slices, rows, columns; LPS."""
    affine = (LPS_TO_RAS @ volume.affine)[:, [2, 1, 0, 3]]
    frame = str(series.frames[0].header.get("FrameOfReferenceUID", "")) or None
    return highdicom().Volume(np.ascontiguousarray(volume.array.T), affine, "PATIENT", frame)


def made_by(prediction: Prediction, description: str, number: int) -> dict[str, Any]:
    """Equipment, series and instance of a new object."""
    hd = highdicom()
    return {
        "series_instance_uid": hd.UID(),
        "series_number": FIRST_SERIES_NUMBER + number,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": PROGRAM,
        "manufacturer_model_name": str(prediction.model["name"]),
        "software_versions": version(),
        "device_serial_number": SERIAL_NUMBER,
        "series_description": f"{description} ({RESEARCH})",
    }


def version() -> str:
    """Of this program."""
    try:
        return importlib.metadata.version("protosegbrain")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # in 3D Slicer it is no package


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what packages say of headers that scanners left odd: a person can do nothing about it."""
    loggers = [logging.getLogger(name) for name in ("highdicom", "pydicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
