"""The DICOM objects of a folder, whatever else lies there; headers only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
WITHOUT_MAGIC = (".dcm", ".ima", ".img", "")
"""Endings of files that may be DICOM although the magic bytes are missing, as some anonymisers leave them."""


def find_instances(folder: str | os.PathLike[str]) -> Iterator[Dataset]:
    """Every object below a folder, without its pixels; ``filename`` says where it lies.

    Raises:
        ImportError: pydicom is not installed.
    """
    pydicom = _pydicom()
    for path in _files(Path(folder)):
        if _may_be_dicom(path):
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError):
                continue  # no DICOM after all, or cut off within its header; its slice will be missed
            if "SOPClassUID" in header:
                yield header


def holds_dicom(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder, or one below it, holds a DICOM file; looks at few bytes of each."""
    return any(_has_magic(path) for path in _files(Path(folder)))


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                yield Path(place, name)


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC
    except OSError:
        return False


def _may_be_dicom(path: Path) -> bool:
    return _has_magic(path) or path.suffix.lower() in WITHOUT_MAGIC


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(f'DICOM needs pydicom and highdicom ({error}): pip install "protosegbrain[dicom]"') from error
    return pydicom
