"""The panel in a window, with a worker that says what a test lets it say, and a result small enough for a pencil."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for
from slicer_stand_ins import QtWidgets, qMRMLWidget, running_slicer, slicer

from ProtoSegBrainLib.correction.embedding import Embedding
from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.evidence import Evidence, Prototype
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.process import Done, Event

OWNERS = ("background", "NCR", "ED", "ET", "ET")
CENTRES = {1: (5, 5, 4), 2: (5, 4, 4), 3: (6, 5, 4), 4: (4, 6, 3)}
"""Voxel of the prototypes' grid that each is like."""
OBLIQUE = np.array([[0.0, -2.8, 0.4, 20.0], [2.2, 0.0, 0.0, -30.0], [0.0, 0.3, 4.2, 5.0], [0, 0, 0, 1]])
PATIENCE_S = 60.0


class QuietWorker:
    """Has the methods of ``segmentation.client.Worker``; answers with what a test puts into ``events``."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.events: list[Event] = []
        self.log: tuple[str, ...] = ("Loading torch.",)
        self.cancelled = 0
        self.closed = 0

    def segment(self, volumes: Mapping[str, Volume], case_id: str, **settings: Any) -> int:
        return self._ask(volumes=dict(volumes), case_id=case_id, **settings)

    def embed(self, volumes: Mapping[str, Volume], case_id: str, **settings: Any) -> int:
        return self._ask(task="embed", volumes=dict(volumes), case_id=case_id, **settings)

    def check(self, *, model: Any = None) -> int:
        return self._ask(model=model)

    def poll(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def cancel(self) -> None:
        self.cancelled += 1
        self.events = []

    def close(self) -> None:
        self.closed += 1

    def _ask(self, **values: Any) -> int:
        self.asked.append(values)
        return len(self.asked)


@dataclass
class OpenPanel:
    """The panel and what a test does with it."""

    module: Any
    widget: Any
    window: Any
    worker: QuietWorker

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def logic(self) -> Any:
        return self.widget.logic

    @property
    def inputs(self) -> Any:
        return self.widget.panel.inputs

    @property
    def parameters(self) -> Any:
        return self.widget.panel.parameters

    @property
    def result(self) -> Any:
        return self.widget.panel.result

    def click(self, name: str) -> None:
        getattr(self.ui, name).click()

    def text(self, name: str) -> str:
        return str(getattr(self.ui, name).text())

    def answer(self, *events: Event) -> None:
        """Let the worker say this and wait until the panel has heard it."""
        self.worker.events += events
        self.wait(lambda: not self.worker.events)

    def wait(self, until: Callable[[], bool]) -> None:
        """Let the window work until something is so."""
        end = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end, "the panel did not do what was waited for"
            QtWidgets.QApplication.processEvents()

    def segment(self, prediction: Prediction | None = None) -> Any:
        """Inputs, a click on Segment, an answer; the result that is shown."""
        if not any(self.inputs.nodes().values()):
            self.inputs.choose(add_inputs())
        self.click("segmentButton")
        self.answer(Done(len(self.worker.asked), prediction or a_prediction()))
        self.rest()
        return self.result

    def rest(self) -> None:
        """Let the window do what it left for later."""
        self.wait(lambda: not self.widget.panel.idle.isBusy)

    def choose(self, prototype: int) -> None:
        """Click on the name of a prototype."""
        self.ui.prototypesTable.setCurrentCell(self.row_of(prototype), 2)

    def row_of(self, prototype: int) -> int:
        return [row.index for row in self.widget.panel.prototypes._rows].index(prototype)

    def tick(self, prototype: int, on: bool) -> None:
        """Click into the box of a prototype."""
        from PySide6.QtCore import Qt

        item = self.ui.prototypesTable.item(self.row_of(prototype), 0)
        item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def nodes(self) -> set[str]:
        """Ids of all nodes, but those that Slicer makes for itself."""
        scene = slicer.mrmlScene
        every = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        return {node.GetID() for node in every if node.GetClassName() != "vtkMRMLScriptedModuleNode"}


@contextmanager
def open_panel(patch: pytest.MonkeyPatch, *, entered: bool = True) -> Iterator[OpenPanel]:
    """The panel in an application with an empty scene, all packages there."""
    with running_slicer(patch) as module:
        window = qMRMLWidget()
        QtWidgets.QVBoxLayout(window)
        widget = module.ProtoSegBrainWidget(window)
        widget.setup()
        widget.logic._worker = worker = QuietWorker()
        patch.setattr("ProtoSegBrainPanel.installation.missingPackages", list)
        if entered:
            widget.enter()
        window.resize(520, 1750)
        window.show()
        worker.events.clear()
        panel = OpenPanel(module, widget, window, worker)
        if entered:
            panel.answer(Done(1, values=ENVIRONMENT))  # the panel has asked what there is to compute with
            worker.asked.clear()
        yield panel
        widget.cleanup()
        window.close()
        window.deleteLater()
        QtWidgets.QApplication.processEvents()


def add_inputs(prefix: str = "by hand ") -> dict[str, Any]:
    """Four volume nodes on an oblique grid of anisotropic voxels, by modality."""
    from ProtoSegBrainScene.grid import addVolume

    random = np.random.default_rng(0)
    images = random.random((4, 24, 20, 16), np.float32) + 1
    return {
        role: addVolume(
            slicer.mrmlScene, "vtkMRMLScalarVolumeNode", prefix + MODALITY_NAMES[role], Volume(image, OBLIQUE)
        )
        for role, image in zip(MODALITIES, images, strict=True)
    }


def crosshair_at(*ras: float) -> None:
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*ras)


def foregrounds() -> set[str | None]:
    """Ids of the volumes that lie over others in the slice views."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", slicer.mrmlScene)
    return {composite.GetForegroundVolumeID() for composite in composites}


def a_prediction() -> Prediction:
    """NCR, ED and ET around their centres in background, on the grid of ``add_inputs``."""
    grid = np.stack(np.meshgrid(*map(np.arange, (12, 10, 8)), indexing="ij"), axis=-1)
    maps = np.full((len(OWNERS), 12, 10, 8), 0.0, np.float32)
    maps[0] = 1.2
    for index, centre in CENTRES.items():
        distance = np.linalg.norm(grid - np.array(centre), axis=-1)
        maps[index] = np.maximum(3.5 - distance * (0.9 if index == 2 else 1.4), 0)
    evidence = _with_records(evidence_for(OWNERS, weight=1.5, bias=0.25))
    prediction = prediction_for(maps, evidence, OBLIQUE)
    return replace(prediction, findings=findings(prediction) | MEASURED, warnings=("T2 was resampled.",))


def an_embedding(prediction: Prediction) -> Embedding:
    """Of the images of ``a_prediction``: places are as alike as their similarities to its prototypes are."""
    vectors = prediction.similarities + 0.05
    vectors = vectors / np.linalg.norm(vectors, axis=0)
    return Embedding(prediction.case_id, vectors, prediction.similarity_affine, prediction.model["identity"])


TURN = np.array([[0.8, -0.6, 0, 4.0], [0.6, 0.8, 0, -3.0], [0, 0, 1, 2.0], [0, 0, 0, 1]])
"""By which T2 and FLAIR of a raw study were moved."""


def a_prepared_prediction() -> Prediction:
    """The same of a raw study: T1 was left where it was, and the brain was found."""
    motions = {"t1n": np.eye(4), "t2w": TURN, "t2f": TURN}
    moves = {role: Move(motion, 5.0, 36.9, 1.0, 0.5) for role, motion in motions.items()}
    done = Preparation("with skull, on four grids", moves, "a network", 1300.0)
    return replace(a_prediction(), preparation=done.to_dict())


def places_of(images: Mapping[str, Any]) -> np.ndarray:
    """(n, 4, 4) voxel -> world RAS mm of volume nodes, by modality in order."""
    from ProtoSegBrainScene.grid import worldAffineOf

    return np.array([worldAffineOf(images[role]) for role in MODALITIES])


def assert_moved(images: Mapping[str, Any], places: np.ndarray) -> None:
    """T2 and FLAIR, and only they, lie where they were moved to from those places."""
    moved = np.array([TURN if role in ("t2w", "t2f") else np.eye(4) for role in MODALITIES])
    np.testing.assert_allclose(places_of(images), moved @ places, atol=1e-9)


def _with_records(evidence: Evidence) -> Evidence:
    looks = {"background": 0.0, "NCR": -1.0, "ED": 1.2, "ET": 2.7}
    records = tuple(
        Prototype(
            index=index,
            class_name=owner,
            case_id=f"case_{index}",
            position_mm=(1.0, 2.0, 3.0),
            patch_size_mm=2.0,
            profile={"t1n": 0.1, "t1c": looks[owner], "t2w": 0.2, "t2f": 0.9},
            projection_distance=0.1,
            similarity_quantiles=(0.0, 1.0, 2.0, 3.0, 4.0),
            purity=0.9,
        )
        for index, owner in enumerate(OWNERS)
    )
    return replace(evidence, prototypes=records)


def _region(volume: float) -> dict[str, Any]:
    return {
        "volume_ml": volume,
        "interval_ml": [round(volume / 2, 2), 2 * volume],
        "coverage": 0.9,
        "predicted_dice": 0.85,
        "foci": 1,
    }


ENVIRONMENT = {
    "python": "3.12.10",
    "platform": "Linux",
    "packages": {"torch": "2.13.0", "nibabel": None},
    "torch": {"version": "2.13.0", "build": "CUDA 12.8", "threads": 8},
    "devices": [
        {"name": "cuda:0", "description": "A GPU", "memory_gb": 24.0, "free_gb": 20.5},
        {"name": "cpu", "description": "x86_64, 8 cores", "memory_gb": None, "free_gb": None},
    ],
    "model": {"name": "protosegbrain-2", "identity": "52fe2b57", "path": "default.safetensors"},
    "problems": [],
}
MEASURED: dict[str, Any] = {
    "regions": {"WT": _region(3.0), "TC": _region(1.5), "ET": _region(0.9)},
    "out_of_distribution": {"flag": False, "score": 0.4, "sentence": "The scan is like those learned from."},
}
