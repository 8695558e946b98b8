"""Draw the extension's screenshots from the simulated case: ``python Resources/draw_screenshots.py``.

Needs ``pip install ".[slicer]"`` and OpenGL, but no display and no 3D Slicer.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import slicer
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "ProtoSegBrain")]

from ProtoSegBrainScene.context import contextForCore  # noqa: E402
from ProtoSegBrainScene.heatmap import showPrototype, strongestSpot  # noqa: E402
from ProtoSegBrainScene.layout import VIEWS  # noqa: E402
from ProtoSegBrainScene.offscreen import SliceView, ThreeDView  # noqa: E402
from ProtoSegBrainScene.rendering import paintSurface, showVolumeRendering  # noqa: E402
from ProtoSegBrainScene.savedscene import (  # noqa: E402
    OPACITY,
    PANEL,
    THRESHOLD,
    Framing,
    LoadedCase,
    composed,
    loadCase,
    placeToLook,
)
from ProtoSegBrainScene.segmentation import show3D  # noqa: E402
from ProtoSegBrainScene.tables import PrototypeRow, prototypeRows  # noqa: E402

from ProtoSegBrainLib.images.simulate import simulate_case  # noqa: E402
from ProtoSegBrainLib.labels import CLASSES, MODALITY_NAMES  # noqa: E402
from ProtoSegBrainLib.result.prediction import Prediction  # noqa: E402
from ProtoSegBrainLib.segmentation.predict import predict  # noqa: E402

SEED = 1
OUT = ROOT / "Resources" / "Screenshots"


def main() -> None:
    """Segment the simulated case and draw what the module shows of it."""
    case = simulate_case(SEED)
    prediction = predict(case)
    context = contextForCore(slicer.vtkMRMLScene())
    slices = {role: SliceView(context, name, "Axial", PANEL, PANEL) for role, name in VIEWS.items()}
    solid = ThreeDView(context, "1", PANEL, PANEL)
    loaded = loadCase(context, case, prediction)
    for role, view in slices.items():
        view.composite.SetBackgroundVolumeID(loaded.inputs[role].GetID())
        Framing.of(prediction).show(view, placeToLook(prediction))
    rows = leading_rows(prediction)
    OUT.mkdir(exist_ok=True)
    save("segmentation", {MODALITY_NAMES[role]: view.pixels() for role, view in slices.items()}, prediction, columns=2)
    save("prototypes", prototype_maps(loaded, prediction, slices["t2f"], rows), prediction, columns=3)
    save("solid", solid_views(loaded, prediction, solid, rows[0]), prediction, columns=3)


def leading_rows(prediction: Prediction) -> list[PrototypeRow]:
    """Of each tumour class the prototype with the largest share of the evidence, the largest first."""
    rows = prototypeRows(prediction)
    return [next(row for row in rows if row.className == name) for name in CLASSES[:0:-1]]


def prototype_maps(
    loaded: LoadedCase, prediction: Prediction, view: SliceView, rows: list[PrototypeRow]
) -> dict[str, np.ndarray]:
    """Each prototype's map on FLAIR, at its strongest spot, by caption."""
    panels = {}
    for row in rows:
        showPrototype(
            loaded.context,
            loaded.nodes,
            prediction,
            row.index,
            loaded.inputs["t2f"],
            [view.composite],
            THRESHOLD,
            OPACITY,
        )
        Framing.of(prediction).show(view, strongestSpot(prediction, row.index))
        panels[f"Prototype {row.index}: {row.name.split(': ')[-1]}"] = view.pixels()
    return panels


def solid_views(
    loaded: LoadedCase, prediction: Prediction, view: ThreeDView, row: PrototypeRow
) -> dict[str, np.ndarray]:
    """Segments, painted surface and cloud, by caption."""
    show3D(loaded.context, loaded.nodes, True)
    view.look((1.0, 0.6, 0.4), 1.3)
    panels = {"Segments: NCR red, ED green, ET blue": view.pixels()}
    paintSurface(loaded.context, loaded.nodes, prediction, True)
    panels[f"Tumour surface, similarity to prototype {row.index}"] = view.pixels()
    paintSurface(loaded.context, loaded.nodes, prediction, False)
    show3D(loaded.context, loaded.nodes, False)
    showVolumeRendering(loaded.context, loaded.nodes, True)
    panels[f"Cloud of similarity to prototype {row.index}"] = view.pixels()
    return panels


def save(name: str, panels: Mapping[str, np.ndarray], prediction: Prediction, columns: int) -> None:
    """Write a picture of some parts."""
    Image.fromarray(composed(panels, prediction, columns)).save(OUT / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
