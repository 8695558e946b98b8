"""A worker that takes its orders from the name of the case, and ways to watch it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.segmentation.client import Worker
from ProtoSegBrainLib.segmentation.process import Event, Progress

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""In which Python finds the library from every folder."""
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
