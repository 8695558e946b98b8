"""What lies in a folder of results: its files, and what its manifest says of them."""

from __future__ import annotations

import csv
from pathlib import Path

from ProtoSegBrainLib.result.prediction_files import read_prediction

NAMES = ("case_1", "case_2", "case_3")
ENDINGS = ("_seg.nii.gz", "_prob.nii.gz", "_sim.nii.gz", "_unc.nii.gz", "_prediction.json")


def rows(out: Path) -> dict[str, dict[str, str]]:
    """The manifest by case."""
    with (out / "manifest.csv").open(newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def files(out: Path) -> dict[str, int]:
    """All files and folders, the hidden ones, too; and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "manifest.csv"}


def of(*names: str, endings: tuple[str, ...] = ENDINGS) -> set[str]:
    return {f"{name}{ending}" for name in names for ending in endings}


def assert_manifest_is_true(out: Path) -> None:
    """A row says done where the files are whole, and what they say."""
    for case_id, row in rows(out).items():
        assert row["status"] == "done"
        prediction = read_prediction(out, case_id)
        assert {name: float(row[f"{name}_ml"]) for name in prediction.volumes_ml} == prediction.volumes_ml
        assert row["identity"] == prediction.model["identity"]
        assert all((out / name).is_file() for name in row["files"].split())
