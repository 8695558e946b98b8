"""Fixtures of general use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.simulation.simulate import simulate_case


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def a_case() -> Case:
    """A small simulated case of 52x52x52 voxels with all three tumour classes; share it, do not change it."""
    return simulate_case(3, shape=(52, 52, 52))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cases (PROTOSEGBRAIN_DATA, or beside the repository); without it the test is skipped."""
    folder = Path(os.environ.get("PROTOSEGBRAIN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real cases in {folder}")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For networks so small that threads only cost."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that a test saves, to be looked into."""
    figures: list[Figure] = []
    save = Figure.savefig

    def remember(figure: Figure, *args, **named) -> None:
        figures.append(figure)
        save(figure, *args, **named)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures
