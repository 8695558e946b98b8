"""The commands for those who train and compare networks; see commands.py for how a command is made."""

from __future__ import annotations

import argparse
from pathlib import Path

from ProtoSegBrainLib.commands.console import (
    Answer,
    Command,
    add_labelled_data_flag,
    add_model_flag,
    indented,
    progress_bar,
)
from ProtoSegBrainLib.commands.flags import add_flags, with_flags
from ProtoSegBrainLib.files import check_folder

# -- benchmark -----------------------------------------------------------------------------------------------------


def add_benchmark_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.evaluation.plan import STAGES, BenchmarkConfig

    add_labelled_data_flag(parser)
    parser.add_argument("--splits", type=Path, required=True, help='JSON file: {"folds": [[case ids], ...]}')
    parser.add_argument("--out", type=Path, required=True, help="folder of the benchmark: runs, predictions, scores")
    what = "names (see info --network) or YAML files; the others are compared with the first"
    parser.add_argument("--networks", nargs="+", required=True, metavar="NETWORK", help=what)
    parser.add_argument("--folds", nargs="+", default=["0"], metavar="K", help="folds held out in turn (default: 0)")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=STAGES, help="what to do of it, in this order (default: all)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="the table (default: BENCHMARK.md in --out)")
    add_flags(parser, BenchmarkConfig)


def benchmark(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.evaluation.benchmark import run_benchmark
    from ProtoSegBrainLib.evaluation.plan import BenchmarkConfig, Plan

    places = options.data, options.splits, options.out
    plan = Plan(*places, tuple(options.networks), tuple(options.folds), with_flags(BenchmarkConfig(), options))
    report = options.report or options.out / "BENCHMARK.md"
    with progress_bar("Benchmark") as on_progress:
        files, failed = run_benchmark(plan, options.stages, report, on_progress)
    lines = [*(f"{name} failed: {reason}" for name, reason in failed.items()), *map(str, files)]
    values = {"out": options.out, "stages": options.stages, "failed": failed, "files": files}
    return Answer(values, "\n".join([f"Benchmark in {options.out}", *lines]), exit_code=1 if failed else 0)


# -- tune ----------------------------------------------------------------------------------------------------------


def add_tune_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.training.tuning import TuneConfig

    add_labelled_data_flag(parser)
    parser.add_argument("--splits", type=Path, required=True, help='JSON file: {"folds": [[case ids], ...]}')
    parser.add_argument("--fold", required=True, help="number of the fold whose cases are held out and score a trial")
    parser.add_argument("--out", type=Path, required=True, help="folder of the search; a second run there goes on")
    what = "where to begin: a name (see info --network) or a .yaml file (default: default)"
    parser.add_argument("--network", default="default", metavar="NAME", help=what)
    add_flags(parser, TuneConfig)


def tune(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.training import tuning
    from ProtoSegBrainLib.training.configuration import load_config

    config = with_flags(tuning.TuneConfig(), options)
    place = tuning.Place(options.data, options.splits, options.fold)
    with progress_bar("Preparing") as on_progress:
        found = tuning.tune(load_config(options.network), place, options.out, config, on_progress)
    lines = [
        f"{found['trials']} trials; mean Dice {found['first_dice']:.4f} at first, {found['best_dice']:.4f} at best.",
        *(f"  {name}: {value:g}" for name, value in found["best"].items()),
        f"Train with it: protosegbrain train --network {found['files']['best']} ...",
    ]
    return Answer({"out": options.out, **found}, "\n".join(lines))


# -- figures -------------------------------------------------------------------------------------------------------


def add_figures_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of a run of train (or its log): its curves")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with one folder per case, labels included")
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="what segment wrote: its scores and cases")


def figures(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.evaluation.figures import draw_predictions, draw_run

    if (options.data is None) != (options.predictions is None):
        raise ValueError("--data and --predictions go together: give both or neither.")
    if options.run is None and options.data is None:
        raise ValueError("Give --run for the figures of a training, --data and --predictions for those of results.")
    check_folder(options.out)
    files = draw_run(options.run, options.out) if options.run is not None else {}
    if options.data is not None:
        with progress_bar("Comparing") as on_progress:
            files |= draw_predictions(options.data, options.predictions, options.out, on_progress)
    return Answer({"out": options.out, "files": files}, f"Figures:\n{indented(files.values())}")


# -- data check ----------------------------------------------------------------------------------------------------


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check",), help="check: look at every case and across them")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with one folder per case, or with imagesTr")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the table (CSV, JSON) and the pictures")
    add_model_flag(parser)


def data(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.checking.data_set import check_data, summary, table, write_check
    from ProtoSegBrainLib.network.weights import BUNDLED, read_card

    if options.out is not None:
        check_folder(options.out)
    familiarity = read_card(options.model or BUNDLED).calibration.familiarity
    reference = familiarity.look if familiarity else None
    with progress_bar("Checking") as on_progress:
        cases = check_data(options.folder, reference, on_progress)
        files = write_check(cases, options.out) if options.out is not None else []
    values = {"folder": options.folder, **summary(cases), "modality_order_checked": reference is not None}
    worst = values["worst"]
    lines = [f"{len(cases)} cases, {worst['error']} with errors, {worst['warning']} with warnings at worst."]
    if reference is None:
        lines.append("Exchanged modalities were not looked for: the model was not calibrated for it.")
    lines += [
        f"  {case.case_id}: {problem.severity}: {problem.text}"
        for case in cases
        for problem in case.problems
        if problem.severity != "note"
    ]
    lines += [f"In {options.out}: {', '.join(path.name for path in files)}"] if files else []
    return Answer({**values, "table": table(cases), "files": files}, "\n".join(lines), 1 if worst["error"] else 0)


# -- export --------------------------------------------------------------------------------------------------------


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    add_model_flag(parser)
    what = "onnx: a file for any ONNX runtime; monai: a folder, a MONAI bundle with all steps before and after"
    parser.add_argument("--format", choices=("onnx", "monai"), default="onnx", help=f"{what} (default: onnx)")
    parser.add_argument("--out", type=Path, required=True, help="file to write (onnx) or folder to make (monai)")


def export(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.sharing.bundle import write_bundle
    from ProtoSegBrainLib.sharing.export import write_onnx

    network, card = load_model(options.model)
    write = {"onnx": write_onnx, "monai": write_bundle}[options.format]
    difference = write((network, card), options.out).largest_difference
    values = {"out": options.out, "format": options.format, "model": card.name, "largest_difference": difference}
    return Answer(values, f"{card.name} in {options.out}; its logits differ from torch by at most {difference:.1g}")


LAB_COMMANDS: dict[str, Command] = {
    "benchmark": Command("Train networks on the same folds and compare them.", add_benchmark_flags, benchmark),
    "tune": Command("Search for better loss weights by short trainings.", add_tune_flags, tune),
    "figures": Command("Draw a training run, or predictions against the labels.", add_figures_flags, figures),
    "data": Command("Check a folder of cases: table, problems, pictures.", add_data_flags, data),
    "export": Command("Write a model for other programs: ONNX, MONAI bundle.", add_export_flags, export),
}
