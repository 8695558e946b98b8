"""The result for one case; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ProtoSegBrainLib.images.volume import voxel_ml
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.evidence import Evidence

RESEARCH_USE = "For research use only. Not a medical device; not for diagnosis or treatment."
PROBABILITY_SLOPE = 1 / 65535
LARGEST_IN_BRAIN = 1 - PROBABILITY_SLOPE
"""Probability of background at most, in the brain: 1 itself, also in the file, marks what lies outside."""
VOLUMES = {name: (index,) for index, name in enumerate(CLASSES) if index} | REGIONS
"""Classes of each volume in ``volumes_ml``."""
FINDINGS = ("regions", "enhancing_diameters_mm", "location", "out_of_distribution", "prototypes")
"""The parts of ``Prediction.findings``; they stand beside the other keys of the JSON file."""


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one case.

    Attributes:
        case_id: Of the case.
        label: (X, Y, Z) uint8 class indices on the case's grid.
        probabilities: (4, X, Y, Z) float32, calibrated, on the case's grid; background is exactly 1 outside the brain
            (where all four images are 0) and nowhere else.
        similarities: (P, x, y, z) float32 on the prototype grid; the logits are linear in them. P is 0 for a model
            without prototypes, whose grid means nothing then: read back from files, it is that of the label.
        similarity_affine: 4x4, voxel of ``similarities`` -> RAS mm.
        affine: 4x4, voxel of ``label`` -> RAS mm.
        volumes_ml: Volume of NCR, ED, ET and of the regions WT, TC, ET, in ml.
        model: Name, version and identity of the weights, and the class of each prototype; ``regions`` where the model
            does not find all of them.
        evidence: How the similarities become this decision: last layer, prototypes, calibration.
        device: Where and in which precision the network ran, for example "cpu bfloat16".
        timings_s: Seconds per stage, in order.
        warnings: Plain sentences a user should read.
        disagreement: (X, Y, Z) float32, 0 to 1, between the views of test-time augmentation on the case's grid; None
            where there was one view.
        look: What ``familiarity.look_of`` measured in the images; {} where it was not asked.
        preparation: What was done to a raw study (``Preparation.to_dict``); {} where the images were taken as they are.
        findings: What ``findings.findings`` makes of it, by ``FINDINGS``; {} where it was not asked.
    """

    case_id: str
    label: np.ndarray
    probabilities: np.ndarray
    similarities: np.ndarray
    similarity_affine: np.ndarray
    affine: np.ndarray
    volumes_ml: dict[str, float]
    model: dict[str, Any]
    evidence: Evidence
    device: str
    timings_s: dict[str, float]
    warnings: tuple[str, ...] = ()
    disagreement: np.ndarray | None = None
    look: dict[str, float] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    preparation: dict[str, Any] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        """Whether the case comes from our own simulator (its ``case_id`` says so)."""
        return self.case_id.startswith("simulated")

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that the model finds: of the others it says nothing, whatever their volume here."""
        return tuple(self.model.get("regions", REGIONS))

    @property
    def tumour_probabilities(self) -> dict[str, np.ndarray]:
        """(X, Y, Z) of NCR, ED and ET, by name; of WT alone where the model finds nothing else."""
        if self.regions == ("WT",):
            return {"WT": 1 - self.probabilities[0]}
        return dict(zip(CLASSES[1:], self.probabilities[1:], strict=True))


def what_is_not_found(model: str, regions: Sequence[str]) -> tuple[str, ...]:
    """A sentence on a model that finds the whole tumour only; () for one that finds all regions."""
    if set(regions) == set(REGIONS):
        return ()
    return (
        f"This model ({model}) finds the whole tumour only and marks all of it as ED; it says nothing of its parts.",
    )


def prototype_affine(affine: np.ndarray, stride: int) -> np.ndarray:
    """Affine of the prototype grid: its voxel k covers the network's voxels stride*k to stride*k + stride - 1."""
    steps = np.diag([stride, stride, stride, 1.0])
    steps[:3, 3] = (stride - 1) / 2
    return affine @ steps


def volumes_ml(label: np.ndarray, affine: np.ndarray) -> dict[str, float]:
    """Volume in ml of each tumour class and region of a label map of class indices."""
    counts = [int(np.count_nonzero(label == index)) for index in range(len(CLASSES))]
    return {
        name: round(sum(counts[index] for index in indices) * voxel_ml(affine), 4) for name, indices in VOLUMES.items()
    }
