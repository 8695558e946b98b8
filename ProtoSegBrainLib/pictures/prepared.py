"""The four series as they were aligned, with the outline of the brain: what a person must see before the result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, canonical
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.pictures.slices import (
    PLANES,
    Colour,
    Picture,
    Slice,
    grey_pixels,
    outline_layer,
    picture,
    slices_through,
)

ORDER = ("t1c", "t1n", "t2w", "t2f")
"""The one that stays first."""
SHOWN_PLANES = (PLANES[0], PLANES[2])
OUTLINE: Colour = (110, 231, 183)
AROUND = 1.3
"""Of the brain's window: skull and scalp are to be seen."""
GREY_PERCENTILES = (1, 99.5)


@dataclass(frozen=True)
class PreparedPicture:
    """One series in one plane, in the place where it was moved to.

    Attributes:
        picture: To be drawn.
        plane: Name of the plane.
        modality: Which series.
    """

    picture: Picture
    plane: str
    modality: str


def prepared_pictures(case: Case) -> list[PreparedPicture]:
    """Two rows, each with the four series in one plane; [] of a case that was taken as it is."""
    if case.preparation is None or case.mask is None:
        return []
    brain = canonical(Volume(case.mask.astype(np.uint8), case.affine))
    volumes = dict(zip(MODALITIES, case.originals, strict=True))
    pictures = []
    for view in _views(brain):
        outline = outline_layer(view, view.cut(brain.array) > 0, OUTLINE)
        for role in ORDER:
            drawn = picture(view, [_grey(view, volumes[role]), outline])
            pictures.append(PreparedPicture(drawn, view.plane.name, role))
    return pictures


def _views(brain: Volume) -> list[Slice]:
    """Through the middle of the brain; beside the midline, where the hemispheres can be compared with the mask."""
    centre = np.argwhere(brain.array).mean(axis=0).round() if brain.array.any() else np.array(brain.shape) // 2
    views = slices_through(brain, brain.array > 0, [int(n) for n in centre])
    return [_wide(view) for view in views if view.plane in SHOWN_PLANES]


def _wide(view: Slice) -> Slice:
    margin = view.side_mm * (AROUND - 1) / 2
    left, top = view.corner_mm
    return replace(view, corner_mm=(left - margin, top - margin), side_mm=view.side_mm * AROUND)


def _grey(view: Slice, volume: Volume) -> str:
    values = view.sample(volume)
    some = values[values != 0]
    low, high = np.percentile(some, GREY_PERCENTILES) if some.size else (0.0, 1.0)
    return grey_pixels(view, values, (float(low), float(high)))
