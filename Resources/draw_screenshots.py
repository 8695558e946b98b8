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

from ProtoSegBrainScene.comparison import VIEWS as COMPARED  # noqa: E402
from ProtoSegBrainScene.comparison import compare, showSideBySide  # noqa: E402
from ProtoSegBrainScene.context import contextForCore  # noqa: E402
from ProtoSegBrainScene.grid import addVolume  # noqa: E402
from ProtoSegBrainScene.heatmap import showPrototype, strongestSpot  # noqa: E402
from ProtoSegBrainScene.layout import VIEWS, assignVolumes  # noqa: E402
from ProtoSegBrainScene.legends import showClassLegend  # noqa: E402
from ProtoSegBrainScene.offscreen import SliceView, ThreeDView  # noqa: E402
from ProtoSegBrainScene.rendering import paintSurface, showBrain, showVolumeRendering  # noqa: E402
from ProtoSegBrainScene.results import Results  # noqa: E402
from ProtoSegBrainScene.savedscene import (  # noqa: E402
    OPACITY,
    PANEL,
    THRESHOLD,
    Framing,
    LoadedCase,
    composed,
    loadCase,
)
from ProtoSegBrainScene.segmentation import hideRegions, show3D, showRegions  # noqa: E402
from ProtoSegBrainScene.sight import ROOM_IN_SQUARE, frameTumour  # noqa: E402
from ProtoSegBrainScene.tables import PrototypeRow, prototypeRows  # noqa: E402

from ProtoSegBrainLib.images.volume import Volume  # noqa: E402
from ProtoSegBrainLib.labels import CLASSES, MODALITIES, MODALITY_NAMES  # noqa: E402
from ProtoSegBrainLib.result.prediction import Prediction  # noqa: E402
from ProtoSegBrainLib.segmentation.predict import predict  # noqa: E402
from ProtoSegBrainLib.simulation.simulate import simulate_case  # noqa: E402
from ProtoSegBrainLib.simulation.two_dates import TwoDatesConfig, simulate_two_dates  # noqa: E402

SEED = 1
GROWTH = 1.6
"""Of the tumour until the later date."""
OUT = ROOT / "Resources" / "Screenshots"


def main() -> None:
    """Segment the simulated case and draw what the module shows of it."""
    case = simulate_case(SEED)
    prediction = predict(case)
    context = contextForCore(slicer.vtkMRMLScene())
    slices = {role: SliceView(context, name, "Axial", PANEL, PANEL) for role, name in VIEWS.items()}
    solid = ThreeDView(context, "1", PANEL, PANEL)
    loaded = loadCase(context, case, prediction)
    assignVolumes(context.scene, loaded.inputs)
    for view in slices.values():
        Framing.of(prediction).show(view)
    frameTumour(context.scene.GetSingletonNode("1", "vtkMRMLCameraNode"), prediction, ROOM_IN_SQUARE)
    rows = leading_rows(prediction)
    OUT.mkdir(exist_ok=True)
    save("segmentation", first_look(loaded, prediction, slices, solid), prediction, columns=3)
    save("prototypes", prototype_maps(loaded, prediction, slices["t2f"], rows), prediction, columns=3)
    save("solid", solid_views(loaded, prediction, solid, rows[0]), prediction, columns=3)
    save("comparison", two_dates(), prediction, columns=2)


def first_look(
    loaded: LoadedCase, prediction: Prediction, slices: Mapping[str, SliceView], solid: ThreeDView
) -> dict[str, np.ndarray]:
    """Four modalities with the classes, 3D, and the regions in their place, by caption."""
    context, nodes = loaded.context, loaded.nodes
    showClassLegend(context, nodes)
    show3D(context, nodes, True)
    showBrain(context, nodes, prediction, True)
    panels = {MODALITY_NAMES[role]: slices[role].pixels() for role in ("t2f", "t1n")}
    panels["3D"] = solid.pixels()
    panels |= {MODALITY_NAMES[role]: slices[role].pixels() for role in ("t1c", "t2w")}
    showRegions(nodes, prediction)
    showClassLegend(context, nodes)
    panels["Regions in place of classes"] = slices["t2f"].pixels()
    hideRegions(nodes)
    showClassLegend(context, nodes)
    return panels


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
    panels = {"Segments: NCR red, ED green, ET blue": view.pixels()}
    paintSurface(loaded.context, loaded.nodes, prediction, True)
    panels[f"Tumour surface, similarity to prototype {row.index}"] = view.pixels()
    paintSurface(loaded.context, loaded.nodes, prediction, False)
    show3D(loaded.context, loaded.nodes, False)
    showVolumeRendering(loaded.context, loaded.nodes, True)
    panels[f"Cloud of similarity to prototype {row.index}"] = view.pixels()
    return panels


def two_dates() -> dict[str, np.ndarray]:
    """The case and the same brain later, side by side, with what is new and gone of the whole tumour, by caption."""
    dates = simulate_two_dates(SEED, config=TwoDatesConfig(growth=GROWTH))
    context = contextForCore(slicer.vtkMRMLScene())
    views = {name: SliceView(context, name, "Axial", PANEL, PANEL) for name in COMPARED.values()}
    results, made = Results(context), []
    for case in (dates.earlier, dates.later):
        prediction = predict(case)
        inputs = {
            role: addVolume(context.scene, "vtkMRMLScalarVolumeNode", role, Volume(image, case.affine))
            for role, image in zip(MODALITIES, case.images, strict=True)
        }
        nodes = results.show(prediction, inputs)
        for node in (nodes.segmentation, nodes.regions):
            node.GetDisplayNode().SetVisibility(False)
        made.append((nodes, prediction))
    layout = slicer.vtkMRMLLayoutLogic()
    layout.SetMRMLScene(context.scene)
    showSideBySide(context.scene, layout.GetLayoutNode(), compare(context.scene, made))
    panels = {}
    for (date, role), name in COMPARED.items():
        Framing.of(made[0][1]).show(views[name])
        panels[f"{date}: {MODALITY_NAMES[role]}"] = views[name].pixels()
    order = [f"{date}: {MODALITY_NAMES[role]}" for role in ("t1c", "t2f") for date in ("Earlier", "Later")]
    return {caption: panels[caption] for caption in order}


def save(name: str, panels: Mapping[str, np.ndarray], prediction: Prediction, columns: int) -> None:
    """Write a picture of some parts."""
    Image.fromarray(composed(panels, prediction, columns)).save(OUT / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
