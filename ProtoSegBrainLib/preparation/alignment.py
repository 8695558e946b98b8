"""Where one image of a head lies on another: a rigid motion, found by mutual information, written into the position.

Nothing is resampled: the motion goes into the affine of the moving image, so that the network's grid is interpolated
once. Images are registered as they are, with skull and background: a metric that sees the brain alone goes astray.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.checks import LEAST_OVERLAP
from ProtoSegBrainLib.images.preparation import Move
from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume, begin_at, bounding_box, corners, overlap

BRIGHTEST = 99.9
"""Percentile above which values are cut: one bright vessel would take most of the histogram's bins."""
LOOK_MM = 3.0
"""Between the voxels from which it is told where the head is."""


@dataclass(frozen=True)
class AlignmentConfig:
    """How the motion is searched; the defaults were chosen on real pairs (docs/experiments/registration.md).

    Attributes:
        grids_mm: Of the search, coarse to fine.
        samples: Voxels of T1ce that the metric looks at, by grid.
        steps_mm: First steps of the descent, by grid.
        least_step: The last step, as a share of the first.
        iterations: At most, by grid.
        relaxation: By which a step shrinks where the descent turns.
        bins: Of the histogram, for each image.
        rim_mm: Of air around the head that is looked at.
        least_gain: Share by which the information must grow, or the position in the header is kept,
        least_mm: as it is where the head would move less, which is the search's own error.
        least_information: In nats; below it two images have hardly anything in common.
        starts_apart_mm: Two starts that end further apart than this disagree,
        as_good: if the worse one's end holds at least this share of the better one's information.
        implausible_mm: No patient moves so far between two series,
        implausible_degrees: or turns so far.
        seed: Of the sampled voxels.
    """

    grids_mm: tuple[float, ...] = (8.0, 4.0, 2.0)
    samples: tuple[int, ...] = (10_000, 20_000, 40_000)
    steps_mm: tuple[float, ...] = (8.0, 2.0, 0.5)
    least_step: float = 0.002
    iterations: int = 100
    relaxation: float = 0.7
    bins: int = 32
    rim_mm: float = 15.0
    least_gain: float = 0.015
    least_mm: float = 1.0
    least_information: float = 0.45
    starts_apart_mm: float = 5.0
    as_good: float = 0.9
    implausible_mm: float = 100.0
    implausible_degrees: float = 60.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse grids without their samples or steps."""
        if not len(self.grids_mm) == len(self.samples) == len(self.steps_mm) > 0:
            raise ValueError(
                "grids_mm, samples and steps_mm must have one number for each grid, got "
                f"{len(self.grids_mm)}, {len(self.samples)} and {len(self.steps_mm)}."
            )


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the moving image lies.

    Attributes:
        motion: 4x4, RAS mm: takes a place in the moving image, as its header has it, to the same tissue in the fixed
            one. The identity where the header was kept.
        information: Mutual information (Mattes) afterwards, in nats.
        information_before: The same as the headers have it; 0 where the images do not meet.
        apart_mm: Between the ends of the two starts, before the finest grid, at the corners of the head.
        doubts: Sentences on why it should not be trusted; none is good.
    """

    motion: np.ndarray
    information: float
    information_before: float
    apart_mm: float
    doubts: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether the position in the header was good enough."""
        return bool(np.array_equal(self.motion, np.eye(4)))

    def moved(self, volume: Volume) -> Volume:
        """The moving image in its new place; its voxels are the same."""
        return Volume(volume.array, self.motion @ volume.affine, volume.remarks)


def align(moving: Volume, fixed: Volume, config: AlignmentConfig | None = None) -> Alignment:
    """Find the rigid motion that brings one image of a head onto another one of the same head.

    Mattes' mutual information (Mattes et al., IEEE TMI 2003), regular-step descent from the headers' position and from
    the heads' centres; the better one goes on to the finest grid. The same images give the same numbers. Where nothing
    can be found (one value everywhere, nothing in common) the header is kept, and a doubt says so.

    Args:
        moving: (X, Y, Z), any type, any grid.
        fixed: The same; T1ce.
        config: How it is searched.
    """
    config = config or AlignmentConfig()
    pairs = _pyramid(moving, fixed, config)

    def information(transform: Any, level: int) -> float:
        """0 where the images hardly meet: a few voxels always have much in common."""
        there = Volume(moving.array, _motion(transform) @ moving.affine)
        return _information(pairs[level], transform, config) if overlap(there, fixed) >= LEAST_OVERLAP else 0.0

    starts = _starts(moving, fixed)
    coarse, finest = range(max(1, len(pairs) - 1)), len(pairs) - 1
    ends = [_descended(pairs, start, coarse, config) for start in starts]
    values = [information(end, coarse[-1]) for end in ends]
    best = _descended(pairs, ends[int(np.argmax(values))], [finest], config)
    before, after = (information(transform, finest) for transform in (starts[0], best))
    mm = displacement_mm(_motion(best), moving)
    is_better = after > before * (1 + config.least_gain) and mm >= config.least_mm
    motion = _motion(best) if is_better else np.eye(4)
    apart_mm = _apart_mm(_motion(ends[0]), _motion(ends[1]), fixed)
    found = Alignment(motion, after if is_better else before, before, apart_mm)
    return replace(found, doubts=(*_doubts(found, moving, config), *_ambiguous(apart_mm, values, config)))


def move_of(alignment: Alignment, moving: Volume) -> Move:
    """What was found, in numbers for people and files."""
    motion = alignment.motion
    return Move(
        motion=motion,
        displacement_mm=displacement_mm(motion, moving),
        degrees=turned_degrees(motion),
        information=alignment.information,
        information_before=alignment.information_before,
        doubts=alignment.doubts,
    )


def displacement_mm(motion: np.ndarray, volume: Volume) -> float:
    """How far a motion carries the head, root of the mean square."""
    head = _head(volume)
    inside = np.argwhere(head.array) if head.array.any() else np.argwhere(np.ones(head.shape, bool))
    places = head.affine @ np.vstack([inside.T, np.ones(len(inside))])
    return float(np.sqrt(np.square((motion @ places - places)[:3]).sum(axis=0).mean()))


def turned_degrees(motion: np.ndarray) -> float:
    """Angle of a rigid motion's rotation."""
    return float(np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))))


# -- doubts --------------------------------------------------------------------------------------------------------


def _doubts(found: Alignment, moving: Volume, config: AlignmentConfig) -> list[str]:
    if found.information <= 0:
        return ["it has nothing in common with T1ce, so it was left where its header puts it: does it show a head?"]
    doubts = []
    if found.information < config.least_information:
        doubts.append(
            f"laid on T1ce as well as can be, it shares {found.information:.2f} nats of information with it "
            f"({config.least_information:g} or more expected): see in the pictures whether the two show one head."
        )
    mm, degrees = displacement_mm(found.motion, moving), turned_degrees(found.motion)
    if mm > config.implausible_mm or degrees > config.implausible_degrees:
        doubts.append(
            f"it was moved by {mm:.0f} mm and {degrees:.0f} degrees ({config.implausible_mm:g} mm and "
            f"{config.implausible_degrees:g} degrees at most expected): see in the pictures whether it lies on T1ce."
        )
    return doubts


def _ambiguous(apart_mm: float, values: list[float], config: AlignmentConfig) -> list[str]:
    if apart_mm <= config.starts_apart_mm or min(values) <= config.as_good * max(values):
        return []
    return [
        f"searched from its header's position and from the head's centre, it came to lie {apart_mm:.0f} mm apart, with "
        f"{values[0]:.2f} and {values[1]:.2f} nats of information: see in the pictures whether it lies on T1ce."
    ]


# -- the head in the image -----------------------------------------------------------------------------------------


def _head(volume: Volume) -> Volume:
    """Where there is no background, (x, y, z) bool, on every few voxels; any value may be background."""
    steps = [max(1, round(LOOK_MM / mm)) for mm in volume.spacing_mm]
    every = tuple(slice(None, None, step) for step in steps)
    array = np.asarray(volume.array[every], np.float32)
    low, high = np.percentile(array, (0, BRIGHTEST))
    counts, edges = np.histogram(array, bins=64, range=(low, max(high, low + 1e-6)))
    fullest = int(counts.argmax())
    contrast = np.abs(array - np.float32((edges[fullest] + edges[fullest + 1]) / 2))
    return Volume(contrast > contrast.mean() / 2, volume.affine @ np.diag([*map(float, steps), 1.0]))


def _head_corners(volume: Volume) -> np.ndarray:
    """(4, 8) homogeneous places of the corners of its bounding box, RAS mm; of the field of view where it is empty."""
    head = _head(volume)
    box = bounding_box(head.array)
    if box is None:
        return volume.affine @ corners(volume.shape)
    inside = corners([part.stop - part.start for part in box])
    return begin_at(head.affine, [part.start for part in box]) @ inside


def _head_centre(volume: Volume) -> np.ndarray:
    """(3,) RAS mm; of the field of view where it is empty."""
    head = _head(volume)
    if not head.array.any():
        return np.asarray((volume.affine @ [*(np.array(volume.shape) - 1) / 2, 1.0])[:3])
    return np.asarray((head.affine @ [*np.argwhere(head.array).mean(axis=0), 1.0])[:3])


def _around_head(volume: Volume, rim_mm: float) -> Volume:
    """The part of an image that shows the head, and some air."""
    index = (np.linalg.inv(volume.affine) @ _head_corners(volume))[:3]
    rim = rim_mm / np.array(volume.spacing_mm)
    low = np.maximum(np.floor(index.min(axis=1) - rim), 0).astype(int)
    high = np.ceil(index.max(axis=1) + rim).astype(int) + 1
    part = volume.array[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
    return Volume(part, begin_at(volume.affine, low))


def _apart_mm(first: np.ndarray, second: np.ndarray, volume: Volume) -> float:
    return float(np.linalg.norm(((first - second) @ _head_corners(volume))[:3], axis=0).max())


# -- SimpleITK -----------------------------------------------------------------------------------------------------


def _pyramid(moving: Volume, fixed: Volume, config: AlignmentConfig) -> list[tuple[Any, Any]]:
    """The fixed and the moving image by grid, coarse to fine."""
    whole = _as_itk(_around_head(fixed, config.rim_mm)), _as_itk(moving)
    return [(_thinned(whole[0], mm), _thinned(whole[1], mm)) for mm in config.grids_mm]


def _as_itk(volume: Volume) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.array.T, np.float32))
    affine = LPS_TO_RAS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _thinned(image: Any, grid_mm: float) -> Any:
    """Means of blocks. A shrunken image (``Shrink``) would lie half a voxel off."""
    import SimpleITK

    sizes = [max(1, round(grid_mm / mm)) for mm in image.GetSpacing()]
    thin = SimpleITK.BinShrink(image, [min(size, n) for size, n in zip(sizes, image.GetSize(), strict=True)])
    values = SimpleITK.GetArrayViewFromImage(thin)
    return SimpleITK.Clamp(thin, upperBound=float(np.percentile(values, BRIGHTEST)), lowerBound=float(values.min()))


def _starts(moving: Volume, fixed: Volume) -> tuple[Any, Any]:
    """As the headers have it, and with the heads' centres laid on each other; turned about the head's centre."""
    import SimpleITK

    centres = [LPS_TO_RAS[:3, :3] @ _head_centre(volume) for volume in (fixed, moving)]
    as_headers, by_centres = SimpleITK.VersorRigid3DTransform(), SimpleITK.VersorRigid3DTransform()
    for transform in (as_headers, by_centres):
        transform.SetCenter(centres[0].tolist())
    by_centres.SetTranslation((centres[1] - centres[0]).tolist())
    return as_headers, by_centres


def _descended(pairs: list[tuple[Any, Any]], start: Any, levels: Iterable[int], config: AlignmentConfig) -> Any:
    """A better transform than the start, or the start where there is nothing to go by."""
    import SimpleITK

    transform = SimpleITK.VersorRigid3DTransform(start)
    try:
        for level in levels:
            _descent(pairs[level], transform, level, config).Execute(*pairs[level])
    except RuntimeError:  # no overlap, or one value everywhere
        return start
    return transform


def _descent(pair: tuple[Any, Any], transform: Any, level: int, config: AlignmentConfig) -> Any:
    """Betters the transform in place."""
    method = _method(config)
    share = config.samples[level] / pair[0].GetNumberOfPixels()
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, config.seed)
    first = config.steps_mm[level]
    method.SetOptimizerAsRegularStepGradientDescent(
        first, first * config.least_step, config.iterations, config.relaxation, 1e-8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    return method


def _information(pair: tuple[Any, Any], transform: Any, config: AlignmentConfig) -> float:
    """In nats, over every voxel of the fixed image that meets the moving one; 0 where none does."""
    method = _method(config)
    method.SetInitialTransform(transform)
    try:
        value = -float(method.MetricEvaluate(*pair))
    except RuntimeError:  # no overlap, or one value everywhere
        return 0.0
    return value if np.isfinite(value) else 0.0


def _method(config: AlignmentConfig) -> Any:
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # the order of a sum changes its last digits; several images may run at once
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(config.bins)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(SimpleITK.sitkLinear)
    return method


def _motion(transform: Any) -> np.ndarray:
    """What a transform of SimpleITK (fixed -> moving, LPS) does to the moving image's places: 4x4, RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return LPS_TO_RAS @ np.linalg.inv(matrix) @ LPS_TO_RAS
