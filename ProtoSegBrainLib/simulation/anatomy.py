"""The anatomy of a simulated head, made of formulas and seeded noise: brain, tissues, and a glioma that pushes them.

Structures are drawn with signed distances ("depth": mm inside a structure, negative outside) in head coordinates in mm
whose origin is the middle of the brain: x to the patient's left, y to the back, z to the top. Tissues mix over one
voxel (partial volume).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]  # float32, as wide as a voxel needs
Points = tuple[Array, Array, Array]
Tumour = Literal["high_grade", "low_grade"]

BRATS_SHAPE = (240, 240, 155)
BRAIN_CENTRE = (0.497, 0.530, 0.500)  # as a fraction of the grid, as in BraTS
BOX_MM = ((-74, 74), (-94, 94), (-76, 68))  # the whole brain lies within, in head coordinates
CEREBRUM = ((0.0, 0.0, 0.0), (67.0, 86.0, 62.0))  # centre and radii in mm
TEMPORAL_LOBE = ((40.0, -10.0, -24.0), (24.0, 38.0, 22.0))


@dataclass(frozen=True)
class Space:
    """The computed box.

    Attributes:
        points: Head coordinates of its voxels, (x, y, z) of float32 each.
        slices: Where it lies in the whole grid.
        scale: Voxels per mm; 1 for the BraTS grid.
    """

    points: Points
    slices: tuple[slice, slice, slice]
    scale: float

    def ramp(self, depth: Array) -> Array:
        """Share (0..1) of each voxel that lies inside a structure of this depth."""
        return np.clip(depth * np.float32(self.scale) + np.float32(0.5), 0, 1)


@dataclass(frozen=True)
class Head:
    """What lies in each voxel of the box (x, y, z).

    Attributes:
        space: The box.
        brain: Bool.
        fractions: Share of each tissue, 0 to 1, by its name.
        label: uint8 class indices; all 0 in a healthy brain.
    """

    space: Space
    brain: NDArray[np.bool_]
    fractions: dict[str, Array]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class _Lesion:
    """Centre (mm), radius and mean oedema width and rim thickness (mm) of the tumour."""

    centre: tuple[float, float, float]
    radius: float
    oedema: float
    rim: float


def draw_head(
    rng: np.random.Generator, shape: tuple[int, int, int], tumour: Tumour | None, growth: float = 1.0
) -> Head:
    """Draw a head; each call takes the next random numbers and makes another.

    Args:
        rng: Chooses sizes, folds and the tumour's place.
        shape: Of the whole grid; a grid smaller than the BraTS one holds a proportionally smaller head.
        tumour: Its kind; None for a healthy brain.
        growth: Of the tumour's volume, about; the same random numbers give the same brain with a tumour of other size.
    """
    space = _space(rng, shape)
    lesion = _grown(_lesion(rng), growth) if tumour else None
    brain, brain_depth, fractions, depth = _healthy(rng, space, lesion)
    label = np.zeros(brain.shape, np.uint8)
    if lesion is not None:
        label = _grow(rng, space, lesion, brain_depth, depth, fractions, tumour == "high_grade")
        label[~brain] = 0
    return Head(space, brain, fractions, label)


def smooth_noise(rng: np.random.Generator, space: Space, correlation_mm: float) -> Array:
    """Smooth random field (x, y, z) of mean 0 and standard deviation 1.

    Cubic B-splines on a coarse grid of random numbers, ``correlation_mm`` apart.
    """
    shape = space.points[0].shape
    step = max(1.5, correlation_mm * space.scale)
    field = rng.standard_normal([int(n / step) + 5 for n in shape]).astype(np.float32)
    for n in shape:  # contracting axis 0 each time and appending the result rotates the axes back into order
        field = np.tensordot(field, _spline_weights(n, step, field.shape[0]), axes=(0, 1))
    return (field - field.mean()) / field.std()


# --- space and noise ---


def _space(rng: np.random.Generator, shape: tuple[int, int, int]) -> Space:
    scale = min(n / reference for n, reference in zip(shape, BRATS_SHAPE, strict=True))
    centre = [f * (n - 1) for f, n in zip(BRAIN_CENTRE, shape, strict=True)]
    slices, axes = [], []
    for (low, high), c, n, size in zip(BOX_MM, centre, shape, rng.uniform(0.95, 1.04, 3), strict=True):
        start, stop = max(0, int(c + low * scale)), min(n, int(c + high * scale) + 1)
        slices.append(slice(start, stop))
        axes.append((np.arange(start, stop) - c) / (scale * size))
    x, y, z = np.meshgrid(*[a.astype(np.float32) for a in axes], indexing="ij")
    return Space((x, y, z), (slices[0], slices[1], slices[2]), scale)


def _spline_weights(n: int, step: float, knots: int) -> Array:
    """(n, knots) weights of a uniform cubic B-spline."""
    distance = np.abs(np.arange(n)[:, None] / step + 1.5 - np.arange(knots)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


# --- shapes: depth in mm, positive inside ---


def _offset(p: Points, centre: tuple[float, float, float]) -> Points:
    return p[0] - np.float32(centre[0]), p[1] - np.float32(centre[1]), p[2] - np.float32(centre[2])


def _norm(v: Points, radii: tuple[float, float, float] = (1, 1, 1)) -> Array:
    """Length of a vector field whose axes are divided by `radii`; never 0."""
    a, b, c = (np.float32(1 / radius**2) for radius in radii)
    return np.sqrt(a * v[0] * v[0] + b * v[1] * v[1] + c * v[2] * v[2] + np.float32(1e-12))


def ellipsoid(p: Points, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    v = _offset(p, centre)
    level = _norm(v, radii)
    slope = _norm(v, (radii[0] ** 2, radii[1] ** 2, radii[2] ** 2)) / level
    return (1 - level) / slope  # to first order the distance to the surface


def tube(
    p: Points,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    end_radius: float | None = None,
) -> Array:
    axis = np.subtract(end, start).astype(np.float32)
    x, y, z = _offset(p, start)
    along = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / (axis @ axis), 0, 1)
    distance = _norm((x - along * axis[0], y - along * axis[1], z - along * axis[2]))
    if end_radius is None:
        return np.float32(radius) - distance
    return np.float32(radius) + np.float32(end_radius - radius) * along - distance


def _union(*depths: Array) -> Array:
    result = depths[0]
    for depth in depths[1:]:
        result = np.maximum(result, depth)
    return result


# --- the healthy brain ---


def _healthy(
    rng: np.random.Generator, space: Space, lesion: _Lesion | None
) -> tuple[NDArray[np.bool_], Array, dict[str, Array], Array]:
    """Brain mask, depth below the brain's surface, tissue fractions and depth below the pia (sulci included)."""
    x, y, z = (a + 2.5 * smooth_noise(rng, space, 22) for a in space.points)
    warped = (x, y, z)
    surface = _union(*_lobes(_mirrored(warped), fissure=False))
    parts, _ = ndimage.label(surface > 0)
    brain = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    p = _pushed(warped, lesion)
    m = _mirrored(p)
    cerebrum, cerebellum, stem = _lobes(m, fissure=True)
    hull = _union(ellipsoid(m, *CEREBRUM), ellipsoid(m, *TEMPORAL_LOBE))
    cerebrum = _with_sulci(rng, space, p, cerebrum, hull)
    cerebellum = _with_folia(rng, space, p, cerebellum)
    depth = np.minimum(_union(cerebrum, cerebellum, stem), surface)
    cortex = 3.4 + 0.4 * smooth_noise(rng, space, 15) + 5 * (cerebellum > np.maximum(cerebrum, stem))
    tissue, white = space.ramp(depth - 0.7), space.ramp(depth - 0.7 - cortex)
    ventricles = space.ramp(_ventricles(m, rng.uniform(-1.0, 1.5)))
    deep = space.ramp(_deep_grey(m)) * tissue
    dura = space.ramp(0.8 + 1.0 * smooth_noise(rng, space, 12) - surface)
    fractions = {
        "CSF": np.maximum(1 - tissue, ventricles),
        "GM": (tissue - white) * (1 - deep) * (1 - ventricles),
        "WM": white * (1 - deep) * (1 - ventricles),
        "deep GM": deep * (1 - ventricles),
        "vessel": _vessels(rng, space, p, m, depth) * brain,
    }
    fractions = {name: share * (1 - dura) for name, share in fractions.items()} | {"dura": dura}
    return brain, surface, fractions, depth * (1 - ventricles)


def _mirrored(p: Points) -> Points:
    return np.abs(p[0]), p[1], p[2]


def _pushed(p: Points, lesion: _Lesion | None) -> Points:
    """Mass effect: look up the anatomy nearer to the tumour's centre, so that it appears pushed away from it."""
    if lesion is None:
        return p
    v = _offset(p, lesion.centre)
    r = _norm(v)
    push = np.minimum(0.5, 0.55 * lesion.radius * np.exp(-np.square(r / np.float32(2.2 * lesion.radius))) / r)
    return p[0] - push * v[0], p[1] - push * v[1], p[2] - push * v[2]


def _lobes(m: Points, *, fissure: bool) -> tuple[Array, Array, Array]:
    """Depth of cerebrum, cerebellum and brain stem in mirrored coordinates; with the fissure, two halves and a core."""
    x, y, z = m
    base = z + 24 - 0.004 * np.clip(-y - 40, 0, None) ** 2
    cerebrum = _union(np.minimum(ellipsoid(m, *CEREBRUM), base), ellipsoid(m, *TEMPORAL_LOBE))
    if fissure:
        sylvian = _union(np.abs(z + 14 + 0.35 * y) - 0.4, 30 - x, np.abs(y + 8) - 34)
        hemispheres = np.minimum(np.minimum(cerebrum, x - np.float32(0.3)), sylvian)
        core = np.minimum(ellipsoid(m, (0, 0, 0), (26, 38, 20)) + 4, cerebrum)
        cerebrum = _union(hemispheres, core)
    cerebellum = np.minimum(ellipsoid(m, (0, 46, -44), (50, 34, 28)), -z - 23 - 0.15 * (y - 46))
    pons = ellipsoid(m, (0, 4, -40), (17, 13, 16))
    stem = _union(tube(m, (0, 2, -10), (0, 20, -76), 10.5), pons) + 3
    return cerebrum, cerebellum, stem.astype(np.float32)


def _with_sulci(rng: np.random.Generator, space: Space, p: Points, depth: Array, hull: Array) -> Array:
    """Cut folded sheets perpendicular to the hull: level sets of noise that hardly changes along the radius."""
    radius = _norm(p, CEREBRUM[1])
    pull = (np.float32(0.72) + np.float32(0.12) * radius) / radius
    field = smooth_noise(rng, space, 7)
    index = np.stack([
        (a * pull - axis.flat[0]) * np.float32((n - 1) / (axis.flat[-1] - axis.flat[0]))
        for a, axis, n in zip(p, space.points, field.shape, strict=True)
    ])  # fmt: skip
    sheets = np.sin(np.float32(2.3) * ndimage.map_coordinates(field, index, order=1, mode="nearest"))
    gx, gy, gz = np.gradient(sheets)
    slope = np.float32(space.scale) * _norm((gx, gy, gz)) + np.float32(0.03)
    sulcus = np.abs(sheets) / slope + np.float32(rng.uniform(0.1, 0.6))  # mm to the nearest sheet, less its half width
    reach = np.clip(17 + 6 * smooth_noise(rng, space, 12), 4, 28)
    return np.minimum(depth, _union(sulcus, hull - reach)).astype(np.float32)


def _with_folia(rng: np.random.Generator, space: Space, p: Points, depth: Array) -> Array:
    height = p[2] + 0.5 * p[1] + 1.5 * smooth_noise(rng, space, 8)
    folia = np.abs(((height / 6) % 1) - 0.5) * 6  # sheets 6 mm apart
    return np.minimum(depth, _union(folia + np.float32(0.5), depth - 9)).astype(np.float32)


def _ventricles(m: Points, width: float) -> Array:
    lateral = _union(
        tube(m, (7, -32, 4), (9, -5, 14), 4.5 + width),
        tube(m, (9, -5, 14), (19, 28, 9), 4.0 + width),
        tube(m, (19, 28, 9), (25, 50, 3), 4.0 + width),
        tube(m, (22, 28, 6), (32, -4, -22), 2.0 + width / 2),
    )
    third = tube(m, (0, -8, -4), (0, 12, 2), 1.8 + width / 2)
    fourth = ellipsoid(m, (0, 26, -42), (6, 5, 9))
    return _union(np.minimum(lateral, m[0] - np.float32(1.0)), third, fourth)


def _deep_grey(m: Points) -> Array:
    return _union(
        tube(m, (13, -24, 3), (17, 5, 14), 4.5),  # caudate
        ellipsoid(m, (25, -4, 0), (6, 17, 9)),  # putamen and pallidum
        ellipsoid(m, (10, 14, 2), (8.5, 13, 8)),  # thalamus
    )


def _vessels(rng: np.random.Generator, space: Space, p: Points, m: Points, depth: Array) -> Array:
    """Share of blood: dural sinus, falx, choroid plexus and small vessels along the sulci."""
    radius = np.sqrt((p[1] / 86) ** 2 + (p[2] / 62) ** 2)
    sinus = np.minimum(2.2 - np.hypot(p[0], 62 * (radius - 0.985)), 3 * (p[1] + 30))
    plexus = np.minimum(tube(m, (12, 8, 12), (20, 30, 8), 1.8), 1.2 + smooth_noise(rng, space, 4))
    sheets = np.abs(smooth_noise(rng, space, 9)) / 0.16  # about mm to the sheet; a vessel runs where it meets a sulcus
    small = np.minimum(1.0 - sheets, 1.0 - np.abs(depth - 0.6))
    patchy = np.clip(0.5 + 0.5 * smooth_noise(rng, space, 14), 0, 1)
    falx = 0.25 * space.ramp(0.4 - np.abs(p[0])) * (depth < 1) * (p[2] > 12)
    return _union(space.ramp(_union(sinus, plexus)), patchy * space.ramp(small), falx).astype(np.float32)


# --- the tumour ---


def _lesion(rng: np.random.Generator) -> _Lesion:
    """Draw a tumour whose core lies within one hemisphere."""
    radius = rng.uniform(14, 22)
    side = rng.choice((-1, 1))
    while True:
        x, y, z = rng.uniform((18, -52, -8), (46, 52, 40))
        inside = 60 * (1 - np.sqrt((x / 67) ** 2 + (y / 86) ** 2 + (z / 62) ** 2))
        if inside > 0.9 * radius and x > 0.9 * radius:
            break
    return _Lesion((float(side * x), y, z), radius, rng.uniform(11, 20), rng.uniform(3.2, 5.5))


def _grown(lesion: _Lesion, growth: float) -> _Lesion:
    """Core and oedema grow alike; the rim is as thin as before."""
    factor = growth ** (1 / 3)
    return replace(lesion, radius=lesion.radius * factor, oedema=lesion.oedema * factor)


def _grow(
    rng: np.random.Generator,
    space: Space,
    lesion: _Lesion,
    brain_depth: Array,
    depth: Array,
    fractions: dict[str, Array],
    enhancing: bool,
) -> NDArray[np.uint8]:
    """Replace healthy tissue by tumour in `fractions` and return its label."""
    squeeze = rng.uniform(0.8, 1.2, 3)
    core = np.float32(lesion.radius) - _norm(_offset(space.points, lesion.centre), tuple(squeeze))
    core = core + 2.8 * smooth_noise(rng, space, 12) + 0.9 * smooth_noise(rng, space, 4)
    core = np.minimum(core, np.minimum(brain_depth - 2.5, np.sign(lesion.centre[0]) * space.points[0] - 1.5))
    reach = lesion.oedema * np.clip(1 + 0.45 * smooth_noise(rng, space, 13), 0.1, 1.7) + 1.5 * smooth_noise(
        rng, space, 5
    )
    path = np.clip((depth - 2) / 4, 0, 1)  # oedema follows white matter and stops at cortex, sulci and ventricles
    oedema = np.minimum(core + np.clip(reach, 2, None) * (0.15 + 0.85 * path), depth - 1.5)
    rim = lesion.rim * np.clip(1 + 0.45 * smooth_noise(rng, space, 9), 0.45, 2) + 0.8 * smooth_noise(rng, space, 3)
    oedema = _attached(oedema, core)
    inside, oedematous, dead = space.ramp(core), space.ramp(oedema), space.ramp(core - rim)
    oedematous *= 1 - fractions["CSF"]
    shares = {"ED": oedematous * (1 - inside), "NCR": inside * dead, "ET": inside * (1 - dead)}
    if not enhancing:
        shares = {"ED": shares["ED"], "low-grade core": inside}
    healthy = 1 - sum(shares.values())
    for name in fractions:
        fractions[name] *= healthy
    fractions |= shares
    label = np.where(oedematous > 0.5, 2, 0)
    label = np.where(core > 0, np.where((core > rim) | (not enhancing), 1, 3), label)
    return label.astype(np.uint8)


def _attached(oedema: Array, core: Array) -> Array:
    """Keep the oedema that touches the core."""
    parts, _ = ndimage.label(np.maximum(oedema, core) > -0.5)
    return np.where(np.isin(parts, np.unique(parts[core > 0])) & (parts > 0), oedema, np.float32(-2))
