"""Which four series of a folder of DICOM make the study, and their images.

Of several candidates for a role the finer one is taken; a person may name study and series.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ProtoSegBrainLib.dicom.examination import Examination, chosen, examinations
from ProtoSegBrainLib.dicom.instances import value_of
from ProtoSegBrainLib.dicom.pick import pick
from ProtoSegBrainLib.dicom.series import Folder, Series, read_folder
from ProtoSegBrainLib.dicom.stack import read_stack, without_copies
from ProtoSegBrainLib.images.study import Study
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITY_NAMES, listed
from ProtoSegBrainLib.progress import Progress, part_of


@dataclass(frozen=True)
class StudyChoice:
    """What a person says of a folder of DICOM.

    Attributes:
        study: Which of several: its number in the list, its date, its UID or a part of that; None: there is one.
        series: By role, series number, UID, or a part of what the series is called.
        case_id: Names the outputs.
        id_from: Whence the case's name comes otherwise: a code of the study, or the patient's number.
    """

    study: str | None = None
    series: Mapping[str, str] = field(default_factory=dict)
    case_id: str | None = None
    id_from: Literal["study", "patient-id"] = "study"


@dataclass(frozen=True)
class StudyPlace:
    """A study of a folder that may hold several.

    Attributes:
        case_id: Names the outputs.
        place: The folder.
        study: Instance UID.
        patient: Code of the patient (``series.patient_key``).
        date: YYYYMMDD, or "".
        problem: Why it cannot be read, in a sentence; "" where nothing is known against it.
    """

    case_id: str
    place: Path
    study: str
    patient: str = ""
    date: str = ""
    problem: str = ""


def read_dicom_study(
    place: str | os.PathLike[str] | StudyPlace,
    choice: StudyChoice | None = None,
    on_progress: Progress | None = None,
) -> Study:
    """Read the four images of a study from a folder of DICOM, with any other series and files in it.

    Args:
        place: Folder, or what ``list_studies`` gives.
        choice: What the folder leaves open.
        on_progress: Called now and then.

    Raises:
        FileNotFoundError: No such folder, no DICOM in it, or a role without a series.
        ValueError: Several studies and no choice, one series for two roles, a series that cannot be read; the
            sentence lists what there is.
        ImportError: pydicom is not installed.
    """
    choice, on_progress = choice or StudyChoice(), on_progress or _silent
    path = place.place if isinstance(place, StudyPlace) else Path(place)
    folder = read_series(path, part_of(on_progress, 0.0, 0.4))
    found = examinations(folder)
    examination, remarks = (
        _of_place(found, place) if isinstance(place, StudyPlace) else chosen(path, found, choice.study)
    )
    picked = pick(examination, choice.series)
    volumes, series = _volumes(picked.series, part_of(on_progress, 0.4, 1.0))
    copies = [remark for volume in volumes.values() for remark in volume.remarks]
    case_id = place.case_id if isinstance(place, StudyPlace) else case_id_of(examination, choice)
    return Study(
        case_id=case_id,
        volumes=volumes,
        names={role: each.name for role, each in series.items()},
        remarks=tuple(dict.fromkeys([*remarks, *ignored_said(folder), *picked.remarks, *copies])),
        series=series,
    )


def list_studies(place: str | os.PathLike[str], choice: StudyChoice | None = None) -> list[StudyPlace]:
    """The studies of a folder of DICOM, by patient and study; one that cannot be read is listed with its problem.

    Those without any of the four images (of another part of the body, of another kind) are left out where others
    have some.

    Args:
        place: Folder.
        choice: Where the names of the cases come from; which study, where one is wanted.

    Raises:
        FileNotFoundError: No such folder, or no MR image in it.
        ImportError: pydicom is not installed.
    """
    choice, path = choice or StudyChoice(), Path(place)
    found = examinations(read_series(path))
    if choice.study is not None:
        found = [chosen(path, found, choice.study)[0]]
    found = [each for each in found if each.roles] or found
    ids = _apart([case_id_of(each, choice) for each in found], found)
    return [
        StudyPlace(case_id, path, each.study, each.patient, each.date, _problem(each, choice))
        for case_id, each in zip(ids, found, strict=True)
    ]


def case_id_of(examination: Examination, choice: StudyChoice | None = None) -> str:
    """What names the outputs: as given, the patient's number where that was asked for, else a code of the study."""
    choice = choice or StudyChoice()
    if choice.case_id is not None:
        return choice.case_id
    if choice.id_from == "patient-id":
        text = str(value_of(examination.series[0].frames[0].header, "PatientID") or "")
        safe = re.sub(r"[^\w.-]+", "_", text).strip("._-")
        if safe:
            return safe
    text = examination.study if examination.is_alone else examination.study + examination.date + examination.patient
    return f"study_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def ignored_said(folder: Folder) -> list[str]:
    """A sentence on what was passed over; none where there was nothing."""
    if not folder.ignored:
        return []
    counts = listed([f"{name} ({count})" for name, count in sorted(folder.ignored.items())])
    return [f"Passed over, as they are no MR images that can be placed: {counts}."]


def read_series(place: Path, on_progress: Progress | None = None) -> Folder:
    """All series of a folder.

    Raises:
        FileNotFoundError: No such folder, or no DICOM in it.
        ValueError: There is DICOM, but no MR image that can be placed.
        ImportError: pydicom is not installed.
    """
    if not place.is_dir():
        raise FileNotFoundError(f"There is no folder {place}.")
    folder = read_folder(place, on_progress)
    if folder.series:
        return folder
    said = ignored_said(folder)
    if not said:
        raise FileNotFoundError(f"{place}: no DICOM file found, in it or below it; expected the MR series of a study.")
    advice = "expected MR series with UIDs, positions and orientations; anonymise the files without removing those"
    raise ValueError(f"{place}: no series of MR images. {said[0]} What is needed: {advice}.")


# -- parts ------------------------------------------------------------------------------------------------------------


def _of_place(found: Sequence[Examination], place: StudyPlace) -> tuple[Examination, list[str]]:
    for each in found:
        if (each.study, each.patient, each.date) == (place.study, place.patient, place.date):
            return each, []
    raise FileNotFoundError(f"{place.place}: the study of case {place.case_id} is no longer there.")


def _apart(ids: Sequence[str], found: Sequence[Examination]) -> list[str]:
    """Names of cases; studies of one patient get their date, and then a number, too."""
    taken: set[str] = set()
    names = []
    for case_id, each in zip(ids, found, strict=True):
        name = case_id if ids.count(case_id) == 1 else f"{case_id}_{each.date}".rstrip("_")
        n = 1
        while name in taken:
            n += 1
            name = re.sub(r"_no\d+$", "", name) + f"_no{n}"
        taken.add(name)
        names.append(name)
    return names


def _problem(examination: Examination, choice: StudyChoice) -> str:
    try:
        pick(examination, choice.series)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return ""


def _silent(fraction: float, message: str) -> None:
    """Nobody listens."""


def _volumes(picked: Mapping[str, Series], on_progress: Progress) -> tuple[dict[str, Volume], dict[str, Series]]:
    series, volumes = {}, {}
    for n, (role, each) in enumerate(picked.items()):
        on_progress(n / len(picked), f"Reading series {each.number} for {MODALITY_NAMES[role]}")
        series[role] = without_copies(each)
        volumes[role] = read_stack(series[role])
    return volumes, series
