"""A model without a network, small enough to compute with a pencil; needs no torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.evidence import Evidence, Prototype
from ProtoSegBrainLib.result.prediction import LARGEST_IN_BRAIN, Prediction, volumes_ml

AVERAGE = {"t1n": 0.0, "t1c": 0.0, "t2w": 0.0, "t2f": 0.0}
"""A profile that is nothing but the brain's mean."""


def evidence_for(prototype_class: list[str] | tuple[str, ...], weight: float = 1.0, bias: float = 0.0) -> Evidence:
    """Every prototype speaks for its own class with the same weight; every class has the same bias."""
    owners = np.array([CLASSES.index(name) for name in prototype_class])
    weights = weight * (owners == np.arange(len(CLASSES))[:, None])
    return Evidence(tuple(prototype_class), weights.astype(np.float32), np.full(len(CLASSES), bias, np.float32))


def prototype(class_name: str, surroundings: dict[str, float] | None = None, **profile: float) -> Prototype:
    """The record of a prototype that looks average but for what is given."""
    return Prototype(
        0, class_name, "case_1", (1.5, -2.0, 3.25), 2.0, AVERAGE | profile, 0.0, surroundings=surroundings or {}
    )


def prediction_for(
    similarities: np.ndarray, evidence: Evidence, affine: np.ndarray | None = None, brain: np.ndarray | None = None
) -> Prediction:
    """What ``predict`` makes of these maps (P, x, y, z), on a grid of twice as many voxels; stride 2, no calibration.

    ``brain`` (2x, 2y, 2z) is True everywhere unless given.
    """
    affine = np.eye(4) if affine is None else affine
    logits = upsampled(evidence.logits(similarities.astype(np.float32)))
    exponential = np.exp(logits - logits.max(axis=0))
    probabilities = (exponential / exponential.sum(axis=0)).astype(np.float32)
    probabilities[0].clip(0, LARGEST_IN_BRAIN, out=probabilities[0])
    if brain is not None:
        probabilities = np.where(brain, probabilities, np.array([1, 0, 0, 0], np.float32)[:, None, None, None])
    label = probabilities.argmax(axis=0).astype(np.uint8)
    steps = np.diag([2.0, 2.0, 2.0, 1.0])
    steps[:3, 3] = 0.5
    return Prediction(
        case_id="by_hand",
        label=label,
        probabilities=probabilities,
        similarities=similarities.astype(np.float32),
        similarity_affine=affine @ steps,
        affine=affine,
        volumes_ml=volumes_ml(label, affine),
        model={"name": "by hand", "identity": "", "prototype_class": list(evidence.prototype_class)},
        evidence=evidence,
        device="pencil",
        timings_s={},
    )


def upsampled(maps: np.ndarray) -> np.ndarray:
    """(C, x, y, z) -> (C, 2x, 2y, 2z), trilinear with voxel centres kept: SciPy's word for what torch does."""
    return np.stack([ndimage.zoom(one, 2, order=1, mode="nearest", grid_mode=True) for one in maps])


def without_prototypes(prediction: Prediction, regions: tuple[str, ...] = ()) -> Prediction:
    """The same result of a model that has none; with ``regions``, of one that finds these only."""
    evidence = Evidence.none(prediction.evidence.prototype_stride, prediction.evidence.calibration)
    model = {"name": "mute", "identity": "", "prototype_class": []} | ({"regions": list(regions)} if regions else {})
    similarities = np.empty((0, *prediction.label.shape), np.float32)
    return replace(
        prediction,
        similarities=similarities,
        similarity_affine=prediction.affine,
        evidence=evidence,
        model=model,
        findings={},
    )
