"""Slices of a case as radiologists see them, drawn as SVG: grey image, colour map, outlines, lines, marks.

Pictures are in mm, so voxels of any shape come out in their true proportions. Image data are PNG inside the SVG, one
pixel per voxel; everything else is vector graphics and stays sharp in print.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from ProtoSegBrainLib.images.volume import Volume, bounding_box, resample

SCALE_BARS_MM = (50, 20)
"""Of wide and of narrow windows."""
GREY_PERCENTILES = (1, 99.5)
"""Of a brain's intensities that are black and white."""
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Five colours of matplotlib's inferno, equally far apart: dark is little, bright is much, in grey print too."""
FILL_OPACITY = 0.55
"""Of masks that are filled, so that the image shows through."""
HEAT_OPACITY = ((0, 0.1), (0.4, 0.85))
"""Of the colours: from this at this share of the scale to that at that one, so that anatomy shows where little is."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Plane:
    """A direction of view: the axis of the RAS grid across it, and what lies on the left and right of the picture."""

    name: str
    axis: int
    left: str
    right: str


PLANES = (Plane("Axial", 2, "R", "L"), Plane("Coronal", 1, "R", "L"), Plane("Sagittal", 0, "A", "P"))
"""The patient's right is on the left, front and top are up; a sagittal slice looks to the left."""


@dataclass(frozen=True)
class Slice:
    """One slice of a grid whose axes lie nearest to RAS, and the square window of it that is shown.

    Attributes:
        plane: Direction of view.
        index: Voxel along the plane's axis.
        shape: Of the grid.
        affine: Of the grid, voxel -> RAS mm.
        corner_mm: Left and upper end of the window, in mm of the picture.
        side_mm: Its size.
    """

    plane: Plane
    index: int
    shape: tuple[int, int, int]
    affine: np.ndarray
    corner_mm: tuple[float, float]
    side_mm: float

    @property
    def axes(self) -> tuple[int, int]:
        """Grid axes along the picture's width and height."""
        first, second = (axis for axis in range(3) if axis != self.plane.axis)
        return first, second

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Width and height of a voxel in the picture."""
        width, height = np.linalg.norm(self.affine[:3, self.axes], axis=0)
        return float(width), float(height)

    def cut(self, array: np.ndarray) -> np.ndarray:
        """(X, Y, Z) on the grid -> rows and columns of the picture."""
        return np.asarray(array[(slice(None),) * self.plane.axis + (self.index,)])[::-1, ::-1].T

    def sample(self, volume: Volume) -> np.ndarray:
        """The value of the voxel, of any other grid, that lies under each pixel; nothing is smoothed."""
        start, shape = np.eye(4), list(self.shape)
        start[self.plane.axis, 3], shape[self.plane.axis] = self.index, 1
        values = resample(volume, shape, self.affine @ start, order=0).array
        return values.take(0, self.plane.axis)[::-1, ::-1].T

    def around(self, mask: np.ndarray, margin_mm: float) -> Slice:
        """The same slice in a window around a mask (rows, columns), its own where that is smaller or the mask empty."""
        if not mask.any():
            return self
        low, high = np.array([(axis.min(), axis.max() + 1) for axis in np.nonzero(mask)[::-1]]).T * self.pixel_mm
        side = min(float((high - low).max()) + 2 * margin_mm, self.side_mm)
        x, y = np.clip((low + high - side) / 2, self.corner_mm, np.array(self.corner_mm) + self.side_mm - side)
        return replace(self, corner_mm=(float(x), float(y)), side_mm=side)

    def place(self, positions_mm: Sequence[Sequence[float]]) -> np.ndarray:
        """(N, 3) RAS mm -> (N, 2) mm in the picture."""
        positions = np.column_stack([np.asarray(positions_mm, float), np.ones(len(positions_mm))])
        voxel = (np.linalg.inv(self.affine) @ positions.T)[list(self.axes)]
        size = np.array([self.shape[axis] for axis in self.axes])[:, None]
        return ((size - 0.5 - voxel) * np.array(self.pixel_mm)[:, None]).T


def slices_through(label: Volume, brain: np.ndarray, indices: Sequence[int]) -> list[Slice]:
    """The three slices at a voxel of a grid with RAS axes, in windows of one size around the brain.

    Args:
        label: Gives the grid.
        brain: Bool, on that grid.
        indices: The voxel.
    """
    box = bounding_box(brain) or tuple(slice(0, n) for n in label.shape)
    axes = zip(box, label.shape, label.spacing_mm, strict=True)
    limits = [((n - part.stop) * mm, (n - part.start) * mm) for part, n, mm in axes]  # pictures run against the axes
    side = max(high - low for low, high in limits) * 1.06
    result = []
    for plane in PLANES:
        across, down = (sum(limits[axis]) / 2 - side / 2 for axis in range(3) if axis != plane.axis)
        index = int(indices[plane.axis])
        result.append(Slice(plane, index, label.shape, label.affine, (across, down), side))
    return result


@dataclass(frozen=True)
class Picture:
    """A drawing and its window, from which a page makes an SVG.

    Attributes:
        window: The SVG's ``viewBox``.
        drawing: Its elements. ``Markup``, which templates do not escape: it is made of numbers and of our own words.
    """

    window: str
    drawing: Markup


def picture(view: Slice, layers: Iterable[str]) -> Picture:
    """A slice's layers, the first at the bottom, with marks of the sides and a scale."""
    x, y = view.corner_mm
    window = f"{x:.2f} {y:.2f} {view.side_mm:.2f} {view.side_mm:.2f}"
    return Picture(window, Markup(f"{''.join(layers)}{_marks(view)}"))


def grey_limits(image: np.ndarray) -> tuple[float, float]:
    """What is black and what is white of a brain's image (X, Y, Z), 0 outside it."""
    some = image[::2, ::2, ::2]
    some = some[some != 0]
    low, high = np.percentile(some, GREY_PERCENTILES) if some.size else (0.0, 1.0)
    return float(low), float(high)


def grey_layer(view: Slice, image: np.ndarray, limits: tuple[float, float]) -> str:
    """A slice of an image (X, Y, Z), black and white at ``limits``."""
    return grey_pixels(view, view.cut(image), limits)


def grey_pixels(view: Slice, values: np.ndarray, limits: tuple[float, float]) -> str:
    """The same of a slice's own values (rows, columns)."""
    low, high = limits
    share = (values - low) / max(high - low, 1e-9)
    return _image(view, np.uint8(np.clip(share, 0, 1) * 255), "grey")


def heat_layer(view: Slice, values: np.ndarray, inside: np.ndarray, limits: tuple[float, float]) -> str:
    """A colour map over a slice; all (rows, columns) of the picture, colours run between ``limits``.

    Pixels keep their edges, so the resolution of the values is seen.
    """
    low, high = limits
    share = (values - low) / (high - low)
    opacity = np.uint8(255 * np.interp(share, *np.transpose(HEAT_OPACITY))) * inside
    return _image(view, np.dstack([heat(share), opacity]), "heat")


def fill_layer(view: Slice, mask: np.ndarray, colour: Colour) -> str:
    """A bool mask (rows, columns) in one colour; "" where it is empty."""
    if not mask.any():
        return ""
    opacity = np.uint8(255 * FILL_OPACITY) * mask
    return _image(view, np.dstack([np.full((*mask.shape, 3), colour, np.uint8), opacity.astype(np.uint8)]), "heat")


def outline_layer(view: Slice, mask: np.ndarray, colour: Colour) -> str:
    """The edge of a bool mask (rows, columns) as a line of constant width."""
    from skimage.measure import find_contours  # loads on first use

    width, height = view.pixel_mm
    lines = []
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        points = (f"{(column - 0.5) * width:.1f} {(row - 0.5) * height:.1f}" for row, column in contour[:-1])
        lines.append(f"M{'L'.join(points)}Z")
    return f'<path class="outline" stroke="{css(colour)}" d="{"".join(lines)}"/>' if lines else ""


def line_layer(view: Slice, ends_mm: Sequence[Sequence[float]]) -> str:
    """A thin white line between two positions (RAS mm)."""
    (x1, y1), (x2, y2) = view.place(ends_mm)
    return f'<line class="diameter" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def heat(share: np.ndarray) -> np.ndarray:
    """0 to 1 -> (..., 3) uint8 colours; what lies beyond takes the colour of the end."""
    at = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(share, at, [colour[channel] for colour in HEAT]) for channel in range(3)]
    return np.uint8(np.round(np.stack(channels, axis=-1)))


def css(colour: Colour) -> str:
    """A colour as style sheets want it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def png(pixels: np.ndarray) -> str:
    """Pixels, uint8 grey (rows, columns) or with four channels, as the address of a PNG that holds them itself."""
    from PIL import Image  # loads on first use

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG", compress_level=4)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _image(view: Slice, pixels: np.ndarray, kind: str) -> str:
    (width, height), (rows, columns) = view.pixel_mm, pixels.shape[:2]
    return (
        f'<image class="{kind}" width="{columns * width:.2f}" height="{rows * height:.2f}" '
        f'preserveAspectRatio="none" href="{png(pixels)}"/>'
    )


def _marks(view: Slice) -> str:
    """Which side is which, and a scale bar."""
    (x, y), side = view.corner_mm, view.side_mm
    middle, bottom, right = y + side / 2, y + side * 0.965, x + side * 0.97
    wide, narrow = SCALE_BARS_MM
    bar = wide if side > 2.5 * wide else narrow
    size = f'font-size="{side / 22:.1f}"'
    return (
        f'<text {size} x="{x + side * 0.02:.1f}" y="{middle:.1f}">{view.plane.left}</text>'
        f'<text {size} x="{x + side * 0.98:.1f}" y="{middle:.1f}" text-anchor="end">{view.plane.right}</text>'
        f'<path class="scale" stroke-width="{side / 180:.2f}" d="M{right - bar:.1f} {bottom:.1f}H{right:.1f}"/>'
        f'<text font-size="{side / 30:.1f}" x="{right:.1f}" y="{bottom - side / 90:.1f}" text-anchor="end">'
        f"{bar / 10:g} cm</text>"
    )
