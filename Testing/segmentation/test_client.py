from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.segmentation import client as module
from ProtoSegBrainLib.segmentation.client import Done, Event, Failed, Progress, Worker

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NO_IMAGES: dict[str, Volume] = {}
STAND_IN = """
import json, os, subprocess, sys, time

def say(event, **values):
    print(json.dumps({"id": request["id"], "event": event, **values}), flush=True)

print("Began.", file=sys.stderr, flush=True)
for line in sys.stdin:
    request = json.loads(line)
    word = request.get("case_id", "echo")
    say("progress", fraction=0.5, message=f"Doing {word}")
    if word in ("echo", "last"):
        say("done", values={"pid": os.getpid(), **request})
    if word == "last":
        break
    if word == "chatter":
        print("not an event", flush=True)
        sys.stderr.writelines(f"line {n}\\n" for n in range(600))
        say("done", values={})
    if word == "refuse":
        say("failed", kind="input", message="T2 is constant.", details="...")
    if word == "break":
        say("failed", kind="internal", message="KeyError: 1", details="Traceback")
    if word == "lose the result":
        say("done", folder=request["folder"])
    if word == "sleep":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say("progress", fraction=0.6, message=str(child.pid))
        time.sleep(600)
    if word == "exit":
        sys.exit("Something is missing.")
    if word.isdigit():
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # holds the pipes
        os.kill(os.getpid(), int(word))
"""


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


def until(wanted: Callable[[Event], bool], worker: Worker) -> list[Event]:
    """Poll until an event is as wanted; all events so far."""
    events: list[Event] = []
    end = time.monotonic() + 30
    while not any(map(wanted, events)):
        assert time.monotonic() < end, f"got {events}, log {worker.log}"
        events += worker.poll()
        time.sleep(0.01)
    return events


def is_last(event: Event) -> bool:
    return not isinstance(event, Progress)


def is_running(pid: int) -> bool:
    """Zombies do not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_start_serves_many_requests_in_their_order(worker: Worker) -> None:
    assert not worker.busy
    numbers = [worker.segment(NO_IMAGES, "echo", device="cpu", tta=True), worker.check()]
    assert worker.busy
    first, second = (worker.wait_for_values(number) for number in numbers)
    assert not worker.busy
    assert first["pid"] == second["pid"]
    assert (first["task"], first["device"], first["tta"], first["model"]) == ("segment", "cpu", True, None)
    assert second["task"] == "check"
    assert worker.log == ("Began.",)


def test_events_of_other_requests_are_kept_while_one_waits(worker: Worker) -> None:
    first, second = worker.check(), worker.check()
    worker.wait_for_values(second)
    events = worker.poll()
    assert [type(event) for event in events] == [Progress, Done]
    assert {event.request for event in events} == {first}
    with pytest.raises(ValueError, match=f"no request {first} to wait for"):
        worker.wait(first)


def test_a_path_of_a_model_is_made_whole(worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert worker.wait_for_values(worker.check(model="a.safetensors"))["model"] == str(tmp_path / "a.safetensors")


def test_polling_does_not_wait(worker: Worker) -> None:
    worker.segment(NO_IMAGES, "sleep")
    until(lambda event: isinstance(event, Progress) and event.fraction == 0.6, worker)
    start = time.perf_counter()
    assert [worker.poll() for _ in range(20)] == [[]] * 20
    assert time.perf_counter() - start < 0.2
    assert worker.busy


def test_failures_are_errors_of_their_kind_for_scripts(worker: Worker) -> None:
    seen: list[tuple[float, str]] = []
    with pytest.raises(ValueError, match=r"^T2 is constant\.$"):
        worker.wait(worker.segment(NO_IMAGES, "refuse"), lambda *values: seen.append(values))
    assert seen == [(0.5, "Doing refuse")]
    with pytest.raises(RuntimeError, match=r"KeyError: 1\nTraceback"):
        worker.wait(worker.segment(NO_IMAGES, "break"))
    with pytest.raises(RuntimeError, match="result could not be read"):
        worker.wait(worker.segment(NO_IMAGES, "lose the result"))
    with pytest.raises(TypeError, match="did not ask for a segmentation"):
        worker.wait(worker.check())


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


def test_a_request_that_an_idle_worker_missed_goes_to_the_next(worker: Worker) -> None:
    first, second = worker.segment(NO_IMAGES, "last"), worker.segment(NO_IMAGES, "echo")
    assert worker.wait_for_values(first)["pid"] != worker.wait_for_values(second)["pid"]


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


def test_a_full_disk_leaves_nothing(worker: Worker, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(volumes: object, folder: Path) -> None:
        folder.mkdir()
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "send_volumes", fail)
        with pytest.raises(OSError, match="No space"):
            worker.segment(NO_IMAGES, "echo")
    assert not worker.busy
    assert [*temporary.iterdir()] == []
    assert worker.wait_for_values(worker.segment(NO_IMAGES, "echo"))["case_id"] == "echo"


def test_the_log_keeps_the_last_lines_and_strays(worker: Worker) -> None:
    worker.wait_for_values(worker.segment(NO_IMAGES, "chatter"))
    end = time.monotonic() + 10
    while len(worker.log) < module.KEPT_LINES and time.monotonic() < end:
        time.sleep(0.01)
    assert len(worker.log) == module.KEPT_LINES
    assert worker.log[-1] in ("line 599", "not an event")


def test_the_real_worker_segments_twice_and_is_cancelled(a_case: Case, temporary: Path) -> None:
    volumes = {role: Volume(image, a_case.affine) for role, image in zip(MODALITIES, a_case.images, strict=True)}
    with Worker(environment=ENVIRONMENT) as worker:
        first = worker.wait(worker.segment(volumes, "a", device="cpu"))
        process = worker._process
        second = worker.wait(worker.segment(volumes, "b", device="cpu"))
        assert worker._process is process
        assert (first.case_id, second.case_id) == ("a", "b")
        assert first.label.shape == a_case.images.shape[1:]
        np.testing.assert_array_equal(first.label, second.label)
        np.testing.assert_array_equal(first.affine, a_case.affine)
        assert [*temporary.iterdir()] == []
        with pytest.raises(ValueError, match="T1ce is empty or constant"):
            worker.wait(worker.segment(volumes | {"t1c": Volume(np.zeros((9, 9, 9)), np.eye(4))}, "c"))
        worker.segment(volumes, "d", device="cpu")
        until(lambda event: isinstance(event, Progress) and "network" in event.message, worker)
        worker.cancel()
        assert [*temporary.iterdir()] == []


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
