"""The series of a folder: images grouped into stacks, each with its role and what a person calls it.

A series of a scanner may hold several stacks: echoes, acquisitions, orientations. They are taken apart here.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ProtoSegBrainLib.dicom.roles import Role, role_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ORIENTATION_TOLERANCE = 1e-3
"""Of direction cosines; some scanners round them differently from slice to slice."""
POSITION_TOLERANCE_MM = 0.01
STORAGE_OF_IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""MR, enhanced MR, legacy converted enhanced MR."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice, of its own file or of a multi-frame one.

    Attributes:
        header: Of the file.
        number: Of the frame in it; None where the file is one slice.
        position_mm: (3,) LPS, centre of the first voxel.
        row, column: (3,) direction cosines along increasing column and row index.
        spacing_mm: Between rows, between columns.
    """

    header: Dataset
    number: int | None
    position_mm: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing_mm: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """(3,) along which slices are stacked."""
        return np.cross(self.row, self.column)

    @property
    def along_mm(self) -> float:
        """Place along the normal."""
        return float(self.position_mm @ self.normal)


@dataclass(frozen=True, eq=False)
class Series:
    """A stack of slices that were measured together.

    Attributes:
        study: Instance UID.
        uid: Series instance UID.
        number: As the scanner counts; 0 where it does not say.
        description: As the scanner calls it.
        date: YYYYMMDD, or "".
        part: Which part of the series it is ("echo 2", "acquisition 1"), "" for a whole one.
        frames: In the order of the normal.
        role: What it is.
    """

    study: str
    uid: str
    number: int
    description: str
    date: str
    part: str
    frames: tuple[Frame, ...]
    role: Role

    @property
    def name(self) -> str:
        """For people: '5 "AX T2 TSE"'."""
        return f'{self.number} "{self.description}"' + (f" ({self.part})" if self.part else "")

    @property
    def size(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        header = self.frames[0].header
        return int(header.Columns), int(header.Rows), len({round(frame.along_mm, 2) for frame in self.frames})

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between columns, rows, slices."""
        row_mm, column_mm = self.frames[0].spacing_mm
        places = sorted({round(frame.along_mm, 2) for frame in self.frames})
        steps = np.diff(places)
        return column_mm, row_mm, float(np.median(steps)) if steps.size else 0.0


@dataclass(frozen=True)
class Folder:
    """What a folder of DICOM holds.

    Attributes:
        series: With images of the body, in the order of study, number and part.
        ignored: Objects of other kinds, how many of each: "Segmentation Storage".
        patients: How many patients.
    """

    series: tuple[Series, ...]
    ignored: dict[str, int]
    patients: int


def list_series(instances: Iterable[Dataset]) -> Folder:
    """Group the objects of a folder."""
    groups: dict[str, list[Dataset]] = defaultdict(list)
    ignored: Counter[str] = Counter()
    patients = set()
    for header in instances:
        if header.SOPClassUID in STORAGE_OF_IMAGES:
            groups[str(header.get("SeriesInstanceUID", ""))].append(header)
            patients.add(patient_key(header))
        else:
            ignored[header.SOPClassUID.name] += 1
    found = [series for uid, headers in groups.items() for series in _stacks(uid, headers)]
    found.sort(key=lambda series: (series.date, series.study, series.number, series.uid, series.part))
    return Folder(tuple(found), dict(ignored), len(patients))


def patient_key(header: Dataset) -> str:
    """A patient without the name: a hash of the identification, to tell two of them apart."""
    text = f"{header.get('PatientID', '')}\n{header.get('PatientBirthDate', '')}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# -- grouping ------------------------------------------------------------------------------------------------------


def _stacks(uid: str, headers: Sequence[Dataset]) -> list[Series]:
    frames = [frame for header in headers for frame in _frames(header)]
    parts: dict[tuple[Any, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        parts[_kind(frame, parts)].append(frame)
    stacks = [part for kind in parts.values() for part in _repeated_apart(kind)]
    names = _part_names(stacks)
    return [_series(uid, stack, name) for stack, name in zip(stacks, names, strict=True)]


def _frames(header: Dataset) -> list[Frame]:
    count = int(header.get("NumberOfFrames", 1) or 1)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if per_frame:
        shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
        return [frame for n in range(count) if (frame := _enhanced_frame(header, n, per_frame[n], shared))]
    frame = _frame(header, None, header, header, header)
    return [] if frame is None else [frame]


def _enhanced_frame(header: Dataset, number: int, own: Any, shared: Any) -> Frame | None:
    def group(name: str) -> Any:
        return (own.get(name) or shared.get(name) or [{}])[0]

    measures, orientation = group("PixelMeasuresSequence"), group("PlaneOrientationSequence")
    return _frame(header, number, group("PlanePositionSequence"), orientation, measures)


def _frame(header: Dataset, number: int | None, position: Any, orientation: Any, measures: Any) -> Frame | None:
    """None where the header does not say where the slice lies."""
    place, directions = position.get("ImagePositionPatient"), orientation.get("ImageOrientationPatient")
    spacing = measures.get("PixelSpacing")
    if not place or not directions or not spacing or len(directions) != 6:
        return None
    row, column = np.array(directions[:3], float), np.array(directions[3:], float)
    return Frame(header, number, np.array(place, float), row, column, (float(spacing[0]), float(spacing[1])))


def _kind(frame: Frame, known: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """What slices of one stack have in common; orientations that differ by rounding are one."""
    header = frame.header
    image_type = tuple(str(word) for word in header.get("ImageType", ()))
    own = (int(header.Rows), int(header.Columns), str(header.get("EchoTime", "")), image_type)
    directions = np.concatenate([frame.row, frame.column])
    for kind in known:
        if kind[:-1] == own and np.abs(np.array(kind[-1]) - directions).max() < ORIENTATION_TOLERANCE:
            return kind
    return (*own, tuple(directions.tolist()))


def _repeated_apart(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Stacks in which no place occurs twice, told by acquisition or time; places that are copies stay together."""
    places = Counter(round(frame.along_mm, 2) for frame in frames)
    if max(places.values()) == 1:
        return [list(frames)]
    for name in ("AcquisitionNumber", "TemporalPositionIdentifier", "AcquisitionTime"):
        groups: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[str(frame.header.get(name, ""))].append(frame)
        if 1 < len(groups) <= len(frames) // 2:
            return list(groups.values())
    return [list(frames)]


def _part_names(stacks: Sequence[Sequence[Frame]]) -> list[str]:
    """What tells the stacks of a series apart."""
    if len(stacks) == 1:
        return [""]
    for what, name in (("echo time", "EchoTime"), ("acquisition", "AcquisitionNumber")):
        values = [str(stack[0].header.get(name, "")) for stack in stacks]
        if len(set(values)) == len(stacks):
            return [f"{what} {value}" for value in values]
    return [f"part {number + 1}" for number in range(len(stacks))]


def _series(uid: str, frames: list[Frame], part: str) -> Series:
    frames.sort(key=lambda frame: (frame.along_mm, int(frame.header.get("InstanceNumber", 0) or 0)))
    header = frames[0].header
    n_slices = len({round(frame.along_mm, 2) for frame in frames})
    return Series(
        study=str(header.get("StudyInstanceUID", "")),
        uid=uid,
        number=int(header.get("SeriesNumber", 0) or 0),
        description=str(header.get("SeriesDescription", "") or header.get("ProtocolName", "")),
        date=str(header.get("StudyDate", "") or header.get("SeriesDate", "")),
        part=part,
        frames=tuple(frames),
        role=role_of(header, n_slices),
    )
