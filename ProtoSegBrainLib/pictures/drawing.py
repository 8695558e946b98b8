"""What the figures have in common: colours of regions and classes, and how a figure becomes a file."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Colour = tuple[int, int, int]

OUTERMOST = {"WT": "ED", "TC": "NCR", "ET": "ET"}
"""A region is drawn in the colour of the class by which it is larger than the region inside it."""
RESEARCH_USE = "Research use only"


def colour_of(name: str) -> Colour:
    """Red, green, blue (0 to 255) of a class or a region."""
    return CLASS_COLOURS[CLASSES.index(OUTERMOST.get(name, name))]


def shade_of(name: str) -> tuple[float, float, float]:
    """The same as matplotlib wants it, 0 to 1."""
    red, green, blue = colour_of(name)
    return red / 255, green / 255, blue / 255


def save_figure(figure: Figure, path: Path | str, dpi: int = 110) -> Path:
    """Write a PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    write_whole(path, content.getvalue())
    return Path(path)


def say_instead(panel: Axes, sentence: str) -> None:
    """A panel without data says why it is empty."""
    panel.text(0.5, 0.5, sentence, ha="center", va="center", color="0.4", transform=panel.transAxes, wrap=True)
    panel.set_xticks([])
    panel.set_yticks([])


def grey_pixels(plane: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """uint8 greys of (rows, columns) intensities, black and white at ``limits``."""
    low, high = limits
    share = np.clip((plane - low) / max(high - low, 1e-9), 0, 1)
    return (share * 255).astype(np.uint8)


def outlined(grey: np.ndarray, masks: Iterable[tuple[np.ndarray, Colour]]) -> np.ndarray:
    """(rows, columns) uint8 -> (rows, columns, 3) with the inner edge of each mask, one pixel wide; the last on top."""
    from scipy import ndimage

    pixels = np.repeat(grey[..., None], 3, axis=2)
    for mask, colour in masks:
        pixels[mask & ~ndimage.binary_erosion(mask)] = colour
    return pixels
