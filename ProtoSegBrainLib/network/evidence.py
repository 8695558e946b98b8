"""How similarities become a decision, and the scales by which a person reads them; needs no torch.

``Evidence`` is the last layer of a model with the records of its prototypes and its calibration. It travels with every
prediction, so that a result explains itself, and can be changed, without the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.records import require, stored

QUANTILES = 101
"""A prototype's scale: its similarity at 0, 1, ... 100 per cent of the true voxels of its class."""
SIMILARITIES = ("log", "cosine")
SURROUNDINGS = (*CLASSES, "outside")
LARGEST_STRIDE = 64
FARTHEST = 4.0
"""Standard deviations from a person's point within which it counts."""
LENGTH_TOLERANCE = 1e-3
"""Of a unit vector that went through JSON."""


def no_prototypes(model: str) -> str:
    """What is said of a model without prototypes wherever they are asked for."""
    return f"This model ({model}) has no prototypes, so it cannot say why."


def require_prototypes(prototype_class: Sequence[object], model: str) -> None:
    """Refuse what only prototypes can answer.

    Args:
        prototype_class: Of each prototype of the model.
        model: Its name.

    Raises:
        ValueError: There is none.
    """
    if not prototype_class:
        raise ValueError(no_prototypes(model))


@dataclass(frozen=True)
class Neighbour:
    """A training patch near a prototype: case, centre in its RAS space, squared L2 distance on the unit sphere."""

    case_id: str
    position_mm: tuple[float, float, float]
    distance: float


@dataclass(frozen=True)
class Prototype:
    """A prototype: the training patch whose embedding it is, and what is known of it.

    What stands behind ``projection_distance`` is its portrait, measured over the training cases
    (``explanation.portrait``); where it was not measured it is empty or None.

    Attributes:
        index: Channel in the similarity maps.
        class_name: The class it speaks for.
        case_id: Training case of the patch.
        position_mm: Centre of the patch in the case's RAS space.
        patch_size_mm: Edge of the patch on the prototype grid.
        profile: Mean z-score of the patch per modality.
        projection_distance: Squared L2 distance the prototype moved when it was projected.
        similarity_quantiles: Its similarity at 0, 1, ... 100 per cent of the training voxels of its class in the brain.
        contrast: ``profile`` less the mean z-score of the normal tissue on the other side of the brain; {} for a patch
            outside the brain, or where the other side has no normal tissue there.
        surroundings: Share of each class, and of "outside" the brain, within 6 mm of the patch.
        explained_share: Its share of all evidence for its class in the true training voxels of that class.
        purity: Share of its strongest 0.1 per cent of training voxels that are of its class.
        stability: Share of training cases in which the place it answers to most stays among its strongest when noise
            and a bias field are added.
        neighbours: The nearest patches of its class in other training cases, nearest first.
    """

    index: int
    class_name: str
    case_id: str
    position_mm: tuple[float, float, float]
    patch_size_mm: float
    profile: dict[str, float]
    projection_distance: float
    similarity_quantiles: tuple[float, ...] = field(default=(), metadata={"older": ()})
    contrast: dict[str, float] = field(default_factory=dict, metadata={"older": {}})
    surroundings: dict[str, float] = field(default_factory=dict, metadata={"older": {}})
    explained_share: float | None = field(default=None, metadata={"older": None})
    purity: float | None = field(default=None, metadata={"older": None})
    stability: float | None = field(default=None, metadata={"older": None})
    neighbours: tuple[Neighbour, ...] = field(default=(), metadata={"older": ()})

    def __post_init__(self) -> None:
        """Refuse a class, a modality or a scale that there is not."""
        require(self.class_name in CLASSES, f"class_name must be one of {', '.join(CLASSES)}, not {self.class_name!r}")
        require(self.patch_size_mm > 0, f"patch_size_mm must be positive, not {self.patch_size_mm}")
        for name, known in (("profile", MODALITIES), ("contrast", MODALITIES), ("surroundings", SURROUNDINGS)):
            odd = set(getattr(self, name)) - set(known)
            require(not odd, f"{name} is of {', '.join(known)}, not of {', '.join(sorted(odd))}")
        is_scale = all(low <= high for low, high in itertools.pairwise(self.similarity_quantiles))
        require(is_scale and len(self.similarity_quantiles) != 1, "similarity_quantiles must be two or more that rise")

    def similarity_at(self, per_cent: float) -> float | None:
        """Its similarity that this part of the true training voxels of its class do not exceed; None if unknown."""
        if not self.similarity_quantiles:
            return None
        scale = np.linspace(0, 100, len(self.similarity_quantiles))
        return float(np.interp(per_cent, scale, self.similarity_quantiles))


@dataclass(frozen=True)
class TaughtPrototype:
    """A prototype that a person made by pointing at a place of the very case: the embedding there.

    Its similarity to a place is ``log((d + 1) / (d + epsilon))`` less its value at ``reach``, not below 0, times a
    Gaussian of the distance in the patient: what is far away is not meant, however alike.

    Attributes:
        number: 1, 2, ... as the person counts.
        class_name: The class it speaks for; background: no tumour.
        position_mm: The place in the case's RAS space; the middle of a painted piece.
        embedding: Of unit length.
        epsilon: Of the logarithm.
        reach: Squared distance on the unit sphere from which the similarity is 0.
        sigma_mm: Of the Gaussian.
        voxels: Of the prototypes' grid whose mean embedding it is; more than one for a painted piece.
    """

    number: int
    class_name: str
    position_mm: tuple[float, float, float]
    embedding: tuple[float, ...]
    epsilon: float
    reach: float
    sigma_mm: float
    voxels: int = 1

    def __post_init__(self) -> None:
        """Refuse a class that there is not, and numbers from which no similarity follows."""
        require(self.class_name in CLASSES, f"class_name must be one of {', '.join(CLASSES)}, not {self.class_name!r}")
        require(self.number > 0, f"number must be 1 or more, not {self.number}")
        require(bool(np.isfinite(self.position_mm).all()), f"position_mm must be numbers, not {self.position_mm}")
        length = float(np.linalg.norm(self.embedding))
        require(abs(length - 1) < LENGTH_TOLERANCE, f"embedding must have unit length, not {length:.4g}")
        require(0 < self.epsilon < 1, f"epsilon must lie between 0 and 1, not {self.epsilon}")
        require(0 < self.reach <= 4, f"reach must lie between 0 and 4, not {self.reach}")
        require(self.sigma_mm > 0, f"sigma_mm must be positive, not {self.sigma_mm}")

    @property
    def largest_similarity(self) -> float:
        """Of the place with itself."""
        return float(np.log(1 / self.epsilon)) - log_similarity(self.reach, self.epsilon)

    @property
    def farthest_mm(self) -> float:
        """From which a place is too far away to count."""
        return FARTHEST * self.sigma_mm

    def nearness(self, position_mm: np.ndarray) -> np.ndarray:
        """(..., 3) RAS mm -> (...): the Gaussian, 1 at the place itself, 0 beyond four deviations."""
        square = ((np.asarray(position_mm) - self.position_mm) ** 2).sum(axis=-1) / self.sigma_mm**2
        return np.where(square <= FARTHEST**2, np.exp(-0.5 * square), 0.0)

    def likeness(self, distances: np.ndarray) -> np.ndarray:
        """Squared distances on the unit sphere -> similarity before the Gaussian."""
        unlimited = np.log1p((1 - self.epsilon) / (distances + self.epsilon))
        return np.asarray(np.maximum(unlimited - log_similarity(self.reach, self.epsilon), 0))

    def distance(self, similarity: float, position_mm: np.ndarray) -> float:
        """The squared distance on the unit sphere that a place has with this similarity; ``reach`` for 0."""
        own = similarity / max(float(self.nearness(position_mm)), 1e-12) + log_similarity(self.reach, self.epsilon)
        return max(float((1 - self.epsilon) / np.expm1(own) - self.epsilon), 0.0)


def log_similarity(distance: float, epsilon: float) -> float:
    """log((d + 1) / (d + epsilon))."""
    return float(np.log((distance + 1) / (distance + epsilon)))


@dataclass(frozen=True, eq=False)
class Evidence:
    """The last layer of a model and what its numbers mean; without prototypes (P = 0) only the calibration does.

    Attributes:
        prototype_class: Class name of each of the P prototypes; () for a model that has none.
        weight: (K, P) float32; 0 where a prototype does not speak for a class.
        bias: (K,) float32.
        similarity: ``log`` (of the squared distance on the unit sphere) or ``cosine``.
        epsilon: Of the log-similarity.
        reach: Squared distance from which the log-similarity is 0; None: nowhere.
        prototype_stride: Voxels of the network's grid per voxel of the prototypes' grid.
        prototypes: Their records, in order; () where the model was never projected.
        calibration: Of the model.
        taught: Prototypes that a person made for this case: the last of the P, which have no records.
    """

    prototype_class: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    similarity: str = "log"
    epsilon: float = 0.01
    reach: float | None = None
    prototype_stride: int = 2
    prototypes: tuple[Prototype, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    taught: tuple[TaughtPrototype, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        classes, count = len(CLASSES), len(self.prototype_class)
        for name, shape in (("weight", (classes, count)), ("bias", (classes,))):
            own = getattr(self, name)
            require(own.shape == shape, f"{name} must have the shape {shape}, not {own.shape}")
            require(bool(np.isfinite(own).all()), f"{name} holds what is not a number")
        odd = set(self.prototype_class) - set(CLASSES)
        require(not odd, f"prototype_class is of {', '.join(CLASSES)}, not of {', '.join(sorted(odd))}")
        require(self.similarity in SIMILARITIES, f"similarity must be log or cosine, not {self.similarity!r}")
        require(0 < self.epsilon < 1, f"epsilon must lie between 0 and 1, not {self.epsilon}")
        require(
            self.reach is None or 0 < self.reach <= 4, f"reach must lie between 0 and 4, or be None, not {self.reach}"
        )
        require(
            1 <= self.prototype_stride <= LARGEST_STRIDE,
            f"prototype_stride must lie between 1 and {LARGEST_STRIDE}, not {self.prototype_stride}",
        )
        own, last = [each.class_name for each in self.taught], self.prototype_class[self.n_learned :]
        require(own == [*last], f"taught prototypes are of {', '.join(own)}, but the last ones of {', '.join(last)}")

    @property
    def n_learned(self) -> int:
        """The model's own prototypes, without those that a person made for this case."""
        return max(len(self.prototype_class) - len(self.taught), 0)

    @classmethod
    def none(cls, stride: int, calibration: Calibration) -> Evidence:
        """That of a network without prototypes: its decision cannot be taken apart."""
        classes = len(CLASSES)
        weight, bias = np.zeros((classes, 0), np.float32), np.zeros(classes, np.float32)
        return cls((), weight, bias, prototype_stride=stride, calibration=calibration)

    def logits(self, similarities: np.ndarray) -> np.ndarray:
        """(P, ...) -> (K, ...): bias_k + sum_p weight_kp s_p."""
        flat = self.weight @ similarities.reshape(len(similarities), -1)
        flat += self.bias[:, None]
        return flat.reshape(len(self.bias), *similarities.shape[1:])

    def contributions(self, similarities: np.ndarray) -> np.ndarray:
        """(P,) at one place -> (K, P) float64: what each prototype adds to each logit."""
        return self.weight.astype(np.float64) * np.asarray(similarities, np.float64)

    @property
    def largest_similarity(self) -> float:
        """Of a patch with itself, at distance 0."""
        return 1.0 if self.similarity == "cosine" else float(np.log(1 / self.epsilon)) - self._zero

    def largest_similarity_to(self, prototype: int) -> float:
        """The same of one prototype, a person's point perhaps."""
        behind = prototype - self.n_learned
        return self.largest_similarity if behind < 0 else self.taught[behind].largest_similarity

    @property
    def _zero(self) -> float:
        """The unlimited log-similarity at ``reach``, which is taken off."""
        return 0.0 if self.reach is None else log_similarity(self.reach, self.epsilon)

    def distances(self, similarities: np.ndarray) -> np.ndarray:
        """Similarities to learned prototypes -> squared L2 distances on the unit sphere, 0 to 4.

        For a similarity averaged over views or between voxels it is the distance that has this similarity; for a
        similarity of 0 it is ``reach``, from where all distances have it.
        """
        if self.similarity == "cosine":
            return 4 * (1 - similarities)
        # s + zero = log((d + 1) / (d + epsilon)) = log1p((1 - epsilon) / (d + epsilon)), Chen et al. 2019
        unlimited = np.maximum(similarities + self._zero, 1e-6)
        return (1 - self.epsilon) / np.expm1(unlimited) - self.epsilon

    def percentile(self, prototype: int, similarity: float) -> float | None:
        """Per cent of its class's true training voxels that are less similar to a prototype; None if unknown."""
        known = prototype < len(self.prototypes)
        quantiles = self.prototypes[prototype].similarity_quantiles if known else ()
        if not quantiles:
            return None
        if similarity <= quantiles[0]:  # many may have a similarity of 0; none has less
            return 0.0
        return float(np.interp(similarity, quantiles, np.linspace(0, 100, len(quantiles))))

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; float32 numbers survive it unchanged."""
        content = {name: getattr(self, name) for name in ("similarity", "epsilon", "reach", "prototype_stride")}
        return {
            "prototype_class": list(self.prototype_class),
            "weight": self.weight.tolist(),
            "bias": self.bias.tolist(),
            **content,
            "prototypes": [asdict(prototype) for prototype in self.prototypes],
            "calibration": asdict(self.calibration),
            **({"taught": [asdict(each) for each in self.taught]} if self.taught else {}),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evidence:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: It is not what ``to_dict`` gives; the message names the place.
        """
        plain: _PlainEvidence = stored(content, _PlainEvidence)
        count = len(plain.prototype_class) - len(plain.taught)
        require_records(plain.prototypes, plain.prototype_class[: max(count, 0)])
        members = {field.name: getattr(plain, field.name) for field in fields(plain)}
        try:
            with np.errstate(over="ignore"):  # what is too large for it is refused with all that is no number
                weight, bias = (np.array(members[name], np.float32) for name in ("weight", "bias"))
        except ValueError as error:
            raise ValueError("weight must have rows of one length") from error
        return cls(**{**members, "weight": weight.reshape(len(weight), -1), "bias": bias})


@dataclass(frozen=True)
class _PlainEvidence:
    """``Evidence`` as JSON holds it."""

    prototype_class: tuple[str, ...]
    weight: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    similarity: str
    epsilon: float
    reach: float | None
    prototype_stride: int
    prototypes: tuple[Prototype, ...]
    calibration: Calibration
    taught: tuple[TaughtPrototype, ...] = field(default=(), metadata={"older": ()})


def require_records(prototypes: Sequence[Prototype], prototype_class: Sequence[str]) -> None:
    """Refuse records of prototypes that are not those of a model; none at all are allowed.

    Raises:
        ValueError: Another number of them, or one of another class or out of order.
    """
    if not prototypes:
        return
    expected = list(enumerate(prototype_class))
    require(
        len(prototypes) == len(expected), f"prototypes are {len(prototypes)} records, but there are {len(expected)}"
    )
    for record, known in zip(prototypes, expected, strict=True):
        found = (record.index, record.class_name)
        require(found == known, f"prototypes[{known[0]}]: expected index and class {known}; got {found}")
