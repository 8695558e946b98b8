"""Why a voxel, or a region, was labelled as it was: what each prototype added to the decision; needs no torch.

Nothing is estimated: logit_k = bias_k + sum_p weight_kp s_p holds on the prototype grid, and, because trilinear weights
sum to one, for similarities interpolated between its voxels as the network's output is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import INDEX_TOLERANCE, corners
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.evidence import Evidence, require_prototypes
from ProtoSegBrainLib.result.prediction import Prediction

MEMBERS = REGIONS | {name: (index,) for index, name in enumerate(CLASSES) if index}
"""Class indices of every region that can be asked for."""


@dataclass(frozen=True)
class Contribution:
    """What one prototype adds to the logit of one class.

    Attributes:
        prototype: Its number, the channel in the similarity maps.
        class_name: The class whose logit it adds to.
        distance: Squared L2 distance on the unit sphere, 0 to 4.
        similarity: Of the place to the prototype.
        percentile: Per cent of the true training voxels of its class that are less similar to it; None if unknown.
        weight: Of the last layer.
        contribution: weight * similarity.
    """

    prototype: int
    class_name: str
    distance: float
    similarity: float
    percentile: float | None
    weight: float
    contribution: float

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "prototype": self.prototype,
            "class": self.class_name,
            "distance": self.distance,
            "similarity": self.similarity,
            "percentile": self.percentile,
            "weight": self.weight,
            "contribution": self.contribution,
        }


@dataclass(frozen=True)
class Explanation:
    """Why a place was labelled as it was. For each class: logit = bias + sum of its contributions.

    Attributes:
        case_id: Of the case.
        position_mm: The place in RAS mm.
        class_name: Label of the voxel in which the place lies.
        inside_brain: Whether that voxel lies in the brain; outside it the label is background, whatever the logits.
        logits: By class, at the place, before calibration.
        bias: By class.
        probabilities: By class, calibrated, of the voxel.
        contributions: Largest first.
    """

    case_id: str
    position_mm: tuple[float, float, float]
    class_name: str
    inside_brain: bool
    logits: dict[str, float]
    bias: dict[str, float]
    probabilities: dict[str, float]
    contributions: tuple[Contribution, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "case_id": self.case_id,
            "position_mm": list(self.position_mm),
            "class": self.class_name,
            "inside_brain": self.inside_brain,
            "logits": self.logits,
            "bias": self.bias,
            "probabilities": self.probabilities,
            "contributions": [contribution.to_dict() for contribution in self.contributions],
        }


def explain(prediction: Prediction, position_mm: Sequence[float]) -> Explanation:
    """Explain the decision at a place.

    Similarities, and with them logits, are those of the very point; label and probabilities are those of the voxel it
    lies in, so that at a border they may name a neighbouring class.

    Args:
        prediction: Of the case.
        position_mm: RAS mm.

    Raises:
        ValueError: Not three numbers, a place outside the image, or a model without prototypes.
    """
    position = np.asarray(position_mm, np.float64)
    if position.shape != (3,) or not np.isfinite(position).all():
        raise ValueError(f"A position is three numbers in mm (right, anterior, superior); got {position_mm!r}.")
    index = _map(np.linalg.inv(prediction.affine), position)
    shape = np.array(prediction.label.shape)
    if (index < -0.5 - INDEX_TOLERANCE).any() or (index > shape - 0.5 + INDEX_TOLERANCE).any():
        ends = (prediction.affine @ corners(prediction.label.shape))[:3]
        ranges = ", ".join(f"{name} {row.min():.1f} to {row.max():.1f}" for name, row in zip("RAS", ends, strict=True))
        raise ValueError(
            f"The point {_numbers(position)} mm lies outside the image of case {prediction.case_id}; its voxels lie "
            f"within {ranges} mm."
        )
    i, j, k = np.clip(np.rint(index), 0, shape - 1).astype(int)
    return _explanation(prediction, position, (i, j, k))


def explain_voxel(prediction: Prediction, index: Sequence[int]) -> Explanation:
    """Explain the decision at the centre of a voxel.

    Args:
        prediction: Of the case.
        index: i, j, k on the case's grid, from 0.

    Raises:
        ValueError: Not three whole numbers, no such voxel, or a model without prototypes.
    """
    voxel = np.asarray(index)
    if voxel.shape != (3,) or not np.issubdtype(voxel.dtype, np.integer):
        raise ValueError(f"A voxel is three whole numbers i, j, k; got {index!r}.")
    if (voxel < 0).any() or (voxel >= prediction.label.shape).any():
        raise ValueError(
            f"Case {prediction.case_id} has no voxel {_numbers(voxel)}; its grid has "
            f"{' x '.join(map(str, prediction.label.shape))} voxels, counted from 0."
        )
    i, j, k = (int(n) for n in voxel)
    return _explanation(prediction, _map(prediction.affine, voxel), (i, j, k))


def region_shares(prediction: Prediction, region: str) -> dict[int, float]:
    """Share of each prototype in the evidence for a region, largest first.

    The evidence is weight * similarity for the class a voxel was given, summed over the region's voxels, which is the
    sum of what ``explain_voxel`` lists for them. Prototypes without a share are left out; the others sum to 1.

    Args:
        prediction: Of the case.
        region: WT, TC, ET, NCR or ED.

    Returns:
        Share by prototype; {} where the region is empty, nothing speaks for it, or the model has no prototypes.

    Raises:
        ValueError: Another region.
    """
    if region not in MEMBERS:
        raise ValueError(f"region: expected one of {', '.join(MEMBERS)}; got {region!r}.")
    return _shares([_class_evidence(prediction, index) for index in MEMBERS[region]])


def all_region_shares(prediction: Prediction) -> dict[str, dict[int, float]]:
    """``region_shares`` of every region, in the time of that of WT."""
    evidence = {index: _class_evidence(prediction, index) for index in range(1, len(CLASSES))}
    return {region: _shares([evidence[index] for index in members]) for region, members in MEMBERS.items()}


def _shares(evidence: Sequence[np.ndarray]) -> dict[int, float]:
    summed = np.sum(evidence, axis=0)
    total = summed.sum()
    if total <= 0:
        return {}
    return {int(p): float(summed[p] / total) for p in np.argsort(-summed, kind="stable") if summed[p]}


def _explanation(prediction: Prediction, position: np.ndarray, voxel: tuple[int, int, int]) -> Explanation:
    evidence = prediction.evidence
    require_prototypes(evidence.prototype_class, prediction.model["name"])
    similarities = _similarities_at(prediction, position)
    contributions = evidence.contributions(similarities)
    logits = evidence.bias + contributions.sum(axis=1)
    probabilities = prediction.probabilities[:, voxel[0], voxel[1], voxel[2]]
    x, y, z = (float(value) for value in position)
    return Explanation(
        case_id=prediction.case_id,
        position_mm=(x, y, z),
        class_name=CLASSES[prediction.label[voxel]],
        inside_brain=bool(probabilities[0] < 1),
        logits=_by_class(logits),
        bias=_by_class(evidence.bias),
        probabilities=_by_class(probabilities),
        contributions=tuple(
            sorted(_listed(evidence, position, similarities, contributions), key=lambda c: -abs(c.contribution))
        ),
    )


def _listed(
    evidence: Evidence, position: np.ndarray, similarities: np.ndarray, contributions: np.ndarray
) -> Iterator[Contribution]:
    """One entry per prototype and class it speaks for: its own, and any other in which it has a weight."""
    learned, points = np.split(similarities, [evidence.n_learned])
    of_points = [each.distance(float(s), position) for each, s in zip(evidence.taught, points, strict=True)]
    distances = [*evidence.distances(learned), *of_points]
    for prototype, owner in enumerate(evidence.prototype_class):
        for index, class_name in enumerate(CLASSES):
            weight = float(evidence.weight[index, prototype])
            if class_name == owner or weight:
                yield Contribution(
                    prototype=prototype,
                    class_name=class_name,
                    distance=float(distances[prototype]),
                    similarity=float(similarities[prototype]),
                    percentile=evidence.percentile(prototype, float(similarities[prototype])),
                    weight=weight,
                    contribution=float(contributions[index, prototype]),
                )


def _similarities_at(prediction: Prediction, position: np.ndarray) -> np.ndarray:
    """(P,) float64, interpolated as the logits are: trilinear, beyond the outer voxels' centres constant."""
    index = _map(np.linalg.inv(prediction.similarity_affine), position)[:, None]
    result = np.zeros(len(prediction.similarities))
    for (i, j, k), weight in _around(index, prediction.similarities.shape[1:]):
        result += weight[0] * prediction.similarities[:, i[0], j[0], k[0]]
    return result


def _class_evidence(prediction: Prediction, class_index: int) -> np.ndarray:
    """(P,): weight * similarity for a class, summed over the centres of the voxels that were given it.

    The sum over voxels of interpolated maps is the sum over the maps' voxels, each with the interpolation weights it
    has in all: the maps are read once.
    """
    # Transposed, because index i runs fastest in memory.
    label, maps = prediction.label.T, prediction.similarities.transpose(0, 3, 2, 1)
    voxels = np.stack(np.unravel_index(np.flatnonzero(label == class_index), label.shape)[::-1])
    to_grid = np.linalg.inv(prediction.similarity_affine) @ prediction.affine
    _, nz, ny, nx = maps.shape
    around = list(_around(to_grid[:3, :3] @ voxels + to_grid[:3, 3:], (nx, ny, nz)))
    places = np.concatenate([i + nx * (j + ny * k) for (i, j, k), _ in around])
    weights = np.bincount(places, np.concatenate([weight for _, weight in around]), nx * ny * nz)
    summed = maps.reshape(len(maps), nx * ny * nz) @ weights.astype(np.float32)
    return np.asarray(prediction.evidence.weight[class_index] * summed, np.float64)


def _around(index: np.ndarray, shape: Sequence[int]) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """The eight voxels around n points (3, n), given in voxels of a grid: their i, j, k and trilinear weights, (n,)."""
    ends, shares = [], []
    for position, n in zip(index, shape, strict=True):
        position = np.clip(position, 0, n - 1)
        low = position.astype(int)
        ends.append((low, np.minimum(low + 1, n - 1)))
        shares.append((1 - (position - low), position - low))
    for x, y, z in np.ndindex(2, 2, 2):
        yield [ends[0][x], ends[1][y], ends[2][z]], shares[0][x] * shares[1][y] * shares[2][z]


def _map(affine: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.asarray(affine[:3, :3] @ point + affine[:3, 3])


def _by_class(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
