"""What the commands do, and the table of all of them; those about explanations are in explanation_commands.py.

A command is one function that adds its flags and one that runs it and returns an `Answer`. Imports stand inside them,
because torch takes seconds to load and the command line's help should not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ProtoSegBrainLib.commands.console import (
    Answer,
    Command,
    add_labelled_data_flag,
    add_model_flag,
    add_result_flags,
    brief,
    indented,
    progress_bar,
)
from ProtoSegBrainLib.commands.explanation import EXPLANATION_COMMANDS
from ProtoSegBrainLib.commands.flags import add_flags, with_flags
from ProtoSegBrainLib.commands.laboratory import LAB_COMMANDS
from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, REGIONS
from ProtoSegBrainLib.progress import part_of

if TYPE_CHECKING:
    from ProtoSegBrainLib.evaluation.evaluate import Summary
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
    from ProtoSegBrainLib.result.prediction import output_files, report_file, write_prediction
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
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    chosen = {name: getattr(options, name) for name in ("model", "labels", "overwrite", "report", "mrb", "screenshot")}
    config = batch.FolderConfig(**chosen, predict=with_flags(PredictConfig(), options))
    summary = batch.segment_folder(options.cases, options.out, config, workers=options.workers, cluster=options.cluster)
    n, failed = len(summary.entries), summary.failed
    values = {
        "cases": n,
        "done": n - len(failed),
        "done_before": summary.n_before,
        "failed": failed,
        "manifest": options.out / batch.MANIFEST,
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


# -- train ---------------------------------------------------------------------------------------------------------


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.network.model import ModelConfig
    from ProtoSegBrainLib.training.configuration import network_names
    from ProtoSegBrainLib.training.trainer import TrainConfig

    add_labelled_data_flag(parser)
    parser.add_argument("--splits", type=Path, required=True, help='JSON file: {"folds": [[case ids], ...]}')
    parser.add_argument("--fold", required=True, help="number of the fold that is held out, or all to hold out none")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: model, log, curves, checkpoints")
    what = f"the network and how it is trained: {', '.join(network_names())}, or a .yaml file; other flags change it"
    parser.add_argument("--network", "--preset", default="default", metavar="NAME", help=f"{what} (default: default)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    add_flags(parser, TrainConfig, skip={"model"})
    add_flags(parser.add_argument_group("model options, for our own networks"), ModelConfig, prefix="model.")


def train(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.model import ModelConfig
    from ProtoSegBrainLib.training.configuration import load_config
    from ProtoSegBrainLib.training.train import train as run_training

    config = load_config(options.network)
    if not isinstance(config.model, ModelConfig) and any(name.startswith("model.") for name in vars(options)):
        raise ValueError(f"--network {options.network}: the flags --model-... are for our own networks; write a .yaml.")
    config = with_flags(config, options)
    if not config.name and (network := Path(options.network).stem) != "default":
        config = replace(config, name=f"{network}-fold-{options.fold}")
    with progress_bar("Preparing") as on_progress:
        summary = run_training(
            config,
            options.data,
            options.splits,
            options.fold,
            options.out,
            resume=options.resume,
            on_progress=on_progress,
        )
    return Answer({"out": options.out, **summary})


# -- evaluate ------------------------------------------------------------------------------------------------------


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    add_labelled_data_flag(parser)
    parser.add_argument("--predictions", type=Path, required=True, help="folder with what segment wrote")
    parser.add_argument("--out", type=Path, required=True, help="CSV file for the scores per case")


def evaluate(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.evaluation import evaluate as evaluation

    with progress_bar("Scoring") as on_progress:
        summary = evaluation.evaluate(options.data, options.predictions, options.out, on_progress)
    text = f"{_score_table(summary)}\n\nScores per case in {options.out}"
    return Answer({"out": options.out, **asdict(summary)}, text)


def _score_table(summary: Summary) -> str:
    """Dice and HD95 of each region, one block per group of cases."""
    lines = [f"{summary.n_cases} cases scored, {len(summary.missing)} without a prediction. {summary.convention}"]
    for group, regions in summary.groups.items():
        lines += ["", f"{group:12s}    n   Dice mean  median      sd   HD95 mean  median      sd (mm)"]
        for region, scores in regions.items():
            dice, hd95 = scores.metrics["dice"], scores.metrics["hausdorff95_mm"]
            lines.append(
                f"  {region:10s} {scores.n:4d}   {dice.mean:9.3f} {dice.median:7.3f} {dice.sd:7.3f}"
                f"   {hd95.mean:9.2f} {hd95.median:7.2f} {hd95.sd:7.2f}"
            )
    return "\n".join(lines)


# -- info ----------------------------------------------------------------------------------------------------------


def add_info_flags(parser: argparse.ArgumentParser) -> None:
    add_model_flag(parser)
    what = "instead of a model: how a network is built and trained, as a .yaml file that train takes"
    parser.add_argument("--network", metavar="NAME", help=what)


def info(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.evidence import no_prototypes
    from ProtoSegBrainLib.network.networks import regions_of
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.result.prediction import what_is_not_found
    from ProtoSegBrainLib.training.configuration import described, load_config

    if options.network:
        return Answer({"network": options.network, **asdict(load_config(options.network))}, described(options.network))
    network, card = load_model(options.model)
    values = card.to_dict()
    lines = [f"{name}: {values[name]}" for name in ("name", "intended_use", "identity", "metrics")]
    lines += [f"{name}: {value}" for name, value in values["calibration"].items() if name != "familiarity"]
    lines += what_is_not_found(card.name, regions_of(card.model))
    lines += ["", "Prototypes:" if network.prototype_class else no_prototypes(card.name)]
    lines += [f"{p.index:4d}  {p.class_name:10s}  {p.case_id:28s}  at {p.position_mm} mm" for p in card.prototypes]
    return Answer(values, "\n".join(lines))


# -- simulate and demo ---------------------------------------------------------------------------------------------


def add_simulate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder in which the case's folder is made")
    parser.add_argument("--seed", type=int, default=1, help="number that decides the case (default: 1)")


def simulate(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.images.simulate import simulate_case, write_case

    check_folder(options.out)
    case = simulate_case(options.seed)
    folder = write_case(case, options.out)
    values = {"case_id": case.case_id, "folder": folder, "simulated": True}
    return Answer(values, f"Simulated case {case.case_id}, no patient, in {folder}")


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
    from ProtoSegBrainLib.result.prediction import report_file, write_prediction
    from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

    check_folder(options.out)
    config = with_flags(PredictConfig(), options)
    with progress_bar("Simulating a case") as on_progress:
        model = load_model(options.model)
        case = simulate_case(options.seed)
        truth = np.asarray(case.label)
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
        "dice": _dice(prediction.label, truth),
        "case_folder": folder,
        "files": {**files, "picture": picture},
    }
    where = indented((folder, *values["files"].values()))
    return Answer(values, f"{_describe(values)}\n\nThe case is simulated, no patient. It and the results:\n{where}")


def _dice(label: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from ProtoSegBrainLib.result.metrics import dice

    return {name: float(dice(np.isin(label, members), np.isin(truth, members))) for name, members in REGIONS.items()}


# -- saying it -----------------------------------------------------------------------------------------------------


def _describe(values: Mapping[str, Any]) -> str:
    seconds = sum(values["timings_s"].values())
    lines = [f"{values['case_id']}: {seconds:.1f} s on {values['device']}, model {values['model']['name']}", ""]
    dices = values.get("dice", {})
    for name, volume in values["volumes_ml"].items():
        dice = f"   Dice {dices[name]:.3f} against the simulated truth" if name in dices else ""
        lines.append(f"  {name:4s} {volume:8.2f} ml{dice}")
    return "\n".join([*lines, *(f"Warning: {sentence}" for sentence in values["warnings"])])


COMMANDS = {
    "segment": Command("Segment one case.", add_segment_flags, segment),
    "segment-folder": Command("Segment every case of a folder.", add_segment_folder_flags, segment_folder),
    "worker": Command("Segment what another program asks for, line by line.", add_worker_flags, worker),
    "train": Command("Train the network on labelled cases.", add_train_flags, train),
    "evaluate": Command("Score predictions against the experts' labels.", add_evaluate_flags, evaluate),
    "info": Command("Show the card of a model: origin, prototypes, scores.", add_info_flags, info),
    **EXPLANATION_COMMANDS,
    **LAB_COMMANDS,
    "simulate": Command("Make a simulated case: four modalities and labels.", add_simulate_flags, simulate),
    "demo": Command("Simulate a case, segment it, show what came out.", add_demo_flags, demo),
}
