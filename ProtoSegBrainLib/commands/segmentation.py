"""The commands that segment: one case, a folder of them, what another program asks for, a simulated case."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, brief, indented, progress_bar
from ProtoSegBrainLib.commands.flags import add_flags, add_model_flag, add_result_flags, with_flags
from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, REGIONS
from ProtoSegBrainLib.progress import part_of

if TYPE_CHECKING:
    import numpy as np

    from ProtoSegBrainLib.images.case import Case

FOUR_FILES = {role: MODALITY_NAMES[role].lower() for role in MODALITIES}  # t2f: flair
DEMO_FOLDER = Path("protosegbrain-demo")


# -- segment -------------------------------------------------------------------------------------------------------


def add_segment_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", type=Path, help="folder of one case (BraTS names), or a 4-D file (MSD Task01)")
    for role, name in FOUR_FILES.items():
        what = f"{MODALITY_NAMES[role]} file, instead of --case"
        parser.add_argument(f"--{name}", dest=role, type=Path, action="append", metavar="FILE", help=what)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    _add_making_flags(parser)


def _add_making_flags(parser: argparse.ArgumentParser) -> None:
    """How results are computed and written, of one case or many."""
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    add_model_flag(parser)
    add_result_flags(parser)
    parser.add_argument("--no-report", dest="report", action="store_false", help="write no report (HTML)")
    add_flags(parser, PredictConfig)


def segment(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.pictures.report import write_report
    from ProtoSegBrainLib.result.prediction_files import output_files, report_file, write_prediction
    from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

    config = with_flags(PredictConfig(), options)
    with progress_bar("Reading") as on_progress:
        model = load_model(options.model)
        started = time.perf_counter()
        case = _read_case(options)
        read_s = round(time.perf_counter() - started, 4)
        output_files(case.case_id, options.out, overwrite=options.overwrite, inputs=case.files.values())
        prediction = predict(case, model, config, on_progress)
        prediction = replace(prediction, timings_s={"read": read_s, **prediction.timings_s})
        on_progress(1.0, "Writing")
        files = write_prediction(prediction, options.out, options.labels, options.overwrite)
        if options.report:
            files["report"] = write_report(case, prediction, report_file(case.case_id, options.out))
    values = {**brief(prediction), "labels": options.labels, "files": files}
    return Answer(
        values, f"{_describe(values)}\n\nResults in {options.out}:\n{indented(p.name for p in files.values())}"
    )


def _read_case(options: argparse.Namespace) -> Case:
    from ProtoSegBrainLib.images.case import read_case, read_case_files

    given = {role: paths for role in FOUR_FILES if (paths := getattr(options, role)) is not None}
    if (options.case is None) == (not given):
        raise ValueError("Give either --case, or the four files --flair --t1 --t1ce --t2.")
    if options.case is not None:
        return read_case(options.case)
    missing = [f"--{name}" for role, name in FOUR_FILES.items() if role not in given]
    if missing:
        raise ValueError(f"All four modalities are needed; {' '.join(missing)} not given.")
    for role, paths in given.items():
        if len(paths) > 1:
            raise ValueError(f"--{FOUR_FILES[role]}: expected one file, got {' and '.join(map(str, paths))}.")
    return read_case_files(**{role: path for role, (path,) in given.items()})


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
    from ProtoSegBrainLib.segmentation.job import JobConfig
    from ProtoSegBrainLib.segmentation.manifest import MANIFEST
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    chosen = {name: getattr(options, name) for name in ("model", "labels", "overwrite", "report", "mrb", "screenshot")}
    config = JobConfig(**chosen, predict=with_flags(PredictConfig(), options))
    summary = batch.segment_folder(options.cases, options.out, config, workers=options.workers, cluster=options.cluster)
    n, failed = len(summary.entries), summary.failed
    values = {
        "cases": n,
        "done": n - len(failed),
        "done_before": summary.n_before,
        "failed": failed,
        "manifest": options.out / MANIFEST,
    }
    lines = [f"{values['done']} of {n} cases done, {summary.n_before} of them before this run, {len(failed)} failed."]
    lines += [f"  {case_id}: {message}" for case_id, message in failed.items()]
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
    add_model_flag(parser)
    add_flags(parser, PredictConfig)


def demo(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.images.simulate import simulate_case, write_case
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.pictures.overview import draw_prediction
    from ProtoSegBrainLib.pictures.report import write_report
    from ProtoSegBrainLib.result.prediction_files import report_file, write_prediction
    from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

    check_folder(options.out)
    config = with_flags(PredictConfig(), options)
    with progress_bar("Simulating a case") as on_progress:
        model = load_model(options.model)
        case = simulate_case(options.seed)
        folder = options.out / case.case_id
        if not (folder / f"{case.case_id}_seg.nii.gz").exists():  # the last file written; a second demo finds it there
            write_case(case, options.out)
        prediction = predict(replace(case, label=None), model, config, part_of(on_progress, 0.3, 0.9))
        on_progress(0.9, "Writing")
        files = write_prediction(prediction, options.out / "results", overwrite=True)
        files["report"] = write_report(case, prediction, report_file(case.case_id, options.out / "results"))
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


def _dice(found: np.ndarray, case: Case) -> dict[str, float]:
    """Of each region, against the label of a simulated case."""
    import numpy as np

    from ProtoSegBrainLib.result.metrics import dice

    truth = np.asarray(case.label)
    return {name: float(dice(np.isin(found, members), np.isin(truth, members))) for name, members in REGIONS.items()}


# -- saying it -----------------------------------------------------------------------------------------------------


def _describe(values: Mapping[str, Any]) -> str:
    seconds = sum(values["timings_s"].values())
    lines = [f"{values['case_id']}: {seconds:.1f} s on {values['device']}, model {values['model']['name']}", ""]
    dices = values.get("dice", {})
    for name, volume in values["volumes_ml"].items():
        dice = f"   Dice {dices[name]:.3f} against the simulated truth" if name in dices else ""
        lines.append(f"  {name:4s} {volume:8.2f} ml{dice}")
    return "\n".join([*lines, *(f"Warning: {sentence}" for sentence in values["warnings"])])
