"""Models timed in turn, a process each."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_model import PEER, save_small_model

from ProtoSegBrainLib.evaluation.timing import time_models
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.simulation.simulate import write_case


def test_two_models_on_two_cases(a_case: Case, tmp_path: Path) -> None:
    case = write_case(a_case, tmp_path / "data")
    models = {"ours": save_small_model(tmp_path / "a.safetensors")}
    models["peer"] = save_small_model(tmp_path / "b.safetensors", config=PEER)
    told: list[str] = []
    times = time_models(models, [case, case], "cpu", 1, lambda _, message: told.append(message))
    assert told == ["Timing ours on cpu", "Timing peer on cpu"] * 3  # in turn, the warm-up first
    for measured in times.values():
        assert len(measured.seconds) == 2
        assert min(measured.seconds) > 0
        assert len(measured.processor_seconds) == 2
        assert min(measured.processor_seconds) > 0
        assert measured.device.startswith("cpu ")
        assert measured.peak_memory_mib is None or measured.peak_memory_mib > 50
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["data"]


def test_a_process_that_ends_early_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models = {"damaged": save_small_model(tmp_path / "a.safetensors")}
    models["damaged"].write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"Timing damaged: its process ended early \(exit code 1\)"):
        time_models(models, [tmp_path], "cpu", 1)
    assert "not a readable .safetensors file" in capfd.readouterr().err
    with pytest.raises(ValueError, match="at least one case"):
        time_models(models, [], "cpu", 1)
