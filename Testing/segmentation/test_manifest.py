"""The manifest: what it says is true, whenever the run ends."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from results_folder import assert_manifest_is_true, files, of, rows

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation import job as module
from ProtoSegBrainLib.segmentation.folder import segment_folder
from ProtoSegBrainLib.segmentation.job import JobConfig
from ProtoSegBrainLib.segmentation.manifest import COLUMNS, COLUMNS_BEFORE, Entry, Manifest


def test_rows_of_other_cases_stay(data: Path, config: JobConfig, tmp_path: Path) -> None:
    for name in ("case_3", "case_1"):
        segment_folder(data / name, tmp_path, config)
    assert [*rows(tmp_path)] == ["case_1", "case_3"]


def test_several_runs_lose_no_row_of_each_other(tmp_path: Path) -> None:
    def run(name: str) -> None:
        manifest = Manifest(tmp_path / "manifest.csv")
        manifest.add(forget=[f"{name}{number}" for number in range(20)])
        for number in range(20):
            manifest.add(Entry(f"{name}{number}", "failed", "why", 0.5))

    Manifest(tmp_path / "manifest.csv").add(Entry("a3", "done", "before", 0.5), Entry("c", "done", "another's", 0.5))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, "ab"))
    found = rows(tmp_path)
    assert set(found) == {"c", *(f"{name}{number}" for name in "ab" for number in range(20))}
    assert found["a3"]["message"] == "why"
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


@pytest.mark.parametrize("text", ["Müller, Jörg", 'say "a"', "a\nb", "a\rb", "a;b", "M\udcfcller", "'", " x ", "脑"])
def test_any_text_comes_back(tmp_path: Path, text: str) -> None:
    manifest = Manifest(tmp_path / "manifest.csv")
    manifest.add(Entry(text, "done", text, 1.0, {"device": text}))
    manifest.add(Entry("another", "failed", "", 1.0))
    with (tmp_path / "manifest.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["case_id"] != "another")
    assert (row["case_id"], row["message"], row["device"]) == (text, text, text)


def test_a_manifest_that_a_spreadsheet_saved_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    Manifest(path).add(Entry("a", "done", "", 1.0))
    path.write_text(path.read_text(), encoding="utf-8-sig", newline="\r\n")
    Manifest(path).add(Entry("b", "done", "", 1.0))
    assert [*rows(tmp_path)] == ["a", "b"]


def test_an_interruption_leaves_a_true_manifest(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module._write

    def interrupt(config: JobConfig, case: Case, prediction: Prediction, folder: Path) -> dict[str, Path]:
        if case.case_id == "case_2":
            raise KeyboardInterrupt
        return write(config, case, prediction, folder)

    monkeypatch.setattr(module, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        segment_folder(data, tmp_path, config)
    assert [*rows(tmp_path)] == ["case_1"]
    assert files(tmp_path).keys() == of("case_1")
    assert_manifest_is_true(tmp_path)


def test_a_manifest_of_an_older_version_goes_on(data: Path, config: JobConfig, tmp_path: Path) -> None:
    older = ",".join("older" if name == "case_id" else "" for name in COLUMNS_BEFORE)
    (tmp_path / "manifest.csv").write_text(f"{','.join(COLUMNS_BEFORE)}\n{older}\n")
    segment_folder(data / "case_1", tmp_path, config)
    found = rows(tmp_path)
    assert [*found] == ["case_1", "older"]
    assert tuple(found["older"]) == COLUMNS
    assert found["older"]["unlike"] == "", "it was never asked"


def test_unlike_and_expected_dice_are_those_of_the_result(data: Path, config: JobConfig, tmp_path: Path) -> None:
    segment_folder(data / "case_1", tmp_path, config)
    assert rows(tmp_path)["case_1"]["unlike"] == "", "the small model does not know"
    path = tmp_path / "case_1_prediction.json"
    summary = json.loads(path.read_text())
    summary["out_of_distribution"]["flag"] = True
    summary["regions"]["TC"]["predicted_dice"] = 0.4
    path.write_text(json.dumps(summary))
    again = segment_folder(data / "case_1", tmp_path, config)
    row = rows(tmp_path)["case_1"]
    assert again.unlike == ["case_1"]
    assert (row["unlike"], row["expected_dice_TC"], row["expected_dice_ET"]) == ("yes", "0.4", "")
