"""The command that lists what a folder of DICOM holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ProtoSegBrainLib.commands.console import Answer, progress_bar
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, SHORT_NAMES, listed

if TYPE_CHECKING:
    from ProtoSegBrainLib.dicom.examination import Examination
    from ProtoSegBrainLib.dicom.series import Series

COLUMNS = ("number", "description", "what it is", "size", "spacing (mm)", "contrast", "date")
MOST_WIDE = 44


def add_series_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of DICOM files, in any depth")
    what = "only this study: its number in the list, its date (2025-01-31), or its UID or an end of that"
    parser.add_argument("--study", metavar="STUDY", help=what)


def series(options: argparse.Namespace) -> Answer:
    from ProtoSegBrainLib.dicom.examination import chosen, examinations
    from ProtoSegBrainLib.dicom.study import ignored_said, read_series

    with progress_bar("Reading headers") as on_progress:
        folder = read_series(options.folder, on_progress)
    found = examinations(folder)
    if options.study is not None:
        found = [chosen(options.folder, found, options.study)[0]]
    values = [_values(each) for each in found]
    parts = [_text(each, of["series"], _below(each, of)) for each, of in zip(found, values, strict=True)]
    text = "\n\n".join([*parts, *ignored_said(folder)])
    return Answer({"folder": options.folder, "studies": values, "ignored": folder.ignored}, text)


def _values(examination: Examination) -> dict[str, Any]:
    from ProtoSegBrainLib.dicom.pick import pick
    from ProtoSegBrainLib.dicom.study import case_id_of

    taken, remarks, problem = {}, [], ""
    try:
        picked = pick(examination)
        taken, remarks = {id(each): role for role, each in picked.series.items()}, list(picked.remarks)
    except (ValueError, FileNotFoundError) as error:
        problem = str(error)
    return {
        "number": examination.number,
        "study": examination.study,
        "case_id": case_id_of(examination),
        "date": examination.date,
        "series": [_row(each, id(each) in taken) for each in examination.series],
        "remarks": remarks,
        "problem": problem,
    }


def _below(examination: Examination, values: dict[str, Any]) -> list[str]:
    """What is said under a table."""
    lacking = [role for role in MODALITIES if role not in examination.roles]
    if lacking:
        names = listed([MODALITY_NAMES[role] for role in lacking])
        flags = " ".join(f"--{SHORT_NAMES[role]} SERIES" for role in lacking)
        return [f"No series for {names}; where one of them is meant after all, name it with {flags}."]
    taken = "* would be taken. Others are taken with --t1ce SERIES, --flair SERIES and so on."
    return [*values["remarks"], values["problem"] or taken]


def _row(series: Series, is_taken: bool) -> dict[str, Any]:
    from ProtoSegBrainLib.dicom.stack import fault_of

    return {
        "number": series.number,
        "uid": series.uid,
        "description": series.description + (f" ({series.part})" if series.part else ""),
        "role": series.role.role,
        "reason": series.role.reason,
        "fault": fault_of(series) if series.role.role else "",
        "taken": is_taken,
        "size": series.size,
        "spacing_mm": [round(mm, 3) for mm in series.spacing_mm],
        "contrast": series.has_contrast,
        "date": series.date,
    }


def _text(examination: Examination, rows: Sequence[dict[str, Any]], below: Sequence[str]) -> str:
    from ProtoSegBrainLib.dicom.examination import dashed

    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(COLUMNS))]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    head = f"Study {examination.number}, {dashed(examination.date) or 'no date'}, UID {examination.study}:"
    return "\n".join([head, *(line.rstrip() for line in lines), *below])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from ProtoSegBrainLib.dicom.examination import dashed

    what = MODALITY_NAMES[row["role"]] if row["role"] else row["reason"]
    what += " *" if row["taken"] else ", faulty" if row["fault"] else ""
    return (
        str(row["number"]),
        _cut(row["description"]),
        _cut(what),
        "x".join(map(str, row["size"])),
        " x ".join(f"{mm:.3g}" for mm in row["spacing_mm"]),
        "yes" if row["contrast"] else "no",
        dashed(row["date"]),
    )


def _cut(text: str) -> str:
    return text if len(text) <= MOST_WIDE else f"{text[: MOST_WIDE - 3]}..."
