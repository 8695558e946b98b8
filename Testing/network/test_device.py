"""Which device, and how much memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from ProtoSegBrainLib.network.device import Attempt, first_that_fits, peak_memory_mib, plan

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_gpu_steps_down_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    attempts = plan("auto", "float32", None)
    cuda = torch.device("cuda")
    assert attempts[:3] == [
        Attempt(cuda, torch.float32, None),
        Attempt(cuda, torch.float16, None),
        Attempt(cuda, torch.float16, 64),
    ]
    assert [(a.device.type, a.tile) for a in attempts[3:]] == [("cpu", None), ("cpu", 64)]


def test_the_peak_memory_is_this_process_own_not_that_of_the_one_that_started_it():
    large = np.ones(2**27)  # 1 GiB
    code = "from ProtoSegBrainLib.network.device import peak_memory_mib; print(peak_memory_mib('cpu'))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < int(answer.stdout) < 1000
    assert peak_memory_mib("cpu") > 1024 * len(large) / 2**27


def test_what_does_not_fit_is_tried_smaller_and_said():
    cpu = torch.device("cpu")
    attempts = [Attempt(cpu, torch.float32, None), Attempt(cpu, torch.float32, 64)]

    def run(attempt):
        if attempt.tile is None:
            raise MemoryError
        return "done"

    output, attempt, said = first_that_fits(attempts, run, "case_1")
    assert (output, attempt) == ("done", attempts[1])
    assert len(said) == 1
    assert said[0].startswith("Out of memory on")
    with pytest.raises(MemoryError, match="Case case_1: out of memory"):
        first_that_fits(attempts[:1], run, "case_1")
    with pytest.raises(ValueError, match="No attempt"):
        first_that_fits([], run, "case_1")


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def run(_attempt):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        first_that_fits(plan("cpu", "float32", None), run, "case_1")
