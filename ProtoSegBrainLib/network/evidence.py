"""How similarities become a decision, and the scales by which a person reads them; needs no torch.

``Evidence`` is the last layer of a model with the records of its prototypes and its calibration. It travels with every
prediction, so that a result explains itself, and can be changed, without the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ProtoSegBrainLib.labels import CLASSES

QUANTILES = 101
"""A prototype's scale: its similarity at 0, 1, ... 100 per cent of the true voxels of its class."""


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

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Neighbour:
        """From what ``asdict`` and JSON made of it."""
        x, y, z = content["position_mm"]
        return cls(content["case_id"], (x, y, z), content["distance"])


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
    similarity_quantiles: tuple[float, ...] = ()
    contrast: dict[str, float] = field(default_factory=dict)
    surroundings: dict[str, float] = field(default_factory=dict)
    explained_share: float | None = None
    purity: float | None = None
    stability: float | None = None
    neighbours: tuple[Neighbour, ...] = ()

    def similarity_at(self, per_cent: float) -> float | None:
        """Its similarity that this part of the true training voxels of its class do not exceed; None if unknown."""
        if not self.similarity_quantiles:
            return None
        scale = np.linspace(0, 100, len(self.similarity_quantiles))
        return float(np.interp(per_cent, scale, self.similarity_quantiles))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Prototype:
        """From what ``asdict`` and JSON made of it, fields that an older version did not have left out."""
        x, y, z = content["position_mm"]
        changed = {
            "position_mm": (x, y, z),
            "similarity_quantiles": tuple(content.get("similarity_quantiles", ())),
            "neighbours": tuple(Neighbour.from_dict(neighbour) for neighbour in content.get("neighbours", ())),
        }
        return cls(**{**content, **changed})


@dataclass(frozen=True)
class RegionReliability:
    """How well a region was predicted in cases that the models had not seen; see ``result.reliability``.

    Attributes:
        region: WT, TC or ET.
        n: Number of those cases.
        ece: Expected calibration error of the region's probability, over the voxels of the brain.
        volume_quantile: Of |log((predicted + 1 ml) / (true + 1 ml))|, for the volume interval; None: too few cases.
        coverage: Share of cases whose true volume lies in the interval, as aimed at.
        measured_coverage: As found on cases of models that did not help to choose the quantile; None if unknown.
        dice_coefficients: Intercept, then one per feature, of the predicted Dice; () if unknown.
        dice_error: Mean absolute error of the predicted Dice on left-out cases; None if unknown.
    """

    region: str
    n: int
    ece: float
    volume_quantile: float | None
    coverage: float
    measured_coverage: float | None
    dice_coefficients: tuple[float, ...] = ()
    dice_error: float | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RegionReliability:
        """From what ``asdict`` and JSON made of it."""
        return cls(**{**content, "dice_coefficients": tuple(content["dice_coefficients"])})


@dataclass(frozen=True)
class Normality:
    """How some measures of a scan spread over cases that the models had not seen; see ``result.familiarity``.

    Attributes:
        measures: Names of the measures.
        centre: Median of each (of its logarithm, for some).
        deviation: Standard deviation of each.
        correlation: Between them, shrunk towards independence.
        limit: Mahalanobis distance beyond which a scan is unlike those cases.
    """

    measures: tuple[str, ...]
    centre: tuple[float, ...]
    deviation: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    limit: float

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Normality:
        """From what ``asdict`` and JSON made of it."""
        tuples = {name: tuple(content[name]) for name in ("measures", "centre", "deviation")}
        return cls(**tuples, correlation=tuple(map(tuple, content["correlation"])), limit=content["limit"])


@dataclass(frozen=True)
class Familiarity:
    """What scans like the training data look like, and how like the prototypes they are; None where unknown.

    Attributes:
        look: Of their intensities.
        likeness: Of their distances to the prototypes.
        n: Number of cases that this was learned from.
        least_certainty: Mean probability of tumour in the predicted tumour that nine of ten of those cases exceed.
    """

    look: Normality | None = None
    likeness: Normality | None = None
    n: int = 0
    least_certainty: float | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Familiarity:
        """From what ``asdict`` and JSON made of it."""
        look, likeness = (content[name] and Normality.from_dict(content[name]) for name in ("look", "likeness"))
        return cls(look, likeness, content["n"], content.get("least_certainty"))


@dataclass(frozen=True)
class Calibration:
    """Chosen on out-of-fold predictions, never on the cases they are reported on.

    Attributes:
        temperature: Per class; that of the class with the largest logit divides all logits of a voxel.
        minimum_et_ml: Enhancing tumour of less volume than this in a case becomes NCR.
        minimum_component_ml: Separate parts of the whole tumour smaller than this become background.
        reliability: Of WT, TC and ET; () where it was never measured.
        familiarity: What scans like the training data look like to the model; None where it was never measured.
    """

    temperature: tuple[float, ...] = (1.0,) * len(CLASSES)
    minimum_et_ml: float = 0.0
    minimum_component_ml: float = 0.0
    reliability: tuple[RegionReliability, ...] = ()
    familiarity: Familiarity | None = None

    def __post_init__(self) -> None:
        """Refuse temperatures that cannot divide the logits of the classes."""
        if len(self.temperature) != len(CLASSES) or min(self.temperature) <= 0:
            raise ValueError(
                f"temperature needs {len(CLASSES)} positive numbers (of {CLASSES}), not {self.temperature}"
            )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(K, ...) float32 logits -> probabilities: softmax, divided by the temperature of the class that leads."""
        leading = logits.max(axis=0)
        result = logits - leading
        if len(set(self.temperature)) == 1:
            result *= np.float32(1 / self.temperature[0])
        else:
            slope = np.empty_like(leading)
            for index in reversed(range(len(result))):  # the first of equals leads
                np.copyto(slope, np.float32(1 / self.temperature[index]), where=result[index] == 0)
            result *= slope
        np.exp(result, out=result)
        result /= result.sum(axis=0)
        return result

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """From what ``asdict`` and JSON made of it; an older version had the first two fields only."""
        familiarity = content.get("familiarity")
        return cls(
            temperature=tuple(content["temperature"]),
            minimum_et_ml=content["minimum_et_ml"],
            minimum_component_ml=content.get("minimum_component_ml", 0.0),
            reliability=tuple(RegionReliability.from_dict(region) for region in content.get("reliability", ())),
            familiarity=Familiarity.from_dict(familiarity) if familiarity else None,
        )


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

    @property
    def _zero(self) -> float:
        """The unlimited log-similarity at ``reach``, which is taken off."""
        return 0.0 if self.reach is None else float(np.log((self.reach + 1) / (self.reach + self.epsilon)))

    def distances(self, similarities: np.ndarray) -> np.ndarray:
        """Similarities -> squared L2 distances on the unit sphere, 0 to 4; the inverse of the similarity.

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
        quantiles = self.prototypes[prototype].similarity_quantiles if self.prototypes else ()
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
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Evidence:
        """The inverse of ``to_dict``.

        Raises:
            KeyError, TypeError, ValueError: It is not what ``to_dict`` gives.
        """
        return cls(
            prototype_class=tuple(content["prototype_class"]),
            weight=np.asarray(content["weight"], np.float32).reshape(len(content["bias"]), -1),
            bias=np.asarray(content["bias"], np.float32),
            similarity=content["similarity"],
            epsilon=content["epsilon"],
            reach=content["reach"],
            prototype_stride=content["prototype_stride"],
            prototypes=tuple(Prototype.from_dict(prototype) for prototype in content["prototypes"]),
            calibration=Calibration.from_dict(content["calibration"]),
        )
