"""The process that runs the network: Slicer's own Python, which finds the library where Slicer does."""

import os
import shutil
from pathlib import Path

import ProtoSegBrainLib
from ProtoSegBrainLib.segmentation.client import Worker


def makeWorker(command):
    """A worker that a command starts, with the first request."""
    folder = str(Path(ProtoSegBrainLib.__file__).parents[1])
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    return Worker(command, {**os.environ, "PYTHONPATH": path})


def workerCommand():
    """What starts the worker."""
    python = shutil.which("PythonSlicer")
    if python is None:
        raise FileNotFoundError("PythonSlicer was not found on the path of Slicer; install Slicer again.")
    return [python, "-m", ProtoSegBrainLib.__name__, "worker"]
