"""What lies around the simulated brain: cerebrospinal fluid, dura, skull, face, eyes, neck and scalp.

The head is painted in layers, from the skin inwards: each covers its share of what was painted before. The skull
follows the brain; face and neck are lists of balls and rods, one side only, mirrored and warped by smooth noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ProtoSegBrainLib.simulation.anatomy import Array, Points, Space, ellipsoid, smooth_noise, tube

Part = tuple[slice, slice, slice]
Place = tuple[float, float, float]

ROOM_MM = ((-92, 92), (-126, 112), (-140, 86))  # head and neck lie within, in head coordinates
COARSE_MM = 2.0
SMOOTHED_MM = 2.0
CLOSING_MM = 5.0  # gaps of the brain's hull narrower than twice this are within the skull
SKIN_MM = 1.8
BLEND_MM = 14.0
WARP_MM = 1.6


@dataclass(frozen=True)
class Layer:
    """A tissue that covers a share (0..1, float32) of a part of the room."""

    tissue: str
    part: Part
    share: Array


@dataclass(frozen=True)
class Ball:
    """An ellipsoid; mm in head coordinates, the side with x >= 0."""

    tissue: str
    centre: Place
    radii: Place

    def depth(self, p: Points) -> Array:
        return ellipsoid(p, self.centre, self.radii)

    def box(self) -> tuple[Place, Place]:
        """Its lowest and highest corner."""
        low, high = np.subtract(self.centre, self.radii), np.add(self.centre, self.radii)
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])


@dataclass(frozen=True)
class Rod:
    """A tube with round ends whose radius may change; mm in head coordinates, the side with x >= 0."""

    tissue: str
    start: Place
    end: Place
    radius: float
    end_radius: float | None = None

    def depth(self, p: Points) -> Array:
        return tube(p, self.start, self.end, self.radius, self.end_radius)

    def box(self) -> tuple[Place, Place]:
        """Its lowest and highest corner."""
        widest = max(self.radius, self.end_radius or 0)
        low = np.minimum(self.start, self.end) - widest
        high = np.maximum(self.start, self.end) + widest
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])


Piece = Ball | Rod

OUTLINE: tuple[Piece, ...] = (
    Ball("skin", (0, -52, -58), (57, 52, 60)),  # face
    Ball("skin", (0, -76, -108), (27, 25, 22)),  # chin
    Rod("skin", (0, 24, -58), (0, 34, -160), 56, 53),  # neck
    Ball("skin", (40, -66, -62), (22, 24, 30)),  # cheeks
    Ball("skin", (54, 12, -62), (20, 30, 36)),  # behind the jaw
)
NOSE: tuple[Piece, ...] = (
    Rod("skin", (0, -92, -44), (0, -112, -74), 5.5, 8.5),
    Ball("skin", (9, -105, -76), (6.5, 9, 6)),
)
BONES: tuple[Piece, ...] = (
    Ball("bone", (25, -64, -70), (20, 22, 21)),  # maxilla and cheek bone
    Ball("marrow", (42, -72, -62), (6, 8, 6)),
    Rod("bone", (44, -74, -60), (62, -30, -54), 4.5),  # zygomatic arch
    Rod("marrow", (44, -74, -60), (62, -30, -54), 2.2),
    Ball("bone", (0, -66, -90), (22, 30, 4)),  # palate
    Rod("bone", (48, -22, -62), (45, -32, -104), 6.5),  # mandible
    Rod("bone", (45, -32, -104), (12, -88, -118), 7),
    Rod("bone", (12, -88, -118), (-1, -91, -118), 7),
    Rod("marrow", (48, -22, -62), (45, -32, -104), 3.6),
    Rod("marrow", (45, -32, -104), (12, -88, -118), 4),
    Rod("marrow", (12, -88, -118), (-1, -91, -118), 4),
    Rod("bone", (26, -58, -96), (9, -86, -97), 5.5),  # teeth
    Rod("bone", (9, -86, -97), (-1, -88, -97), 5.5),
    Rod("bone", (0, -30, -52), (0, 0, -82), 12, 9),  # sphenoid and clivus
    Rod("marrow", (0, -24, -52), (0, 0, -80), 8, 6),
    Rod("bone", (18, 6, -54), (60, 24, -52), 8, 10),  # petrous bone
    Rod("bone", (60, 24, -52), (56, 26, -74), 10, 6),  # mastoid
    Rod("bone", (0, -2, -84), (0, 12, -160), 11.5, 12.5),  # vertebrae
    Rod("marrow", (0, -2, -84), (0, 12, -160), 9.5, 10.5),
    Rod("bone", (11, 8, -92), (18, 26, -92), 7),
    Rod("marrow", (11, 8, -92), (18, 26, -92), 4.5),
    Rod("bone", (0, 46, -106), (0, 62, -112), 5),  # spinous process of C2
    Rod("marrow", (0, 46, -106), (0, 62, -112), 3),
    Ball("muscle", (0, -54, -104), (22, 33, 13)),  # tongue
    Ball("gland", (56, -10, -84), (9, 14, 20)),  # parotid gland
)
AIR: tuple[Piece, ...] = (
    Ball("mucosa", (25, -63, -70), (16, 17, 18)),  # maxillary sinus
    Ball("air", (25, -63, -70), (14, 15, 16)),
    Ball("mucosa", (8, -64, -66), (7, 34, 21)),  # nasal cavity with turbinates
    Ball("air", (5, -66, -66), (2.2, 32, 19)),
    Ball("air", (10, -64, -76), (2.5, 28, 7)),
    Ball("mucosa", (7, -60, -43), (7, 20, 9)),  # ethmoid cells
    Ball("air", (7, -72, -43), (4.5, 5, 6)),
    Ball("air", (7, -61, -43), (4.5, 4.6, 7)),
    Ball("air", (6.5, -50, -43), (4.5, 4.6, 6)),
    Ball("mucosa", (8, -33, -46), (8.5, 10, 8)),  # sphenoid sinus
    Ball("air", (8, -33, -46), (7, 8.5, 6.5)),
    Rod("mucosa", (0, -26, -68), (0, -18, -160), 9.5, 10),  # pharynx
    Rod("air", (0, -26, -68), (0, -18, -160), 6, 6),
    Rod("air", (62, 26, -54), (58, 28, -70), 6.5, 3),  # mastoid cells
)
ORBIT: tuple[Piece, ...] = (
    Rod("bone", (32, -78, -43), (15, -38, -41), 19.5, 7),
    Rod("fat", (32, -86, -43), (15, -38, -41), 17.5, 4.5),
    Rod("muscle", (21, -72, -43), (13.5, -42, -41), 1.8),  # medial, lateral, upper and lower rectus
    Rod("muscle", (44, -72, -43), (17, -42, -41), 1.8),
    Rod("muscle", (32, -74, -32), (15, -42, -39), 1.8),
    Rod("muscle", (32, -74, -54), (15, -42, -43), 1.8),
    Rod("fluid", (32, -68, -43), (14, -40, -41), 3.0),
    Rod("nerve", (32, -68, -43), (14, -40, -41), 1.9),
    Rod("skin", (30, -99, -43), (34, -99, -43), 10),  # lids
    Ball("sclera", (32, -82, -43), (12.6, 12.6, 12.6)),
    Ball("vitreous", (32, -82, -43), (11.6, 11.6, 11.6)),
    Ball("lens", (32.4, -91, -43), (4.6, 2.2, 4.6)),
    Ball("gland", (44, -82, -32), (4, 6, 4)),  # lacrimal gland
)
VESSELS: tuple[Piece, ...] = (
    Rod("vessel", (25, 0, -76), (27, 6, -160), 2.8),  # internal carotid artery
    Rod("vessel", (31, 10, -74), (34, 14, -160), 4.4),  # jugular vein
    Rod("vessel", (25, 0, -76), (14, -14, -56), 2.6),
    Rod("vessel", (17, 12, -88), (15, 10, -160), 1.7),  # vertebral artery
    Rod("vessel", (24, -24, -64), (30, -44, -74), 1.6),
)
SPINE: tuple[Piece, ...] = (
    Rod("fluid", (0, 19, -74), (0, 29, -160), 12.5, 9),
    Rod("cord", (0, 20, -72), (0, 25, -106), 11, 5.2),
    Rod("cord", (0, 25, -106), (0, 29, -160), 5.2),
)


def room_around(box: Space) -> tuple[Space, Part]:
    """The space of the whole head on the grid of the brain's box, and where that box lies in it."""
    axes, inner = [], []
    for axis, (points, limits) in enumerate(zip(box.points, ROOM_MM, strict=True)):
        line = np.moveaxis(points, axis, 0)[:, 0, 0].astype(np.float64)
        step = (line[-1] - line[0]) / (len(line) - 1)
        before = max(0, round((line[0] - limits[0]) / step))
        after = max(0, round((limits[1] - line[-1]) / step))
        axes.append(line[0] + step * np.arange(-before, len(line) + after))
        inner.append(slice(before, before + len(line)))
    x, y, z = np.meshgrid(*[line.astype(np.float32) for line in axes], indexing="ij")
    whole = (slice(0, x.shape[0]), slice(0, x.shape[1]), slice(0, x.shape[2]))
    return Space((x, y, z), whole, box.scale), (inner[0], inner[1], inner[2])


def draw_layers(rng: np.random.Generator, room: Space, brain: NDArray[np.bool_]) -> Iterator[Layer]:
    """Paint a head around a brain (x, y, z in the room), from the outside to the cerebrospinal fluid around it."""
    x, y, z = (a + np.float32(WARP_MM) * smooth_noise(rng, room, 32) for a in room.points)
    m = (np.abs(x), y, z)
    rim = np.clip(1.2 + 0.7 * smooth_noise(rng, room, 25), 0.3, 3)
    outside = _distance_from(brain, room) - rim  # mm outside the dura
    base = np.clip((-z - 18) / 12, 0, 1)
    skull = np.clip(6.8 + 1.1 * smooth_noise(rng, room, 28) - 1.0 * base, 3, None)
    fat = np.clip(4.2 + 1.0 * smooth_noise(rng, room, 26), 1.5, None)
    temporal = 10 * np.exp(-(((y + 22) / 30) ** 2) - ((z + 26) / 24) ** 2) * (m[0] > 30)
    body = _body(room, m, skull + temporal + fat + np.float32(SKIN_MM) - outside)
    yield from _soft_tissue(rng, room, body, fat, outside - skull - temporal)
    pieces = (*BONES, *AIR, *ORBIT, *VESSELS)
    yield from _pieces(room, m, pieces, room.ramp(body - 1.2))
    yield from _skull(rng, room, m, outside, skull, base)
    yield from _pieces(room, m, SPINE, np.float32(1))
    yield from _meninges(room, m, outside)


# --- from the skin to the skull ---


def _distance_from(brain: NDArray[np.bool_], room: Space) -> Array:
    """Mm from the surface of the brain, its gaps closed; negative inside."""
    step = max(1, round(COARSE_MM * room.scale))
    coarse = np.pad(brain[::step, ::step, ::step], 2)
    mm = step / room.scale
    grown = ndimage.distance_transform_edt(~coarse, mm) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, mm) > CLOSING_MM
    signed = ndimage.distance_transform_edt(~closed, mm) - ndimage.distance_transform_edt(closed, mm)
    signed = ndimage.gaussian_filter(signed.astype(np.float32), SMOOTHED_MM / mm)
    if step == 1:
        return signed[2:-2, 2:-2, 2:-2]
    return ndimage.affine_transform(signed, np.full(3, 1 / step), 2, output_shape=brain.shape, order=1)


def _body(room: Space, m: Points, vault: Array) -> Array:
    """Depth under the skin."""
    body = vault.copy()
    for pieces, width in ((OUTLINE, BLEND_MM), (NOSE, BLEND_MM / 3)):
        for piece in pieces:
            part = _part(room, *piece.box(), margin=width)
            body[part] = _blended(body[part], piece.depth((m[0][part], m[1][part], m[2][part])), width)
    return body


def _blended(first: Array, second: Array, width: float) -> Array:
    """Union of two bodies with a rounded groove between them."""
    near = np.clip(np.float32(width) - np.abs(first - second), 0, None)
    return np.maximum(first, second) + near * near * np.float32(0.25 / width)


def _soft_tissue(rng: np.random.Generator, room: Space, body: Array, fat: Array, below: Array) -> Iterator[Layer]:
    """Skin, fat with veins, muscles with fat between them; ``below`` is mm outside skull and temporal muscle."""
    everywhere = room.slices
    yield Layer("skin", everywhere, room.ramp(body))
    yield Layer("fat", everywhere, room.ramp(body - np.float32(SKIN_MM)))
    sheets = np.abs(smooth_noise(rng, room, 11))
    veins = np.minimum(1.1 - sheets * 9, 1.0 - np.abs(body - SKIN_MM - 2.2)) - 2 * (below < -2)
    yield Layer("vessel", everywhere, room.ramp(veins))
    muscle = room.ramp(body - np.float32(SKIN_MM) - fat)
    yield Layer("muscle", everywhere, muscle)
    septa = np.clip(1.2 - 8 * np.abs(smooth_noise(rng, room, 12)), 0, 1) * room.ramp(below - 3)
    yield Layer("fat", everywhere, muscle * septa)


def _pieces(room: Space, m: Points, pieces: Iterable[Piece], within: Array | np.float32) -> Iterator[Layer]:
    for piece in pieces:
        part = _part(room, *piece.box())
        share = room.ramp(piece.depth((m[0][part], m[1][part], m[2][part])))
        yield Layer(piece.tissue, part, share * (within[part] if isinstance(within, np.ndarray) else within))


def _part(room: Space, low: Place, high: Place, margin: float = 4 * WARP_MM + 1) -> Part:
    """The part of the room that holds a box, its mirror image and some mm around them, as the warp needs."""
    reach = max(abs(low[0]), abs(high[0]))
    slices = []
    limits = ((-reach, reach), (low[1], high[1]), (low[2], high[2]))
    for axis, (start, stop) in enumerate(limits):
        line = np.moveaxis(room.points[axis], axis, 0)[:, 0, 0]
        first, last = np.searchsorted(line, (start - margin, stop + margin))
        slices.append(slice(int(first), int(last)))
    return slices[0], slices[1], slices[2]


# --- the skull and what lines it ---


def _skull(
    rng: np.random.Generator, room: Space, m: Points, outside: Array, skull: Array, base: Array
) -> Iterator[Layer]:
    """Two tables of bone and the marrow between them, and the frontal sinus."""
    yield Layer("bone", room.slices, room.ramp(skull - outside))
    patchy = np.clip(0.9 + 0.35 * smooth_noise(rng, room, 10), 0.1, 1) * (1 - 0.9 * base)
    diploe = np.minimum(skull - np.float32(1.5) - outside, outside - np.float32(1.8))
    yield Layer("marrow", room.slices, room.ramp(diploe) * patchy)
    part = _part(room, (0, -104, -34), (20, -76, -8))
    shape = ellipsoid((m[0][part], m[1][part], m[2][part]), (9, -90, -22), (10, 12, 10))
    thickness = np.minimum(outside[part] - np.float32(1.8), skull[part] - np.float32(1.2) - outside[part])
    sinus = np.minimum(shape, thickness)
    yield Layer("mucosa", part, room.ramp(sinus + np.float32(0.7)))
    yield Layer("air", part, room.ramp(sinus))


def _meninges(room: Space, m: Points, outside: Array) -> Iterator[Layer]:
    """Dura with its sinuses, and the fluid within."""
    yield Layer("dura", room.slices, room.ramp(np.float32(1.1) - outside))

    def within(low: Place, high: Place) -> tuple[Part, Array, Array, Array, Array]:
        part = _part(room, low, high)
        return part, m[0][part], m[1][part], m[2][part], outside[part] - np.float32(0.6)

    part, x, y, z, deep = within((0, -70, -14), (4, 112, 86))
    sagittal = np.minimum(3.4 - np.hypot(x, deep), (z + 12) / 8) - 2 * np.clip(-y - 60, 0, 1)
    yield Layer("vessel", part, room.ramp(sagittal))
    part, x, y, z, deep = within((0, 38, -29), (92, 112, -21))
    transverse = np.minimum(3.2 - np.hypot(z + 25, deep), (y - 40) / 4)
    yield Layer("vessel", part, room.ramp(transverse))
    part, x, y, z, deep = within((0, 36, -52), (92, 44, -24))
    sigmoid = np.minimum(3.0 - np.hypot(y - 40, deep), 13 - np.abs(z + 38))
    yield Layer("vessel", part, room.ramp(sigmoid))
    yield Layer("fluid", room.slices, room.ramp(-outside))
