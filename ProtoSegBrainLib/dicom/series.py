"""The series of a folder: images grouped into stacks, each with its role and what a person calls it.

A series of a scanner may hold several stacks: echoes, acquisitions, orientations. They are taken apart here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ProtoSegBrainLib.dicom.instances import DIRECTORY, STORAGE_OF_IMAGES, find_instances, inner_of, value_of
from ProtoSegBrainLib.dicom.roles import Role, has_agent, role_of
from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ORIENTATION_TOLERANCE = 1e-3
"""Of direction cosines; some scanners round them differently from slice to slice."""
POSITION_TOLERANCE_MM = 0.015
MOST_ACQUISITIONS = 2
"""More stacks than these, alike in all but their time, are a series in time."""
NOWHERE, OF_NO_SERIES, CUT_OFF = "MR images without a position", "MR images without UIDs", "files that are cut off"
"""What is counted among the ignored, beside the names of other kinds of objects."""
TOLD_APART_BY = {
    "echo time": ("EchoTime", "EffectiveEchoTime"),
    "acquisition": ("AcquisitionNumber", "FrameAcquisitionNumber"),
    "time point": ("TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "AcquisitionTime"),
}


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
    def name(self) -> str:
        """For people: "image 12", "frame 3"."""
        if self.number is None:
            number = value_of(self.header, "InstanceNumber")
            return f"image {'?' if number is None else number}"
        return f"frame {self.number + 1}"

    def value(self, *names: str) -> Any:
        """The first of these attributes that the frame, or its file, has; None of none."""
        groups = [self.header] if self.number is None else _groups(self.header, self.number)
        found = (value_of(group, name) for name in names for group in groups)
        return next((value for value in found if value is not None), None)


@dataclass(frozen=True, eq=False)
class Series:
    """A stack of slices that were measured together.

    Attributes:
        study: Instance UID.
        uid: Series instance UID.
        number: As the scanner counts; 0 where it does not say.
        description: As the scanner calls it.
        date: YYYYMMDD, or "".
        part: Which part of the series it is ("echo time 20", "acquisition 1"), "" for a whole one.
        frames: In the order of the normal.
        role: What it is.
        copies: Slices that were left out, as they are there twice.
    """

    study: str
    uid: str
    number: int
    description: str
    date: str
    part: str
    frames: tuple[Frame, ...]
    role: Role
    copies: int = 0

    @property
    def name(self) -> str:
        """For people: '5 "AX T2 TSE"'."""
        return f'{self.number} "{self.description}"' + (f" ({self.part})" if self.part else "")

    @property
    def normal(self) -> np.ndarray:
        """(3,) LPS, along which the slices are stacked."""
        normal = np.cross(self.frames[0].row, self.frames[0].column)
        return np.asarray(normal / np.linalg.norm(normal))

    @property
    def along_mm(self) -> np.ndarray:
        """(frames,) places along the normal."""
        return np.array([frame.position_mm for frame in self.frames]) @ self.normal

    @property
    def places_mm(self) -> np.ndarray:
        """(slices,) the same, each place once."""
        along = self.along_mm
        return along[np.r_[True, np.diff(along) > POSITION_TOLERANCE_MM]]

    @property
    def size(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        header = self.frames[0].header
        return int(header.Columns), int(header.Rows), len(self.places_mm)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between columns, rows, slices."""
        row_mm, column_mm = self.frames[0].spacing_mm
        steps = np.diff(self.places_mm)
        return column_mm, row_mm, float(np.median(steps)) if steps.size else 0.0

    @property
    def has_contrast(self) -> bool:
        """Whether contrast medium was given, as its header or its role says."""
        return self.role.role == "t1c" or has_agent(self.frames[0].header)

    @property
    def patient(self) -> str:
        """The patient without the name: a short code of the identification, to tell two of them apart."""
        return patient_key(self.frames[0].header)


@dataclass(frozen=True)
class Folder:
    """What a folder of DICOM holds.

    Attributes:
        series: With images of the body, in the order of date, study, number and part.
        ignored: Objects of other kinds, how many of each: "Segmentation Storage".
        patients: How many patients.
    """

    series: tuple[Series, ...]
    ignored: dict[str, int]
    patients: int


def read_folder(place: str | os.PathLike[str], on_progress: Progress | None = None) -> Folder:
    """Headers of all that lies in a folder, and below it, in series.

    Raises:
        ImportError: pydicom is not installed.
    """
    unreadable: list[Path] = []
    folder = list_series(find_instances(place, on_progress, unreadable))
    if unreadable:
        folder.ignored[CUT_OFF] = len(unreadable)
    return folder


def list_series(instances: Iterable[Dataset]) -> Folder:
    """Group the objects of a folder."""
    groups: dict[tuple[str, str, str], list[Frame]] = defaultdict(list)
    ignored: Counter[str] = Counter()
    for header in instances:
        kind = _kind_of_object(header)
        study, uid = (str(value_of(header, f"{of}InstanceUID") or "") for of in ("Study", "Series"))
        if kind == DIRECTORY:
            continue
        if kind not in STORAGE_OF_IMAGES:
            ignored[_name_of_kind(kind)] += 1
        elif not (study and uid and value_of(header, "SOPInstanceUID")):
            ignored[OF_NO_SERIES] += 1
        elif frames := _frames(header):
            groups[study, uid, patient_key(header)] += frames
        else:
            ignored[NOWHERE] += 1
    found = [series for frames in groups.values() for series in _stacks(frames)]
    found.sort(key=lambda series: (series.date, series.study, series.number, series.uid, series.part))
    return Folder(tuple(found), dict(ignored), len({patient for _, _, patient in groups}))


def patient_key(header: Dataset) -> str:
    """A patient without the name: a hash of the identification, to tell two of them apart; "" without one."""
    text = str(value_of(header, "PatientID") or "").strip()
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def plain(text: object) -> str:
    """What a header says, in one line and without what would move a terminal's cursor."""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return re.sub(r"\s+", " ", shown).strip()


def _kind_of_object(header: Dataset) -> str:
    kind = value_of(header, "SOPClassUID") or getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
    if not kind and value_of(header, "Modality") == "MR" and "Rows" in header:
        return "1.2.840.10008.5.1.4.1.1.4"
    return str(kind or "")


def _name_of_kind(kind: str) -> str:
    from pydicom.uid import UID

    return UID(kind).name if kind else "objects of an unknown kind"


# -- frames ----------------------------------------------------------------------------------------------------------


def _frames(header: Dataset) -> list[Frame]:
    if not _whole(value_of(header, "Rows")) or not _whole(value_of(header, "Columns")):
        return []
    per_frame = value_of(header, "PerFrameFunctionalGroupsSequence")
    numbers: Sequence[int | None] = range(len(per_frame)) if per_frame else [None]
    return [frame for number in numbers if (frame := _frame(header, number)) is not None]


def _frame(header: Dataset, number: int | None) -> Frame | None:
    """None where the header does not say where the slice lies."""
    groups = [header] if number is None else _groups(header, number)

    def numbers(name: str, count: int) -> np.ndarray | None:
        value = next((found for group in groups if (found := value_of(group, name))), None)
        try:
            array = np.array([float(part) for part in value or ()])
        except (TypeError, ValueError):
            return None
        return array if array.shape == (count,) and np.isfinite(array).all() else None

    place, spacing = numbers("ImagePositionPatient", 3), numbers("PixelSpacing", 2)
    directions = numbers("ImageOrientationPatient", 6)
    if place is None or directions is None or spacing is None or spacing.min() <= 0:
        return None
    row, column = directions[:3], directions[3:]
    if np.linalg.norm(np.cross(row, column)) < 1 - 10 * ORIENTATION_TOLERANCE:
        return None
    return Frame(header, number, place, row, column, (float(spacing[0]), float(spacing[1])))


def _groups(header: Dataset, number: int) -> list[Any]:
    """Where a frame's attributes may stand: its own functional groups, those of all, the header itself."""
    own = header.PerFrameFunctionalGroupsSequence[number]
    shared = (value_of(header, "SharedFunctionalGroupsSequence") or [()])[0]
    return [*inner_of(own), *inner_of(shared), header]


# -- stacks ----------------------------------------------------------------------------------------------------------


def _stacks(frames: Sequence[Frame]) -> list[Series]:
    """The stacks of a series."""
    parts: dict[tuple[Any, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        parts[_kind(frame, parts)].append(frame)
    found = []
    for kind in parts.values():
        stacks = _repeated_apart(kind)
        found += [(stack, len(stacks) if len(stacks) > MOST_ACQUISITIONS else 1) for stack in stacks]
    names = _part_names([stack for stack, _ in found])
    return [_series(stack, name, n_times) for (stack, n_times), name in zip(found, names, strict=True)]


def _kind(frame: Frame, known: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """What slices of one stack have in common; orientations that differ by rounding are one."""
    header = frame.header
    image_type = tuple(str(word) for word in value_of(header, "ImageType") or ())
    told = tuple(str(frame.value(*names)) for names in (TOLD_APART_BY["echo time"], ("ComplexImageComponent",)))
    spacing = tuple(round(mm, 3) for mm in frame.spacing_mm)
    own = (int(header.Rows), int(header.Columns), spacing, told, image_type)
    directions = np.concatenate([frame.row, frame.column])
    for kind in known:
        if kind[:-1] == own and np.abs(np.array(kind[-1]) - directions).max() < ORIENTATION_TOLERANCE:
            return kind
    return (*own, tuple(directions.tolist()))


def _repeated_apart(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Stacks in which no place occurs twice, told by acquisition or time; copies of one object stay together."""
    if _is_single(frames):
        return [list(frames)]
    for names in (TOLD_APART_BY["acquisition"], *((name,) for name in TOLD_APART_BY["time point"])):
        groups: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[str(frame.value(*names))].append(frame)
        if len(groups) > 1 and all(_is_single(group) for group in groups.values()) and _is_alike(groups.values()):
            return [groups[key] for key in sorted(groups, key=lambda key: (len(key), key))]
    return [list(frames)]


def _is_single(frames: Iterable[Frame]) -> bool:
    """Whether no two of them lie at one place; a copy of an object is no second one."""
    places = {(_place(frame), str(value_of(frame.header, "SOPInstanceUID")), frame.number) for frame in frames}
    return max(Counter(place for place, _, _ in places).values()) == 1


def _is_alike(groups: Iterable[Sequence[Frame]]) -> bool:
    """Whether all cover the same places, and more than one."""
    covered = {frozenset(_place(frame) for frame in group) for group in groups}
    return len(covered) == 1 and len(next(iter(covered))) > 1


def _place(frame: Frame) -> tuple[float, ...]:
    return tuple(np.round(frame.position_mm, 1).tolist())


def _part_names(stacks: Sequence[Sequence[Frame]]) -> list[str]:
    """What tells the stacks of a series apart."""
    if len(stacks) == 1:
        return [""]
    for what, names in TOLD_APART_BY.items():
        values = [_short(stack[0].value(*names)) for stack in stacks]
        if len(set(values)) == len(stacks):
            return [f"{what} {value}" for value in values]
    return [f"part {number + 1}" for number in range(len(stacks))]


def _short(value: Any) -> str:
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)


def _series(frames: list[Frame], part: str, n_times: int) -> Series:
    normal = np.cross(frames[0].row, frames[0].column)
    frames.sort(key=lambda frame: (float(frame.position_mm @ normal), _whole(value_of(frame.header, "InstanceNumber"))))
    header = frames[0].header
    n_slices = len({round(float(frame.position_mm @ normal), 2) for frame in frames})
    dates = (value_of(header, name) for name in ("AcquisitionDate", "SeriesDate", "StudyDate"))
    return Series(
        study=str(value_of(header, "StudyInstanceUID")),
        uid=str(value_of(header, "SeriesInstanceUID")),
        number=_whole(value_of(header, "SeriesNumber")),
        description=plain(value_of(header, "SeriesDescription") or value_of(header, "ProtocolName") or ""),
        date=next((re.sub(r"\D", "", str(date)) for date in dates if date), ""),
        part=part,
        frames=tuple(frames),
        role=Role(None, f"4-D, {n_times} time points") if n_times > 1 else role_of(header, n_slices),
    )


def _whole(text: Any) -> int:
    """0 where a header gives no number."""
    try:
        return int(text)
    except (TypeError, ValueError):
        return 0
