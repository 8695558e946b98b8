"""The commands on cases: check a folder of them, simulate one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ProtoSegBrainLib.commands.console import Answer, progress_bar
from ProtoSegBrainLib.commands.flags import add_model_flag, add_reading_flags, reading_of
from ProtoSegBrainLib.files import check_folder

# -- data check ----------------------------------------------------------------------------------------------------


def add_check_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check",), help="check: look at every case and across them")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with one folder per case, or with imagesTr")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the table (CSV, JSON) and the pictures")
    add_reading_flags(parser)
    add_model_flag(parser)


def check(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.checking.data_set import check_data, summary, table, write_check
    from ProtoSegBrainLib.network.weights import BUNDLED, read_card

    if options.out is not None:
        check_folder(options.out)
    familiarity = read_card(options.model or BUNDLED).calibration.familiarity
    reference = familiarity.look if familiarity else None
    with progress_bar("Checking") as on_progress:
        cases = check_data(options.folder, reference, on_progress, reading_of(options))
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


# -- simulate ------------------------------------------------------------------------------------------------------


def add_simulate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder in which the case's folder is made")
    parser.add_argument("--seed", type=int, default=1, help="number that decides the case (default: 1)")
    what = "a whole head as a scanner gives it: with skull, four series on grids of their own, between which it moved"
    parser.add_argument("--raw", action="store_true", help=what)
    what = "also the same brain at a later date: its tumour about GROWTH times as large, the head laid otherwise"
    parser.add_argument("--later", type=float, metavar="GROWTH", help=what)
    parser.add_argument("--dicom", action="store_true", help="the raw head as DICOM series, not NIfTI files")


def simulate(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case

    check_folder(options.out)
    if options.raw or options.dicom:
        return _simulate_raw(options)
    if options.later is not None:
        return _simulate_two_dates(options)
    case = simulate_case(options.seed)
    folder = write_case(case, options.out)
    values = {"case_id": case.case_id, "folder": folder, "simulated": True}
    return Answer(values, f"Simulated case {case.case_id}, no patient, in {folder}")


def _simulate_two_dates(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.simulation.simulate import write_case
    from ProtoSegBrainLib.simulation.two_dates import TwoDatesConfig, simulate_two_dates

    dates = simulate_two_dates(options.seed, config=TwoDatesConfig(growth=options.later))
    folders = [write_case(case, options.out) for case in (dates.earlier, dates.later)]
    changes = ", ".join(f"{name} {one:.1f} to {other:.1f} ml" for name, (one, other) in dates.volumes_ml.items())
    lines = [f"Simulated case {dates.earlier.case_id}, no patient, at two dates in {folders[0]} and {folders[1]}"]
    values = {"case_id": dates.earlier.case_id, "folder": folders[0], "later": folders[1], "simulated": True}
    values |= {"volumes_ml": dates.volumes_ml, "motion": dates.motion.tolist()}
    return Answer(values, "\n".join([*lines, f"True change: {changes}"]))


def _simulate_raw(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.simulation.raw import describe_raw, simulate_raw, write_raw, write_raw_dicom

    with progress_bar("Simulating a head") as on_progress:
        study = simulate_raw(options.seed)
        on_progress(0.8, "Writing it")
        folder = (write_raw_dicom if options.dicom else write_raw)(study, options.out)
    described = describe_raw(study)
    lines = [f"Simulated raw study {study.case_id}, no patient, in {folder}"]
    for series in described:
        size, spacing = ("x".join(f"{n:g}" for n in series[key]) for key in ("size", "spacing_mm"))
        moved = f"moved by {series['moved_mm']:.1f} mm and {series['turned_degrees']:.1f}°"
        lines.append(
            f"  {series['modality']:<6} {size} voxels of {spacing} mm, {moved if series['moved_mm'] else 'in place'}"
        )
    lines.append(f"Label, brain and the true motions are in {folder / 'truth'}.")
    values = {"case_id": study.case_id, "folder": folder, "simulated": True, "raw": True, "series": described}
    return Answer(values, "\n".join(lines))
