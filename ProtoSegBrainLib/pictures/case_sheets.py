"""Single cases as pictures, truth beside prediction: a sheet of regions by modalities, a sweep of slices, a table.

Arrays are (X, Y, Z) on a grid whose axes lie nearest to RAS, and axial slices are seen as radiologists do: the
patient's right is on the left.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, bounding_box, canonical
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, MODALITY_NAMES, REGION_NAMES, REGIONS
from ProtoSegBrainLib.pictures.drawing import RESEARCH_USE, Colour, colour_of, grey_pixels, save_figure, shade_of
from ProtoSegBrainLib.pictures.tables import MaskedImage, Table
from ProtoSegBrainLib.result.metrics import dice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

SHOWN = ("t2f", "t1n", "t1c", "t2w")
"""Columns of sheets and tables."""
DRAWN_ON = {"WT": "t2f", "TC": "t2w", "ET": "t1c"}
"""The modality in which experts draw a region (Menze et al. 2015, IEEE TMI 34:1993, figure 3)."""
PAPER, INK, TRUTH = "#101014", "white", "white"
TRUTH_COLOUR: Colour = (255, 255, 255)
LEAST_SIDE_MM = 90.0
MARGIN_MM = 15.0
MOST_BYTES = 5_000_000
MOST_FRAMES = 64
FRAME_ROWS = 240
FRAME_MS = 120
CLASS_OPACITY = 0.45


@dataclass(frozen=True, eq=False)
class Compared:
    """A case with truth and prediction, axes nearest to RAS.

    Attributes:
        case_id: Of the case.
        images: (4, X, Y, Z) in the order of ``MODALITIES``.
        truth: (X, Y, Z) class indices.
        predicted: The same by the model.
        spacing_mm: Of the grid.
    """

    case_id: str
    images: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    spacing_mm: tuple[float, float, float]

    def image(self, role: str) -> np.ndarray:
        """(X, Y, Z) of one modality."""
        return np.asarray(self.images[MODALITIES.index(role)])

    @cached_property
    def limits(self) -> dict[str, tuple[float, float]]:
        """By modality, what is shown black and white: of the brain, without the brightest and darkest few voxels."""
        inside = (image[image != 0] for image in self.images)
        pairs = (np.percentile(values, (1, 99.5)) if values.size else (0, 1) for values in inside)
        return {role: (float(low), float(high)) for role, (low, high) in zip(MODALITIES, pairs, strict=True)}

    @cached_property
    def masks(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By region, truth and prediction, bool."""
        return {
            region: (np.isin(self.truth, classes), np.isin(self.predicted, classes))
            for region, classes in REGIONS.items()
        }

    @cached_property
    def tumour(self) -> np.ndarray:
        """(X, Y, Z) bool: the whole tumour, true or predicted."""
        return np.asarray((self.truth > 0) | (self.predicted > 0))

    @cached_property
    def brain_box(self) -> tuple[slice, slice, slice]:
        """The smallest box around the brain; the whole grid where all images are empty."""
        x, y, z = self.truth.shape
        return bounding_box(np.asarray(self.images.any(axis=0))) or (slice(0, x), slice(0, y), slice(0, z))

    def dice(self, region: str) -> float:
        """Of a region, in the whole volume."""
        return dice(*self.masks[region])


def compared(case: Case, predicted: np.ndarray) -> Compared:
    """A case with its label and a predicted one (X, Y, Z) on its grid, turned to RAS; nothing is resampled."""
    upright = [canonical(Volume(array, case.affine)) for array in (*case.images, np.asarray(case.label), predicted)]
    images, (truth, label) = np.stack([v.array for v in upright[:4]]), (v.array for v in upright[4:])
    return Compared(case.case_id, images, truth, label, upright[0].spacing_mm)


# --- the sheet ---


def draw_sheet(case: Compared, title: str, path: Path | str) -> Path:
    """A PNG with a row per region and a column per modality, in each the outlines of truth and prediction.

    Each row shows the axial slice with most of its region, true and predicted together; of the whole tumour where it is
    nowhere, and the middle one without any tumour. A frame marks where experts see that region best.

    Args:
        case: What is shown.
        title: What the case stands for, such as "The worst case".
        path: Of the picture.
    """
    from matplotlib.figure import Figure  # slow to import; a bare Figure needs no display
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(13, 10.6), layout="constrained", facecolor=PAPER)
    rows = figure.subplots(len(REGIONS), len(SHOWN))
    window = _window(case)
    for panels, region in zip(rows, REGIONS, strict=True):
        level = _fullest_level(case, region)
        for panel, role in zip(panels, SHOWN, strict=True):
            _draw_panel(panel, case, role, region, (*window, level))
            if region == "WT":
                panel.set_title(MODALITY_NAMES[role], color=INK, fontsize=12)
        found = (
            f"Dice {case.dice(region):.3f}" if any(map(np.any, case.masks[region])) else "neither true nor predicted"
        )
        panels[0].set_ylabel(f"{REGION_NAMES[region]}, slice {level}\n{found}", color=INK, fontsize=11)
    mean = np.mean([case.dice(region) for region in REGIONS])
    figure.suptitle(f"{title}: {case.case_id}, mean Dice {mean:.3f}", color=INK, fontsize=14)
    lines = [Line2D([], [], color=TRUTH, linestyle="--", label="expert")]
    lines += [Line2D([], [], color=shade_of(region), label=f"prediction, {region}") for region in REGIONS]
    figure.legend(handles=lines, loc="outside lower left", ncols=4, facecolor=PAPER, labelcolor=INK, edgecolor=PAPER)
    note = f"framed: where experts see it best   |   {RESEARCH_USE.lower()}"
    figure.text(0.99, 0.012, note, color="0.7", fontsize=9, ha="right")
    return save_figure(figure, path)


def _draw_panel(panel: Axes, case: Compared, role: str, region: str, place: tuple[slice, slice, int]) -> None:
    low, high = case.limits[role]
    width, height, _ = case.spacing_mm
    shown = upright(case.image(role)[place])
    panel.imshow(shown, cmap="gray", vmin=low, vmax=high, aspect=height / width, interpolation="nearest")
    looks = ((shade_of(region), "-"), (TRUTH, "--"))
    for mask, (colour, line) in zip(case.masks[region][::-1], looks, strict=True):
        cut = upright(mask[place])
        if cut.any():
            panel.contour(cut, levels=[0.5], colors=[colour], linestyles=line, linewidths=1.4)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.text(0.02, 0.5, "R", color=INK, fontsize=8, transform=panel.transAxes)
    for edge in panel.spines.values():
        edge.set(color="0.85" if role == DRAWN_ON[region] else PAPER, linewidth=1.6)


def _window(case: Compared) -> tuple[slice, slice]:
    """A square of the axial plane around all tumour, true or predicted; around the brain where there is none."""
    box = bounding_box(case.tumour) or case.brain_box
    parts, steps = box[:2], case.spacing_mm[:2]
    extents = [(part.stop - part.start) * step for part, step in zip(parts, steps, strict=True)]
    side = max(LEAST_SIDE_MM, *(extent + 2 * MARGIN_MM for extent in extents))
    window = []
    for part, step, size in zip(parts, steps, case.truth.shape, strict=False):
        width = min(size, round(side / step))
        start = int(np.clip((part.start + part.stop - width) // 2, 0, size - width))
        window.append(slice(start, start + width))
    return window[0], window[1]


def _fullest_level(case: Compared, region: str) -> int:
    for name in (region, "WT"):
        truth, predicted = case.masks[name]
        area = (truth | predicted).sum(axis=(0, 1))
        if area.any():
            return int(np.argmax(area))
    return int(case.truth.shape[2] // 2)


def upright(plane: np.ndarray) -> np.ndarray:
    """(X, Y) with RAS axes -> rows and columns: the patient's right on the left, the front at the top."""
    return plane[::-1, ::-1].T


# --- the sweep ---


def write_sweep(case: Compared, path: Path | str) -> Path:
    """An animated GIF that runs upwards through the brain: FLAIR, T1ce with the truth, T1ce with the prediction.

    At most 64 slices; fewer where the file would be larger than 5 MB.
    """
    first, last = case.brain_box[2].start, case.brain_box[2].stop - 1
    levels = np.unique(np.linspace(first, last, min(MOST_FRAMES, last - first + 1)).round().astype(int))
    frames = [_frame(case, int(level)) for level in levels]
    content = _gif(frames)
    while len(content) > MOST_BYTES and len(frames) > 1:
        frames = frames[::2]
        content = _gif(frames)
    write_whole(path, content)
    return Path(path)


def _frame(case: Compared, level: int) -> Image:
    from PIL import Image, ImageDraw, ImageFont  # loads on first use

    place = (*case.brain_box[:2], level)
    flair, t1c = (grey_pixels(upright(case.image(role)[place]), case.limits[role]) for role in ("t2f", "t1c"))
    views = [np.repeat(flair[..., None], 3, axis=2)]
    views += [_coloured(t1c, upright(label[place])) for label in (case.truth, case.predicted)]
    rows, columns = flair.shape
    ratio = columns * case.spacing_mm[0] / (rows * case.spacing_mm[1])
    size, line = (round(FRAME_ROWS * ratio), FRAME_ROWS), 18
    frame = Image.new("RGB", (3 * size[0], FRAME_ROWS + 2 * line))
    write, font = ImageDraw.Draw(frame), ImageFont.load_default(12)
    for number, (view, name) in enumerate(zip(views, ("FLAIR", "T1ce, expert", "T1ce, prediction"), strict=True)):
        frame.paste(Image.fromarray(np.ascontiguousarray(view)).resize(size), (number * size[0], line))
        write.text((number * size[0] + 4, 2), name, (255, 255, 255), font)
    words = [(f"{case.case_id}, slice {level}   |   {RESEARCH_USE.lower()}", (200, 200, 200))]
    words += [(name, CLASS_COLOURS[index]) for index, name in enumerate(CLASSES) if index]
    at = 4.0
    for word, colour in words:
        write.text((at, line + FRAME_ROWS + 2), word, colour, font)
        at += write.textlength(word, font) + 14
    return frame.quantize(96, dither=Image.Dither.NONE)


def _coloured(grey: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) uint8: classes as colours through which the image shows."""
    colours = np.array(CLASS_COLOURS)[label]
    opacity = CLASS_OPACITY * (label > 0)[..., None]
    return (grey[..., None] * (1 - opacity) + colours * opacity).astype(np.uint8)


def _gif(frames: Sequence[Image]) -> bytes:
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    return content.getvalue()


# --- the table ---


def slice_table(case: Compared, slices: int = 8) -> Table:
    """A row per axial slice and region, for a tracker: Dice in that slice, and each modality with both masks.

    Args:
        case: What is shown; a prepared case will do.
        slices: At most so many, spread evenly over those with tumour, true or predicted; without any, there is no row.
    """
    tumour = np.flatnonzero(case.tumour.any(axis=(0, 1)))
    chosen = tumour[np.unique(np.linspace(0, len(tumour) - 1, min(slices, len(tumour))).round().astype(int))]
    rows = [_table_row(case, region, int(level)) for region in REGIONS for level in chosen]
    return Table(("case", "region", "slice", "Dice in the slice", *(MODALITY_NAMES[role] for role in SHOWN)), rows)


def _table_row(case: Compared, region: str, level: int) -> list[str | float | MaskedImage]:
    place = (*case.brain_box[:2], level)
    truth, predicted = (upright(mask[place]) for mask in case.masks[region])
    masks = {"truth": (truth, TRUTH_COLOUR), "prediction": (predicted, colour_of(region))}
    greys = (grey_pixels(upright(case.image(role)[place]), case.limits[role]) for role in SHOWN)
    return [case.case_id, region, level, dice(predicted, truth), *(MaskedImage(grey, masks) for grey in greys)]
