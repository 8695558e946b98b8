"""Networks against each other: the same folds, budget, sampling and augmentation for all, scored on held-out cases.

Training and prediction do what is not yet there, so that a benchmark can be stopped, gone on with, and extended by
networks and folds.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ProtoSegBrainLib.evaluation.evaluate import evaluate
from ProtoSegBrainLib.evaluation.plan import (
    CONFIG_NAME,
    PREDICTIONS,
    SCORES_NAME,
    TIMES_NAME,
    BenchmarkConfig,
    Plan,
    Run,
    held_out,
    trained,
)
from ProtoSegBrainLib.evaluation.report import write_report
from ProtoSegBrainLib.evaluation.timing import child_environment, time_models
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    from ProtoSegBrainLib.segmentation.job import Job
    from ProtoSegBrainLib.training.recipe import TrainConfig

logger = logging.getLogger(__name__)

POLL_S = 0.2


def run_benchmark(
    plan: Plan, stages: Collection[str], report: Path, on_progress: Progress | None = None
) -> tuple[list[Path], dict[str, str]]:
    """Do the stages in the order of ``STAGES``; returns the files of the report and what failed, and why.

    A run or a case that failed does not stop the rest; the report says what is missing.
    """
    failed: dict[str, str] = {}
    if "train" in stages:
        failed |= train_networks(plan, on_progress)
    if "predict" in stages:
        failed |= predict_held_out(plan, on_progress)
    if "time" in stages:
        time_networks(plan, on_progress)
    return write_report(plan, report) if "report" in stages else [], failed


# -- training ------------------------------------------------------------------------------------------------------


def train_networks(plan: Plan, on_progress: Progress | None = None) -> dict[str, str]:
    """Train what is not trained yet, each run in a process of its own; returns why runs failed, by name.

    Raises:
        FileNotFoundError: Data, splits or a configuration are not there.
        ValueError: A configuration does not fit the common patch size, or is no configuration.
    """
    from ProtoSegBrainLib.training.train import read_split

    for fold in plan.folds:
        read_split(plan.splits, fold)
    write_configs(plan)
    waiting = [run for run in plan.runs if not run.is_trained]
    total = len(waiting)
    running: dict[Run, subprocess.Popen[bytes]] = {}
    failed: dict[str, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < plan.config.parallel:
                run = waiting.pop(0)
                running[run] = _start(plan, run)
            time.sleep(POLL_S)
            for run in [run for run, process in running.items() if process.poll() is not None]:
                if reason := _why_failed(run, running.pop(run).returncode):
                    failed[run.name] = reason
                    logger.warning("%s failed: %s", run.name, reason)
                if on_progress:
                    done = total - len(waiting) - len(running)
                    on_progress(done / total, f"Trained {run.name}" if not reason else f"{run.name} failed")
    finally:
        for process in running.values():  # none trains on for a benchmark that was stopped
            process.terminate()
            process.wait()
    return failed


def _why_failed(run: Run, code: int) -> str:
    """Why a training ended with this exit code; "" if it did not fail."""
    return f"exit code {code}: {_last_line(run.messages)} (see {run.messages})" if code else ""


def write_configs(plan: Plan) -> None:
    """Each network's own configuration with what is common put in; all are read before the first is written."""
    from ProtoSegBrainLib.training.configuration import load_config, to_yaml

    default = load_config("default")
    texts = {}
    for name, network in zip(plan.names, plan.networks, strict=True):
        own = load_config(network)
        try:
            texts[name] = to_yaml(_with_common(own, default, plan.config))
        except ValueError as error:
            raise ValueError(f"Network {network}: {error}") from error
    for name, text in texts.items():
        _write(plan.out / name / CONFIG_NAME, text)


def _with_common(own: TrainConfig, default: TrainConfig, config: BenchmarkConfig) -> TrainConfig:
    from ProtoSegBrainLib.network.peers import PeerConfig

    model = own.model
    if isinstance(model, PeerConfig) and model.window:  # it must meet windows of the size that it was trained on
        model = replace(model, window=config.patch_size)
    return replace(
        own,
        model=model,
        learning_rate=max(own.learning_rate, config.least_rate),
        validations=5,
        validation_patches=2,
        scored_cases=1,
        portraits=False,
        sampling=replace(default.sampling, patch_size=config.patch_size),
        augmentation=default.augmentation,
        batch_size=config.batch_size,
        accumulation=1,
        minutes=config.minutes,
        seed=config.seed,
        device=config.device,
    )


def _start(plan: Plan, run: Run) -> subprocess.Popen[bytes]:
    """Begin to train in a process of its own, from the run's last checkpoint where there is one."""
    resumes = (run.folder / "checkpoint.json").is_file()
    if not resumes:
        (run.folder / "log.jsonl").unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    cache = plan.config.cache or plan.out / "prepared"
    command = [sys.executable, "-m", "ProtoSegBrainLib", "train", "--network", run.home / CONFIG_NAME]
    command += ["--data", plan.data, "--splits", plan.splits, "--fold", run.fold, "--out", run.folder]
    command += ["--cache", cache, "--name", f"{run.network}-fold-{run.fold}", *["--resume"] * resumes]
    for flag, value in (("--labels", plan.reading.labels), ("--geometry", plan.reading.geometry)):
        command += [flag, value] if value else []
    run.folder.mkdir(parents=True, exist_ok=True)
    with run.messages.open("wb") as file:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=child_environment(max(1, (os.cpu_count() or 1) // plan.config.parallel)),
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


# -- predicting, scoring, timing -----------------------------------------------------------------------------------


def predict_held_out(plan: Plan, on_progress: Progress | None = None) -> dict[str, str]:
    """Segment the held-out cases of each trained run, as `segment-folder` does, and score them; returns what failed.

    The models are as `train` left them: nobody chose temperatures or minimum volumes for them.

    Raises:
        FileNotFoundError: No run is trained, or a case is not there.
    """
    from ProtoSegBrainLib.segmentation.job import segment_case
    from ProtoSegBrainLib.segmentation.manifest import FAILED

    jobs = [(run, job) for run in trained(plan) for job in _jobs(plan, run)]
    failed: dict[str, str] = {}
    for number, (run, job) in enumerate(jobs, start=1):
        entry = segment_case(job)
        if entry.status == FAILED:
            failed[f"{run.name}, case {job.case_id}"] = entry.message
            logger.warning("%s, case %s failed: %s", run.name, job.case_id, entry.message)
        if on_progress:
            on_progress(number / len(jobs), f"Predicting {run.network}: {job.case_id}")
    for home in dict.fromkeys(run.home for run, _ in jobs):
        if any((home / PREDICTIONS).iterdir()):
            scores = evaluate(plan.data, home / PREDICTIONS, home / SCORES_NAME, reading=plan.reading)
            failed |= {f"{home.name}, scoring {case_id}": reason for case_id, reason in scores.failed.items()}
    return failed


def _jobs(plan: Plan, run: Run) -> list[Job]:
    from ProtoSegBrainLib.network.weights import read_card
    from ProtoSegBrainLib.segmentation.job import Job, JobConfig

    out, identity = (run.home / PREDICTIONS).absolute(), read_card(run.model).identity
    config = JobConfig(model=run.model.absolute(), overwrite=True, report=False)
    out.mkdir(exist_ok=True)
    return [Job(case_id, case, out, config, identity) for case_id, case in held_out(plan, run.fold).items()]


def time_networks(plan: Plan, on_progress: Progress | None = None) -> None:
    """Time the networks on held-out cases of the first fold that has trained runs: on the CPU, and a GPU if any.

    Raises:
        FileNotFoundError: No run is trained, or a case is not there.
    """
    import torch

    runs = trained(plan)
    models = {run.network: run.model for run in runs if run.fold == runs[0].fold}
    cases = list(held_out(plan, runs[0].fold).items())[: plan.config.timed_cases]
    threads = os.cpu_count() or 1
    path = plan.out / TIMES_NAME
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    for device in devices:
        times = time_models(models, [case.place for _, case in cases], device, threads, on_progress)
        about = {
            "machine": torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {threads} cores",
            "date": date.today().isoformat(),
            "cases": [case_id for case_id, _ in cases],
        }
        known = json.loads(path.read_text()) if path.is_file() else {}
        known[device] = {**about, "networks": {name: asdict(each) for name, each in times.items()}}
        _write(path, json.dumps(known, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
