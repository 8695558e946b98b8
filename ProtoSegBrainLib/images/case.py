"""One patient study: four modalities on one grid, and the expert's label where there is one.

``read_case`` takes a folder, a 4-D file or a case of ``list_cases``, ``read_case_files`` four files by role,
``case_from_volumes`` images in memory, ``case_from_kji`` arrays of 3D Slicer. All end in the same checks and the same
``Case``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.background import with_zero_background
from ProtoSegBrainLib.images.brains import brain_warnings
from ProtoSegBrainLib.images.checks import check_extent, check_image, grid_warnings, remarks_on, skull_warnings
from ProtoSegBrainLib.images.codings import classes_of, coding_doubts, label_values, value_remarks
from ProtoSegBrainLib.images.naming import CaseFiles
from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.study import (
    REFERENCE_ORDER,
    Label,
    Reading,
    Study,
    read_study_files,
    study_of_files,
    study_of_volumes,
)
from ProtoSegBrainLib.images.volume import Grid, Volume, resample, same_lattice, voxel_ml
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES


@dataclass(frozen=True, eq=False)
class Case:
    """A patient study on the grid of its reference input.

    Attributes:
        case_id: Names the outputs.
        images: (4, X, Y, Z) float32 in the order of ``MODALITIES``, intensities as in the files; a background
            other than 0 is subtracted, units beyond single precision are scaled. 0 outside ``mask``.
        affine: 4x4, voxel index -> RAS mm.
        label: (X, Y, Z) uint8 class indices, or None.
        label_convention: The coding the label file had, a key of ``LABEL_CONVENTIONS``.
        warnings: Plain sentences a user should read.
        files: Path by role (and ``label``); empty where the case comes from memory.
        originals: The four images as they were stored, where they were not all on this grid; else (). The network's
            input is interpolated from them, once. Those of a prepared study lie where they were moved to, with skull.
        grids: Where each image was stored, by role, before anything was moved.
        reference: Role of the image whose grid this is.
        series: Where the study is DICOM, the ``dicom.series.Series`` by role.
        mask: (X, Y, Z) bool: the brain, where it had to be found; else None.
        preparation: What was done to a raw study; None where the images were taken as they are.
    """

    case_id: str
    images: np.ndarray
    affine: np.ndarray
    label: np.ndarray | None = None
    label_convention: str | None = None
    warnings: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    originals: tuple[Volume, ...] = ()
    grids: Mapping[str, Grid] = field(default_factory=dict)
    reference: str = "t1c"
    series: Mapping[str, Any] = field(default_factory=dict)
    mask: np.ndarray | None = None
    preparation: Preparation | None = None

    @cached_property
    def brain(self) -> np.ndarray:
        """(X, Y, Z) bool: where any of the four images is not zero."""
        return np.asarray(self.images.any(axis=0))


def read_case(
    place: str | os.PathLike[str] | CaseFiles,
    *,
    with_label: bool = True,
    may_lack: bool = False,
    reading: Reading | None = None,
) -> Case:
    """Read a case as it is from a folder with the four modalities in its file names, or from one 4-D file.

    Args:
        place: Folder, 4-D file, or what ``list_cases`` gives.
        with_label: Read the label, where there is one; if not, it may be anything.
        may_lack: Read what there is where some modalities have no file: their images are 0 everywhere.
        reading: What the files leave open.

    Raises:
        FileNotFoundError: No such folder, or a modality is missing.
        ValueError: Two files for one role, or files that do not make a case (``case_of``).
    """
    return case_of(read_study_files(place, with_label=with_label, may_lack=may_lack, reading=reading))


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
    """Read a case as it is from four files of any names, on one grid or on four grids of the same space.

    Without ``case_id``, the files' common name or their folder's is taken.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: As in ``study_of_files`` and ``case_of``.
    """
    files = {"t1n": t1n, "t1c": t1c, "t2w": t2w, "t2f": t2f}
    return case_of(study_of_files(files, label, case_id, reading))


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
        ValueError: As in ``case_of``.
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
        ValueError: As in ``study_of_volumes`` and ``case_of``.
    """
    return case_of(study_of_volumes(volumes, case_id, label))


def case_of(study: Study) -> Case:
    """A study as it is, on one grid.

    Where the grids differ, all are resampled to that of the finest voxels (of equals, the first of T1ce, FLAIR, T1,
    T2), and ``warnings`` says so.

    Raises:
        ValueError: An image that is constant, empty, of impossible voxels, or holds NaN or infinity in the brain;
            images in different spaces; an unknown label value.
    """
    checked = checked_study(study)
    reference = choose_reference(checked.volumes)
    said = [*skull_warnings(checked.volumes), *resampled(checked, reference), *brain_warnings(checked.volumes)]
    return on_one_grid(checked, reference, said)


def checked_study(study: Study) -> Study:
    """The study with 0 around the brain; its remarks say what a user should know of the files and of this.

    Raises:
        ValueError: One of the images is none of a head.
    """
    for role, volume in study.volumes.items():
        check_extent(volume, study.names[role])
    images, said = with_zero_background(study.volumes)
    with ThreadPoolExecutor(len(images)) as pool:
        list(pool.map(lambda role: check_image(images[role], study.names[role]), images))
    return replace(study, volumes=images, remarks=(*study.remarks, *remarks_on(study.volumes), *said))


def resampled(study: Study, reference_role: str) -> list[str]:
    """What is done to bring the images of a study to the grid of one of them.

    Raises:
        ValueError: Two of them do not overlap.
    """
    reference, names = study.volumes[reference_role], _short_names(study)
    return [
        sentence
        for role, volume in study.volumes.items()
        for sentence in grid_warnings(volume, reference, MODALITY_NAMES[role], names[role], names[reference_role])
    ]


def on_one_grid(study: Study, reference_role: str, said: Sequence[str] = ()) -> Case:
    """The images and the label of a checked study on the grid of one of them.

    Args:
        study: What ``checked_study`` gave; its images overlap.
        reference_role: Whose grid.
        said: What a user should know of the images.

    Raises:
        ValueError: An unknown label value, a label elsewhere.
    """
    reference = study.volumes[reference_role]
    volumes = {role: study.volumes.get(role) or _absent(reference) for role in MODALITIES}
    whole_steps = all(same_lattice(volume, reference.shape, reference.affine) for volume in volumes.values())
    case = Case(
        case_id=study.case_id,
        images=_stacked(volumes, reference),
        affine=reference.affine,
        warnings=(*study.remarks, *said),
        files=study.files,
        originals=() if whole_steps else tuple(volumes[role] for role in MODALITIES),
        grids={role: Grid(volume.shape, volume.affine) for role, volume in volumes.items()},
        reference=reference_role,
        series=study.series,
    )
    return case if study.label is None else _labelled(case, study.label, _short_names(study)[reference_role])


def _absent(reference: Volume) -> Volume:
    """An image that was not made: 0 everywhere."""
    return Volume(np.zeros(reference.shape, np.float32), reference.affine)


def on_grid_of_t1c(study: Study, moves: Mapping[str, Move], brain: np.ndarray) -> Case:
    """The images of a checked study where they were moved to, on the grid of T1ce, 0 outside the brain.

    Args:
        study: What ``checked_study`` gave.
        moves: By role; an image without one stays where it is.
        brain: (X, Y, Z) bool on the grid of T1ce.

    Raises:
        ValueError: The brain has another grid; the study's label cannot be read (``on_one_grid``).
    """
    shape = study.volumes["t1c"].shape
    if brain.shape != shape:
        raise ValueError(f"Case {study.case_id}: expected a brain on the grid of T1ce, {shape}; got {brain.shape}.")
    volumes = {role: _moved(volume, moves.get(role)) for role, volume in study.volumes.items()}
    case = on_one_grid(replace(study, volumes=volumes), "t1c")
    np.multiply(case.images, brain, out=case.images)
    grids = {role: Grid(volume.shape, volume.affine) for role, volume in study.volumes.items()}
    return replace(case, originals=tuple(volumes[role] for role in MODALITIES), grids=grids, mask=brain)


def _moved(volume: Volume, move: Move | None) -> Volume:
    return volume if move is None else replace(volume, affine=move.motion @ volume.affine)


def _short_names(study: Study) -> dict[str, str]:
    return {role: Path(name).name for role, name in study.names.items()}


def _labelled(case: Case, label: Label, reference_name: str) -> Case:
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


def choose_reference(volumes: Mapping[str, Volume]) -> str:
    """The role whose image has the smallest voxels: the case will be on its grid."""
    # Rounded: equal voxel sizes differ in the last digits of their affines.
    there = [role for role in REFERENCE_ORDER if role in volumes]
    return min(there, key=lambda role: round(float(np.prod(volumes[role].spacing_mm)), 3))


def _stacked(volumes: Mapping[str, Volume], reference: Volume) -> np.ndarray:
    """(4, X, Y, Z) float32 on the grid of the reference."""
    # Axes lie in memory as in the files (i fastest), which makes the copy ten times faster than the C order.
    images = np.empty((len(MODALITIES), *reversed(reference.shape)), np.float32).transpose(0, 3, 2, 1)

    def place(role: str) -> None:
        images[MODALITIES.index(role)] = resample(volumes[role], reference.shape, reference.affine, order=1).array

    with ThreadPoolExecutor(len(MODALITIES)) as pool:
        list(pool.map(place, MODALITIES))
    return images


def _values(volume: Volume, label: Label, reference: Volume) -> tuple[np.ndarray, str]:
    """The label's values on the grid of the reference, and the convention they are read by."""
    try:
        values, convention = label_values(volume.array, label.convention)
    except ValueError as error:
        raise ValueError(f"{label.name}: {error}") from error
    on_grid = resample(Volume(values, volume.affine), reference.shape, reference.affine, order=0)
    return on_grid.array, convention
