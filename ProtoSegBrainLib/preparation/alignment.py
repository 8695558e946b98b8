"""How one image of a head lies to another: a rigid motion, found by mutual information, written into the position.

Nothing is resampled: the motion goes into the affine of the moving image, so that the network's grid is interpolated
once. Images are registered as they are, with skull and background: a metric that sees the brain alone goes astray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume, bounding_box, corners


@dataclass(frozen=True)
class AlignmentConfig:
    """How the motion is searched; the defaults were chosen on real pairs (docs/experiments).

    Attributes:
        grids_mm: Of the search, coarse to fine.
        sampled: Share of the voxels that the metric looks at, by grid.
        steps_mm: First and last step of the descent, by grid.
        bins: Of the histogram.
        iterations: At most, by grid.
        relaxation: By which a step shrinks where the descent turns.
        least_gain: Share by which the information must grow, or the position in the header is kept.
        least_information: Below it two images have hardly anything in common.
        starts_apart_mm: Two starts that end further apart than this disagree.
        seed: Of the sampled voxels.
    """

    grids_mm: tuple[float, ...] = (4.0, 2.0)
    sampled: tuple[float, ...] = (0.4, 0.1)
    steps_mm: tuple[tuple[float, float], ...] = ((2.0, 0.02), (0.5, 0.005))
    bins: int = 32
    iterations: int = 150
    relaxation: float = 0.8
    least_gain: float = 0.03
    least_information: float = 0.2
    starts_apart_mm: float = 5.0
    seed: int = 1


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the moving image lies.

    Attributes:
        motion: 4x4, RAS mm: takes a place in the moving image, as its header has it, to the same tissue in the fixed
            one. The identity where the header was kept.
        information: Mutual information (Mattes) afterwards, in nats.
        information_before: The same as the headers have it.
        apart_mm: Between the ends of the two starts, at the surface of the head.
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
    the centres of mass, on a coarse and a fine grid.
    """
    config = config or AlignmentConfig()
    whole = _as_itk(fixed), _as_itk(moving)
    pairs = [(_thinned(_smoothed(whole[0], mm), mm), _smoothed(whole[1], mm)) for mm in config.grids_mm]
    pairs[0] = pairs[0][0], _thinned(pairs[0][1], config.grids_mm[0])
    starts = [_start(pairs[0], by_mass) for by_mass in (False, True)]
    ends = [_descended(pairs[0], start, 0, config) for start in starts]
    values = [_information(pairs[0], end, config) for end in ends]
    best = ends[int(np.argmax(values))]
    for level in range(1, len(pairs)):
        best = _descended(pairs[level], best, level, config)
    before, after = (_information(pairs[-1], transform, config) for transform in (starts[0], best))
    apart_mm = _apart_mm(*(_motion(end) for end in ends), fixed)
    motion = _motion(best) if after > before * (1 + config.least_gain) else np.eye(4)
    return Alignment(motion, max(after, before), before, apart_mm)


def displacement_mm(motion: np.ndarray, volume: Volume) -> float:
    """How far a motion carries the head, root of the mean square over the corners of its bounding box."""
    places = _head_corners(volume)
    return float(np.sqrt(np.square((motion @ places - places)[:3]).sum(axis=0).mean()))


def turned_degrees(motion: np.ndarray) -> float:
    """Angle of a rigid motion's rotation."""
    return float(np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))))


def _head_corners(volume: Volume) -> np.ndarray:
    box = bounding_box(volume.array > volume.array.mean() / 2)
    if box is None:
        return volume.affine @ corners(volume.shape)
    low = np.array([part.start for part in box])
    places = corners([part.stop - part.start for part in box])
    places[:3] += low[:, None]
    return volume.affine @ places


def _apart_mm(first: np.ndarray, second: np.ndarray, volume: Volume) -> float:
    places = _head_corners(volume)
    return float(np.linalg.norm(((first - second) @ places)[:3], axis=0).max())


# -- SimpleITK -----------------------------------------------------------------------------------------------------


def _as_itk(volume: Volume) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.array.T, np.float32))
    affine = LPS_TO_RAS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _smoothed(image: Any, grid_mm: float) -> Any:
    """Along those axes whose voxels are finer than the grid: thick slices are smooth enough."""
    import SimpleITK

    for axis, mm in enumerate(image.GetSpacing()):
        if mm < 0.8 * grid_mm:
            image = SimpleITK.RecursiveGaussian(image, grid_mm / 2, direction=axis)
    return image


def _thinned(image: Any, grid_mm: float) -> Any:
    import SimpleITK

    return SimpleITK.Shrink(image, [max(1, round(grid_mm / mm)) for mm in image.GetSpacing()])


def _start(pair: tuple[Any, Any], by_mass: bool) -> Any:
    import SimpleITK

    fixed, moving = pair
    transform = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.VersorRigid3DTransform(), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    transform = SimpleITK.VersorRigid3DTransform(transform)
    if not by_mass:
        transform.SetTranslation((0.0, 0.0, 0.0))
    return transform


def _descended(pair: tuple[Any, Any], start: Any, level: int, config: AlignmentConfig) -> Any:
    import SimpleITK

    method = _method(config)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(config.sampled[level], config.seed)
    first, last = config.steps_mm[level]
    method.SetOptimizerAsRegularStepGradientDescent(first, last, config.iterations, config.relaxation, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = SimpleITK.VersorRigid3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(*pair)
    return transform


def _information(pair: tuple[Any, Any], transform: Any, config: AlignmentConfig) -> float:
    """In nats, over every voxel of the fixed image that meets the moving one; 0 where none does."""
    method = _method(config)
    method.SetInitialTransform(transform)
    try:
        return -float(method.MetricEvaluate(*pair))
    except RuntimeError:  # no overlap
        return 0.0


def _method(config: AlignmentConfig) -> Any:
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(config.bins)
    method.SetInterpolator(SimpleITK.sitkLinear)
    return method


def _motion(transform: Any) -> np.ndarray:
    """What a transform of SimpleITK (fixed -> moving, LPS) does to the moving image's places: 4x4, RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return LPS_TO_RAS @ np.linalg.inv(matrix) @ LPS_TO_RAS
