"""Time the panel of the 3D Slicer module as a user waits for it: real worker, real MRML, real Qt, no Slicer.

    python benchmarks/panel.py --case DIR [--runs 3] [--picture FILE.png]

Uses the stand-ins of the tests (``pip install ".[test]"``). First a cold start: the click on Segment starts the worker.
The slices are not drawn, so what drawing takes in Slicer comes on top.
"""

# ruff: noqa: E402 - the folders come first

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "ProtoSegBrain"), str(ROOT / "Testing")]

import numpy as np
import pytest
from open_panel import OpenPanel
from slicer_stand_ins import QtWidgets, qMRMLWidget, running_slicer

LONGEST_S = 300.0
PROTOTYPES = 5
POINTS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, required=True, help="folder of one case")
    parser.add_argument("--runs", type=int, default=3, help="segmentations with the warm worker")
    parser.add_argument("--picture", type=Path, help="write a picture of the panel")
    options = parser.parse_args()
    patch = pytest.MonkeyPatch()
    with running_slicer(patch) as module:
        panel = open_with_real_worker(module, patch)
        try:
            measure(panel, options)
        finally:
            panel.widget.cleanup()
            panel.window.close()
    sys.stdout.flush()
    os._exit(0)  # Qt and VTK, both gone from Python, quarrel over who cleans up


def open_with_real_worker(module: Any, patch: pytest.MonkeyPatch) -> OpenPanel:
    """The panel in a window; its worker is this Python's."""
    window = qMRMLWidget()
    QtWidgets.QVBoxLayout(window)
    command = [sys.executable, "-m", "ProtoSegBrainLib", "worker"]
    patch.setattr(module.ProtoSegBrainLogic, "workerCommand", lambda _logic: command)
    widget = module.ProtoSegBrainWidget(window)
    widget.setup()
    patch.setattr("ProtoSegBrainPanel.installation.missingPackages", list)
    window.resize(520, 1500)
    window.show()
    return OpenPanel(module, widget, window, None)


def measure(panel: OpenPanel, options: argparse.Namespace) -> None:
    """Do what a user does and say how long each step took."""
    ui = panel.ui
    panel.inputs.choose(panel.logic.loadFolder(options.case))
    say("first Segment to overlay, worker not running", [segment(panel)])
    say("further Segment to overlay", [segment(panel) for _ in range(options.runs)])
    say("and its surfaces, maps and tables, when idle", [timed(panel.rest)])
    panel.widget.enter()
    say("choose a prototype", [timed(panel.choose, number_of(panel, row)) for row in range(PROTOTYPES)])
    say("turn a prototype off", [timed(panel.tick, number_of(panel, row), False) for row in range(PROTOTYPES)])
    if not ui.showThreeDCheckBox.isChecked():
        ui.showThreeDCheckBox.click()
    say("the same with 3D shown (Undo)", [timed(panel.click, "undoButton") for _ in range(PROTOTYPES - 1)])
    panel.click("resetButton")
    panel.rest()
    places = tumour_places(panel, POINTS + 1)
    say("first point to overlay, the images read again", [point(panel, places[0])])
    say("further point to overlay", [point(panel, place) for place in places[1:]])
    if options.picture:
        panel.window.grab().save(str(options.picture))


def segment(panel: OpenPanel) -> float:
    """Seconds from the click to the result in the scene; as in Slicer, nothing is done between two looks."""
    earlier, start = panel.result, time.perf_counter()
    panel.click("segmentButton")
    while panel.widget.panel.requests.isSegmenting or panel.result in (None, earlier):
        if time.perf_counter() - start > LONGEST_S or panel.ui.messageFrame.property("visible"):
            raise SystemExit(f"No result: {panel.text('messageLabel')}")
        QtWidgets.QApplication.processEvents()
        time.sleep(0.01)
    return time.perf_counter() - start


def tumour_places(panel: OpenPanel, count: int) -> list[tuple[float, ...]]:
    """Some places in the tumour, RAS mm."""
    prediction = panel.result.original
    voxels = np.argwhere(prediction.label)
    some = voxels[np.linspace(0, len(voxels) - 1, count + 2).astype(int)[1:-1]]
    return [tuple(prediction.affine[:3, :3] @ voxel + prediction.affine[:3, 3]) for voxel in some]


def point(panel: OpenPanel, place: tuple[float, ...]) -> float:
    """Seconds from a click that says "no tumour" to the corrected result in the scene."""
    from ProtoSegBrainScene.points import pointNode

    node = pointNode(panel.result.nodes.segmentation, "background")
    panel.widget.panel.refresh()
    count, start = len(panel.result.whole.evidence.taught), time.perf_counter()
    node.AddControlPointWorld(place)
    while len(panel.result.whole.evidence.taught) == count:
        if time.perf_counter() - start > LONGEST_S or panel.ui.messageFrame.property("visible"):
            raise SystemExit(f"Not corrected: {panel.text('messageLabel')}")
        QtWidgets.QApplication.processEvents()
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    panel.rest()
    return seconds


def number_of(panel: OpenPanel, row: int) -> int:
    return int(panel.widget.panel.prototypes._rows[row].index)


def timed(action: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    action(*arguments)
    QtWidgets.QApplication.processEvents()
    return time.perf_counter() - start


def say(what: str, seconds: list[float]) -> None:
    print(f"{what:48s} median {statistics.median(seconds):6.3f} s, longest {max(seconds):6.3f} s, n = {len(seconds)}")


if __name__ == "__main__":
    main()
