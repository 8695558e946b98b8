"""A result with the prototypes of a person who pointed at places of it.

The embedding at the place is a prototype, its similarity map one more channel, its weight one more column of the last
layer: every voxel's logit is still the sum of all contributions, and what explains a result explains this one. Needs no
torch where the ``Embedding`` is there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.correction.embedding import SAME_PLACE_MM, Embedding, embedding_of
from ProtoSegBrainLib.correction.fit import Places, fit_weights
from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.explanation.whatif import decided_anew
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.evidence import Evidence, TaughtPrototype, require_prototypes
from ProtoSegBrainLib.result.prediction import Prediction

if TYPE_CHECKING:
    from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
    from ProtoSegBrainLib.network.weights import ModelCard

LEAST_SIGMA_MM = 2.0
"""However near a point lies to one of another class."""
CORRECTED = "Corrected by a person: "
"""How the sentence begins that says how many points there are."""


@dataclass(frozen=True)
class TeachConfig:
    """How far a point reaches; the defaults were chosen on cases that the model had not seen."""

    epsilon: float = field(default=0.1, metadata={"help": "of the logarithm of the similarity"})
    reach: float = field(default=1.0, metadata={"help": "squared distance from which a place is unlike a point"})
    sigma_mm: float = field(default=20.0, metadata={"help": "how far a point counts: deviation of a Gaussian in mm"})
    margin: float = field(default=4.0, metadata={"help": "by which its class leads at the point, in logits"})
    apart: float = field(
        default=0.5, metadata={"help": "of the distance to an alike point of another class, the largest deviation"}
    )


def teach(
    prediction: Prediction,
    of: Case | Embedding,
    points: Sequence[Point],
    model: tuple[SegmentationNet, ModelCard] | None = None,
    config: TeachConfig | None = None,
) -> Prediction:
    """The result, corrected by points; points of an earlier correction stay, and all weights are fitted together.

    Volume intervals, expected Dice and calibration errors do not hold for a corrected result and are left out, as by
    ``whatif``; ``findings`` are to be made anew.

    Args:
        prediction: Of the network, or corrected before.
        of: The case, over which the network is run once more, or its ``Embedding``.
        points: Where, and what is right there; of two at one place the later one counts.
        model: That of the prediction; None takes the bundled weights.
        config: How far a point reaches.

    Raises:
        ValueError: No point, a point outside the brain, a model without prototypes, or images or a model other than
            those of the result.
    """
    started = time.perf_counter()
    config = config or TeachConfig()
    require_prototypes(prediction.evidence.prototype_class, prediction.model["name"])
    if not points:
        raise ValueError("Expected at least one point; got none.")
    if isinstance(of, Case):
        _check_images(prediction, of)
    embedding = of if isinstance(of, Embedding) else embedding_of(of, model)
    embedding.check_is_of(prediction)
    before = _stripped(prediction)
    taught = _numbered([*prediction.evidence.taught, *taught_by(before, embedding, points, config)])
    evidence, similarities = with_points(before, embedding, taught, config)
    said = f"{CORRECTED}{len(taught)} point{'s' * (len(taught) > 1)}; not the model's own result."
    after = decided_anew(before, similarities, evidence, [said])
    return replace(after, timings_s={"teach": round(time.perf_counter() - started, 4)})


def untaught(prediction: Prediction) -> Prediction:
    """The result without any point; the result itself where nobody has corrected it.

    Interval and expected Dice of the model's own result are in the model, and stay away.
    """
    if not prediction.evidence.taught:
        return prediction
    stripped = _stripped(prediction)
    return decided_anew(stripped, stripped.similarities, stripped.evidence, [])


def taught_by(
    prediction: Prediction, embedding: Embedding, points: Sequence[Point], config: TeachConfig
) -> tuple[TaughtPrototype, ...]:
    """The prototypes of points, numbered from 1, before their weights are fitted.

    Raises:
        ValueError: A point outside the brain.
    """
    return _numbered([_taught(prediction, embedding, point, config) for point in points])


def with_points(
    before: Prediction, embedding: Embedding, taught: tuple[TaughtPrototype, ...], config: TeachConfig
) -> tuple[Evidence, np.ndarray]:
    """Last layer and similarities (P + U, x, y, z) with points, before anything is decided.

    Points of different classes at places that are alike share the ground between them: none reaches far beyond the
    middle. Without that their weights would outbid each other.

    Args:
        before: Without any point.
        embedding: Of the case.
        taught: Numbered from 1.
        config: How the weights are fitted.
    """
    taught = _kept_apart(taught, config)
    maps = np.stack([similarity_map(embedding, each) for each in taught])
    weights = _weights(before, embedding, taught, maps, config.margin)
    return _widened(before.evidence, taught, weights), _appended(before.similarities, maps)


def _stripped(prediction: Prediction) -> Prediction:
    """Last layer and similarities without any point; label and probabilities are still those with them."""
    evidence = prediction.evidence
    if not evidence.taught:
        return prediction
    n = evidence.n_learned
    learned = replace(
        evidence, prototype_class=evidence.prototype_class[:n], weight=evidence.weight[:, :n].copy(), taught=()
    )
    said = tuple(sentence for sentence in prediction.warnings if not sentence.startswith(CORRECTED))
    return replace(prediction, evidence=learned, similarities=prediction.similarities[:n], warnings=said)


def similarity_map(embedding: Embedding, taught: TaughtPrototype) -> np.ndarray:
    """(x, y, z) float32: similarity of every place to a point, on the prototypes' grid."""
    vectors = embedding.vectors
    result = np.zeros(vectors.shape[1:], np.float32)
    box = _box(embedding.affine, taught, vectors.shape[1:])
    part = vectors[:, box[0], box[1], box[2]]
    # 2 - 2 z.p, as in the prototype layer.
    distances = np.maximum(2 - 2 * np.tensordot(np.array(taught.embedding, np.float32), part, 1), 0)
    result[box] = taught.likeness(distances) * taught.nearness(_positions(embedding.affine, box))
    return result


def _check_images(prediction: Prediction, case: Case) -> None:
    """Refuse images of another brain before the network is run.

    Raises:
        ValueError: Grid or brain differ.
    """
    brain = prediction.probabilities[0] < 1
    is_same_grid = brain.shape == case.brain.shape and np.allclose(prediction.affine, case.affine, atol=SAME_PLACE_MM)
    if not is_same_grid or not np.array_equal(brain, case.brain):
        what = "show another brain than the result" if is_same_grid else "lie on another grid than the result"
        raise ValueError(f"Case {prediction.case_id}: the images {what}; give those that it was made from.")


def _taught(prediction: Prediction, embedding: Embedding, point: Point, config: TeachConfig) -> TaughtPrototype:
    """The prototype of a point; its number comes later."""
    places = point.places
    voxels = [_voxel(prediction, embedding, place, point) for place in places]
    distinct = np.unique(np.array(voxels), axis=0)
    mean = embedding.vectors[:, distinct[:, 0], distinct[:, 1], distinct[:, 2]].mean(axis=1, dtype=np.float64)
    unit = mean / max(float(np.linalg.norm(mean)), 1e-9)
    spread = float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=1).mean() / 3))
    return TaughtPrototype(
        number=1,
        class_name=point.class_name,
        position_mm=point.position_ras_mm,
        embedding=tuple(round(float(n), 7) for n in unit),
        epsilon=config.epsilon,
        reach=config.reach,
        sigma_mm=round(float(np.hypot(config.sigma_mm, spread)), 3),
        voxels=len(distinct),
    )


def _voxel(prediction: Prediction, embedding: Embedding, place: np.ndarray, point: Point) -> tuple[int, int, int]:
    """The voxel of the prototypes' grid in which a place of the brain lies.

    Raises:
        ValueError: It lies outside the brain.
    """
    on_case = np.rint(_index(prediction.affine, place)).astype(int)
    shape = prediction.label.shape
    is_inside = (on_case >= 0).all() and (on_case < shape).all()
    if not is_inside or prediction.probabilities[0][tuple(on_case)] >= 1:
        where = "brain" if is_inside else "image"
        r, a, s = (f"{value:.1f}" for value in place)
        raise ValueError(
            f"The point {point.class_name} at R {r}, A {a}, S {s} mm lies outside the {where} of case "
            f"{prediction.case_id}; point at a place inside the brain."
        )
    grid = np.array(embedding.vectors.shape[1:])
    i, j, k = np.clip(np.rint(_index(embedding.affine, place)), 0, grid - 1).astype(int)
    return int(i), int(j), int(k)


def _numbered(taught: Sequence[TaughtPrototype]) -> tuple[TaughtPrototype, ...]:
    """Numbered 1, 2, ...; of two points at one place the later stays."""
    by_place = {each.position_mm: each for each in taught}
    return tuple(replace(each, number=number) for number, each in enumerate(by_place.values(), start=1))


def _kept_apart(taught: Sequence[TaughtPrototype], config: TeachConfig) -> tuple[TaughtPrototype, ...]:
    """The points with a deviation that no alike point of another class contradicts."""
    return tuple(replace(each, sigma_mm=_deviation_mm(each, taught, config.apart)) for each in taught)


def _deviation_mm(each: TaughtPrototype, taught: Sequence[TaughtPrototype], apart: float) -> float:
    rivals = [other for other in taught if other.class_name != each.class_name and _is_alike(each, other)]
    distances_mm = [float(np.linalg.norm(np.subtract(each.position_mm, other.position_mm))) for other in rivals]
    return round(min([each.sigma_mm, *(max(apart * mm, LEAST_SIGMA_MM) for mm in distances_mm)]), 3)


def _is_alike(each: TaughtPrototype, other: TaughtPrototype) -> bool:
    distance = max(2 - 2 * float(np.dot(each.embedding, other.embedding)), 0.0)
    return float(each.likeness(np.array(distance))) > 0


def _weights(
    before: Prediction, embedding: Embedding, taught: Sequence[TaughtPrototype], maps: np.ndarray, margin: float
) -> np.ndarray:
    clicked = _index(embedding.affine, np.array([each.position_mm for each in taught]))
    i, j, k = np.clip(np.rint(clicked).astype(int).T, 0, np.array(maps.shape[1:])[:, None] - 1)
    similarities = before.similarities[:, i, j, k].astype(np.float64)
    logits = (before.evidence.weight.astype(np.float64) @ similarities).T + before.evidence.bias
    owners = np.array([CLASSES.index(each.class_name) for each in taught])
    return fit_weights(Places(logits, maps[:, i, j, k].T, owners), margin)


def _widened(evidence: Evidence, taught: tuple[TaughtPrototype, ...], weights: np.ndarray) -> Evidence:
    """The last layer with a column for each point; what was measured on the model's own results is left out."""
    columns = np.zeros((len(CLASSES), len(taught)), np.float32)
    columns[[CLASSES.index(each.class_name) for each in taught], range(len(taught))] = weights
    return replace(
        evidence,
        prototype_class=(*evidence.prototype_class, *(each.class_name for each in taught)),
        weight=np.concatenate([evidence.weight, columns], axis=1),
        calibration=replace(evidence.calibration, reliability=()),
        taught=taught,
    )


def _appended(similarities: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """(P + U, x, y, z), x fastest in memory as the network gives them."""
    joined = np.empty((len(similarities) + len(maps), *reversed(maps.shape[1:])), np.float32).transpose(0, 3, 2, 1)
    joined[: len(similarities)], joined[len(similarities) :] = similarities, maps
    return joined


def _box(affine: np.ndarray, taught: TaughtPrototype, shape: Sequence[int]) -> tuple[slice, slice, slice]:
    """Voxels within which a point counts."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    middle, half = _index(affine, np.array(taught.position_mm)), taught.farthest_mm / spacing
    low = np.clip(np.floor(middle - half), 0, shape).astype(int)
    high = np.clip(np.ceil(middle + half) + 1, 0, shape).astype(int)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def _positions(affine: np.ndarray, box: tuple[slice, slice, slice]) -> np.ndarray:
    """(x, y, z, 3) RAS mm of the voxels of a box."""
    index = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), axis=-1)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _index(affine: np.ndarray, places: np.ndarray) -> np.ndarray:
    inverse = np.linalg.inv(affine)
    return np.asarray(places @ inverse[:3, :3].T + inverse[:3, 3])
