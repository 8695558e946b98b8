"""One case of a folder: segmented and its files put in place, all or none, whoever else writes there.

A picture of the scene, which not every machine can draw, comes after them: without it the case is done all the same.

What is done is told by the files themselves: a case is done when its ``_prediction.json``, the last file to be put in
place, names this model and these settings and all its files are there. Device, precision and tiles change no more than
rounding and are not asked for.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import BUNDLED, ModelCard, load_model
from ProtoSegBrainLib.pictures.report import write_report
from ProtoSegBrainLib.result.prediction import VOLUMES, Prediction
from ProtoSegBrainLib.result.prediction_files import (
    ENDINGS,
    REPORT_ENDING,
    output_files,
    read_summary,
    write_prediction,
)
from ProtoSegBrainLib.segmentation.manifest import DONE, FAILED, Entry
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

logger = logging.getLogger(__name__)

SCENE_ENDING = "_scene.mrb"
SCREENSHOT_ENDING = "_screenshot.png"
TEMPORARY = ".segmenting_"
"""How the folder's name begins in which the files of a case wait until all are there; the case's name follows."""


@dataclass(frozen=True)
class JobConfig:
    """What is made of every case.

    Attributes:
        model: Weights; None for the bundled ones.
        labels: Coding of the label files.
        overwrite: Whether results of another model or other settings may be replaced.
        report: Whether to write the report (HTML).
        mrb: Whether to write a scene for 3D Slicer.
        screenshot: Whether to write a picture of that scene.
        predict: How to compute.
    """

    model: Path | None = None
    labels: str = "brats2020"
    overwrite: bool = False
    report: bool = True
    mrb: bool = False
    screenshot: bool = False
    predict: PredictConfig = field(default_factory=PredictConfig)

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files of a case that are there beside its prediction."""
        wanted = {REPORT_ENDING: self.report, SCENE_ENDING: self.mrb, SCREENSHOT_ENDING: self.screenshot}
        return tuple(ending for ending, is_wanted in wanted.items() if is_wanted)


@dataclass(frozen=True)
class Job:
    """One case, with all that a worker must know.

    Attributes:
        case_id: Names the files.
        place: What ``read_case`` takes.
        out: Folder for the files.
        config: What to make.
        identity: SHA-256 of the weights to use.
        threads: To compute with; None for all.
    """

    case_id: str
    place: Path
    out: Path
    config: JobConfig
    identity: str
    threads: int | None = None

    def file(self, ending: str) -> Path:
        """Where a file of this case belongs."""
        return self.out / f"{self.case_id}{ending}"


def segment_case(job: Job) -> Entry:
    """Segment a case and put its files in place, all or none, unless another writer has; never raises an error."""
    start = time.perf_counter()
    try:
        return found(job) or _segment(job, start)
    except Exception as error:
        logger.debug("Case %s", job.case_id, exc_info=True)
        is_sentence = isinstance(error, (ValueError, OSError, MemoryError, ImportError)) and str(error)
        message = str(error) if is_sentence else f"{type(error).__name__}: {error}"
        return Entry(job.case_id, FAILED, " ".join(message.split()), time.perf_counter() - start)


def found(job: Job) -> Entry | None:
    """The case as its files tell it; None where one is missing, or they were made with another model or otherwise."""
    prediction = job.file(ENDINGS["prediction"])
    if not prediction.is_file():
        return None
    try:
        summary = read_summary(prediction)
        endings, lacking = _endings(job)
        names = [prediction.name, *summary["files"].values(), *(job.file(each).name for each in endings)]
        columns = {
            **{f"{name}_ml": summary["volumes_ml"][name] for name in VOLUMES},
            "model": summary["model"]["name"],
            "identity": summary["model"]["identity"],
            "labels": summary["label_coding"]["convention"],
            "tta": "disagreement" in summary["uncertainty_channels"],
            "device": summary["device"],
            "files": " ".join(names),
        }
        seconds = sum(summary["timings_s"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # writing will say that these files are not ours
    asked = {"identity": job.identity, "labels": job.config.labels, "tta": job.config.predict.tta}
    if any(columns[name] != value for name, value in asked.items()):
        return None
    if not all((job.out / name).is_file() for name in names):
        return None
    return Entry(job.case_id, DONE, " ".join([*summary["warnings"], *lacking]), seconds, columns)


def clear_away(out: Path, case_ids: Collection[str]) -> bool:
    """Remove what writers of these cases left when they were killed; whether there was any."""
    begun = [path for path in out.iterdir() if path.name.startswith(TEMPORARY)]
    left = [path for path in begun if path.name.removeprefix(TEMPORARY).rpartition(".")[0] in case_ids]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return bool(left)


def scene_code() -> Any:
    """What writes scenes for 3D Slicer.

    Raises:
        ImportError: Slicer's MRML is not installed.
    """
    try:
        return importlib.import_module("ProtoSegBrainScene.savedscene")
    except ImportError as error:
        raise ImportError(
            f'Scenes and their pictures need the MRML of 3D Slicer ({error}): pip install "protosegbrain[slicer]"'
        ) from error


def _segment(job: Job, start: float) -> Entry:
    interrupted = clear_away(job.out, {job.case_id})
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    model = _model(job.config.model, job.identity)
    case = read_case(job.place)
    read_s = round(time.perf_counter() - start, 4)
    overwrite = job.config.overwrite or interrupted
    output_files(job.case_id, job.out, overwrite=overwrite, inputs=case.files.values())
    prediction = predict(case, model, job.config.predict)
    prediction = replace(prediction, timings_s={"read": read_s, **prediction.timings_s})
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{job.case_id}.", dir=job.out))
    try:
        _write(job.config, case, prediction, temporary)
        unpictured = replace(job, config=replace(job.config, screenshot=False))
        entry = found(unpictured) or _put_in_place(unpictured, temporary)  # another may have been faster
        return _with_picture(job, case, prediction, temporary, entry) if job.config.screenshot else entry
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _model(path: Path | None, identity: str) -> tuple[SegmentationNet, ModelCard]:
    """Loaded once in each process."""
    network, card = load_model(path)
    if card.identity != identity:
        raise ValueError(
            f"This worker's model {path or BUNDLED} is not the one that was asked for (SHA-256 differs); install the "
            "same version everywhere, or name one file that all can read (--model)."
        )
    return network, card


def _write(config: JobConfig, case: Case, prediction: Prediction, folder: Path) -> None:
    write_prediction(prediction, folder, config.labels)
    if config.report:
        write_report(case, prediction, folder / f"{case.case_id}{REPORT_ENDING}")
    if config.mrb:
        scene_code().writeScene(case, prediction, folder / f"{case.case_id}{SCENE_ENDING}")


def _with_picture(job: Job, case: Case, prediction: Prediction, folder: Path, entry: Entry) -> Entry:
    """Draw the scene of a case whose other files are in place; why it cannot be drawn is a warning."""
    try:
        drawn = folder / job.file(SCREENSHOT_ENDING).name
        scene_code().drawScene(case, prediction, drawn)
        os.replace(drawn, job.file(SCREENSHOT_ENDING))
    except Exception as error:  # whatever it is: the result is there
        logger.debug("Picture of case %s", job.case_id, exc_info=True)
        return replace(entry, message=f"{entry.message} {_no_picture(str(error) or type(error).__name__)}".strip())
    return found(job) or entry


def _no_picture(reason: str) -> str:
    return f"No picture was drawn: {' '.join(reason.split())}"


def _endings(job: Job) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What must be there beside the prediction, and a sentence where it is less than what was asked for."""
    endings = job.config.endings
    if not job.config.screenshot or job.file(SCREENSHOT_ENDING).is_file() or scene_code().canRender():
        return endings, ()
    return tuple(each for each in endings if each != SCREENSHOT_ENDING), (_no_picture(scene_code().NO_OPENGL),)


def _put_in_place(job: Job, temporary: Path) -> Entry:
    """Where ``_prediction.json`` lies, the rest is whole: it goes first and comes last."""
    last = job.file(ENDINGS["prediction"])
    for older in (last, *map(job.file, (ENDINGS["sim"], REPORT_ENDING, SCENE_ENDING, SCREENSHOT_ENDING))):
        older.unlink(missing_ok=True)
    for made in sorted(temporary.iterdir(), key=lambda made: made.name == last.name):
        os.replace(made, job.out / made.name)
    entry = found(job)
    if entry is None:
        raise RuntimeError(f"The files of case {job.case_id} in {job.out} changed while they were put in place.")
    return entry
