"""How similarities become a decision, and the scales by which a person reads them; needs no torch.

``Evidence`` is the last layer of a model with the records of its prototypes and its calibration. It travels with every
prediction, so that a result explains itself, and can be changed, without the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ProtoSegBrainLib.labels import CLASSES

QUANTILES = 101
"""A prototype's scale: its similarity at 0, 1, ... 100 per cent of the true voxels of its class."""


@dataclass(frozen=True)
class Prototype:
    """A prototype: the training patch whose embedding it is, and what is known of it.

    Attributes:
        index: Channel in the similarity maps.
        class_name: The class it speaks for.
        case_id: Training case of the patch.
        position_mm: Centre of the patch in the case's RAS space.
        patch_size_mm: Edge of the patch on the prototype grid.
        profile: Mean z-score of the patch per modality.
        projection_distance: Squared L2 distance the prototype moved when it was projected.
        similarity_quantiles: Its similarity at 0, 1, ... 100 per cent of its class's training voxels; () if unknown.
    """

    index: int
    class_name: str
    case_id: str
    position_mm: tuple[float, float, float]
    patch_size_mm: float
    profile: dict[str, float]
    projection_distance: float
    similarity_quantiles: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Prototype:
        """From what ``asdict`` and JSON made of it."""
        x, y, z = content["position_mm"]
        quantiles = tuple(content.get("similarity_quantiles", ()))
        return cls(**{**content, "position_mm": (x, y, z), "similarity_quantiles": quantiles})


@dataclass(frozen=True)
class Calibration:
    """Chosen on out-of-fold predictions, never on the cases they are reported on.

    Attributes:
        temperature: Per class; that of the class with the largest logit divides all logits of a voxel.
        minimum_et_ml: Enhancing tumour of less volume than this in a case becomes NCR.
    """

    temperature: tuple[float, ...] = (1.0,) * len(CLASSES)
    minimum_et_ml: float = 0.0

    def __post_init__(self) -> None:
        """Refuse temperatures that cannot divide the logits of the classes."""
        if len(self.temperature) != len(CLASSES) or min(self.temperature) <= 0:
            raise ValueError(
                f"temperature needs {len(CLASSES)} positive numbers (of {CLASSES}), not {self.temperature}"
            )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """From what ``asdict`` and JSON made of it."""
        return cls(tuple(content["temperature"]), content["minimum_et_ml"])


@dataclass(frozen=True, eq=False)
class Evidence:
    """The last layer of a model and what its numbers mean.

    Attributes:
        prototype_class: Class name of each of the P prototypes.
        weight: (K, P) float32; 0 where a prototype does not speak for a class.
        bias: (K,) float32.
        similarity: ``log`` (of the squared distance on the unit sphere) or ``cosine``.
        epsilon: Of the log-similarity.
        prototype_stride: Voxels of the network's grid per voxel of the prototypes' grid.
        prototypes: Their records, in order; () where the model was never projected.
        calibration: Of the model.
    """

    prototype_class: tuple[str, ...]
    weight: np.ndarray
    bias: np.ndarray
    similarity: str = "log"
    epsilon: float = 0.01
    prototype_stride: int = 2
    prototypes: tuple[Prototype, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)

    def logits(self, similarities: np.ndarray) -> np.ndarray:
        """(P, ...) -> (K, ...): bias_k + sum_p weight_kp s_p."""
        flat = self.weight @ similarities.reshape(len(similarities), -1)
        flat += self.bias[:, None]
        return flat.reshape(len(self.bias), *similarities.shape[1:])

    def contributions(self, similarities: np.ndarray) -> np.ndarray:
        """(P,) at one place -> (K, P) float64: what each prototype adds to each logit."""
        return self.weight.astype(np.float64) * np.asarray(similarities, np.float64)

    def distances(self, similarities: np.ndarray) -> np.ndarray:
        """Similarities -> squared L2 distances on the unit sphere, 0 to 4; the inverse of the similarity.

        For a similarity averaged over views or between voxels it is the distance that has this similarity.
        """
        if self.similarity == "cosine":
            return 4 * (1 - similarities)
        # s = log((d + 1) / (d + epsilon)) = log1p((1 - epsilon) / (d + epsilon)), Chen et al. 2019
        return (1 - self.epsilon) / np.expm1(np.maximum(similarities, 1e-6)) - self.epsilon

    def percentile(self, prototype: int, similarity: float) -> float | None:
        """Per cent of its class's true training voxels that are less similar to a prototype; None if unknown."""
        quantiles = self.prototypes[prototype].similarity_quantiles if self.prototypes else ()
        if not quantiles:
            return None
        return float(np.interp(similarity, quantiles, np.linspace(0, 100, len(quantiles))))

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; float32 numbers survive it unchanged."""
        content = {name: getattr(self, name) for name in ("similarity", "epsilon", "prototype_stride")}
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
            weight=np.asarray(content["weight"], np.float32),
            bias=np.asarray(content["bias"], np.float32),
            similarity=content["similarity"],
            epsilon=content["epsilon"],
            prototype_stride=content["prototype_stride"],
            prototypes=tuple(Prototype.from_dict(prototype) for prototype in content["prototypes"]),
            calibration=Calibration.from_dict(content["calibration"]),
        )
