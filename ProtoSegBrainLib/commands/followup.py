"""The command that compares the scans of one patient at several dates."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, indented, progress_bar
from ProtoSegBrainLib.commands.flags import add_flags, add_geometry_flag, add_model_flag, add_result_flags, with_flags
from ProtoSegBrainLib.progress import part_of

if TYPE_CHECKING:
    from ProtoSegBrainLib.followup.follow import FollowUp
    from ProtoSegBrainLib.segmentation.visits import Place


def add_follow_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.followup.follow import FollowConfig
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig
    from ProtoSegBrainLib.segmentation.predict import PredictConfig

    what = "scans of the first date, as segment takes them"
    parser.add_argument("--earlier", type=Path, required=True, metavar="DIR", help=what)
    parser.add_argument(
        "--later", type=Path, required=True, nargs="+", metavar="DIR", help="scans of one or more later dates"
    )
    what = "the days of all scans, such as 2024-03-01, in the order given (default: as DICOM says, or none)"
    parser.add_argument("--dates", type=_date, nargs="+", metavar="DATE", help=what)
    what = "folders with results of these cases, taken instead of segmenting"
    parser.add_argument("--results", type=Path, nargs="+", default=[], metavar="DIR", help=what)
    parser.add_argument("--out", type=Path, required=True, help="folder for the comparison, and for new results")
    add_model_flag(parser)
    add_result_flags(parser)
    add_geometry_flag(parser)
    parser.add_argument("--no-report", dest="report", action="store_false", help="write no report (HTML)")
    add_flags(parser, FollowConfig)
    add_flags(parser, PredictConfig)
    add_flags(parser.add_argument_group("scans as scanners give them"), PreparationConfig, skip=("alignment",))


def follow(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.followup.follow import FollowConfig
    from ProtoSegBrainLib.followup.follow import follow as compare
    from ProtoSegBrainLib.followup.followup_files import check_new, write_followup
    from ProtoSegBrainLib.images.study import Reading
    from ProtoSegBrainLib.pictures.followup import write_followup_report
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig
    from ProtoSegBrainLib.segmentation.job import JobConfig
    from ProtoSegBrainLib.segmentation.predict import PredictConfig
    from ProtoSegBrainLib.segmentation.visits import read_visits

    config = JobConfig(
        model=options.model,
        labels=options.labels,
        report=options.report,
        reading=Reading(geometry=options.geometry),
        preparation=with_flags(PreparationConfig(), options),
        predict=with_flags(PredictConfig(), options),
    )
    check_new(options.out, options.overwrite)
    with progress_bar("Reading") as on_progress:
        visits = read_visits(_places(options), options.results, options.out, config, part_of(on_progress, 0.0, 0.7))
        found = compare(visits, with_flags(FollowConfig(), options), part_of(on_progress, 0.7, 0.9))
        on_progress(0.9, "Writing")
        report = write_followup_report if options.report else None
        files = write_followup(found, options.out, options.overwrite, report)
    return Answer({**found.to_dict(), "files": files}, _text(found, options.out, files))


def _places(options: argparse.Namespace) -> list[Place]:
    from ProtoSegBrainLib.segmentation.visits import Place

    scans = [options.earlier, *options.later]
    dates = options.dates or [None] * len(scans)
    if len(dates) != len(scans):
        raise ValueError(f"--dates: expected one date for each of the {len(scans)} scans, got {len(dates)}.")
    return [Place(place, date) for place, date in zip(scans, dates, strict=True)]


def _date(text: str) -> datetime.date:
    from ProtoSegBrainLib.followup.visit import parse_date

    try:
        return parse_date(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _text(found: FollowUp, out: Path, files: dict[str, Any]) -> str:
    names = [visit.name for visit in found.visits]
    lines = [f"{names[0]} to {names[-1]}: {len(names)} dates", ""]
    lines += ["  ml    " + "".join(f"{name:>12s}" for name in names) + "      change"]
    for name, change in found.regions.items():
        numbers = "".join(f"{ml:12.2f}" for ml in change.volumes_ml)
        percent = change.change_percent[-1]
        lines.append(
            f"  {name:4s}  {numbers} {change.change_ml[-1]:+8.2f} ml" + (f" {percent:+5.0f}%" if percent else "")
        )
    products = "".join(f"{mm2:12.0f}" for mm2 in found.diameters.product_mm2)
    lines += [f"  ET mm²{products}   (longest diameter times its perpendicular)", "", *found.sentences]
    some = [each.sentence for each in found.reasons[-1]]
    lines += [f"The result rests on {'; '.join(some)}."] if some else []
    lines += [f"Warning: {sentence}" for sentence in found.warnings]
    return "\n".join([*lines, "", f"Files in {out}:", indented(path.name for path in files.values())])
