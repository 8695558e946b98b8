"""One case: its files are there or not, whoever else writes, and what fails is said."""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from results_folder import ENDINGS, assert_manifest_is_true, files, of, rows

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.writer import Writer
from ProtoSegBrainLib.segmentation import job as module
from ProtoSegBrainLib.segmentation.folder import segment_folder
from ProtoSegBrainLib.segmentation.job import Job, JobConfig, segment_case


def test_what_fails_while_it_is_written_leaves_nothing(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "write_report", fail)
    summary = segment_folder(data / "case_1", tmp_path, replace(config, report=True))
    assert summary.failed == {"case_1": "No space left on device"}
    assert files(tmp_path) == {}


def test_a_bug_names_its_kind(data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "predict", lambda *_: {}["x"])
    assert segment_folder(data / "case_1", tmp_path, config).failed == {"case_1": "KeyError: 'x'"}


def test_a_writer_that_was_killed_is_finished_with(data: Path, config: JobConfig, tmp_path: Path) -> None:
    """It had moved two of its five files, and another one none."""
    segment_folder(data / "case_1", tmp_path, config)
    left = tmp_path / ".writing_case_1"
    left.mkdir()
    (left / "whole.json").write_text(json.dumps(ENDINGS))
    (tmp_path / ".writing_case_1.lock").touch()
    for ending in ENDINGS[2:]:
        shutil.move(tmp_path / f"case_1{ending}", left)
    half = tmp_path / ".writing_case_2"
    half.mkdir()
    (tmp_path / ".writing_case_2.lock").touch()
    (half / "case_2_seg.nii.gz").write_text("half")
    summary = segment_folder(data / "case_1", tmp_path, config)
    assert (summary.n_before, summary.failed) == (1, {}), "all its files were there"
    assert files(tmp_path).keys() == of("case_1")
    assert_manifest_is_true(tmp_path)


def test_a_disk_without_room_is_said_before_the_work(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(total=1e12, used=1e12, free=1e6))
    monkeypatch.setattr(module, "predict", lambda *_: pytest.fail("it was computed"))
    summary = segment_folder(data / "case_1", tmp_path, config)
    assert "has too little room: about 4 MB are needed, 1 MB are free" in summary.failed["case_1"]


def test_another_geometry_is_another_result(data: Path, config: JobConfig, tmp_path: Path) -> None:
    other = replace(config, reading=Reading(geometry="qform"))
    segment_folder(data / "case_1", tmp_path, config)
    assert "already holds results" in segment_folder(data / "case_1", tmp_path, other).failed["case_1"]
    assert segment_folder(data / "case_1", tmp_path, replace(other, overwrite=True)).failed == {}
    assert segment_folder(data / "case_1", tmp_path, other).n_before == 1


def test_half_a_result_of_somebody_else_is_left_alone(data: Path, config: JobConfig, tmp_path: Path) -> None:
    (tmp_path / "case_1_seg.nii.gz").write_text("the expert's")
    summary = segment_folder(data / "case_1", tmp_path, config)
    assert "already holds results of case case_1 (case_1_seg.nii.gz)" in summary.failed["case_1"]
    assert (tmp_path / "case_1_seg.nii.gz").read_text() == "the expert's"


def test_a_case_of_another_run_is_not_touched(data: Path, config: JobConfig, tmp_path: Path) -> None:
    job = Job("case_1", data / "case_1", tmp_path, config, "any")
    with Writer("case_1", tmp_path):
        before = files(tmp_path)
        entry = segment_case(job)
        assert entry.status == "busy"
        assert f"process {os.getpid()} on" in entry.message
        assert files(tmp_path) == before


def test_scenes_and_pictures_are_files_of_the_case(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(word: str) -> Callable[[Case, Prediction, Path], object]:
        return lambda case, prediction, path: path.write_text(f"{word} {case.case_id} {prediction.case_id}")

    saved = types.SimpleNamespace(writeScene=stand_in("scene"), drawScene=stand_in("picture"), canRender=lambda: True)
    monkeypatch.setitem(sys.modules, "ProtoSegBrainScene", types.ModuleType("ProtoSegBrainScene"))
    monkeypatch.setitem(sys.modules, "ProtoSegBrainScene.savedscene", saved)  # type: ignore[arg-type]
    segment_folder(data / "case_1", tmp_path, config)
    summary = segment_folder(data / "case_1", tmp_path, replace(config, mrb=True, screenshot=True, overwrite=True))
    assert (summary.n_before, summary.failed) == (0, {}), "it was done without them"
    assert (tmp_path / "case_1_scene.mrb").read_text() == "scene case_1 case_1"
    assert (tmp_path / "case_1_screenshot.png").read_text() == "picture case_1 case_1"
    assert rows(tmp_path)["case_1"]["files"].endswith("case_1_scene.mrb case_1_screenshot.png")


@pytest.mark.parametrize("error", [OSError("No OpenGL here"), RuntimeError("bad\n  window")])
def test_a_picture_that_cannot_be_drawn_is_a_warning_and_costs_nothing(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """When it is drawn, the files of the case are in place already; a second run does not segment again for it."""
    seen: dict[str, bytes] = {}

    def fail(*_: object) -> None:
        seen.update(files(tmp_path))
        raise error

    saved = types.SimpleNamespace(drawScene=fail, canRender=lambda: False, NO_OPENGL="there is no OpenGL.")
    monkeypatch.setitem(sys.modules, "ProtoSegBrainScene", types.ModuleType("ProtoSegBrainScene"))
    monkeypatch.setitem(sys.modules, "ProtoSegBrainScene.savedscene", saved)  # type: ignore[arg-type]
    pictured = replace(config, screenshot=True)
    assert segment_folder(data / "case_1", tmp_path, pictured).failed == {}
    row = rows(tmp_path)["case_1"]
    assert row["status"] == "done"
    assert row["message"].endswith(f"No picture was drawn: {' '.join(str(error).split())}")
    assert of("case_1") <= seen.keys()
    assert files(tmp_path).keys() == of("case_1")
    again = segment_folder(data / "case_1", tmp_path, pictured)
    assert (again.n_before, again.failed) == (1, {})
    assert rows(tmp_path)["case_1"]["message"].endswith("No picture was drawn: there is no OpenGL.")


def test_a_worker_with_another_model_says_so(data: Path, config: JobConfig, tmp_path: Path) -> None:
    entry = segment_case(Job("case_1", data / "case_1", tmp_path, config, "another identity"))
    assert entry.status == "failed"
    assert "is not the one that was asked for" in entry.message
