"""Freed memory is kept; in processes of their own, as it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ProtoSegBrainLib.segmentation import memory

ROOT = Path(__file__).resolve().parents[2]
KEPT = """
import numpy, sys
from ProtoSegBrainLib.segmentation.memory import keep_freed_memory

def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if "keep" in sys.argv and not keep_freed_memory():
    sys.exit("no glibc")
before = resident_mib()
array = numpy.ones(200 * 2**17)
del array
print(resident_mib() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the switch is glibc's")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_stays_with_the_process_that_asked_for_it(keep):
    command = [sys.executable, "-c", KEPT, *["keep"] * keep]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("another C library")
    assert done.returncode == 0, done.stderr
    assert (float(done.stdout) > 190) == keep


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert memory.keep_freed_memory() is False
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert memory.keep_freed_memory() is False
