"""One case: segmented and its files put in place, all or none, whoever else writes there.

A picture of the scene, which not every machine can draw, comes after them: without it the case is done all the same.

What is done is told by the files themselves: a case is done when its ``_prediction.json``, the last file to be put in
place, names this model and these settings and all its files are there. Device, precision and tiles change no more than
rounding and are not asked for.
"""

from __future__ import annotations

import functools
import importlib
import logging
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ProtoSegBrainLib.dicom.study import StudyChoice
from ProtoSegBrainLib.errors import sentence
from ProtoSegBrainLib.files import check_room, write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.folders import CaseFiles
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import BUNDLED, ModelCard, load_model
from ProtoSegBrainLib.pictures.report import write_report
from ProtoSegBrainLib.preparation.prepare import PreparationConfig, prepare_study
from ProtoSegBrainLib.preparation.study import StudyPlace, read_study
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.prediction import VOLUMES, Prediction
from ProtoSegBrainLib.result.prediction_files import fill, read_summary, size_bytes
from ProtoSegBrainLib.result.writer import ENDINGS, REPORT_ENDING, SCENE_ENDING, SCREENSHOT_ENDING, BusyError, Writer
from ProtoSegBrainLib.segmentation.manifest import BUSY, DONE, EXPECTED_DICE, FAILED, UNLIKE, Entry
from ProtoSegBrainLib.segmentation.native import NativeConfig, write_native
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

logger = logging.getLogger(__name__)

GEOMETRY = "geometry"
"""What the JSON file calls the position of the images that was asked for."""
PREPARE = "asked"
"""What it calls the preparation and the files for the scanner's own series that were asked for."""


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
        reading: How the images are read.
        choice: What of a folder of DICOM series.
        preparation: What is done to them before.
        native: What is written for the scanner's own series.
        predict: How to compute.
    """

    model: Path | None = None
    labels: str = "brats2020"
    overwrite: bool = False
    report: bool = True
    mrb: bool = False
    screenshot: bool = False
    reading: Reading = field(default_factory=Reading)
    choice: StudyChoice = field(default_factory=StudyChoice)
    preparation: PreparationConfig = field(default_factory=PreparationConfig)
    native: NativeConfig = field(default_factory=NativeConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)

    @property
    def others(self) -> dict[str, str]:
        """The files put in place together with those of the prediction: their endings by kind."""
        endings = {"report": REPORT_ENDING, "scene": SCENE_ENDING}
        wanted = {"report": self.report, "scene": self.mrb}
        return {kind: ending for kind, ending in endings.items() if wanted[kind]}

    @property
    def settings(self) -> dict[str, Any]:
        """What the JSON file says of what was asked for, besides model, coding and views."""
        mask = self.preparation.brain_mask
        return {
            GEOMETRY: self.reading.geometry,
            PREPARE: {
                "prepare": self.preparation.prepare,
                "brain_mask": None if mask is None else str(mask),
                "on": sorted(self.native.on),
                "maps": self.native.maps,
                "dicom": None if self.native.dicom is None else str(self.native.dicom),
            },
        }


@dataclass(frozen=True)
class Job:
    """One case, with all that a worker must know.

    Attributes:
        case_id: Names the files.
        place: What ``read_study`` takes.
        out: Folder for the files.
        config: What to make.
        identity: SHA-256 of the weights to use.
        threads: To compute with; None for all.
    """

    case_id: str
    place: Path | CaseFiles | StudyPlace
    out: Path
    config: JobConfig
    identity: str
    threads: int | None = None

    def file(self, ending: str) -> Path:
        """Where a file of this case belongs."""
        return self.out / f"{self.case_id}{ending}"


def segment_case(job: Job) -> Entry:
    """Segment a case and put its files in place, all or none, unless another has done so; never raises an error."""
    start = time.perf_counter()
    try:
        if isinstance(job.place, CaseFiles):
            job.place.check(with_label=False)
        elif isinstance(job.place, StudyPlace) and job.place.problem:
            raise ValueError(job.place.problem)
        return found(job) or _segment(job, start)
    except BusyError as error:
        return Entry(job.case_id, BUSY, " ".join(str(error).split()), time.perf_counter() - start)
    except Exception as error:
        logger.debug("Case %s", job.case_id, exc_info=True)
        return Entry(job.case_id, FAILED, " ".join(sentence(error).split()), time.perf_counter() - start)


def make(
    case: Case,
    model: tuple[SegmentationNet, ModelCard],
    config: JobConfig,
    writer: Writer,
    *,
    timings_s: Mapping[str, float] | None = None,
    on_progress: Progress | None = None,
) -> tuple[Prediction, dict[str, Path]]:
    """Segment a case that was read and put its files in place; returns the result and the files by kind.

    Args:
        case: What to segment.
        model: Network and card.
        config: What to make.
        writer: Of this case, inside its block.
        timings_s: Of what was done before, seconds by stage.
        on_progress: Called with a fraction from 0 to 1 and what is being done.

    Raises:
        FileExistsError: There are files of the case already, which are not to be replaced.
        ValueError: No room for the result; what ``predict`` raises.
        OSError: The files could not be written.
    """
    writer.check_older(overwrite=config.overwrite)
    check_room(writer.out_dir, size_bytes(case.images.shape[1:], case.affine, len(model[1].prototypes)))
    prediction = predict(case, model, config.predict, on_progress)
    prediction = replace(prediction, timings_s={**(timings_s or {}), **prediction.timings_s})
    if on_progress is not None:
        on_progress(1.0, "Writing")
    with writer.folder() as folder:
        made = _write(config, case, prediction, folder)
    return prediction, {kind: writer.out_dir / path.name for kind, path in made.items()}


def found(job: Job) -> Entry | None:
    """The case as its files tell it; None where one is missing, or they were made with another model or otherwise.

    A case whose name another has too, or whose files are not clear, has no result of its own.
    """
    prediction = job.file(ENDINGS["prediction"])
    if (not isinstance(job.place, Path) and job.place.problem) or not prediction.is_file():
        return None
    try:
        summary = read_summary(prediction)
        others, lacking = _others(job)
        names = [prediction.name, *summary["files"].values(), *(job.file(ending).name for ending in others)]
        columns = {
            **{f"{name}_ml": summary["volumes_ml"][name] for name in VOLUMES},
            "model": summary["model"]["name"],
            "identity": summary["model"]["identity"],
            "labels": summary["label_coding"]["convention"],
            "tta": "disagreement" in summary["uncertainty_channels"],
            "device": summary["device"],
            **_trust(summary),
            "files": shlex.join(names),
        }
        seconds = sum(summary["timings_s"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # writing will say that these files are not ours
    asked = {"identity": job.identity, "labels": job.config.labels, "tta": job.config.predict.tta}
    if any(columns[name] != value for name, value in asked.items()):
        return None
    wanted = job.config.settings
    if any(summary.get(name, standard) != wanted[name] for name, standard in JobConfig().settings.items()):
        return None
    if not all((job.out / name).exists() for name in names):
        return None
    return Entry(job.case_id, DONE, " ".join([*summary["warnings"], *lacking]), seconds, columns)


def _trust(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The columns on how far to trust a result; empty where it does not say, as results of older versions."""
    flag = summary.get("out_of_distribution", {}).get("flag")
    dices = {name: region.get("predicted_dice") for name, region in summary.get("regions", {}).items()}
    columns = {EXPECTED_DICE[name]: "" if dice is None else dice for name, dice in dices.items()}
    return {UNLIKE: {True: "yes", False: "no"}.get(flag, ""), **columns}


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
    with Writer(job.case_id, job.out) as writer:
        if done := found(job):  # another was faster
            return done
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        writer.check_older(overwrite=job.config.overwrite)
        model = _model(job.config.model, job.identity)
        study = read_study(job.place, job.config.reading, job.config.choice)
        read_s = time.perf_counter() - start
        case = prepare_study(study, job.config.preparation)
        timings_s = {"read": read_s, "preparation": time.perf_counter() - start - read_s}
        prediction, _ = make(case, model, job.config, writer, timings_s=timings_s)
        no_picture = _draw(case, prediction, writer) if job.config.screenshot else ""
    entry = found(replace(job, config=replace(job.config, screenshot=False))) if no_picture else found(job)
    if entry is None:
        raise RuntimeError(f"The files of case {job.case_id} in {job.out} changed while they were put in place.")
    return replace(entry, message=f"{entry.message} {no_picture}".strip()) if no_picture else entry


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


def _write(config: JobConfig, case: Case, prediction: Prediction, folder: Path) -> dict[str, Path]:
    """All files of a case, into a folder of their own; paths by kind."""
    native = write_native(folder, case, prediction, config.labels, config.native)
    files = fill(folder, prediction, config.labels, config.settings, native)
    other = {kind: folder / f"{case.case_id}{ending}" for kind, ending in config.others.items()}
    if config.report:
        write_report(case, prediction, other["report"])
    if config.mrb:
        scene_code().writeScene(case, prediction, other["scene"])
    return files | other


def _draw(case: Case, prediction: Prediction, writer: Writer) -> str:
    """Draw the scene of a case whose other files are in place; why it cannot be drawn, or ""."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            drawn = Path(folder, SCREENSHOT_ENDING)
            scene_code().drawScene(case, prediction, drawn)
            write_whole(writer.path(SCREENSHOT_ENDING), drawn.read_bytes())
    except Exception as error:  # whatever it is: the result is there
        logger.debug("Picture of case %s", case.case_id, exc_info=True)
        return _no_picture(str(error) or type(error).__name__)
    return ""


def _no_picture(reason: str) -> str:
    return f"No picture was drawn: {' '.join(reason.split())}"


def _others(job: Job) -> tuple[list[str], list[str]]:
    """Endings that must be there beside the prediction, and a sentence where it is less than what was asked for."""
    others = [*job.config.others.values()]
    if not job.config.screenshot:
        return others, []
    if job.file(SCREENSHOT_ENDING).is_file() or scene_code().canRender():
        return [*others, SCREENSHOT_ENDING], []
    return others, [_no_picture(scene_code().NO_OPENGL)]
