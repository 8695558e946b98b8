"""The manifest: what it says is true, whenever the run ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_folder import assert_manifest_is_true, files, of, rows

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation import job as module
from ProtoSegBrainLib.segmentation.folder import segment_folder
from ProtoSegBrainLib.segmentation.job import JobConfig


def test_rows_of_other_cases_stay(data: Path, config: JobConfig, tmp_path: Path) -> None:
    for name in ("case_3", "case_1"):
        segment_folder(data / name, tmp_path, config)
    assert [*rows(tmp_path)] == ["case_1", "case_3"]


def test_an_interruption_leaves_a_true_manifest(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module._write

    def interrupt(config: JobConfig, case: Case, prediction: Prediction, folder: Path) -> None:
        write(config, case, prediction, folder)
        if case.case_id == "case_2":
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        segment_folder(data, tmp_path, config)
    assert [*rows(tmp_path)] == ["case_1"]
    assert files(tmp_path).keys() == of("case_1")
    assert_manifest_is_true(tmp_path)
