"""Four images of a patient as they were stored, each on its own grid, and the label where there is one.

``read_study_files`` takes a folder, a 4-D file or a case of ``list_cases``, ``study_of_files`` four files by role,
``study_of_volumes`` images in memory. A ``Case`` is made of all of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.images.folders import find_case
from ProtoSegBrainLib.images.formats import Geometry, is_result, read_volume
from ProtoSegBrainLib.images.naming import CaseFiles, case_id_of, names_of
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES

# Of grids of equal voxel size, and of names, the first of these counts.
REFERENCE_ORDER = ("t1c", "t2f", "t1n", "t2w")


@dataclass(frozen=True)
class Reading:
    """How files are read where they leave it open.

    Attributes:
        labels: Coding of the label file, a key of ``LABEL_CONVENTIONS``; None: told by its values.
        geometry: Which of the two positions in a NIfTI header holds; None: the sform where it is set.
    """

    labels: str | None = None
    geometry: Geometry | None = None


@dataclass(frozen=True)
class Label:
    """A label map before it is on the case's grid; its coding is named by a person, or by the kind of its file.

    Without a volume it is a result of ours, no expert's label.
    """

    volume: Volume | None
    name: str
    convention: str | None = None
    named: bool = False


@dataclass(frozen=True, eq=False)
class Study:
    """Four images as they were stored.

    Attributes:
        case_id: Names the outputs.
        volumes: By role, each on its own grid.
        names: By role, what sentences call it: a path, "FLAIR", '5 "AX T2 TSE"'.
        label: The expert's, if there is one.
        files: Path by role (and ``label``); empty where the study comes from memory or is DICOM.
        remarks: Sentences on how the images were chosen.
        series: Where the study is DICOM, the ``dicom.series.Series`` by role.
    """

    case_id: str
    volumes: Mapping[str, Volume]
    names: Mapping[str, str]
    label: Label | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    series: Mapping[str, Any] = field(default_factory=dict)


def read_study_files(
    place: str | os.PathLike[str] | CaseFiles,
    *,
    with_label: bool = True,
    may_lack: bool = False,
    reading: Reading | None = None,
) -> Study:
    """Read a study from a folder with the four modalities in its file names, or from one 4-D file.

    A 4-D file has the channels FLAIR, T1, T1ce, T2 and the labels of the Medical Segmentation Decathlon; its label
    is looked for in ``labelsTr`` beside ``imagesTr``.

    Args:
        place: Folder, 4-D file, or what ``list_cases`` gives.
        with_label: Read the label, where there is one; if not, it may be anything.
        may_lack: Read what there is where some modalities have no file.
        reading: What the files leave open.

    Raises:
        FileNotFoundError: No such folder, or a modality is missing.
        ValueError: Two files for one role, a file that is unreadable, not 3-D, or a result of ours.
    """
    found, reading = place if isinstance(place, CaseFiles) else find_case(place), reading or Reading()
    found.check(with_label=with_label, may_lack=may_lack)
    label = found.label if with_label else None
    if found.channels:
        study = _read_decathlon(found, label, reading)
    else:
        images = {role: found.images[role] for role in MODALITIES if role in found.images}
        study = _read_files(images, label, found.case_id, reading, found.coding)
    return replace(study, remarks=found.remarks)


def study_of_files(
    files: Mapping[str, str | os.PathLike[str]],
    label: str | os.PathLike[str] | None = None,
    case_id: str | None = None,
    reading: Reading | None = None,
) -> Study:
    """Read a study from four files of any names, by role.

    Without ``case_id``, the files' common name or their folder's is taken.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: One file for two roles; a file that is unreadable, not 3-D, or a result of ours.
    """
    paths = {role: Path(files[role]) for role in MODALITIES}
    by_path: dict[Path, str] = {}
    for role, path in paths.items():
        other = by_path.setdefault(path.resolve(), role)
        if other != role:
            raise ValueError(f"{path} was given for {names_of([other, role])}; expected four different files.")
    case_id = case_id or case_id_of([paths[role] for role in REFERENCE_ORDER])
    return _read_files(paths, None if label is None else Path(label), case_id, reading or Reading())


def study_of_volumes(volumes: Mapping[str, Volume], case_id: str, label: str | None = None) -> Study:
    """A study from images in memory; no file is named.

    Args:
        volumes: By role; the four of ``MODALITIES``.
        case_id: Names the outputs.
        label: Key of a label map among ``volumes``, if there is one.

    Raises:
        ValueError: One of the four is not there; the message says FLAIR, T1, T1ce or T2.
    """
    missing = [role for role in MODALITIES if role not in volumes]
    if missing:
        raise ValueError(f"Case {case_id}: {names_of(missing)} not given; all four modalities are needed.")
    label_map = Label(volumes[label], label) if label else None
    return Study(case_id, {role: volumes[role] for role in MODALITIES}, dict(MODALITY_NAMES), label_map)


def _read_files(
    files: dict[str, Path], label: Path | None, case_id: str, reading: Reading, coding: str | None = None
) -> Study:
    with ThreadPoolExecutor(len(files) + 1) as pool:
        coming = {role: pool.submit(_read_image, path, reading) for role, path in files.items()}
        label_coming = None if label is None else pool.submit(_read_label, label, reading, coding)
        volumes = {role: future.result() for role, future in coming.items()}
        label_map = None if label_coming is None else label_coming.result()
    named = {role: str(path) for role, path in files.items()}
    return Study(case_id, volumes, named, label_map, _with_label(named, label_map))


def _read_3d(path: Path, reading: Reading) -> Volume:
    volume = read_volume(path, reading.geometry)
    if volume.array.ndim != 3:
        raise ValueError(f"{path}: expected a 3-D image, got 4-D of shape {volume.array.shape}.")
    return volume


def _read_image(path: Path, reading: Reading) -> Volume:
    _refuse_result(path)
    return _read_3d(path, reading)


def _read_label(path: Path, reading: Reading, coding: str | None) -> Label:
    """``coding`` is that of files in this place, where ``reading`` names none."""
    if path.is_file() and is_result(path):
        return Label(None, str(path))
    return Label(_read_3d(path, reading), str(path), reading.labels or coding, reading.labels is not None)


def _with_label(files: dict[str, str], label: Label | None) -> dict[str, str]:
    return files if label is None or label.volume is None else files | {"label": label.name}


def _refuse_result(path: Path) -> None:
    if path.is_file() and is_result(path):
        raise ValueError(f"{path} is a result of ProtoSegBrain, as its header says, no scan; give the scan itself.")


def _read_decathlon(found: CaseFiles, label: Path | None, reading: Reading) -> Study:
    path, roles = found.images[found.channels[0]], found.channels
    _refuse_result(path)
    whole = read_volume(path, reading.geometry)
    if whole.array.ndim != 4 or whole.array.shape[3] != len(roles):
        raise ValueError(
            f"{path}: a single file must be 4-D with the channels {names_of(roles)}; got shape "
            f"{whole.array.shape}. Give a folder, or four files by role."
        )
    channels = {role: replace(whole, array=whole.array[..., n]) for n, role in enumerate(roles)}
    names = {role: f"{path} ({MODALITY_NAMES[role]} channel)" for role in MODALITIES}
    label_map = None if label is None else _read_label(label, reading, found.coding)
    files = _with_label(dict.fromkeys(MODALITIES, str(path)), label_map)
    return Study(found.case_id, {role: channels[role] for role in MODALITIES}, names, label_map, files)
