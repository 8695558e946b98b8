"""A result as the scanner's own series have it: on their grids, as transforms, as DICOM. Written beside its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.nifti import RESULT_MARK
from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.labels import MODALITIES, SHORT_NAMES
from ProtoSegBrainLib.preparation.transforms import write_transform
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.writer import BRAIN_ENDING, DICOM_ENDING, MOVE_ENDING, ON_ENDING

Grids = Literal["flair", "t1", "t1ce", "t2", "all"]


@dataclass(frozen=True)
class NativeConfig:
    """What is written for the scanner's own series.

    Attributes:
        on: The images on whose grids the label is wanted as well: some of flair, t1, t1ce, t2, or all.
        dicom: A folder with the series of T1ce, for images that are not DICOM themselves.
        maps: Whether DICOM holds the similarity maps, too.
    """

    on: tuple[str, ...] = ()
    dicom: Path | None = None
    maps: bool = False

    def __post_init__(self) -> None:
        """Refuse grids that there are not."""
        for name in self.on:
            if name not in get_args(Grids):
                raise ValueError(f"on must be of {', '.join(get_args(Grids))}, not {name!r}.")

    @property
    def roles(self) -> tuple[str, ...]:
        """Of the images on whose grids the label is wanted."""
        return tuple(role for role in MODALITIES if SHORT_NAMES[role] in self.on or "all" in self.on)


def write_native(
    folder: Path, case: Case, prediction: Prediction, label_convention: str, config: NativeConfig
) -> dict[str, Path]:
    """Write brain mask, transforms, labels on other grids and DICOM into an empty folder; paths by kind.

    Args:
        folder: Where to.
        case: What was segmented.
        prediction: Of this case.
        label_convention: Coding of the label maps.
        config: What is wanted besides what was made for the case itself.

    Raises:
        ValueError: The series for DICOM has another grid than the result.
        ImportError: DICOM is wanted, and a package for it is missing.
    """

    def file(ending: str) -> Path:
        return folder / f"{case.case_id}{ending}"

    files = {}
    description = f"{RESULT_MARK}{' simulated' * prediction.simulated}, research use only"
    if case.mask is not None:
        files["brain"] = file(BRAIN_ENDING)
        mask = Volume(case.mask.astype(np.uint8), case.affine)
        write_volume(files["brain"], mask, description=f"{description}, brain mask")
    for role, motion in _motions(case).items():
        if role in MOVE_ENDING:
            files[f"{SHORT_NAMES[role]}_to_t1ce"] = file(MOVE_ENDING[role])
            write_transform(motion, file(MOVE_ENDING[role]))
    for role in config.roles:
        files[f"seg_on_{SHORT_NAMES[role]}"] = file(ON_ENDING[role])
        label = label_on(case, prediction, role)
        coded = Volume(encode_label(label.array, label_convention), label.affine)
        write_volume(file(ON_ENDING[role]), coded, description=description)
    if case.series or config.dicom is not None:
        files["dicom"] = _write_dicom(file(DICOM_ENDING), case, prediction, config)
    return files


def label_on(case: Case, prediction: Prediction, role: str) -> Volume:
    """The label of classes on the grid of an image as it was stored, nearest voxel by nearest voxel."""
    grid = case.grids[role]
    moved = _motions(case).get(role, np.eye(4)) @ grid.affine
    label = resample(Volume(prediction.label, prediction.affine), grid.shape, moved, order=0)
    return Volume(label.array, grid.affine)


def _motions(case: Case) -> Mapping[str, np.ndarray]:
    moves = case.preparation.moves if case.preparation else {}
    return {role: move.motion for role, move in moves.items()}


def _write_dicom(folder: Path, case: Case, prediction: Prediction, config: NativeConfig) -> Path:
    from ProtoSegBrainLib.dicom.export import read_reference, write_dicom

    source = case.series[case.reference] if config.dicom is None else read_reference(config.dicom)
    folder.mkdir()
    write_dicom(folder, prediction, source, maps=config.maps)
    return folder
