"""``manifest.csv``: a row per case of a folder, what became of it and where its files are; needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.result.prediction import VOLUMES

MANIFEST = "manifest.csv"
DONE, FAILED = "done", "failed"
COLUMNS = (
    *("case_id", "status", "message", "seconds"),
    *(f"{name}_ml" for name in VOLUMES),
    *("model", "identity", "labels", "tta", "device", "files"),
)


@dataclass(frozen=True)
class Entry:
    """A line of the manifest; ``columns`` are those of a case that is done."""

    case_id: str
    status: str
    message: str
    seconds: float
    columns: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """By ``COLUMNS``."""
        return {**dict.fromkeys(COLUMNS, ""), **self.columns} | {
            "case_id": self.case_id,
            "status": self.status,
            "message": self.message,
            "seconds": round(self.seconds, 2),
        }


class Manifest:
    """A CSV file with a row per case, always whole.

    Args:
        path: Of the file; rows of other cases in it stay.
        case_ids: Of this run; their rows are only what ``add`` says.

    Raises:
        ValueError: The file is there and is no manifest of this version.
    """

    def __init__(self, path: Path, case_ids: Sequence[str]) -> None:
        self._path = path
        known = set(case_ids)
        self._rows = {case_id: row for case_id, row in _read_rows(path).items() if case_id not in known}

    def add(self, *entries: Entry) -> None:
        """Write these cases' rows, in place of older ones."""
        self._rows.update({entry.case_id: entry.row() for entry in entries})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[case_id] for case_id in sorted(self._rows))
        write_whole(self._path, text.getvalue())


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path} is not a manifest of this version of ProtoSegBrain; move it to another place.")
        return {row["case_id"]: row for row in reader}
