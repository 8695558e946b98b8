"""Reading a study from wherever it lies: files of images, or a tree of DICOM; and the studies of a data folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ProtoSegBrainLib.dicom.instances import holds_dicom, is_dicom_file
from ProtoSegBrainLib.dicom.study import StudyChoice, StudyPlace, list_studies, read_dicom_study
from ProtoSegBrainLib.images.folders import find_case, list_cases
from ProtoSegBrainLib.images.naming import CaseFiles
from ProtoSegBrainLib.images.study import Reading, Study, read_study_files


def read_study(
    place: str | os.PathLike[str] | CaseFiles | StudyPlace,
    reading: Reading | None = None,
    choice: StudyChoice | None = None,
) -> Study:
    """Read the four images of a study, without a label.

    Args:
        place: Folder of image files or of DICOM (or a DICOMDIR), 4-D file, or what ``list_places`` gives.
        reading: What image files leave open.
        choice: What a folder of DICOM leaves open.

    Raises:
        FileNotFoundError: No such folder, or an image is missing.
        ValueError: What is there makes no study, or several; the sentence says what was found.
        ImportError: It is DICOM, and the packages for that are not installed.
    """
    if isinstance(place, StudyPlace):
        return read_dicom_study(place, choice)
    if isinstance(place, CaseFiles):
        return read_study_files(place, with_label=False, reading=reading)
    path = _folder_of(Path(place))
    if is_dicom(path):
        return read_dicom_study(path, choice)
    return read_study_files(path, with_label=False, reading=reading)


def _folder_of(place: Path) -> Path:
    """The folder of a DICOMDIR or of one DICOM file, as that is meant; any other place as it is."""
    is_one = place.is_file() and (place.name.upper() == "DICOMDIR" or is_dicom_file(place))
    return place.parent if is_one else place


def list_places(data: Path, choice: StudyChoice | None = None) -> Sequence[CaseFiles | StudyPlace]:
    """The cases of a data folder: image files, or studies of DICOM by patient and study.

    Raises:
        FileNotFoundError: No such folder, or no case in it.
        ImportError: It is DICOM, and the packages for that are not installed.
    """
    return list_studies(data, choice) if is_dicom(data) else list_cases(data)


def is_dicom(place: Path) -> bool:
    """Whether a folder holds DICOM, and no case of image files."""
    if not place.is_dir() or not holds_dicom(place):
        return False
    try:
        return bool(find_case(place).problem)
    except FileNotFoundError:
        return True
    except ValueError:  # several cases of image files
        return False
