"""One case: its files are there or not, whoever else writes, and what fails is said."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from results_folder import ENDINGS, assert_manifest_is_true, files, of, rows

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.result.prediction import Prediction
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


def test_a_writer_that_was_killed_is_cleared_away(data: Path, config: JobConfig, tmp_path: Path) -> None:
    """It had moved two of its five files; the third hidden folder is of a case that this run does not know."""
    segment_folder(data / "case_1", tmp_path, config)
    left = tmp_path / ".segmenting_case_1.abc_def"
    left.mkdir()
    for ending in ENDINGS[2:]:
        shutil.move(tmp_path / f"case_1{ending}", left)
    other = tmp_path / ".segmenting_case_1.b.abc"
    other.mkdir()
    assert segment_folder(data / "case_1", tmp_path, config).failed == {}
    assert files(tmp_path).keys() == of("case_1") | {other.name}
    assert_manifest_is_true(tmp_path)


def test_half_a_result_of_somebody_else_is_left_alone(data: Path, config: JobConfig, tmp_path: Path) -> None:
    (tmp_path / "case_1_seg.nii.gz").write_text("the expert's")
    summary = segment_folder(data / "case_1", tmp_path, config)
    assert "already holds results of case case_1 (case_1_seg.nii.gz)" in summary.failed["case_1"]
    assert (tmp_path / "case_1_seg.nii.gz").read_text() == "the expert's"


def test_labels_of_the_expert_are_never_replaced(broken: Path, config: JobConfig) -> None:
    label = broken / "case_1" / "case_1_seg.nii.gz"
    before = label.read_bytes()
    summary = segment_folder(broken / "case_1", broken / "case_1", replace(config, overwrite=True))
    assert "is a file of case case_1 itself" in summary.failed["case_1"]
    assert label.read_bytes() == before


def test_the_faster_of_two_writers_wins(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = module._write, {}

    def with_a_rival(config: JobConfig, case: Case, prediction: Prediction, folder: Path) -> None:
        write(config, case, prediction, folder)
        write(config, case, prediction, tmp_path)
        seen.update(files(tmp_path))

    monkeypatch.setattr(module, "_write", with_a_rival)
    assert segment_folder(data / "case_1", tmp_path, config).failed == {}
    assert {name: seen[name] for name in of("case_1")} == files(tmp_path)


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
