"""Fixtures for runs over a folder and for workers."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results_folder import NAMES
from small_model import save_small_model
from stand_in_worker import STAND_IN

from ProtoSegBrainLib.images.formats import read_volume, write_volume
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.segmentation.client import Worker
from ProtoSegBrainLib.segmentation.job import JobConfig
from ProtoSegBrainLib.segmentation.predict import PredictConfig
from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(NAMES):
        write_case(replace(simulate_case(seed, shape=(52, 52, 52)), case_id=name), folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def config(model: Path) -> JobConfig:
    return JobConfig(model=model, report=False, predict=PredictConfig(device="cpu"))


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    """The three cases; T2 of the second is constant."""
    folder = tmp_path / "broken"
    shutil.copytree(data, folder)
    path = folder / "case_2" / "case_2_t2.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(np.ones_like(volume.array), volume.affine))
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def worker(temporary: Path) -> Iterator[Worker]:
    """A worker that takes its orders from the case's name."""
    with Worker([sys.executable, "-u", "-c", STAND_IN]) as worker:
        yield worker
    assert [*temporary.iterdir()] == []
