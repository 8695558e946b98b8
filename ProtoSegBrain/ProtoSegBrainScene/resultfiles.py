"""A result as files: those that the command line writes, report included."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.images.case import case_from_volumes
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, listed
from ProtoSegBrainLib.pictures.report import write_report
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.prediction_files import fill
from ProtoSegBrainLib.result.writer import ENDINGS, REPORT_ENDING, Writer
from ProtoSegBrainScene.inputs import volumeOf
from ProtoSegBrainScene.result import ResultNodes, inputsOf


def earlierFiles(case_id: str, folder: str | os.PathLike[str]) -> list[str]:
    """Names of the files of a case that writing its result would replace."""
    paths = [Path(folder) / f"{case_id}{ending}" for ending in (*ENDINGS.values(), REPORT_ENDING)]
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
    images = inputsOf(nodes)
    missing = [MODALITY_NAMES[role] for role in MODALITIES if role not in images]
    if missing:
        raise ValueError(f"{listed(missing)} not given: the report needs all four images, and the scene has lost some.")
    volumes = {role: volumeOf(node) for role, node in images.items()}
    case = case_from_volumes(volumes, prediction.case_id)
    with Writer(prediction.case_id, folder) as writer:
        writer.check_older(overwrite=overwrite)
        with writer.folder() as waiting:
            files = fill(waiting, prediction)
            files["report"] = write_report(case, prediction, waiting / f"{prediction.case_id}{REPORT_ENDING}")
    return {kind: writer.out_dir / path.name for kind, path in files.items()}
