from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_model import save_small_model

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.simulate import simulate_case, write_case
from ProtoSegBrainLib.images.volume import Volume, read_volume, write_volume
from ProtoSegBrainLib.result.prediction import Prediction, read_prediction
from ProtoSegBrainLib.segmentation import folder as module
from ProtoSegBrainLib.segmentation.folder import FolderConfig, Job, segment_folder
from ProtoSegBrainLib.segmentation.predict import PredictConfig

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("case_1", "case_2", "case_3")
ENDINGS = ("_seg.nii.gz", "_prob.nii.gz", "_sim.nii.gz", "_unc.nii.gz", "_prediction.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(NAMES):
        write_case(replace(simulate_case(seed, shape=(32, 32, 24)), case_id=name), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def config(model: Path) -> FolderConfig:
    return FolderConfig(model=model, report=False, predict=PredictConfig(device="cpu"))


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    """The three cases; T2 of the second is constant."""
    folder = tmp_path / "broken"
    shutil.copytree(data, folder)
    path = folder / "case_2" / "case_2_t2.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(np.ones_like(volume.array), volume.affine))
    return folder


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


def test_every_case_is_segmented_and_listed(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    summary = segment_folder(data, out, config)
    assert [(entry.case_id, entry.status) for entry in summary.entries] == [(name, "done") for name in NAMES]
    assert (summary.n_before, summary.failed) == (0, {})
    assert files(out).keys() == of(*NAMES)
    assert [*rows(out)] == [*NAMES]
    row = rows(out)["case_2"]
    assert (row["model"], row["labels"], row["tta"], row["device"][:3]) == ("small", "brats2020", "False", "cpu")
    assert float(row["seconds"]) > 0
    assert set(row["files"].split()) == of("case_2")
    assert_manifest_is_true(out)


def test_a_second_run_does_what_is_left(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    segment_folder(data, tmp_path, config)
    before, manifest = files(tmp_path), rows(tmp_path)
    assert segment_folder(data, tmp_path, config).n_before == 3
    assert files(tmp_path) == before
    assert rows(tmp_path) == manifest
    (tmp_path / "manifest.csv").unlink()
    for path in tmp_path.glob("case_2*"):
        path.unlink()
    summary = segment_folder(data, tmp_path, config)
    assert summary.n_before == 2
    changed = {name for name, written in files(tmp_path).items() if before[name] != written}
    assert changed == of("case_2")
    assert rows(tmp_path).keys() == manifest.keys()
    assert_manifest_is_true(tmp_path)


def test_results_made_otherwise_are_replaced_only_on_demand(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    data = data / "case_1"
    segment_folder(data, tmp_path, replace(config, report=True))
    before = files(tmp_path)
    assert before.keys() == of("case_1", endings=(*ENDINGS, "_report.html"))
    for other in (replace(config, labels="brats2023"), replace(config, predict=PredictConfig(device="cpu", tta=True))):
        summary = segment_folder(data, tmp_path, other)
        assert "already holds results of case case_1" in summary.failed["case_1"]
        assert files(tmp_path) == before
        assert {row["status"] for row in rows(tmp_path).values()} == {"failed"}
    summary = segment_folder(data, tmp_path, replace(config, labels="brats2023", overwrite=True))
    assert (summary.n_before, summary.failed) == (0, {})
    assert files(tmp_path).keys() == of("case_1"), "the old report does not belong to the new result"
    assert rows(tmp_path)["case_1"]["labels"] == "brats2023"
    assert segment_folder(data, tmp_path, replace(config, labels="brats2023", overwrite=True)).n_before == 1


def test_another_model_makes_another_result(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    segment_folder(data / "case_3", tmp_path / "out", config)
    save_small_model(tmp_path / "other.safetensors", seed=1)
    other = replace(config, model=tmp_path / "other.safetensors")
    assert segment_folder(data / "case_3", tmp_path / "out", other).failed.keys() == {"case_3"}
    assert segment_folder(data / "case_3", tmp_path / "out", replace(other, overwrite=True)).failed == {}
    assert rows(tmp_path / "out")["case_3"]["model"] == "other"


def test_a_case_that_fails_does_not_stop_the_rest(
    broken: Path, data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("segment-folder", "--cases", str(broken), "--out", str(tmp_path / "out"), "--model", str(model)),
        *("--no-report", "--device", "cpu", "--json"),
    ]
    assert main(arguments) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["cases"], answer["done"], answer["done_before"]) == (3, 2, 0)
    assert answer["failed"].keys() == {"case_2"}
    assert "case_2_t2.nii.gz is empty or constant" in answer["failed"]["case_2"]
    assert files(tmp_path / "out").keys() == of("case_1", "case_3")
    row = rows(tmp_path / "out")["case_2"]
    assert (row["status"], row["message"], row["WT_ml"], row["files"]) == ("failed", answer["failed"]["case_2"], "", "")

    shutil.copytree(data / "case_2", broken / "case_2", dirs_exist_ok=True)
    before = files(tmp_path / "out")
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["done"], answer["done_before"], answer["failed"]) == (3, 2, {})
    assert before.items() <= files(tmp_path / "out").items()
    assert_manifest_is_true(tmp_path / "out")


def test_rows_of_other_cases_stay(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    for name in ("case_3", "case_1"):
        segment_folder(data / name, tmp_path, config)
    assert [*rows(tmp_path)] == ["case_1", "case_3"]


def test_an_interruption_leaves_a_true_manifest(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module._write

    def interrupt(config: FolderConfig, case: Case, prediction: Prediction, folder: Path) -> None:
        write(config, case, prediction, folder)
        if case.case_id == "case_2":
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        segment_folder(data, tmp_path, config)
    assert [*rows(tmp_path)] == ["case_1"]
    assert files(tmp_path).keys() == of("case_1")
    assert_manifest_is_true(tmp_path)


def test_what_fails_while_it_is_written_leaves_nothing(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "write_report", fail)
    summary = segment_folder(data / "case_1", tmp_path, replace(config, report=True))
    assert summary.failed == {"case_1": "No space left on device"}
    assert files(tmp_path) == {}


def test_a_bug_names_its_kind(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "predict", lambda *_: {}["x"])
    assert segment_folder(data / "case_1", tmp_path, config).failed == {"case_1": "KeyError: 'x'"}


def test_a_writer_that_was_killed_is_cleared_away(data: Path, config: FolderConfig, tmp_path: Path) -> None:
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


def test_half_a_result_of_somebody_else_is_left_alone(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    (tmp_path / "case_1_seg.nii.gz").write_text("the expert's")
    summary = segment_folder(data / "case_1", tmp_path, config)
    assert "already holds results of case case_1 (case_1_seg.nii.gz)" in summary.failed["case_1"]
    assert (tmp_path / "case_1_seg.nii.gz").read_text() == "the expert's"


def test_labels_of_the_expert_are_never_replaced(broken: Path, config: FolderConfig) -> None:
    label = broken / "case_1" / "case_1_seg.nii.gz"
    before = label.read_bytes()
    summary = segment_folder(broken / "case_1", broken / "case_1", replace(config, overwrite=True))
    assert "is a file of case case_1 itself" in summary.failed["case_1"]
    assert label.read_bytes() == before


def test_the_faster_of_two_writers_wins(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = module._write, {}

    def with_a_rival(config: FolderConfig, case: Case, prediction: Prediction, folder: Path) -> None:
        write(config, case, prediction, folder)
        write(config, case, prediction, tmp_path)
        seen.update(files(tmp_path))

    monkeypatch.setattr(module, "_write", with_a_rival)
    assert segment_folder(data / "case_1", tmp_path, config).failed == {}
    assert {name: seen[name] for name in of("case_1")} == files(tmp_path)


def test_scenes_and_pictures_are_files_of_the_case(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(word: str) -> Callable[[Case, Prediction, Path], object]:
        return lambda case, prediction, path: path.write_text(f"{word} {case.case_id} {prediction.case_id}")

    saved = types.SimpleNamespace(writeScene=stand_in("scene"), drawScene=stand_in("picture"))
    monkeypatch.setitem(sys.modules, "ProtoSegBrainScene", types.ModuleType("ProtoSegBrainScene"))
    monkeypatch.setitem(sys.modules, "ProtoSegBrainScene.savedscene", saved)  # type: ignore[arg-type]
    segment_folder(data / "case_1", tmp_path, config)
    summary = segment_folder(data / "case_1", tmp_path, replace(config, mrb=True, screenshot=True, overwrite=True))
    assert (summary.n_before, summary.failed) == (0, {}), "it was done without them"
    assert (tmp_path / "case_1_scene.mrb").read_text() == "scene case_1 case_1"
    assert (tmp_path / "case_1_screenshot.png").read_text() == "picture case_1 case_1"
    assert rows(tmp_path)["case_1"]["files"].endswith("case_1_scene.mrb case_1_screenshot.png")


@pytest.mark.parametrize(
    ("missing", "changes", "arguments", "says"),
    [
        ("ProtoSegBrainScene.savedscene", {"mrb": True}, {}, r'pip install "protosegbrain\[slicer\]"'),
        ("distributed", {}, {"workers": 2}, r'pip install "protosegbrain\[cluster\]"'),
    ],
)
def test_what_is_not_installed_is_said_before_the_work(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    missing: str, changes: dict[str, Any], arguments: dict[str, Any], says: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, missing, None)  # type: ignore[arg-type]
    with pytest.raises(ImportError, match=says):
        segment_folder(data, tmp_path / "out", replace(config, **changes), **arguments)
    assert not (tmp_path / "out").exists()


def test_bad_requests_are_refused_before_the_work(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="no case found"):
        segment_folder(tmp_path, out, config)
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors not found"):
        segment_folder(data, out, replace(config, model=tmp_path / "none.safetensors"))
    with pytest.raises(ValueError, match="expected one of brats2020"):
        segment_folder(data, out, replace(config, labels="brats1999"))
    with pytest.raises(ValueError, match="at least one worker, got 0"):
        segment_folder(data, out, config, workers=0)
    with pytest.raises(ValueError, match="either workers"):
        segment_folder(data, out, config, workers=1, cluster="tcp://a:1")
    assert not out.exists()
    out.mkdir()
    (out / "manifest.csv").write_text("name,age\n")
    with pytest.raises(ValueError, match=r"manifest\.csv is not a manifest of this version"):
        segment_folder(data, out, config)


def test_a_worker_with_another_model_says_so(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    entry = module.segment_case(Job("case_1", data / "case_1", tmp_path, config, "another identity"))
    assert entry.status == "failed"
    assert "is not the one that was asked for" in entry.message


# -- several processes ---------------------------------------------------------------------------------------------


def dies_once(job: Job) -> module.Entry:
    """As ``segment_case``, in a worker that writes down what it puts in place; the first to write case_2 is killed."""
    log, write, put_in_place = job.out.parent / "log.txt", module._write, module._put_in_place

    def killed(config: FolderConfig, case: Case, prediction: Prediction, folder: Path) -> None:
        write(config, case, prediction, folder)
        if case.case_id == "case_2" and not log.with_name("killed").exists():
            log.with_name("killed").write_text(str(os.getpid()))
            (folder / "case_2_seg.nii.gz").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    def logged(job: Job, folder: Path) -> module.Entry:
        with log.open("a") as file:
            file.write(f"{job.case_id} {os.getpid()}\n")
        return put_in_place(job, folder)

    module._write, module._put_in_place = killed, logged
    try:
        return SEGMENT_CASE(job)
    finally:
        module._write, module._put_in_place = write, put_in_place


SEGMENT_CASE = module.segment_case


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_no_case_is_lost_or_written_twice_when_a_worker_is_killed(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(module, "segment_case", dies_once)
    summary = segment_folder(data, tmp_path / "out", config, workers=2)
    killed = (tmp_path / "killed").read_text()
    written = dict(line.split() for line in (tmp_path / "log.txt").read_text().splitlines())
    assert sorted((tmp_path / "log.txt").read_text().split()[::2]) == [*NAMES], "each was put in place once"
    assert written["case_2"] != killed
    assert str(os.getpid()) not in {killed, *written.values()}
    assert summary.failed == {}
    assert [entry.case_id for entry in summary.entries] == [*NAMES]
    assert files(tmp_path / "out").keys() == of(*NAMES)
    assert [*rows(tmp_path / "out")] == [*NAMES]
    assert_manifest_is_true(tmp_path / "out")


def test_a_cluster_is_found_by_its_address(broken: Path, config: FolderConfig, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        summary = segment_folder(broken, tmp_path / "out", config, cluster=local.scheduler_address)
        again = segment_folder(broken, tmp_path / "out", config, cluster=local.scheduler_address)
    assert summary.failed.keys() == again.failed.keys() == {"case_2"}
    assert again.n_before == 2
    assert files(tmp_path / "out").keys() == of("case_1", "case_3")


def fails(job: Job) -> module.Entry:
    raise ModuleNotFoundError("No module named\n'ProtoSegBrainLib'")


def test_cases_that_no_worker_can_do_are_failed_not_lost(
    data: Path, config: FolderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "segment_case", fails)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        summary = segment_folder(data, tmp_path / "out", config, cluster=local.scheduler_address)
    message = "The workers failed (ModuleNotFoundError): No module named 'ProtoSegBrainLib'"
    assert summary.failed == dict.fromkeys(NAMES, message)
    assert {name: row["message"] for name, row in rows(tmp_path / "out").items()} == summary.failed


def test_a_cluster_that_does_not_answer_is_bad_input(data: Path, config: FolderConfig, tmp_path: Path) -> None:
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ValueError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"),
    ):
        segment_folder(data, tmp_path / "out", config, cluster="tcp://127.0.0.1:9")


# -- the script for 3D Slicer --------------------------------------------------------------------------------------


def test_the_script_is_the_command(broken: Path, model: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        script = ROOT / "ProtoSegBrain" / "Scripts" / "segment_folder.py"
        command = [sys.executable, str(script), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("--cases", broken, "--out", "out", "--model", model, "--no-report", "--device", "cpu")
    assert done.returncode == 1
    assert "[2/3] case_2: failed:" in done.stderr
    assert "2 of 3 cases done" in done.stdout
    assert files(tmp_path / "out").keys() == of("case_1", "case_3")
    refused = run("--cases", broken, "--out", "out", "--workers=2")
    assert refused.returncode == 2
    assert "protosegbrain segment-folder" in refused.stderr
