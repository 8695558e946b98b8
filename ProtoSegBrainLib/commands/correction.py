"""The command that corrects a result by points of a person."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, brief, indented, progress_bar
from ProtoSegBrainLib.commands.explanation import add_prediction_flags
from ProtoSegBrainLib.commands.flags import add_flags, add_geometry_flag, add_model_flag, add_result_flags, with_flags
from ProtoSegBrainLib.progress import part_of

if TYPE_CHECKING:
    from ProtoSegBrainLib.correction.points import Point
    from ProtoSegBrainLib.images.case import Case
    from ProtoSegBrainLib.progress import Progress
    from ProtoSegBrainLib.result.prediction import Prediction


def add_teach_flags(parser: argparse.ArgumentParser) -> None:
    from ProtoSegBrainLib.correction.teach import TeachConfig
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig

    add_prediction_flags(parser)
    parser.add_argument("--case", type=Path, required=True, help="the images of the result, as segment took them")
    what = "a place and what is right there: NCR, ED, ET or none, and R,A,S in mm; may be given again"
    parser.add_argument("--point", type=_point, action="append", default=[], metavar="CLASS:R,A,S", help=what)
    what = "label map whose painted pieces are points, too: 1 no tumour, 2 NCR, 3 ED, 4 ET"
    parser.add_argument("--points-from", type=Path, metavar="FILE", help=what)
    parser.add_argument("--out", type=Path, required=True, help="folder for the corrected result")
    what = "also write it as a labelled case to train on, into a new folder in this one"
    parser.add_argument("--save-case", type=Path, metavar="DIR", help=what)
    add_model_flag(parser)
    add_result_flags(parser)
    add_geometry_flag(parser)
    parser.add_argument("--no-report", dest="report", action="store_false", help="write no report (HTML)")
    add_flags(parser.add_argument_group("how far a point reaches"), TeachConfig)
    add_flags(parser.add_argument_group("scans as scanners give them"), PreparationConfig, skip=("alignment",))


def teach(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.correction import teach as teaching
    from ProtoSegBrainLib.correction.corrected import write_corrected_case
    from ProtoSegBrainLib.explanation.findings import findings
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.result.prediction_files import read_prediction
    from ProtoSegBrainLib.result.writer import ENDINGS, Writer

    points = _points(options)
    before = read_prediction(options.prediction, options.case_id)
    own = [options.prediction / f"{before.case_id}{ending}" for ending in ENDINGS.values()]
    with progress_bar("Reading") as on_progress, Writer(before.case_id, options.out, inputs=own) as writer:
        writer.check_older(overwrite=options.overwrite)
        case = replace(_case(options, part_of(on_progress, 0.0, 0.6)), case_id=before.case_id)
        on_progress(0.6, "Running the network")
        config = with_flags(teaching.TeachConfig(), options)
        after = teaching.teach(before, case, points, load_model(options.model), config)
        on_progress(0.9, "Writing")
        after = replace(after, findings=findings(after))
        files = _write(options, writer, case, after)
        saved = None if options.save_case is None else write_corrected_case(after, case, options.save_case)
    values = {
        **brief(after),
        "volumes_before_ml": before.volumes_ml,
        "points": _rows(before, after),
        "labels": options.labels,
        "files": files,
        "case": saved,
    }
    return Answer(values, _text(values, options.out))


def _point(text: str) -> Point:
    from ProtoSegBrainLib.correction.points import parse_point

    try:
        return parse_point(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _points(options: argparse.Namespace) -> list[Point]:
    from ProtoSegBrainLib.correction.points import points_of_label
    from ProtoSegBrainLib.images.formats import read_volume

    points = [*options.point]
    if options.points_from is not None:
        try:
            points += points_of_label(read_volume(options.points_from, options.geometry))
        except ValueError as error:
            raise ValueError(f"{options.points_from}: {error}") from error
    if not points:
        raise ValueError("Say where: --point ET:12,-30,41 (or none:... where there is no tumour), or --points-from.")
    return points


def _case(options: argparse.Namespace, on_progress: Progress) -> Case:
    from ProtoSegBrainLib.images.study import Reading
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig, prepare_study
    from ProtoSegBrainLib.preparation.study import read_study

    study = read_study(options.case, Reading(geometry=options.geometry))
    return prepare_study(study, with_flags(PreparationConfig(), options), on_progress)


def _write(options: argparse.Namespace, writer: Any, case: Case, after: Prediction) -> dict[str, Path]:
    from ProtoSegBrainLib.pictures.report import write_report
    from ProtoSegBrainLib.result.prediction_files import fill
    from ProtoSegBrainLib.result.writer import REPORT_ENDING

    with writer.folder() as folder:
        files = fill(folder, after, options.labels)
        if options.report:
            files["report"] = folder / f"{after.case_id}{REPORT_ENDING}"
            write_report(case, after, files["report"])
    return {kind: options.out / path.name for kind, path in files.items()}


def _rows(before: Prediction, after: Prediction) -> list[dict[str, Any]]:
    """What became of each point."""
    from ProtoSegBrainLib.explanation.explain import explain, region_shares

    n, shares = after.evidence.n_learned, region_shares(after, "WT")
    return [
        {
            "point": each.number,
            "class": each.class_name,
            "position_mm": list(each.position_mm),
            "voxels": each.voxels,
            "was": explain(before, each.position_mm).class_name,
            "is": explain(after, each.position_mm).class_name,
            "weight": round(float(after.evidence.weight[:, n + index].max()), 4),
            "share": round(shares.get(n + index, 0.0), 4),
        }
        for index, each in enumerate(after.evidence.taught)
    ]


def _text(values: dict[str, Any], out: Path) -> str:
    lines = [f"{values['case_id']}: corrected", "", "        before     after"]
    before = values["volumes_before_ml"]
    lines += [f"  {name:4s} {before[name]:7.2f} {ml:9.2f} ml" for name, ml in values["volumes_ml"].items()]
    lines += ["", "  point  is            was           at R, A, S mm            share of the evidence for tumour"]
    for row in values["points"]:
        place = ", ".join(f"{value:.1f}" for value in row["position_mm"])
        lines.append(f"  {row['point']:5d}  {row['is']:12s}  {row['was']:12s}  {place:22s}  {row['share']:8.1%}")
    lines += [f"Warning: {sentence}" for sentence in values["warnings"]]
    lines += ["", f"Results in {out}:", indented(path.name for path in values["files"].values())]
    return "\n".join([*lines, *([f"Case to train on: {values['case']}"] if values["case"] else [])])
