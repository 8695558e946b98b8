"""The DICOM objects of a folder, whatever else lies there; headers only."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
WITHOUT_MAGIC = (".dcm", ".dicom", ".ima", ".img", ".mr", "")
"""Endings of files that may be DICOM although the magic bytes are missing, as some anonymisers leave them; a file that
is called by a number or a UID has none that counts."""
NEVER = (".nii", ".gz", ".mha", ".nrrd", ".mgz", ".json", ".csv", ".txt", ".html", ".png", ".jpg", ".py")
"""Endings of files that need not be looked into."""
FIRST_ELEMENTS = {(group, element) for group in (0x0002, 0x0008) for element in (0, 1, 5, 8, 0x12, 0x16)}
"""Groups and elements with which such a file begins."""
STORAGE_OF_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image Storage",
}
DIRECTORY = "1.2.840.10008.1.3.10"
ENOUGH_TO_SAY = 50


def find_instances(
    folder: str | os.PathLike[str], on_progress: Progress | None = None, unreadable: list[Path] | None = None
) -> Iterator[Dataset]:
    """Every object below a folder, without its pixels; ``filename`` says where it lies.

    Args:
        folder: Any tree of files; a DICOMDIR is passed over, and what lies beside it found.
        on_progress: Called now and then.
        unreadable: Takes the DICOM files whose headers cannot be read, as they are cut off.

    Raises:
        ImportError: pydicom is not installed.
    """
    pydicom = _pydicom()
    paths = [path for path in _files(Path(folder)) if is_dicom_file(path)]
    for number, path in enumerate(paths):
        if on_progress is not None and number % ENOUGH_TO_SAY == 0:
            on_progress(number / len(paths), f"Reading headers, {number} of {len(paths)}")
        header = _header(pydicom, path)
        if header is not None:
            yield header
        elif unreadable is not None:
            unreadable.append(path)


def holds_dicom(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder, or one below it, holds a DICOM file; looks at few bytes of each."""
    return any(is_dicom_file(path) for path in _files(Path(folder)))


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM does, with or without the preamble; a DICOMDIR is none."""
    suffix = path.suffix.lower()
    if suffix in NEVER:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE_BYTES + len(MAGIC))
    except OSError:
        return False
    if start[PREAMBLE_BYTES:] == MAGIC:
        return True
    may_be = suffix in WITHOUT_MAGIC or suffix[1:].isdigit()
    first = (int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little"))
    return may_be and len(start) > PREAMBLE_BYTES and first in FIRST_ELEMENTS


def value_of(header: Any, name: str) -> Any:
    """What a header, or an item of a sequence, says; None where it says nothing, or nothing that can be read."""
    try:
        value = header.get(name)
        return None if value is None or value == "" else value
    except Exception:  # pydicom converts a value when it is asked for, and raises whatever the bytes lead to
        return None


def inner_of(groups: Any) -> list[Any]:
    """The first items of the sequences of a functional group, in which a multi-frame object says what is of a frame."""
    found = []
    for tag in list(groups.keys()) if len(groups) else ():
        try:
            element = groups[tag]
        except Exception:  # the same as of any value
            continue
        if element.VR == "SQ" and element.value:
            found.append(element.value[0])
    return found


def _header(pydicom: Any, path: Path) -> Dataset | None:
    """None where the file is cut off within it."""
    try:
        header: Dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        return header if _is_whole(header) else None
    except Exception:  # pydicom raises whatever the bytes lead to
        return None


def _is_whole(header: Dataset) -> bool:
    """Whether it goes on to where an image says its size, or is of another kind of object."""
    kind, meta = header.get("SOPClassUID"), getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
    if kind and meta and kind != meta:  # cut off within this very word
        return False
    if (kind or meta) in STORAGE_OF_IMAGES:
        return "Rows" in header
    return bool(kind) or "Modality" in header


def _files(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        if here in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                yield Path(place, name)


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(f'DICOM needs pydicom and highdicom ({error}): pip install "protosegbrain[dicom]"') from error
    # Its warnings quote what headers say, and names of patients are not for the console.
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
    return pydicom
