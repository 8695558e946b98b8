"""The scans of one patient at several dates, each with its result: found where it lies, or made."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.followup.visit import Visit, date_of
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.study import Study
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard, load_model
from ProtoSegBrainLib.preparation.prepare import prepare_study
from ProtoSegBrainLib.preparation.study import read_study
from ProtoSegBrainLib.progress import Progress, part_of
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.prediction_files import read_prediction
from ProtoSegBrainLib.result.writer import ENDINGS, Writer
from ProtoSegBrainLib.segmentation.job import JobConfig, make

SAME_PLACE_MM = 1e-3


@dataclass(frozen=True)
class Place:
    """Where the scans of one date lie.

    Attributes:
        scans: What ``read_study`` takes.
        date: Given by a person; None: that of the DICOM files, or none.
    """

    scans: Path
    date: datetime.date | None = None


def read_visits(
    places: Sequence[Place],
    results: Sequence[Path],
    out: Path,
    config: JobConfig,
    on_progress: Progress | None = None,
) -> list[Visit]:
    """The visits of a patient in the order in which they were given.

    A result of the case that lies beside its images or in one of ``results`` is taken as it is, corrected by a person,
    perhaps; what has none is segmented, and its files are written into a folder below ``out``.

    Args:
        places: Where the scans lie, at least two.
        results: Folders in which results are looked for, by the case's name.
        out: Where new results are written, a folder for each date.
        config: How they are made.
        on_progress: Called with a fraction from 0 to 1 and what is being done.

    Raises:
        FileNotFoundError: Scans are not there.
        ValueError: Scans that make no case, a result of other images, two patients in the DICOM files.
        FileExistsError: ``out`` holds other results of that name.
    """
    progress = on_progress or _silent
    check_folder(out)
    model: tuple[SegmentationNet, ModelCard] | None = None
    visits = []
    studies = [read_study(place.scans, config.reading, config.choice) for place in places]
    _refuse_two_patients([_patient(study) for study in studies])
    for number, (place, study) in enumerate(zip(places, studies, strict=True)):
        part = part_of(progress, number / len(places), (number + 1) / len(places))
        part(0.0, f"Reading {place.scans.name}")
        case = prepare_study(study, config.preparation, part_of(part, 0.1, 0.6))
        date = place.date or date_of(case)
        target = out / (date.isoformat() if date else f"scan_{number + 1}")
        found = _found(case, (place.scans, *results, target), apart=target, model=config.model)
        if found is None:
            model = model or load_model(config.model)
            with Writer(case.case_id, target, inputs=study.files.values()) as writer:
                found, _ = make(case, model, replace(config, overwrite=True), writer)
        visits.append(Visit(case, found, date))
    return visits


def _found(case: Case, folders: Sequence[Path], apart: Path, model: Path | None) -> Prediction | None:
    """A result of the case in one of the folders; of a former run only one of the same model."""
    for folder in folders:
        if not (folder / f"{case.case_id}{ENDINGS['prediction']}").is_file():
            continue
        prediction = read_prediction(folder, case.case_id)
        is_ours = prediction.label.shape == case.images.shape[1:] and np.allclose(
            prediction.affine, case.affine, atol=SAME_PLACE_MM
        )
        if not is_ours or not np.array_equal(prediction.probabilities[0] < 1, case.brain):
            if folder == apart:
                continue
            raise ValueError(
                f"The result of {case.case_id} in {folder} was made of other images than those of this date; "
                "remove it, or name the folder with the right one (--results)."
            )
        if folder == apart and model is not None and prediction.model.get("identity") != load_model(model)[1].identity:
            continue
        return prediction
    return None


def _patient(study: Study) -> str | None:
    """By which two patients are told apart; never said."""
    for series in study.series.values():
        return str(getattr(series, "patient", "")) or None
    return None


def _refuse_two_patients(patients: Sequence[str | None]) -> None:
    """Raises ValueError where the DICOM files say that the scans are of several patients."""
    known = {patient for patient in patients if patient is not None}
    if len(known) > 1:
        raise ValueError(f"The scans are of {len(known)} patients, as the DICOM files say; expected those of one.")


def _silent(fraction: float, message: str) -> None:
    """Nobody listens to the progress."""
