"""A picture of a result: one axial slice with the segmentation's outlines, and what speaks for each class there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, begin_at, canonical, resample
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.result.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_MODALITIES = ("t2f", "t1c")
OUTLINES = ("ED", "ET", "NCR")  # outer to inner: an edge that two share takes the inner one's colour
MARGIN_VOXELS = 6
PANEL_INCHES = 3
PAPER, INK = "#101014", "white"


def draw_prediction(case: Case, prediction: Prediction, path: Path | str) -> Path:
    """Writes a PNG: FLAIR and T1ce with outlines, and the most telling similarity map of each tumour class.

    Of a model without prototypes it is the probability of each class that the model finds.

    The slice is the axial one with the most tumour (with the most brain, where there is none), seen as radiologists
    do: the patient's right is on the left. A simulated case is marked as such.
    """
    from matplotlib.figure import Figure  # slow to import; a bare Figure needs no display
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    images = {role: canonical(Volume(case.images[MODALITIES.index(role)], case.affine)) for role in SHOWN_MODALITIES}
    label = canonical(Volume(prediction.label, prediction.affine))
    corner, shape = _axial_window(label.array, images["t2f"].array != 0)
    window = tuple(slice(start, start + size) for start, size in zip(corner, shape, strict=True))
    slice_affine = begin_at(label.affine, corner)

    reasons = _reasons(prediction)
    width = PANEL_INCHES * (len(images) + len(reasons))
    figure = Figure(figsize=(width, 4.2), layout=ConstrainedLayoutEngine(rect=(0, 0.08, 1, 0.92)), facecolor=PAPER)
    panels = figure.subplots(1, len(images) + len(reasons))
    for panel, (role, image) in zip(panels, images.items(), strict=False):
        _show_image(panel, image.array[window], MODALITY_NAMES[role])
        _show_outlines(panel, label.array[window])
    for panel, (title, reason, largest) in zip(panels[len(images) :], reasons, strict=True):
        _show_image(panel, images["t2f"].array[window], title)
        shown = resample(reason, shape, slice_affine, order=1).array
        _show_map(panel, np.ma.masked_where(images["t2f"].array[window] == 0, shown), largest)
    _write_legend(figure.text, width, prediction)
    temporary = Path(path).with_suffix(".part.png")
    figure.savefig(temporary, dpi=110, facecolor=PAPER)
    os.replace(temporary, path)
    return Path(path)


def _reasons(prediction: Prediction) -> list[tuple[str, Volume, float | None]]:
    """Of what speaks for each class: title, map, and the value at the end of its colours (None: its largest)."""
    if prediction.evidence.prototype_class:
        maps = [Volume(similarity, prediction.similarity_affine) for similarity in prediction.similarities]
        channels = {name: most_telling_prototype(prediction, name) for name in CLASSES[1:]}
        return [(f"similarity to {name} prototype {n}", maps[n], None) for name, n in channels.items()]
    found = prediction.tumour_probabilities
    return [(f"probability of {name}", Volume(share, prediction.affine), 1.0) for name, share in found.items()]


def most_telling_prototype(prediction: Prediction, class_name: str) -> int:
    """Channel of the class's prototype whose similarity stands out most where that class was predicted.

    It is the largest difference between the mean inside and the mean outside; the first of the class where nothing was
    predicted.

    Raises:
        ValueError: The model has no prototype of this class.
    """
    channels = [index for index, name in enumerate(prediction.model["prototype_class"]) if name == class_name]
    if not channels:
        raise ValueError(f"The model {prediction.model['name']} has no prototype of class {class_name}.")
    label = Volume(prediction.label, prediction.affine)
    grid = prediction.similarities.shape[1:]
    inside = resample(label, grid, prediction.similarity_affine, order=0).array == CLASSES.index(class_name)
    if not inside.any() or inside.all():
        return channels[0]
    contrasts = [float(s[inside].mean() - s[~inside].mean()) for s in prediction.similarities[channels]]
    return channels[int(np.argmax(contrasts))]


def _axial_window(label: np.ndarray, brain: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First voxel and shape (X, Y, 1) of the slice to show, cropped to the brain."""
    area = (label > 0).sum(axis=(0, 1)) if label.any() else brain.sum(axis=(0, 1))
    level = int(np.argmax(area))
    corner, shape = [], []
    for axis, size in enumerate(brain.shape[:2]):
        inside = np.flatnonzero(brain[:, :, level].any(axis=1 - axis))
        first, last = (inside[0], inside[-1]) if len(inside) else (0, size - 1)
        start, stop = max(0, int(first) - MARGIN_VOXELS), min(size, int(last) + MARGIN_VOXELS + 1)
        corner.append(start)
        shape.append(stop - start)
    return (*corner, level), (*shape, 1)


def _seen_from_feet(image: np.ndarray) -> np.ndarray:
    """(X, Y, 1) with RAS axes -> rows and columns with the patient's right on the left, anterior last."""
    return image[::-1, :, 0].T


def _show_image(panel: Axes, image: np.ndarray, title: str) -> None:
    brain = image[image != 0]
    low, high = np.percentile(brain, (1, 99.5)) if brain.size else (0, 1)
    panel.imshow(_seen_from_feet(image), origin="lower", cmap="gray", vmin=low, vmax=high)
    panel.text(0.02, 0.5, "R", color=INK, fontsize=8, transform=panel.transAxes)
    panel.set_title(title, color=INK, fontsize=10)
    panel.axis("off")


def _show_outlines(panel: Axes, label: np.ndarray) -> None:
    for index in map(CLASSES.index, OUTLINES):
        mask = _seen_from_feet(label == index)
        if mask.any():
            panel.contour(mask, levels=[0.5], colors=[_colour(index)], linewidths=1.2)


def _show_map(panel: Axes, values: np.ma.MaskedArray, largest: float | None) -> None:
    start = None if largest is None else 0.0
    shown = panel.imshow(_seen_from_feet(values), origin="lower", cmap="inferno", alpha=0.7, vmin=start, vmax=largest)
    bar = panel.figure.colorbar(shown, ax=panel, shrink=0.7)
    bar.ax.tick_params(colors=INK, labelsize=7)


def _write_legend(write: Callable[..., object], width_inches: float, prediction: Prediction) -> None:
    mark = "SIMULATED CASE, no patient" if prediction.simulated else prediction.case_id
    write(0.15 / width_inches, 0.03, f"{mark}   |   research use only", color=INK, fontsize=10)
    for index, name in enumerate(CLASSES[1:], start=1):
        write((4.5 + 0.75 * index) / width_inches, 0.03, f"— {name}", color=_colour(index), fontsize=10)


def _colour(index: int) -> tuple[float, ...]:
    return tuple(value / 255 for value in CLASS_COLOURS[index])
