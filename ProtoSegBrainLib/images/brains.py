"""Do the four images show one brain? Sentences with numbers where they do not; nothing is refused or changed.

The images are compared on a grid of about 4 mm, which takes milliseconds: their brain masks, where the skull was
removed, and the edges inside. Edges lie in the same places and run in the same directions whatever the contrast
(normalised gradient fields, Haber and Modersitzki 2006), if the images show one brain in one place. The limits
were set by 59 real cases, as they are and with faults made in them: docs/experiments/one-brain.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.checks import LEAST_ZERO_SHARE
from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box, resample, same_grid, voxel_ml
from ProtoSegBrainLib.labels import MODALITY_NAMES, listed

STEP_MM = 4.0
ROOM_VOXELS = 6
"""Of the coarse grid, around the finest image where others lie elsewhere."""
RIM_VOXELS = 2
"""Edges this near to the rim of a brain are the mask's, not the brain's."""
LEAST_VOXELS = 200
"""Of the coarse grid; over fewer nothing is said of edges and intensities."""
STRONG_EDGE = 3.0
"""In units of the median; stronger ones (a tumour's rim) do not count for more."""
SMALLEST = 1e-12
LEAST_MASK_DICE = 0.9
GOOD_AGREEMENT = 0.58
"""Of edges: 1 where all have the same direction, 1/3 where they have nothing to do with each other."""
LEAST_AGREEMENT, LEAST_PEAK = 0.45, 1.15
"""Of noisy images that lie on each other: edges agree at least so much, and by so much better than after a step."""
MIRROR_GAIN = 0.08
"""By which the edges of an image that is mirrored agree better once it is mirrored back."""
SAME_IMAGE = 0.999
"""Correlation on the coarse grid from which two images are one."""
LEAST_COVERAGE = 0.85
WITHIN = 0.95
"""Share of an image's brain inside that of the others from which it is a part of it, not elsewhere."""
SPECK_SHARE = 0.05
"""Of the largest brain: images that show less are taken for empty."""
LINES_MM = 4.0
"""Between the lines along which T1 and T1ce are compared, at full resolution: vessels are thin."""
LEAST_POINTS, MOST_POINTS = 2000, 30_000
ALIKE = 24
"""Groups of voxels of like intensity."""
USUAL_TAIL, USUAL_SKEW = 3.4, 0.7
"""Median differences between T1ce and T1 in real cases."""
EXCHANGED_BELOW = -0.3
"""Evidence from which T1 and T1ce seem to be exchanged; 2 is usual, with no enhancement it is near 0."""


@dataclass(frozen=True, eq=False)
class _Shown:
    """An image on the coarse grid.

    Attributes:
        values: (x, y, z) float32.
        brain: (x, y, z) bool: where the image is not zero.
        is_stripped: Whether ``brain`` is one; else the image shows skull and air.
    """

    values: np.ndarray
    brain: np.ndarray
    is_stripped: bool

    @cached_property
    def inner(self) -> np.ndarray:
        return np.asarray(ndimage.binary_erosion(self.brain, iterations=RIM_VOXELS))

    @cached_property
    def edges(self) -> np.ndarray:
        """(3, x, y, z): the direction of the gradient, as long as the root of its weight; 0 near the rim."""
        if not self.inner.any():
            return np.zeros((3, *self.values.shape), np.float32)
        gradient = np.stack(np.gradient(self.values))
        strength = np.maximum(np.sqrt(np.square(gradient).sum(axis=0)), SMALLEST)
        length = np.sqrt(np.minimum(strength / np.median(strength[self.inner]), STRONG_EDGE)) / strength
        return np.asarray(gradient * (length * self.inner))

    def mirrored(self, axis: int) -> _Shown:
        return replace(self, values=np.flip(self.values, axis), brain=np.flip(self.brain, axis))


@dataclass(frozen=True)
class Brains:
    """What the images of a case show.

    Attributes:
        sentences: Where they do not show one brain, or not the whole of it, or one of them is given twice.
        are_apart: Whether one of them does not lie where the others show the brain.
    """

    sentences: tuple[str, ...]
    are_apart: bool


def brain_warnings(volumes: Mapping[str, Volume]) -> list[str]:
    """The sentences of ``look_at_brains``."""
    return [*look_at_brains(volumes).sentences]


def look_at_brains(volumes: Mapping[str, Volume]) -> Brains:
    """Whether images show one brain, and the whole of it.

    Args:
        volumes: By role, each on its own grid; 0 outside the brain, where the skull was removed.
    """
    shown, affine = _on_coarse_grid(volumes)
    sentences = []
    sizes = {role: np.count_nonzero(each.brain) for role, each in shown.items()}
    largest = max(sizes, key=lambda role: sizes[role])
    for role in [role for role, size in sizes.items() if size < SPECK_SHARE * sizes[largest]]:
        del shown[role]
        sentences.append(_specks(role, volumes[role], volumes[largest]))
    partial = _partial(shown)
    sentences += [
        f"{MODALITY_NAMES[role]} shows only {share:.0%} of the brain that the other images show: a part is missing."
        for role, share in partial.items()
    ]
    twice = _given_twice(shown)
    apart = _apart(shown, affine, partial)
    comparable = {"t1n", "t1c"} <= set(shown) and not twice and not apart
    exchanged = _exchanged(volumes["t1n"], volumes["t1c"]) if comparable else []
    return Brains((*sentences, *twice, *apart, *exchanged), bool(apart))


# --- on one coarse grid ---


def _on_coarse_grid(volumes: Mapping[str, Volume]) -> tuple[dict[str, _Shown], np.ndarray]:
    """The images on the coarse grid of the finest of them, cut to what they show, and its affine."""
    with ThreadPoolExecutor(len(volumes)) as pool:
        coarse = dict(zip(volumes, pool.map(_coarse, volumes.values()), strict=True))
    finest = min(coarse.values(), key=lambda each: round(voxel_ml(each.affine), 3))
    shape, affine = finest.shape, finest.affine
    if not all(same_grid(each, shape, affine) for each in coarse.values()):
        affine = begin_at(affine, [-ROOM_VOXELS] * 3)
        shape = (shape[0] + 2 * ROOM_VOXELS, shape[1] + 2 * ROOM_VOXELS, shape[2] + 2 * ROOM_VOXELS)
    shown = {}
    for role, each in coarse.items():
        filled = Volume(each.array != 0, each.affine)
        values, brain = (resample(part, shape, affine, order=1).array for part in (each, filled))
        shown[role] = _Shown(values, brain >= 0.5, float(filled.array.mean()) <= 1 - LEAST_ZERO_SHARE)
    box = bounding_box(np.any([each.brain for each in shown.values()], axis=0)) or (slice(0, None),) * 3
    cut = {role: replace(each, values=each.values[box], brain=each.brain[box]) for role, each in shown.items()}
    return cut, begin_at(affine, [part.start for part in box])


def _coarse(volume: Volume) -> Volume:
    """Means of blocks of about 4 mm; 0 where all of a block is.

    Along the axis that is fastest in memory all voxels are read, along the others two in a block.
    """
    order = np.argsort(-np.abs(volume.array.strides), kind="stable")  # the fastest last
    steps, counts = np.ones(3, int), np.ones(3, int)
    for axis in range(3):
        in_block = STEP_MM / volume.spacing_mm[axis]
        step = 1 if axis == order[-1] else max(1, min(round(in_block / 2), volume.shape[axis]))
        steps[axis], counts[axis] = step, max(1, min(round(in_block / step), volume.shape[axis] // step))
    ends = np.array(volume.shape) // (steps * counts) * steps * counts
    total = volume.array[tuple(slice(0, end, step) for end, step in zip(ends, steps, strict=True))]
    for axis in order:
        total = _sums(total, axis, counts[axis])
    affine = begin_at(volume.affine, (counts - 1) / 2 * steps) @ np.diag([*(counts * steps).astype(float), 1.0])
    return Volume(total / np.float32(counts.prod()), affine)


def _sums(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Of every ``count`` neighbours along an axis; much faster than a sum over an axis of that length."""
    parts = [array[(slice(None),) * axis + (slice(start, None, count),)] for start in range(count)]
    total = parts[0].astype(np.float32)
    for part in parts[1:]:
        total += part
    return total


# --- all of the brain, and not twice ---


def _specks(role: str, volume: Volume, largest: Volume) -> str:
    counts = [int(np.count_nonzero(each.array)) for each in (volume, largest)]
    ml, largest_ml = (count * voxel_ml(each.affine) for count, each in zip(counts, (volume, largest), strict=True))
    return (
        f"{MODALITY_NAMES[role]} is empty but for {counts[0]} voxel{'s' * (counts[0] > 1)} ({ml:.2g} ml), where other "
        f"images show {largest_ml:.0f} ml: it counts as missing, and the result cannot be trusted."
    )


def _partial(shown: Mapping[str, _Shown]) -> dict[str, float]:
    """Images that show a part of the brain of the others, and how much of it."""
    stripped = {role: each.brain for role, each in shown.items() if each.is_stripped}
    found = {}
    for role, brain in stripped.items():
        others = [other for name, other in stripped.items() if name != role]
        if not others:
            continue
        whole = np.sum(others, axis=0) > len(others) / 2
        common = int(np.count_nonzero(brain & whole))
        share = common / max(int(np.count_nonzero(whole)), 1)
        if share < LEAST_COVERAGE and common >= WITHIN * np.count_nonzero(brain):
            found[role] = share
    return found


def _given_twice(shown: Mapping[str, _Shown]) -> list[str]:
    sentences = []
    for number, second in enumerate(shown):
        correlations = {first: _correlation(shown[first], shown[second]) for first in [*shown][:number]}
        first = next((role for role, correlation in correlations.items() if abs(correlation) > SAME_IMAGE), None)
        if first is not None:
            scaled = "" if correlations[first] > 0 else ", with dark and bright exchanged"
            sentences.append(
                f"{MODALITY_NAMES[first]} and {MODALITY_NAMES[second]} are the same image{scaled} (correlation "
                f"{correlations[first]:.4f}): one was given twice, and what the other would show is missing."
            )
    return sentences


def _correlation(first: _Shown, second: _Shown) -> float:
    """0 where too few voxels are common, or one image is constant there."""
    common = first.inner & second.inner
    if np.count_nonzero(common) < LEAST_VOXELS:
        return 0.0
    a, b = (values - values.mean() for values in (first.values[common], second.values[common]))
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


# --- in one place ---


def _apart(shown: Mapping[str, _Shown], affine: np.ndarray, partial: Mapping[str, float]) -> list[str]:
    """Sentences on images that do not lie on most of the others."""
    if len(shown) < 2:
        return []
    main, *odd = _groups(shown, partial)
    if len(main) == 1:  # no two lie on each other: one sentence says it of all
        odd = [[role for group in odd for role in group]]
    return [_why_apart(group, main, shown, affine) for group in odd]


def _groups(shown: Mapping[str, _Shown], partial: Mapping[str, float]) -> list[list[str]]:
    """Roles whose images lie on each other, directly or by way of a third; the largest group first."""
    groups = [[role] for role in shown]
    for first, second in itertools.combinations(shown, 2):
        one, other = (next(group for group in groups if role in group) for role in (first, second))
        is_partial = first in partial or second in partial
        if one is not other and _in_one_place(shown[first], shown[second], with_masks=not is_partial):
            groups.remove(other)
            one += other
    return sorted(groups, key=len, reverse=True)


def _in_one_place(first: _Shown, second: _Shown, *, with_masks: bool) -> bool:
    if with_masks and _mask_dice(first, second) < LEAST_MASK_DICE:
        return False
    edges = _agreement(first, second)
    return edges >= GOOD_AGREEMENT or (edges >= LEAST_AGREEMENT and edges >= LEAST_PEAK * _one_step_off(first, second))


def _one_step_off(first: _Shown, second: _Shown) -> float:
    """Mean agreement of edges once the first image is moved by a voxel of the coarse grid, in six directions."""
    moved = [np.roll(first.edges, step, axis) for axis in (1, 2, 3) for step in (-1, 1)]
    return float(np.mean([_agreement_of(edges, second.edges) for edges in moved]))


def _mask_dice(first: _Shown, second: _Shown) -> float:
    """1 where one of the images is not skull-stripped."""
    if not (first.is_stripped and second.is_stripped):
        return 1.0
    common = int(np.count_nonzero(first.brain & second.brain))
    return 2 * common / max(np.count_nonzero(first.brain) + np.count_nonzero(second.brain), 1)


def _agreement(first: _Shown, second: _Shown) -> float:
    """Mean squared cosine between edges, weighted by their strength; 1 where too few voxels are common."""
    return _agreement_of(first.edges, second.edges)


def _agreement_of(first: np.ndarray, second: np.ndarray) -> float:
    weight = (first * first).sum(axis=0) * (second * second).sum(axis=0)
    if np.count_nonzero(weight) < LEAST_VOXELS:
        return 1.0
    along = (first * second).sum(axis=0)
    return float(np.vdot(along, along) / weight.sum())


def _why_apart(odd: Sequence[str], main: Sequence[str], shown: Mapping[str, _Shown], affine: np.ndarray) -> str:
    pairs = [(shown[first], shown[second]) for first in odd for second in main]
    edges = max(_agreement(first, second) for first, second in pairs)
    left_right = int(np.argmax(np.abs(affine[0, :3])))
    mirrored = max(_agreement_laid_on(first.mirrored(left_right), second) for first, second in pairs)
    moved = max(_agreement_laid_on(first, second) for first, second in pairs)
    name, others = _named(odd), _named(main)
    if mirrored >= GOOD_AGREEMENT and mirrored > moved + MIRROR_GAIN:
        return (
            f"{name} seem{'s' * (len(odd) == 1)} to be mirrored left-right against {others}: edges agree by "
            f"{mirrored:.2f} once mirrored back, by {edges:.2f} as given. The result cannot be trusted."
        )
    numbers = [f"edges agree by {edges:.2f} ({GOOD_AGREEMENT} or more expected)"]
    masks = [(first, second) for first, second in pairs if first.is_stripped and second.is_stripped]
    if masks:
        dice = max(_mask_dice(first, second) for first, second in masks)
        numbers.insert(0, f"brain masks agree by a Dice of {dice:.2f} ({LEAST_MASK_DICE} or more expected)")
        numbers.append(f"the brains' centres lie {min(_distance_mm(*pair, affine) for pair in masks):.0f} mm apart")
    do, show = ("does" if len(odd) == 1 else "do"), ("shows" if len(main) == 1 else "show")
    return (
        f"{name} {do} not lie where {others} {show} the brain: {', '.join(numbers)}. Are the images registered to each "
        "other, and of one patient? The result cannot be trusted."
    )


def _named(roles: Sequence[str]) -> str:
    return listed([MODALITY_NAMES[role] for role in roles])


def _agreement_laid_on(first: _Shown, second: _Shown) -> float:
    """The best that a move of the first image gives, to where its brain's centre lies on the other's or beside it."""
    if not first.brain.any() or not second.brain.any():
        return 0.0
    shift = np.rint(_centre(second.brain) - _centre(first.brain)).astype(int)
    nearby = [shift + step for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int), np.zeros(3, int))]
    return max(_agreement_of(np.roll(first.edges, there, axis=(1, 2, 3)), second.edges) for there in nearby)


def _centre(mask: np.ndarray) -> np.ndarray:
    return np.asarray(np.argwhere(mask).mean(axis=0))


def _distance_mm(first: _Shown, second: _Shown, affine: np.ndarray) -> float:
    return float(np.linalg.norm(affine[:3, :3] @ (_centre(first.brain) - _centre(second.brain))))


# --- T1 and T1ce ---


def _exchanged(t1: Volume, t1ce: Volume) -> list[str]:
    """A sentence where what enhances (vessels, dura, tumour) is bright in the image that is named T1.

    Without enhancement, as in some tumours of low grade, the two can hardly be told apart and nothing is said.
    """
    plain, enhanced = _same_points(t1, t1ce)
    if plain.size < LEAST_POINTS:
        return []
    tails = [_bright_tail(values) for values in (plain, enhanced)]
    skews = [_skewness(_beyond(values, other)) for values, other in ((plain, enhanced), (enhanced, plain))]
    evidence = (tails[1] - tails[0]) / USUAL_TAIL + (skews[1] - skews[0]) / USUAL_SKEW
    if evidence > EXCHANGED_BELOW:
        return []
    return [
        f"T1 and T1ce seem to be exchanged: what is bright beyond the rest of the brain stands out in T1 by "
        f"{tails[0]:.1f} and in T1ce by {tails[1]:.1f} interquartile ranges, and it is T1ce that enhances."
    ]


def _same_points(first: Volume, second: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) of both where neither is 0, along some of the lines of the second image."""
    fastest = int(np.argmin(np.abs(second.array.strides)))
    steps = [1 if axis == fastest else max(1, round(LINES_MM / mm)) for axis, mm in enumerate(second.spacing_mm)]
    lines = tuple(slice(None, None, step) for step in steps)
    theirs = second.array[lines]
    if same_grid(first, second.shape, second.affine):
        own = first.array[lines]
    else:
        own = resample(first, theirs.shape, second.affine @ np.diag([*map(float, steps), 1.0]), order=0).array
    both = (own != 0) & (theirs != 0)
    every = slice(None, None, max(1, np.count_nonzero(both) // MOST_POINTS))
    return own[both][every].astype(np.float32), theirs[both][every].astype(np.float32)


def _bright_tail(values: np.ndarray) -> float:
    low, middle, high, brightest = np.percentile(values, (25, 50, 75, 99.5))
    return float((brightest - middle) / max(high - low, SMALLEST))


def _beyond(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What is left of an image once the median of the voxels that are alike in the other is taken away."""
    alike = np.searchsorted(np.percentile(other, np.linspace(0, 100, ALIKE + 1)[1:-1]), other)
    order = np.argsort(alike, kind="stable")
    groups = np.split(values[order], np.flatnonzero(np.diff(alike[order])) + 1)
    return np.concatenate([group - np.median(group) for group in groups])


def _skewness(values: np.ndarray) -> float:
    """To the bright side; -1 to 1."""
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    return float((high + low - 2 * middle) / max(high - low, SMALLEST))
