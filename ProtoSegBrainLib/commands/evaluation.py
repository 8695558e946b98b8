"""The commands that score: evaluate predictions, benchmark networks, draw figures of either."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ProtoSegBrainLib.commands.console import Answer, indented, progress_bar
from ProtoSegBrainLib.commands.flags import (
    add_flags,
    add_labelled_data_flag,
    add_reading_flags,
    add_splits_flag,
    reading_of,
    with_flags,
)
from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS, listed

if TYPE_CHECKING:
    from ProtoSegBrainLib.evaluation.evaluate import Summary


# -- evaluate ------------------------------------------------------------------------------------------------------


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    add_labelled_data_flag(parser)
    parser.add_argument("--predictions", type=Path, required=True, help="folder with what segment wrote")
    _add_predicted_labels_flag(parser)
    parser.add_argument("--out", type=Path, required=True, help="CSV file for the scores per case")


def evaluate(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.evaluation import evaluate as evaluation

    with progress_bar("Scoring") as on_progress:
        summary = evaluation.evaluate(
            options.data,
            options.predictions,
            options.out,
            on_progress,
            reading=reading_of(options),
            predicted_labels=options.predicted_labels,
        )
    lines = [_score_table(summary), *_failed_lines(summary.failed), "", f"Scores per case in {options.out}"]
    return Answer({"out": options.out, **asdict(summary)}, "\n".join(lines), 1 if summary.failed else 0)


def _add_predicted_labels_flag(parser: argparse.ArgumentParser) -> None:
    what = "coding of the predictions (default: named in the JSON file beside each, or told by its values)"
    parser.add_argument("--predicted-labels", choices=tuple(LABEL_CONVENTIONS), help=what)


def _failed_lines(failed: Mapping[str, str]) -> list[str]:
    lines = [f"  {case_id}: {reason}" for case_id, reason in failed.items()]
    return ["", f"{len(failed)} failed:", *lines] if failed else []


def _score_table(summary: Summary) -> str:
    """Dice and HD95 of each region, one block per group of cases."""
    lines = [f"{summary.n_cases} cases scored, {len(summary.missing)} without a prediction. {summary.convention}"]
    codings = (f"{what} {_counted(summary.codings[what])}" for what in ("labels", "predictions"))
    lines.append(f"Read as: {', '.join(codings)}.")
    for group, regions in summary.groups.items():
        lines += ["", f"{group:12s}    n   Dice mean  median      sd   HD95 mean  median      sd (mm)"]
        for region, scores in regions.items():
            dice, hd95 = scores.metrics["dice"], scores.metrics["hausdorff95_mm"]
            lines.append(
                f"  {region:10s} {scores.n:4d}   {dice.mean:9.3f} {dice.median:7.3f} {dice.sd:7.3f}"
                f"   {hd95.mean:9.2f} {hd95.median:7.2f} {hd95.sd:7.2f}"
            )
    return "\n".join(lines)


def _counted(names: Mapping[str, int]) -> str:
    """Such as brats2020, or brats2020 (3) and brats2023 (2)."""
    return listed([name if len(names) == 1 else f"{name} ({n})" for name, n in names.items()])


# -- benchmark -----------------------------------------------------------------------------------------------------


def add_benchmark_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.evaluation.plan import STAGES, BenchmarkConfig

    add_labelled_data_flag(parser)
    add_splits_flag(parser)
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
    config = with_flags(BenchmarkConfig(), options)
    plan = Plan(*places, tuple(options.networks), tuple(options.folds), config, reading_of(options))
    report = options.report or options.out / "BENCHMARK.md"
    with progress_bar("Benchmark") as on_progress:
        files, failed = run_benchmark(plan, options.stages, report, on_progress)
    lines = [*(f"{name} failed: {reason}" for name, reason in failed.items()), *map(str, files)]
    values = {"out": options.out, "stages": options.stages, "failed": failed, "files": files}
    return Answer(values, "\n".join([f"Benchmark in {options.out}", *lines]), exit_code=1 if failed else 0)


# -- figures -------------------------------------------------------------------------------------------------------


def add_figures_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of a run of train (or its log): its curves")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with one folder per case, labels included")
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="what segment wrote: its scores and cases")
    add_reading_flags(parser)
    _add_predicted_labels_flag(parser)


def figures(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.evaluation.figures import draw_predictions, draw_run
    from ProtoSegBrainLib.evaluation.pairs import PairReading

    if (options.data is None) != (options.predictions is None):
        raise ValueError("--data and --predictions go together: give both or neither.")
    if options.run is None and options.data is None:
        raise ValueError("Give --run for the figures of a training, --data and --predictions for those of results.")
    check_folder(options.out)
    files = draw_run(options.run, options.out) if options.run is not None else {}
    failed: dict[str, str] = {}
    warnings: dict[str, tuple[str, ...]] = {}
    if options.data is not None:
        with progress_bar("Comparing") as on_progress:
            reading = PairReading(reading_of(options), options.predicted_labels)
            drawn = draw_predictions(options.data, options.predictions, options.out, on_progress, reading=reading)
        files, failed, warnings = files | drawn.files, drawn.failed, drawn.warnings
    values = {"out": options.out, "files": files, "failed": failed, "warnings": warnings}
    text = "\n".join([f"Figures:\n{indented(files.values())}", *_failed_lines(failed)])
    return Answer(values, text, 1 if failed else 0)
