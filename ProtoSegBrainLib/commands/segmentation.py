"""The commands that segment: one case, a folder of them, what another program asks for, a simulated case."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, brief, indented, progress_bar
from ProtoSegBrainLib.commands.flags import (
    add_flags,
    add_geometry_flag,
    add_model_flag,
    add_result_flags,
    with_flags,
)
from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.labels import MODALITY_NAMES, REGIONS, SHORT_NAMES
from ProtoSegBrainLib.progress import part_of

if TYPE_CHECKING:
    import numpy as np

    from ProtoSegBrainLib.images.case import Case
    from ProtoSegBrainLib.images.study import Study
    from ProtoSegBrainLib.progress import Progress
    from ProtoSegBrainLib.segmentation.job import JobConfig

DEMO_FOLDER = Path("protosegbrain-demo")


# -- segment -------------------------------------------------------------------------------------------------------


def add_segment_flags(parser: argparse.ArgumentParser) -> None:
    what = "folder of one case (image files, or any tree of DICOM), or a 4-D file (MSD Task01)"
    parser.add_argument("--case", type=Path, help=what)
    for role, name in SHORT_NAMES.items():
        what = (
            f"{MODALITY_NAMES[role]} file, instead of --case; of a DICOM --case, the series (number, UID, description)"
        )
        parser.add_argument(f"--{name}", dest=role, type=Path, action="append", metavar="FILE", help=what)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--study", help="which study, where DICOM holds several: its number in `series`, date or UID")
    parser.add_argument("--case-id", help="what the results are called (default: by the files, or a code of the study)")
    _add_making_flags(parser)


def _add_making_flags(parser: argparse.ArgumentParser) -> None:
    """How results are computed and written, of one case or many."""
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    add_model_flag(parser)
    add_result_flags(parser)
    add_geometry_flag(parser)
    parser.add_argument("--no-report", dest="report", action="store_false", help="write no report (HTML)")
    add_flags(parser, PredictConfig)
    raw = parser.add_argument_group("scans as scanners give them")
    add_flags(raw, PreparationConfig, skip=("alignment",))
    what = "also write the label on the grid of these images: flair, t1, t1ce, t2, or all"
    raw.add_argument("--on", nargs="+", choices=(*SHORT_NAMES.values(), "all"), default=(), help=what)
    what = "folder with the DICOM series of T1ce: write DICOM of a study that came as image files"
    raw.add_argument("--dicom", type=Path, metavar="DIR", help=what)
    raw.add_argument("--maps", action="store_true", help="write the similarity maps as DICOM, too")
    what = "name cases after a code of the study (default), or after the patient's number"
    raw.add_argument("--id-from", choices=("study", "patient-id"), default="study", help=what)


def segment(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.preparation.prepare import prepare_study
    from ProtoSegBrainLib.result.writer import Writer, clear_left
    from ProtoSegBrainLib.segmentation.job import make

    check_folder(options.out)
    config = _job_config(options)
    with progress_bar("Reading") as on_progress:
        model = load_model(options.model)
        started = time.perf_counter()
        study = _read_study(options, config)
        timings_s = {"read": time.perf_counter() - started}
        with Writer(study.case_id, options.out, inputs=study.files.values(), apart_from=_own_folder(options)) as writer:
            clear_left(options.out)
            writer.check_older(overwrite=config.overwrite)
            case = prepare_study(study, config.preparation, part_of(on_progress, 0.0, 0.6))
            timings_s["preparation"] = time.perf_counter() - started - timings_s["read"]
            progress = part_of(on_progress, 0.6, 1.0)
            prediction, files = make(case, model, config, writer, timings_s=timings_s, on_progress=progress)
    values = {**brief(prediction), "labels": options.labels, "files": files}
    return Answer(
        values, f"{_describe(values)}\n\nResults in {options.out}:\n{indented(p.name for p in files.values())}"
    )


def _job_config(options: argparse.Namespace) -> JobConfig:
    from ProtoSegBrainLib.dicom.study import StudyChoice
    from ProtoSegBrainLib.images.study import Reading
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig
    from ProtoSegBrainLib.segmentation.job import JobConfig
    from ProtoSegBrainLib.segmentation.native import NativeConfig
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    names = ("model", "labels", "overwrite", "report", "mrb", "screenshot")
    chosen = {name: getattr(options, name) for name in names if name in options}
    named = {role: paths for role in SHORT_NAMES if (paths := getattr(options, role, None))}
    series = {role: str(paths[0]) for role, paths in named.items()} if getattr(options, "case", None) else {}
    return JobConfig(
        **chosen,
        reading=Reading(geometry=options.geometry),
        choice=StudyChoice(
            study=getattr(options, "study", None),
            series=series,
            case_id=getattr(options, "case_id", None),
            id_from=options.id_from,
        ),
        preparation=with_flags(PreparationConfig(), options),
        native=NativeConfig(tuple(options.on), options.dicom, options.maps),
        predict=with_flags(PredictConfig(), options),
    )


def _own_folder(options: argparse.Namespace) -> Path | None:
    """The folder of the case; files that were given by role, or by what their names share, may lie among others."""
    if options.case is not None and options.case.is_dir():
        return options.case
    return options.case.parent if options.case is not None and options.case.is_file() else None


def _read_study(options: argparse.Namespace, config: JobConfig) -> Study:
    from ProtoSegBrainLib.images.study import study_of_files
    from ProtoSegBrainLib.preparation.study import is_dicom, read_study

    given = {role: paths for role in SHORT_NAMES if (paths := getattr(options, role)) is not None}
    for role, paths in given.items():
        if len(paths) > 1:
            raise ValueError(f"--{SHORT_NAMES[role]}: expected one file, got {' and '.join(map(str, paths))}.")
    if options.case is not None and (not given or is_dicom(options.case)):
        study = read_study(options.case, config.reading, config.choice)
        return study if options.case_id is None else replace(study, case_id=options.case_id)
    if options.case is not None or not given:
        raise ValueError("Give either --case, or the four files --flair --t1 --t1ce --t2.")
    missing = [f"--{name}" for role, name in SHORT_NAMES.items() if role not in given]
    if missing:
        raise ValueError(f"All four modalities are needed; {' '.join(missing)} not given.")
    files = {role: path for role, (path,) in given.items()}
    return study_of_files(files, case_id=options.case_id, reading=config.reading)


# -- segment-folder ------------------------------------------------------------------------------------------------


def add_segment_folder_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=Path, required=True, help="folder with one folder per case, or with imagesTr")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results and manifest.csv")
    parser.add_argument("--workers", type=int, metavar="N", help="compute in N processes (default: in this one)")
    parser.add_argument("--cluster", metavar="ADDRESS", help="compute on the workers of this Dask scheduler")
    parser.add_argument("--mrb", action="store_true", help="write a scene for 3D Slicer, too")
    parser.add_argument("--screenshot", action="store_true", help="write a picture of the scene, too")
    _add_making_flags(parser)


def segment_folder(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.segmentation import folder as batch
    from ProtoSegBrainLib.segmentation.manifest import MANIFEST

    config = _job_config(options)
    summary = batch.segment_folder(options.cases, options.out, config, workers=options.workers, cluster=options.cluster)
    n, n_failed = len(summary.entries), summary.n_failed
    failed, unlike = summary.failed, summary.unlike
    values = {
        "cases": n,
        "done": n - n_failed,
        "done_before": summary.n_before,
        "failed": failed,
        "unlike": unlike,
        "manifest": options.out / MANIFEST,
    }
    lines = [f"{values['done']} of {n} cases done, {summary.n_before} of them before this run, {n_failed} failed."]
    lines += [f"  {case_id}: {message}" for case_id, message in failed.items()]
    if unlike:
        lines += [f"Probably poor, as the scan is unlike the training data: {len(unlike)} of {n}.", indented(unlike)]
    return Answer(values, "\n".join([*lines, f"All in {values['manifest']}"]), exit_code=1 if failed else 0)


# -- worker --------------------------------------------------------------------------------------------------------


def add_worker_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idle-minutes", type=float, default=10.0, help="end when nothing was asked for so long (default: 10)"
    )


def worker(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.segmentation.worker import Server, private_pipes

    requests, events = private_pipes()
    return Answer({"ended": Server(requests, events, options.idle_minutes).serve()})


# -- demo ----------------------------------------------------------------------------------------------------------


def add_demo_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    parser.add_argument(
        "--out", type=Path, default=DEMO_FOLDER, help=f"folder for case and results (default: {DEMO_FOLDER})"
    )
    parser.add_argument("--seed", type=int, default=1, help="number that decides the case (default: 1)")
    what = "a whole head as a scanner gives it, in DICOM: aligned and skull-stripped before it is segmented"
    parser.add_argument("--raw", action="store_true", help=what)
    add_model_flag(parser)
    add_flags(parser, PredictConfig)


def demo(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.pictures.overview import draw_prediction
    from ProtoSegBrainLib.result.writer import Writer
    from ProtoSegBrainLib.segmentation.job import JobConfig, make
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    check_folder(options.out)
    config = JobConfig(model=options.model, overwrite=True, predict=with_flags(PredictConfig(), options))
    simulated = _raw_case if options.raw else _stripped_case
    with progress_bar("Simulating a case") as on_progress:
        model = load_model(options.model)
        folder, case = simulated(options, part_of(on_progress, 0.0, 0.6))
        with Writer(case.case_id, options.out / "results") as writer:
            progress = part_of(on_progress, 0.6, 0.9)
            prediction, files = make(replace(case, label=None), model, config, writer, on_progress=progress)
        picture = draw_prediction(case, prediction, options.out / "results" / f"{case.case_id}_picture.png")
    values = {
        **brief(prediction),
        "simulated": True,
        "dice": _dice(prediction.label, case),
        "case_folder": folder,
        "files": {**files, "picture": picture},
    }
    where = indented((folder, *values["files"].values()))
    return Answer(values, f"{_describe(values)}\n\nThe case is simulated, no patient. It and the results:\n{where}")


def _stripped_case(options: argparse.Namespace, on_progress: Progress) -> tuple[Path, Case]:
    """A simulated brain with its label, and the folder in which its files lie."""
    from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case

    case = simulate_case(options.seed)
    folder = options.out / case.case_id
    if not (folder / f"{case.case_id}_seg.nii.gz").exists():  # the last file written; a second demo finds it there
        write_case(case, options.out)
    on_progress(1.0, "Simulated")
    return folder, case


def _raw_case(options: argparse.Namespace, on_progress: Progress) -> tuple[Path, Case]:
    """A simulated head as a scanner gives it, written as DICOM, read again and prepared; with its label."""
    from ProtoSegBrainLib.dicom.study import StudyChoice
    from ProtoSegBrainLib.preparation.prepare import prepare_study
    from ProtoSegBrainLib.preparation.study import read_study
    from ProtoSegBrainLib.simulation.raw import simulate_raw, write_raw_dicom

    raw = simulate_raw(options.seed)
    folder = options.out / raw.case_id
    if not folder.exists():
        on_progress(0.2, "Writing it as DICOM")
        write_raw_dicom(raw, options.out)
    on_progress(0.25, "Reading it again")
    study = read_study(folder, choice=StudyChoice(case_id=raw.case_id))
    return folder, replace(prepare_study(study, on_progress=part_of(on_progress, 0.3, 1.0)), label=raw.label.array)


def _dice(found: np.ndarray, case: Case) -> dict[str, float]:
    """Of each region, against the label of a simulated case."""
    import numpy as np

    from ProtoSegBrainLib.result.metrics import dice

    truth = np.asarray(case.label)
    return {name: float(dice(np.isin(found, members), np.isin(truth, members))) for name, members in REGIONS.items()}


# -- saying it -----------------------------------------------------------------------------------------------------


def _describe(values: Mapping[str, Any]) -> str:
    from ProtoSegBrainLib.images.preparation import Preparation

    seconds = sum(values["timings_s"].values())
    lines = [f"{values['case_id']}: {seconds:.1f} s on {values['device']}, model {values['model']['name']}", ""]
    if values.get("preparation"):
        lines[1:1] = [f"Prepared: {Preparation.from_dict(values['preparation']).sentence}"]
    lines += _table(values)
    return "\n".join([*lines, "", *(f"Warning: {sentence}" for sentence in values["warnings"])]).rstrip()


def _table(values: Mapping[str, Any]) -> list[str]:
    """A line per volume: how much, within what, how well it is expected to be drawn."""
    from ProtoSegBrainLib.result.reliability import short

    regions, dices = values["regions"], values.get("dice", {})
    coverage = next((region["coverage"] for region in regions.values() if region["coverage"]), None)
    interval_name = f"{coverage:.0%} interval" if coverage else "interval"
    head = f"  {'':4s} {'volume':>11s}   {interval_name:>20s}   expected Dice"
    lines = [head + ("   Dice against the simulated truth" if dices else "")]
    for name in dict.fromkeys([*regions, *values["volumes_ml"]]):
        known = regions.get(name, {})
        interval, expected = known.get("interval_ml"), known.get("predicted_dice")
        within = "{:.1f} to {:.1f} ml".format(*interval) if interval else ""
        line = f"  {name:4s} {values['volumes_ml'][name]:8.2f} ml   {within:>20s}"
        line += f"   {'' if expected is None else short(expected):>13s}"
        lines.append((line + (f"   {short(dices[name]):>32s}" if name in dices else "")).rstrip())
    return lines
