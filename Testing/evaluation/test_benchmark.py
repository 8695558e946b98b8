"""Networks compared: the stages, on tiny networks."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.evaluation.benchmark import train_networks, write_configs
from ProtoSegBrainLib.evaluation.plan import BenchmarkConfig, Plan, held_out, trained
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.simulation.simulate import write_case
from ProtoSegBrainLib.training.configuration import load_config

TINY = """
model: {widths: [4, 8], blocks: [1, 1], norm: group, aspp_rates: [1], aspp_channels: 4, embedding_channels: 4,
  prototypes_per_class: [%s]}
learning_rate: 0.01
ema_decay: 0.5
"""
PEER = "model: {architecture: neuroseg, channels: [4, 8]}\noptimiser: adam\n"
CASES = ("case_a", "case_b", "case_c", "case_d")


@pytest.fixture
def plan(a_case: Case, tmp_path: Path) -> Plan:
    """Four cases in two folds and two tiny networks, ours and a peer."""
    label = np.zeros_like(a_case.label)
    for name, edge in ((2, 18), (3, 12), (1, 6)):  # thick enough for patches of one class
        label[tuple(slice((n - edge) // 2, (n + edge) // 2) for n in label.shape)] = name
    for case_id in CASES:
        write_case(replace(a_case, case_id=case_id, label=label), tmp_path / "data")
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [CASES[:2], CASES[2:]]}))
    (tmp_path / "tiny.yaml").write_text(TINY % "1, 1, 1, 1")
    (tmp_path / "peer.yaml").write_text(PEER)
    networks = str(tmp_path / "tiny.yaml"), str(tmp_path / "peer.yaml")
    config = BenchmarkConfig(minutes=0.02, patch_size=16, device="cpu", parallel=2, timed_cases=1)
    return Plan(tmp_path / "data", tmp_path / "splits.json", tmp_path / "out", networks, ("0",), config)


def as_arguments(plan: Plan) -> list[str]:
    places = ["--data", plan.data, "--splits", plan.splits, "--out", plan.out, "--networks", *plan.networks]
    config = ["--minutes", plan.config.minutes, "--patch-size", plan.config.patch_size, "--device", "cpu"]
    limits = ["--parallel", plan.config.parallel, "--timed-cases", plan.config.timed_cases]
    return [str(argument) for argument in ("benchmark", "--json", *places, *config, *limits)]


def test_from_training_to_the_table(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(as_arguments(plan)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["failed"] == {}
    page = (plan.out / "BENCHMARK.md").read_text()
    for name in ("tiny", "peer"):
        summary = json.loads((plan.out / name / "fold_0" / "summary.json").read_text())
        assert summary["patches"] > 0
        assert f"| `{name}` | {summary['parameters']:,} | " in page
        scored = list(csv.DictReader((plan.out / name / "scores.csv").open()))
        assert [row["case_id"] for row in scored] == ["case_a", "case_b"]
    times = json.loads((plan.out / "times.json").read_text())["cpu"]
    assert times["cases"] == ["case_a"]
    for measured in times["networks"].values():
        assert len(measured["seconds"]) == 1
        assert 0 < measured["seconds"][0] < 60
        assert measured["peak_memory_mib"] > 50

    # A second run finds all of it done, and only times anew.
    before = {path: path.stat().st_mtime_ns for path in plan.out.rglob("*_prediction.json")}
    assert main([*as_arguments(plan), "--stages", "train", "predict", "report"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(before) == 4


def test_all_networks_train_alike_but_for_what_is_their_own(plan: Plan) -> None:
    write_configs(plan)
    ours, peer = (load_config(plan.out / name / "config.yaml") for name in ("tiny", "peer"))
    default = load_config("default")
    for config in (ours, peer):
        assert config.sampling == replace(default.sampling, patch_size=16)
        assert config.augmentation == default.augmentation
        assert (config.minutes, config.batch_size, config.accumulation, config.seed) == (0.02, 2, 1, 0)
        assert not config.portraits  # minutes, and no score needs them
    assert (ours.optimiser, peer.optimiser) == ("muon", "adam")
    assert ours.learning_rate == 0.01


def test_bad_plans_are_refused_before_anything_is_written(plan: Plan) -> None:
    odd = replace(plan, config=replace(plan.config, patch_size=17))
    with pytest.raises(ValueError, match=r"tiny\.yaml: patch_size: expected a multiple of 4"):
        train_networks(odd)
    with pytest.raises(ValueError, match="nonesuch"):
        train_networks(replace(plan, networks=("nonesuch",)))
    with pytest.raises(ValueError, match="--fold: expected 0 to 1"):
        train_networks(replace(plan, folds=("7",)))
    with pytest.raises(ValueError, match="--networks: expected different names, got a a"):
        replace(plan, networks=("a", "elsewhere/a.yaml"))
    with pytest.raises(ValueError, match="parallel: expected at least 1"):
        BenchmarkConfig(parallel=0)
    with pytest.raises(FileNotFoundError, match="do the stage train first"):
        trained(plan)
    assert not plan.out.exists()


def test_a_run_that_fails_is_told_and_the_others_go_on(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    (plan.out / "tiny" / "fold_0").mkdir(parents=True)
    (plan.out / "tiny" / "fold_0" / "checkpoint.json").write_text("{}")  # nothing that one could resume from
    assert main([*as_arguments(plan), "--stages", "train"]) == 1
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert list(failed) == ["tiny, fold 0"]
    assert "exit code 1: protosegbrain: Unexpected error (KeyError" in failed["tiny, fold 0"]
    assert [run.network for run in trained(plan)] == ["peer"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for processes")
def test_a_benchmark_that_is_stopped_leaves_no_training_behind(plan: Plan) -> None:
    """Killed as a scheduler does it: politely, and the benchmark alone."""
    slow = [*as_arguments(replace(plan, config=replace(plan.config, minutes=5))), "--stages", "train"]
    with subprocess.Popen([sys.executable, "-m", "ProtoSegBrainLib", *slow], stdout=subprocess.DEVNULL) as process:
        logs = [plan.out / name / "fold_0" / "config.yaml" for name in ("tiny", "peer")]
        wait_until(lambda: process.poll() is not None or all(log.is_file() for log in logs))
        trainings = children_of(process.pid)
        assert len(trainings) == 2
        process.terminate()
    assert process.returncode == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in trainings)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):  # two trainings start, in a fresh environment on a cold disk
        if condition():
            return
        time.sleep(0.2)
    raise TimeoutError("It has not come about in five minutes.")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_held_out_cases_must_be_there(plan: Plan) -> None:
    assert list(held_out(plan, "1")) == ["case_c", "case_d"]
    plan.splits.write_text(json.dumps({"folds": [["case_a", "case_z"], ["case_b"]]}))
    with pytest.raises(FileNotFoundError, match=r"lacks cases of fold 0: case_z\."):
        held_out(plan, "0")
