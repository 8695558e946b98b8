"""A result as files: those that the command line writes, report included."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.images.case import Case, case_from_volumes, checked_study, on_grid_of_t1c
from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.images.study import study_of_volumes
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, listed
from ProtoSegBrainLib.pictures.report import write_report
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.prediction_files import fill
from ProtoSegBrainLib.result.writer import ALL_ENDINGS, REPORT_ENDING, Writer
from ProtoSegBrainLib.segmentation.native import NativeConfig, write_native
from ProtoSegBrainScene.inputs import volumeOf
from ProtoSegBrainScene.result import ResultNodes, inputsOf

CODING = "brats2020"
"""Of the label map."""


def earlierFiles(case_id: str, folder: str | os.PathLike[str]) -> list[str]:
    """Names of the files of a case that writing its result would replace."""
    paths = [Path(folder) / f"{case_id}{ending}" for ending in ALL_ENDINGS]
    return sorted(path.name for path in paths if path.exists())


def writeResult(
    nodes: ResultNodes, prediction: Prediction, folder: str | os.PathLike[str], overwrite: bool = False
) -> dict[str, Path]:
    """Write the files of a result, all or none; paths by kind.

    Args:
        nodes: Of the result; the report shows the images from which it was made.
        prediction: What is shown of it, a what-if perhaps.
        folder: Made if it is not there.
        overwrite: Whether earlier files of the case are replaced.

    Raises:
        FileExistsError: There are some, and they are not to be replaced.
        ValueError: Not all images are in the scene any more.
        OSError: They could not be written.
    """
    if not prediction.findings:  # of a what-if; they take too long for each click
        prediction = replace(prediction, findings=findings(prediction))
    case = caseOfResult(nodes, prediction)
    with Writer(prediction.case_id, folder) as writer:
        writer.check_older(overwrite=overwrite)
        with writer.folder() as waiting:
            beside = write_native(waiting, case, prediction, CODING, NativeConfig())
            files = fill(waiting, prediction, CODING, beside=beside)
            files["report"] = write_report(case, prediction, waiting / f"{prediction.case_id}{REPORT_ENDING}")
    return {kind: writer.out_dir / path.name for kind, path in files.items()}


def caseOfResult(nodes: ResultNodes, prediction: Prediction) -> Case:
    """The images of a result as the network had them.

    Raises:
        ValueError: Not all of them are in the scene any more.
    """
    images = inputsOf(nodes)
    missing = [MODALITY_NAMES[role] for role in MODALITIES if role not in images]
    if missing:
        raise ValueError(f"{listed(missing)} not given: all four images are needed, and the scene has lost some.")
    volumes = {role: volumeOf(node) for role, node in images.items()}
    if not prediction.preparation:
        return case_from_volumes(volumes, prediction.case_id)
    done = Preparation.from_dict(prediction.preparation)
    study = checked_study(study_of_volumes(volumes, prediction.case_id))
    return replace(on_grid_of_t1c(study, done.moves, prediction.probabilities[0] < 1), preparation=done)
