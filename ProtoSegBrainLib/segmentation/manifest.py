"""``manifest.csv``: a row per case of a folder, what became of it and where its files are; needs no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.files import locked, write_whole
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.result.prediction import VOLUMES

MANIFEST = "manifest.csv"
LOCK, PATIENCE_S = f".{MANIFEST}.lock", 60.0
DONE, FAILED = "done", "failed"
BUSY = "busy"
"""Another run is at work on the case: to be asked for again; never in the manifest."""
UNLIKE = "unlike"
"""Whether the scan is unlike the training data, so that its result is probably poor: yes or no; empty if unknown."""
EXPECTED_DICE = {name: f"expected_dice_{name}" for name in REGIONS}
COLUMNS_BEFORE = (
    *("case_id", "status", "message", "seconds"),
    *(f"{name}_ml" for name in VOLUMES),
    *("model", "identity", "labels", "tta", "device", "files"),
)
"""Of manifests of older versions, whose rows leave the others empty."""
COLUMNS = (*COLUMNS_BEFORE[:-1], UNLIKE, *EXPECTED_DICE.values(), COLUMNS_BEFORE[-1])


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
    """A CSV file with a row per case, always whole; several runs may write it, and none loses a row of another.

    Args:
        path: Of the file; it need not exist.

    Raises:
        ValueError: The file is there and is no manifest of this version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _read_rows(path)

    def add(self, *entries: Entry, forget: Collection[str] = ()) -> None:
        """Write these cases' rows, in place of older ones, and remove the others of the cases to forget.

        Raises:
            BlockingIOError: Another run did not let go of the file for a minute.
        """
        with locked(self._path.with_name(LOCK), PATIENCE_S):
            rows = {case_id: row for case_id, row in _read_rows(self._path).items() if case_id not in forget}
            rows.update({entry.case_id: entry.row() for entry in entries})
            text = io.StringIO()
            # The usual quoting does not see a carriage return.
            has_returns = any("\r" in str(value) for row in rows.values() for value in row.values())
            named: dict[str, Any] = {"quoting": csv.QUOTE_ALL} if has_returns else {}
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", **named)
            writer.writeheader()
            writer.writerows(rows[case_id] for case_id in sorted(rows))
            write_whole(self._path, text.getvalue())


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) not in (COLUMNS, COLUMNS_BEFORE):
            raise ValueError(f"{path} is not a manifest of this version of ProtoSegBrain; move it to another place.")
        return {row["case_id"]: {name: row.get(name) or "" for name in COLUMNS} for row in reader}
