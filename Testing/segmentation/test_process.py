"""The process of a worker: how it starts, what is heard of it, how it ends, and that nothing outlives it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from stand_in_worker import ENVIRONMENT, NO_IMAGES, ROOT, is_last, is_running, until

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.segmentation import process as module
from ProtoSegBrainLib.segmentation.client import Worker
from ProtoSegBrainLib.segmentation.process import Failed, Progress

PARENT = """
import sys, time
import numpy as np
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.segmentation.client import Worker
worker = Worker()
worker.segment({role: Volume(np.eye(9)[None] * np.ones((9, 1, 1)), np.eye(4)) for role in ("t1n",)}, "a")
print(worker._process._popen.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("word", "message"),
    [
        (str(int(signal.SIGKILL)), "killed by the system .* memory runs out"),
        (str(int(signal.SIGSEGV)), r"crashed \(signal 11, SIGSEGV\)"),
        ("exit", r"\(exit code 1\): Something is missing\.$"),
    ],
)
def test_a_worker_that_dies_is_one_readable_failure_and_the_next_request_starts_another(
    worker: Worker, temporary: Path, word: str, message: str
) -> None:
    old = worker.wait_for_values(worker.segment(NO_IMAGES, "echo"))["pid"]
    number = worker.segment(NO_IMAGES, word)
    start = time.monotonic()
    *_, failed = until(is_last, worker)
    assert time.monotonic() - start < module.PATIENCE_S, "a child that holds the pipes must not hold up the news"
    assert isinstance(failed, Failed)
    assert (failed.request, failed.kind) == (number, "internal")
    assert re.search(message, failed.message), failed.message
    assert re.match(r"Exit code -?\d+\.\nBegan\.", failed.details)
    assert worker.poll() == []
    assert not worker.busy
    assert [*temporary.iterdir()] == []
    assert worker.wait_for_values(worker.segment(NO_IMAGES, "echo"))["pid"] != old


def test_cancel_ends_children_too_and_leaves_nothing(worker: Worker, temporary: Path) -> None:
    worker.segment({"t1c": Volume(np.zeros((2, 2, 2)), np.eye(4))}, "sleep")
    events = until(lambda event: isinstance(event, Progress) and event.fraction == 0.6, worker)
    assert [path.name for path in temporary.glob("*/*")] == ["volumes"]
    assert isinstance(events[-1], Progress)
    child = int(events[-1].message)
    assert is_running(child)
    start = time.monotonic()
    worker.cancel()
    assert time.monotonic() - start < 2
    assert not is_running(child)
    assert not worker.busy
    assert [*temporary.iterdir()] == []
    assert worker.poll() == []
    assert worker.wait_for_values(worker.check())["task"] == "check"


@pytest.mark.parametrize("code", ["pass", "print('[1]'); print('{}'); print('{\"event\": 1}')"])
def test_a_program_that_is_no_worker_is_not_started_again_and_again(temporary: Path, code: str) -> None:
    with Worker([sys.executable, "-c", code]) as worker:
        worker.segment(NO_IMAGES, "echo")
        *_, failed = until(is_last, worker)
        assert isinstance(failed, Failed)
        assert "without an answer (exit code 0)" in failed.message
        assert worker.poll() == []


def test_a_program_that_is_not_there_is_said_at_once(temporary: Path) -> None:
    worker = Worker(["no such program", "worker"])
    for ask in (worker.check, lambda: worker.segment(NO_IMAGES, "echo")):
        with pytest.raises(OSError, match=r"could not be started \(no such program worker\)"):
            ask()
    assert not worker.busy
    assert [*temporary.iterdir()] == []


def test_the_log_keeps_the_last_lines_and_strays(worker: Worker) -> None:
    worker.wait_for_values(worker.segment(NO_IMAGES, "chatter"))
    end = time.monotonic() + 10
    while len(worker.log) < module.KEPT_LINES and time.monotonic() < end:
        time.sleep(0.01)
    assert len(worker.log) == module.KEPT_LINES
    assert worker.log[-1] in ("line 599", "not an event")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux shows them")
def test_nothing_outlives_a_program_that_dies(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    assert any(tmp_path.iterdir())
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 20
    while (is_running(pid) or any(tmp_path.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(pid)
    assert [*tmp_path.iterdir()] == []
