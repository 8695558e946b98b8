"""One patient study: four modalities on one grid, and the expert's label where there is one.

``read_case`` takes a folder, a 4-D file or a case of ``list_cases``, ``read_case_files`` four files by role,
``case_from_volumes`` images in memory, ``case_from_kji`` arrays of 3D Slicer. All end in the same checks and the same
``Case``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.images.background import with_zero_background
from ProtoSegBrainLib.images.brains import brain_warnings
from ProtoSegBrainLib.images.checks import check_extent, check_image, grid_warnings, remarks_on, skull_warnings
from ProtoSegBrainLib.images.codings import classes_of, coding_doubts, label_values, value_remarks
from ProtoSegBrainLib.images.folders import find_case
from ProtoSegBrainLib.images.formats import Geometry, is_result, read_volume
from ProtoSegBrainLib.images.naming import CaseFiles, case_id_of, names_of
from ProtoSegBrainLib.images.volume import Volume, resample, same_lattice, voxel_ml
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES

# The order in which grids of equal voxel size are preferred as the reference.
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


@dataclass(frozen=True, eq=False)
class Case:
    """A patient study on the grid of its reference input.

    Attributes:
        case_id: Names the outputs.
        images: (4, X, Y, Z) float32 in the order of ``MODALITIES``, intensities as in the files; a background
            other than 0 is subtracted, units beyond single precision are scaled.
        affine: 4x4, voxel index -> RAS mm.
        label: (X, Y, Z) uint8 class indices, or None.
        label_convention: The coding the label file had, a key of ``LABEL_CONVENTIONS``.
        warnings: Plain sentences a user should read.
        files: Path by role (and ``label``); empty where the case comes from memory.
        originals: The four images as they were stored, where they were not all on this grid; else (). The network's
            input is interpolated from them, once.
    """

    case_id: str
    images: np.ndarray
    affine: np.ndarray
    label: np.ndarray | None = None
    label_convention: str | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    originals: tuple[Volume, ...] = ()

    @cached_property
    def brain(self) -> np.ndarray:
        """(X, Y, Z) bool: where any of the four images is not zero."""
        return np.asarray(self.images.any(axis=0))


@dataclass(frozen=True)
class _Label:
    """A label map before it is on the case's grid; its coding is named by a person, or by the kind of its file.

    Without a volume it is a result of ours, no expert's label.
    """

    volume: Volume | None
    name: str
    convention: str | None = None
    named: bool = False


def read_case(
    place: str | os.PathLike[str] | CaseFiles, *, with_label: bool = True, reading: Reading | None = None
) -> Case:
    """Read a case from a folder with the four modalities in its file names, or from one 4-D file.

    A 4-D file has the channels FLAIR, T1, T1ce, T2 and the labels of the Medical Segmentation Decathlon; its label
    is looked for in ``labelsTr`` beside ``imagesTr``.

    Args:
        place: Folder, 4-D file, or what ``list_cases`` gives.
        with_label: Read the label, where there is one; if not, it may be anything.
        reading: What the files leave open.

    Raises:
        FileNotFoundError: No such folder, or a modality is missing.
        ValueError: Two files for one role, or files that do not make a case (``read_case_files``).
    """
    found, reading = place if isinstance(place, CaseFiles) else find_case(place), reading or Reading()
    found.check(with_label=with_label)
    label = found.label if with_label else None
    if found.channels:
        case = _read_decathlon(found, label, reading)
    else:
        images = {role: found.images[role] for role in MODALITIES}
        case = _read_files(images, label, found.case_id, reading, found.coding)
    return replace(case, warnings=(*found.remarks, *case.warnings)) if found.remarks else case


def read_case_files(
    *,
    t1n: str | os.PathLike[str],
    t1c: str | os.PathLike[str],
    t2w: str | os.PathLike[str],
    t2f: str | os.PathLike[str],
    label: str | os.PathLike[str] | None = None,
    case_id: str | None = None,
    reading: Reading | None = None,
) -> Case:
    """Read a case from four files of any names, on one grid or on four grids of the same space.

    Where the grids differ, all are resampled to that of the finest voxels (of equals, the first of T1ce, FLAIR, T1,
    T2), and ``warnings`` says so. Without ``case_id``, the files' common name or their folder's is taken.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: One file for two roles; a file that is unreadable, not 3-D, constant or empty, a result of ours, of
            impossible voxels, or holds NaN or infinity in the brain; files in different spaces; an unknown label value.
    """
    files = {"t1n": Path(t1n), "t1c": Path(t1c), "t2w": Path(t2w), "t2f": Path(t2f)}
    by_path: dict[Path, str] = {}
    for role, path in files.items():
        other = by_path.setdefault(path.resolve(), role)
        if other != role:
            raise ValueError(f"{path} was given for {names_of([other, role])}; expected four different files.")
    case_id = case_id or case_id_of([files[role] for role in REFERENCE_ORDER])
    return _read_files(files, None if label is None else Path(label), case_id, reading or Reading())


def case_from_kji(
    arrays: Mapping[str, np.ndarray], ijk_to_ras: Mapping[str, np.ndarray], case_id: str, label: str | None = None
) -> Case:
    """A case from arrays in 3D Slicer's order.

    Args:
        arrays: (K, J, I) by role; the four of ``MODALITIES``.
        ijk_to_ras: 4x4 by the same keys.
        case_id: Names the outputs.
        label: Key of a label map among ``arrays``, if there is one.

    Raises:
        ValueError: As in ``read_case_files``.
    """
    wanted = [*MODALITIES, *([label] if label else [])]
    for name, given in (("arrays", arrays), ("ijk_to_ras", ijk_to_ras)):
        missing = [role for role in wanted if role not in given]
        if missing:
            raise ValueError(f"Case {case_id}: {name} lacks {', '.join(missing)}; it has {', '.join(given) or 'none'}.")
    volumes = {role: Volume(np.asarray(arrays[role]).T, ijk_to_ras[role]) for role in wanted}
    return case_from_volumes(volumes, case_id, label)


def case_from_volumes(volumes: Mapping[str, Volume], case_id: str, label: str | None = None) -> Case:
    """A case from images in memory, on one grid or on four grids of the same space; no file is named.

    Args:
        volumes: By role; the four of ``MODALITIES``.
        case_id: Names the outputs.
        label: Key of a label map among ``volumes``, if there is one.

    Raises:
        ValueError: As in ``read_case_files``; the message says FLAIR, T1, T1ce or T2.
    """
    missing = [role for role in MODALITIES if role not in volumes]
    if missing:
        raise ValueError(f"Case {case_id}: {names_of(missing)} not given; all four modalities are needed.")
    label_map = _Label(volumes[label], label) if label else None
    return _assemble({role: volumes[role] for role in MODALITIES}, dict(MODALITY_NAMES), case_id, label_map, {})


# --- reading ---


def _read_files(
    files: dict[str, Path], label: Path | None, case_id: str, reading: Reading, coding: str | None = None
) -> Case:
    with ThreadPoolExecutor(len(files) + 1) as pool:
        coming = {role: pool.submit(_read_image, path, reading) for role, path in files.items()}
        label_coming = None if label is None else pool.submit(_read_label, label, reading, coding)
        volumes = {role: future.result() for role, future in coming.items()}
        label_map = None if label_coming is None else label_coming.result()
    named = {role: str(path) for role, path in files.items()}
    return _assemble(volumes, named, case_id, label_map, _with_label(named, label_map))


def _read_3d(path: Path, reading: Reading) -> Volume:
    volume = read_volume(path, reading.geometry)
    if volume.array.ndim != 3:
        raise ValueError(f"{path}: expected a 3-D image, got 4-D of shape {volume.array.shape}.")
    return volume


def _read_image(path: Path, reading: Reading) -> Volume:
    _refuse_result(path)
    return _read_3d(path, reading)


def _read_label(path: Path, reading: Reading, coding: str | None) -> _Label:
    """``coding`` is that of files in this place, where ``reading`` names none."""
    if path.is_file() and is_result(path):
        return _Label(None, str(path))
    return _Label(_read_3d(path, reading), str(path), reading.labels or coding, reading.labels is not None)


def _with_label(files: dict[str, str], label: _Label | None) -> dict[str, str]:
    return files if label is None or label.volume is None else files | {"label": label.name}


def _refuse_result(path: Path) -> None:
    if path.is_file() and is_result(path):
        raise ValueError(f"{path} is a result of ProtoSegBrain, as its header says, no scan; give the scan itself.")


def _read_decathlon(found: CaseFiles, label: Path | None, reading: Reading) -> Case:
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
    return _assemble({role: channels[role] for role in MODALITIES}, names, found.case_id, label_map, files)


# --- one grid ---


def _assemble(
    volumes: dict[str, Volume], names: dict[str, str], case_id: str, label: _Label | None, files: dict[str, str]
) -> Case:
    """Put four images, as they were read, and a label on the reference grid; ``names`` may be paths."""
    volumes, warnings = _checked(volumes, names)
    short = {role: Path(name).name for role, name in names.items()}
    reference_role = choose_reference(volumes)
    reference = volumes[reference_role]
    warnings += skull_warnings(volumes)
    for role, volume in volumes.items():
        warnings += grid_warnings(volume, reference, MODALITY_NAMES[role], short[role], short[reference_role])
    warnings += brain_warnings(volumes)
    images = _stacked(volumes, reference)
    whole_steps = all(same_lattice(volume, reference.shape, reference.affine) for volume in volumes.values())
    originals = () if whole_steps else tuple(volumes[role] for role in MODALITIES)
    case = Case(case_id, images, reference.affine, None, None, tuple(warnings), files, originals)
    return case if label is None else _labelled(case, label, short[reference_role])


def _labelled(case: Case, label: _Label, reference_name: str) -> Case:
    """The case with its label, and what a user should know of that."""
    if label.volume is None:
        said = f"{label.name} is a result of ProtoSegBrain, not an expert's label; it was not read."
        return replace(case, warnings=(*case.warnings, said))
    reference = Volume(case.images[0], case.affine)
    warnings = [*case.warnings, *label.volume.remarks]
    warnings += grid_warnings(label.volume, reference, "The label", Path(label.name).name, reference_name)
    values, convention = _values(label.volume, label, reference)
    warnings += value_remarks(values, convention, voxel_ml(case.affine))
    warnings += coding_doubts(values, case.images, reference.spacing_mm, convention, named=label.named)
    return replace(case, label=classes_of(values, convention), label_convention=convention, warnings=tuple(warnings))


def _checked(volumes: dict[str, Volume], names: dict[str, str]) -> tuple[dict[str, Volume], list[str]]:
    """The images with 0 around the brain, and what a user should know of the files and of this.

    Raises:
        ValueError: One of them is no image of a head.
    """
    for role, volume in volumes.items():
        check_extent(volume, names[role])
    images, said = with_zero_background(volumes)
    with ThreadPoolExecutor(len(images)) as pool:
        list(pool.map(lambda role: check_image(images[role], names[role]), images))
    return images, [*remarks_on(volumes), *said]


def choose_reference(volumes: Mapping[str, Volume]) -> str:
    """The role whose image has the smallest voxels: the case will be on its grid."""
    # Rounded: equal voxel sizes differ in the last digits of their affines.
    return min(REFERENCE_ORDER, key=lambda role: round(float(np.prod(volumes[role].spacing_mm)), 3))


def _stacked(volumes: Mapping[str, Volume], reference: Volume) -> np.ndarray:
    """(4, X, Y, Z) float32 on the grid of the reference."""
    # Axes lie in memory as in the files (i fastest), which makes the copy ten times faster than the C order.
    images = np.empty((len(MODALITIES), *reversed(reference.shape)), np.float32).transpose(0, 3, 2, 1)

    def place(role: str) -> None:
        images[MODALITIES.index(role)] = resample(volumes[role], reference.shape, reference.affine, order=1).array

    with ThreadPoolExecutor(len(MODALITIES)) as pool:
        list(pool.map(place, MODALITIES))
    return images


def _values(volume: Volume, label: _Label, reference: Volume) -> tuple[np.ndarray, str]:
    """The label's values on the grid of the reference, and the convention they are read by."""
    try:
        values, convention = label_values(volume.array, label.convention)
    except ValueError as error:
        raise ValueError(f"{label.name}: {error}") from error
    on_grid = resample(Volume(values, volume.affine), reference.shape, reference.affine, order=0)
    return on_grid.array, convention
