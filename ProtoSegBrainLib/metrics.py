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

WORST_DISTANCE_MM = float(np.linalg.norm((240, 240, 155)))
CONVENTION = "both empty: 1 / 0 mm; one empty: 0 / 373.13 mm (BraTS up to 2022)"
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
    """

    region: str
    dice: float
    hausdorff95_mm: float
    sensitivity: float
    precision: float
    volume_ml: float
    truth_ml: float


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
    box = _bounding_box((prediction > 0) | (truth > 0))
    prediction, truth = prediction[box], truth[box]
    scores = []
    for region, classes in SCORED.items():
        found, true = np.isin(prediction, classes), np.isin(truth, classes)
        scores.append(
            RegionScore(
                region=region,
                dice=dice(found, true),
                hausdorff95_mm=hausdorff95_mm(found, true, spacing_mm),
                sensitivity=sensitivity(found, true),
                precision=precision(found, true),
                volume_ml=volume_ml(found, spacing_mm),
                truth_ml=volume_ml(true, spacing_mm),
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


def hausdorff95_mm(prediction: Mask, truth: Mask, spacing_mm: Sequence[float]) -> float:
    """95th percentile of the distances from each surface to the other, the larger of the two directions.

    The surface is the voxels of a mask with a face neighbour outside it; distances run between voxel centres. Both
    empty 0, one empty 373.13 mm. The same definition as MONAI's ``compute_hausdorff_distance(percentile=95)``.
    """
    empty = not prediction.any(), not truth.any()
    if any(empty):
        return 0.0 if all(empty) else WORST_DISTANCE_MM
    if np.array_equal(prediction, truth):
        return 0.0
    surfaces = [_surface_mm(mask, spacing_mm) for mask in (prediction, truth)]
    directed = [cKDTree(to).query(points)[0] for points, to in ((surfaces[0], surfaces[1]), (surfaces[1], surfaces[0]))]
    return float(max(np.percentile(distances, 95) for distances in directed))


def _surface_mm(mask: Mask, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """(N, 3) positions of the surface voxels; a voxel at the border of the array is on the surface."""
    box = _bounding_box(mask)
    inner = ndimage.binary_erosion(mask[box], border_value=0)
    corner = np.array([s.start for s in box])
    return (np.argwhere(mask[box] & ~inner) + corner) * np.asarray(spacing_mm, float)


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    boxes = ndimage.find_objects(mask.astype(np.uint8, copy=False))
    return boxes[0] if boxes else (slice(0, 0),) * mask.ndim


def _size(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _ratio(part: float, whole: float, otherwise: float) -> float:
    return float(part / whole) if whole else otherwise
