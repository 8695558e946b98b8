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


def simulate(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case

    check_folder(options.out)
    case = simulate_case(options.seed)
    folder = write_case(case, options.out)
    values = {"case_id": case.case_id, "folder": folder, "simulated": True}
    return Answer(values, f"Simulated case {case.case_id}, no patient, in {folder}")
