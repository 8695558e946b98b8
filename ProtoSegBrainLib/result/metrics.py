"""How well a predicted label map agrees with the expert's.

Masks are (X, Y, Z) bool arrays on one grid. Empty regions follow the BraTS challenges up to 2022: both masks empty is a
perfect score (1, or 0 mm), one of them empty the worst (0, or 373.13 mm, the diagonal of the BraTS grid of 240x240x155
mm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ProtoSegBrainLib.labels import CLASSES, REGIONS

Mask = NDArray[np.bool_]
SurfaceDistances = tuple[NDArray[np.float64], NDArray[np.float64]]

WORST_DISTANCE_MM = float(np.linalg.norm((240, 240, 155)))
CONVENTION = "both empty: 1 / 0 mm; one empty: 0 / 373.13 mm (BraTS up to 2022)"
SURFACE_TOLERANCE_MM = 1.0
SMALLEST_LESION_MM3 = 50.0
"""True lesions up to this volume are not scored one by one (BraTS 2023, glioma)."""
LESION_GROWTH = 3
"""Voxels by which true lesions are dilated to tell what belongs together (BraTS 2023, glioma)."""
DILATION, TOUCHING = ndimage.generate_binary_structure(3, 2), ndimage.generate_binary_structure(3, 3)
SCORED = {**REGIONS, **{name: (CLASSES.index(name),) for name in ("NCR", "ED")}}
"""What is scored: the regions, and the classes that are not already a region."""


@dataclass(frozen=True)
class RegionScore:
    """Agreement on one region.

    Attributes:
        region: WT, TC, ET, NCR or ED.
        dice: 0 to 1.
        hausdorff95_mm: 95th percentile of the surface distances, the larger of the two directions.
        sensitivity: Share of the true region that was found.
        precision: Share of the predicted region that is true.
        volume_ml: Predicted volume.
        truth_ml: True volume.
        surface_dice: Share of both surfaces that lies within 1 mm of the other (normalised surface Dice).
        lesion_dice: Mean Dice over the true lesions and the false ones (BraTS 2023).
    """

    region: str
    dice: float
    hausdorff95_mm: float
    sensitivity: float
    precision: float
    volume_ml: float
    truth_ml: float
    surface_dice: float
    lesion_dice: float


def evaluate_label(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], spacing_mm: Sequence[float]
) -> list[RegionScore]:
    """Score every region of two (X, Y, Z) maps of class indices.

    Raises:
        ValueError: If the shapes differ or hold anything but the library's class indices.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"expected prediction and truth on one grid, got shapes {prediction.shape} and {truth.shape}")
    for name, label in (("prediction", prediction), ("truth", truth)):
        if label.size and (label.min() < 0 or label.max() >= len(CLASSES)):
            raise ValueError(f"{name}: expected class indices 0 to 3, got values up to {label.max()}; decode it first")
    box = _bounding_box((prediction > 0) | (truth > 0), margin=LESION_GROWTH)
    prediction, truth = prediction[box], truth[box]
    scores = []
    for region, classes in SCORED.items():
        found, true = np.isin(prediction, classes), np.isin(truth, classes)
        distances = surface_distances_mm(found, true, spacing_mm)
        scores.append(
            RegionScore(
                region=region,
                dice=dice(found, true),
                hausdorff95_mm=hausdorff95_mm(distances),
                sensitivity=sensitivity(found, true),
                precision=precision(found, true),
                volume_ml=volume_ml(found, spacing_mm),
                truth_ml=volume_ml(true, spacing_mm),
                surface_dice=surface_dice(distances),
                lesion_dice=lesion_dice(found, true, spacing_mm),
            )
        )
    return scores


def dice(prediction: Mask, truth: Mask) -> float:
    """Twice the intersection over the sum of the sizes; both empty 1, one empty 0 (Dice 1945)."""
    return _ratio(2 * _size(prediction & truth), _size(prediction) + _size(truth), 1.0)


def sensitivity(prediction: Mask, truth: Mask) -> float:
    """Share of the truth that was found; both empty 1, one empty 0."""
    return _ratio(_size(prediction & truth), _size(truth), float(not prediction.any()))


def precision(prediction: Mask, truth: Mask) -> float:
    """Share of the prediction that is true; both empty 1, one empty 0."""
    return _ratio(_size(prediction & truth), _size(prediction), float(not truth.any()))


def volume_ml(mask: Mask, spacing_mm: Sequence[float]) -> float:
    """Volume of the mask in millilitres."""
    return float(_size(mask) * np.prod(spacing_mm) / 1000)


def lesion_dice(prediction: Mask, truth: Mask, spacing_mm: Sequence[float]) -> float:
    """Mean of the Dice of each true lesion and of 0 for each false part of the prediction (BraTS 2023, glioma).

    Parts of the truth whose dilations by three voxels touch are one lesion. Its Dice counts all parts of the prediction
    (26-connected) that reach its dilation; parts that reach none are false. Lesions of up to 50 mm3 are left out. No
    lesion and no false part: 1. The rules of the challenge's own code (github.com/rachitsaluja/BraTS-2023-Metrics).
    """
    near, box = np.zeros(truth.shape, np.int32), _bounding_box(truth, margin=LESION_GROWTH)
    ndimage.label(ndimage.binary_dilation(truth[box], DILATION, iterations=LESION_GROWTH), TOUCHING, near[box])
    parts = np.zeros(truth.shape, np.int32)
    n_parts = ndimage.label(prediction, TOUCHING, parts)
    truth_sizes, part_sizes = np.bincount(near[truth]), np.bincount(parts[prediction])
    overlaps = np.bincount(near[truth & prediction], minlength=len(truth_sizes))
    reaching = prediction & (near > 0)
    pairs = np.unique(near[reaching].astype(np.int64) * (n_parts + 1) + parts[reaching])  # of a lesion and a part
    lesion_of, part = np.divmod(pairs, n_parts + 1)
    found_sizes = np.bincount(lesion_of, weights=part_sizes[part], minlength=len(truth_sizes))
    scored = truth_sizes * np.prod(spacing_mm) > SMALLEST_LESION_MM3
    dices = 2 * overlaps[scored] / (truth_sizes[scored] + found_sizes[scored])
    n_false = n_parts - len(np.unique(part))
    return _ratio(float(dices.sum()), len(dices) + n_false, 1.0)


def surface_distances_mm(prediction: Mask, truth: Mask, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Distances from each surface voxel of the prediction to the truth's nearest, and the other way.

    The surface is the voxels of a mask with a face neighbour outside it; distances run between voxel centres, as in
    MONAI. An empty mask has no surface; to it all distances are infinite.
    """
    surfaces = [_surface_mm(mask, spacing_mm) for mask in (prediction, truth)]
    return _to_nearest(surfaces[0], surfaces[1]), _to_nearest(surfaces[1], surfaces[0])


def hausdorff95_mm(distances: SurfaceDistances) -> float:
    """95th percentile of the distances from each surface to the other, the larger of the two directions.

    Both masks empty 0, one empty 373.13 mm. MONAI's ``compute_hausdorff_distance(percentile=95)``.
    """
    has_surface = [directed.size > 0 for directed in distances]
    if not all(has_surface):
        return WORST_DISTANCE_MM if any(has_surface) else 0.0
    return float(max(np.percentile(directed, 95) for directed in distances))


def surface_dice(distances: SurfaceDistances, tolerance_mm: float = SURFACE_TOLERANCE_MM) -> float:
    """Share of the voxels of both surfaces that lie within the tolerance of the other (Nikolov 2021, Seidlitz 2022).

    Both masks empty 1, one empty 0. MONAI's ``compute_surface_dice``.
    """
    slack = 1e-3  # mm; spacings read from files may be 1.0000001
    near = sum(_size(directed <= tolerance_mm + slack) for directed in distances)
    return _ratio(near, sum(directed.size for directed in distances), 1.0)


def _to_nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3), (M, 3) -> (N,): distance of each point to the nearest of the others, infinite where there is none."""
    if not len(others):
        return np.full(len(points), np.inf)
    return np.asarray(cKDTree(others).query(points)[0])


def _surface_mm(mask: Mask, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """(N, 3) positions of the surface voxels; a voxel at the border of the array is on the surface."""
    box = _bounding_box(mask)
    inner = ndimage.binary_erosion(mask[box], border_value=0)
    corner = np.array([s.start for s in box])
    return (np.argwhere(mask[box] & ~inner) + corner) * np.asarray(spacing_mm, float)


def _bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """Smallest box around the mask, wider by a margin in voxels where the array allows; empty for an empty mask."""
    if not mask.any():
        return (slice(0, 0),) * mask.ndim
    (box,) = ndimage.find_objects(mask.astype(np.uint8, copy=False))
    return tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)


def _size(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _ratio(part: float, whole: float, otherwise: float) -> float:
    return float(part / whole) if whole else otherwise
