"""Every case of a folder: here, in several processes, on a cluster; and what is left after an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from results_folder import ENDINGS, NAMES, assert_manifest_is_true, files, of, rows
from small_model import save_small_model

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.writer import Writer
from ProtoSegBrainLib.segmentation import folder as module
from ProtoSegBrainLib.segmentation import job as job_module
from ProtoSegBrainLib.segmentation.folder import segment_folder
from ProtoSegBrainLib.segmentation.job import Job, JobConfig, segment_case
from ProtoSegBrainLib.segmentation.manifest import Entry
from ProtoSegBrainLib.segmentation.predict import PredictConfig

ROOT = Path(__file__).resolve().parents[2]


def test_every_case_is_segmented_and_listed(data: Path, config: JobConfig, tmp_path: Path) -> None:
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


def test_a_second_run_does_what_is_left(data: Path, config: JobConfig, tmp_path: Path) -> None:
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


def test_results_made_otherwise_are_replaced_only_on_demand(data: Path, config: JobConfig, tmp_path: Path) -> None:
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


def test_another_model_makes_another_result(data: Path, config: JobConfig, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("missing", "changes", "arguments", "says"),
    [
        ("ProtoSegBrainScene.savedscene", {"mrb": True}, {}, r'pip install "protosegbrain\[slicer\]"'),
        ("distributed", {}, {"workers": 2}, r'pip install "protosegbrain\[cluster\]"'),
    ],
)
def test_what_is_not_installed_is_said_before_the_work(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    missing: str, changes: dict[str, Any], arguments: dict[str, Any], says: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, missing, None)  # type: ignore[arg-type]
    with pytest.raises(ImportError, match=says):
        segment_folder(data, tmp_path / "out", replace(config, **changes), **arguments)
    assert not (tmp_path / "out").exists()


def test_bad_requests_are_refused_before_the_work(data: Path, config: JobConfig, tmp_path: Path) -> None:
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


def test_a_case_that_is_not_clear_is_a_failed_row(data: Path, config: JobConfig, tmp_path: Path) -> None:
    """Two files for a role, names that say nothing, one name twice."""
    cases = tmp_path / "cases"
    shutil.copytree(data, cases)
    twice = cases / "case_2"
    shutil.copy(twice / "case_2_flair.nii.gz", twice / "case_2_T2_FLAIR.nii.gz")
    for number, path in enumerate(sorted((cases / "case_3").iterdir())):
        path.rename(path.with_name(f"image{number}.nii.gz"))
    summary = segment_folder(cases, tmp_path / "out", config)
    assert set(summary.failed) == {"case_2", "case_3"}
    assert "case_2_T2_FLAIR.nii.gz" in summary.failed["case_2"]
    assert "image0.nii.gz" in summary.failed["case_3"]
    assert files(tmp_path / "out").keys() == of("case_1")
    assert {name: row["status"] for name, row in rows(tmp_path / "out").items()} == {
        "case_1": "done", "case_2": "failed", "case_3": "failed",
    }  # fmt: skip
    assert segment_folder(cases, tmp_path / "out", config).failed == summary.failed

    shutil.copytree(data / "case_1", cases / "copy")
    summary = segment_folder(cases, tmp_path / "out", config)
    assert (len(summary.entries), summary.n_failed) == (4, 4), "which of the two is case_1?"
    assert "copy" in summary.failed["case_1"]


def test_the_folder_of_the_images_takes_no_results(data: Path, config: JobConfig, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    shutil.copytree(data, cases)
    for out in (cases, cases / "case_1", cases / "case_1" / "out"):
        with pytest.raises(FileExistsError, match="the folder of the images"):
            segment_folder(cases, out, config)
    assert files(cases).keys() == set(NAMES)
    for n_before in (0, 3):  # a new one among the cases is none of them
        summary = segment_folder(cases, cases / "results", config)
        assert (len(summary.entries), summary.n_before, summary.failed) == (3, n_before, {})


# -- several runs --------------------------------------------------------------------------------------------------


def test_two_runs_share_the_work_and_agree(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, predict, together = [], job_module.predict, threading.Barrier(2)

    def logged(case: Case, *others: Any) -> Prediction:
        computed.append(case.case_id)
        if len(computed) <= 2:
            together.wait(60)
        return predict(case, *others)

    monkeypatch.setattr(job_module, "predict", logged)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: segment_folder(data, tmp_path, config), range(2))
    assert sorted(computed) == [*NAMES], "each once"
    assert [entry.row() for entry in first.entries] == [entry.row() for entry in second.entries]
    assert (first.failed, second.failed) == ({}, {})
    assert files(tmp_path).keys() == of(*NAMES)
    assert [*rows(tmp_path)] == [*NAMES]
    assert_manifest_is_true(tmp_path)


def test_a_case_of_a_run_that_dies_is_taken_over(data: Path, config: JobConfig, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as other:  # it dies before the pool waits for the rest
        other.enter_context(Writer("case_1", tmp_path))
        coming = pool.submit(segment_folder, data, tmp_path, config)
        until = time.monotonic() + 60
        while not of("case_2", "case_3") <= set(os.listdir(tmp_path)) and time.monotonic() < until:
            time.sleep(0.02)
        assert not coming.done()
        assert not of("case_1") & set(os.listdir(tmp_path))
        other.close()
        summary = coming.result()
    assert (summary.n_before, summary.failed) == (0, {})
    assert files(tmp_path).keys() == of(*NAMES)


# -- several processes ---------------------------------------------------------------------------------------------


def dies_once(job: Job) -> Entry:
    """As ``segment_case``, in a worker that writes down what it puts in place; the first to write case_2 is killed."""
    log, write = job.out.parent / "log.txt", job_module._write

    def logged(config: JobConfig, case: Case, prediction: Prediction, folder: Path) -> dict[str, Path]:
        made = write(config, case, prediction, folder)
        if case.case_id == "case_2" and not log.with_name("killed").exists():
            log.with_name("killed").write_text(str(os.getpid()))
            (folder / "case_2_seg.nii.gz").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        with log.open("a") as file:
            file.write(f"{job.case_id} {os.getpid()}\n")
        return made

    job_module._write = logged
    try:
        return segment_case(job)
    finally:
        job_module._write = write


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_no_case_is_lost_or_written_twice_when_a_worker_is_killed(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_cluster_is_found_by_its_address(broken: Path, config: JobConfig, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        summary = segment_folder(broken, tmp_path / "out", config, cluster=local.scheduler_address)
        again = segment_folder(broken, tmp_path / "out", config, cluster=local.scheduler_address)
    assert summary.failed.keys() == again.failed.keys() == {"case_2"}
    assert again.n_before == 2
    assert files(tmp_path / "out").keys() == of("case_1", "case_3")


def fails(job: Job) -> Entry:
    raise ModuleNotFoundError("No module named\n'ProtoSegBrainLib'")


def test_cases_that_no_worker_can_do_are_failed_not_lost(
    data: Path, config: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "segment_case", fails)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        summary = segment_folder(data, tmp_path / "out", config, cluster=local.scheduler_address)
    message = "The workers failed (ModuleNotFoundError): No module named 'ProtoSegBrainLib'"
    assert summary.failed == dict.fromkeys(NAMES, message)
    assert {name: row["message"] for name, row in rows(tmp_path / "out").items()} == summary.failed


def test_a_cluster_that_does_not_answer_is_bad_input(data: Path, config: JobConfig, tmp_path: Path) -> None:
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
