"""Another last layer on the stored similarities: what would the result be without a prototype? Needs no torch.

The network is not run: logits are linear in the similarities, and the similarities are in the result.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ProtoSegBrainLib.explanation.names import channel_name
from ProtoSegBrainLib.images.volume import INDEX_TOLERANCE, corners
from ProtoSegBrainLib.network.evidence import Evidence, require_prototypes
from ProtoSegBrainLib.result.decision import RELABELLED, decide
from ProtoSegBrainLib.result.prediction import Prediction, prototype_affine, volumes_ml


def whatif(
    prediction: Prediction, disabled: Collection[int] = (), weights: Mapping[int, float] | None = None
) -> Prediction:
    """The result with some prototypes turned off or given another weight.

    Exactly what ``predict`` would give with the changed last layer: same upsampling, temperatures and rules. The
    changed weights are in ``evidence`` of what is returned, so it explains itself like any other result, and a warning
    says what was changed. Volume intervals, expected Dice and calibration errors were measured on the model's own
    results and do not hold for others: they are left out.

    Args:
        prediction: Of the network, or of another what-if.
        disabled: Numbers of prototypes whose weights become 0.
        weights: Factor by prototype number, by which its weights are multiplied; 0 is the same as disabled.

    Raises:
        ValueError: No such prototype, a factor that is negative or not a number, or a model without prototypes.
    """
    started = time.perf_counter()
    require_prototypes(prediction.evidence.prototype_class, prediction.model["name"])
    factors = _factors(prediction.evidence, disabled, weights or {})
    changed = _changed(prediction.evidence, factors)
    after = decided_anew(prediction, prediction.similarities, changed, _what_changed(changed, factors))
    return replace(after, timings_s={"whatif": round(time.perf_counter() - started, 4)})


def decided_anew(
    prediction: Prediction, similarities: np.ndarray, evidence: Evidence, said: Sequence[str]
) -> Prediction:
    """The result with another last layer, or other similarities: decided as ``predict`` decides.

    Args:
        prediction: What is changed.
        similarities: (P, x, y, z) float32 on its prototype grid.
        evidence: The last layer on them.
        said: Sentences on what was changed.
    """
    network_affine, shape = _network_grid(prediction)
    tumour = _tumour_probabilities(similarities, evidence, shape)
    brain = prediction.probabilities[0] < 1
    label, probabilities, sentences = decide(tumour, network_affine, brain, prediction.affine, evidence.calibration)
    kept = [sentence for sentence in prediction.warnings if not sentence.startswith(RELABELLED)]
    return replace(
        prediction,
        label=label,
        probabilities=probabilities,
        similarities=similarities,
        volumes_ml=volumes_ml(label, prediction.affine),
        evidence=evidence,
        warnings=(*kept, *said, *sentences),
        disagreement=None,  # of the views: they were not looked at again
        findings={},
    )


def _factors(evidence: Evidence, disabled: Collection[int], weights: Mapping[int, float]) -> np.ndarray:
    """(P,) float32, by which the weights of each prototype are multiplied."""
    count = len(evidence.prototype_class)
    asked = {**weights, **dict.fromkeys(disabled, 0.0)}
    unknown = sorted(set(asked) - set(range(count)))
    if unknown:
        raise ValueError(f"Expected numbers of prototypes, 0 to {count - 1}; got {', '.join(map(str, unknown))}.")
    factors = np.ones(count, np.float32)
    for index, factor in asked.items():
        if not (np.isfinite(factor) and factor >= 0):
            raise ValueError(f"Factor of prototype {index}: expected a number of at least 0, got {factor}.")
        factors[index] = factor
    return factors


def _changed(evidence: Evidence, factors: np.ndarray) -> Evidence:
    if (factors == 1).all():
        return evidence
    calibration = replace(evidence.calibration, reliability=())
    return replace(evidence, weight=evidence.weight * factors, calibration=calibration)


def _what_changed(evidence: Evidence, factors: np.ndarray) -> tuple[str, ...]:
    changes = [
        f"{channel_name(evidence, index)} ({evidence.prototype_class[index]}) "
        + (f"counts {factor:g} times" if factor else "is turned off")
        for index, factor in enumerate(factors)
        if factor != 1
    ]
    return (f"What-if, not the model's own result: {', '.join(changes)}.",) if changes else ()


def _network_grid(prediction: Prediction) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape of the grid on which the network saw the case, without the padding beyond the case."""
    stride = prediction.evidence.prototype_stride
    affine = prediction.similarity_affine @ np.linalg.inv(prototype_affine(np.eye(4), stride))
    ends = np.linalg.inv(affine) @ prediction.affine @ corners(prediction.label.shape, rim=0.5)
    last = np.floor(ends[:3].max(axis=1) + INDEX_TOLERANCE)
    padded = stride * np.array(prediction.similarities.shape[1:])
    return affine, tuple(int(n) for n in np.clip(last + 1, 1, padded))


def _tumour_probabilities(similarities: np.ndarray, evidence: Evidence, shape: tuple[int, ...]) -> np.ndarray:
    """Calibrated probabilities of NCR, ED, ET (3, X, Y, Z) float32 on the network's grid.

    Here in memory order z, y, x, as the similarities come from files and network: no axis is turned round.
    """
    stride = evidence.prototype_stride
    x, y, z = shape
    logits = evidence.logits(similarities.transpose(0, 3, 2, 1))
    tumour = np.empty((len(logits) - 1, z, y, x), np.float32)
    for index in range(z):  # slice by slice: the processor's cache can hold that
        low, high, share = _between(index, logits.shape[1], stride)
        fine = logits[:, low] * np.float32(1 - share) + logits[:, high] * np.float32(share)
        fine = _upsample(_upsample(fine, 2, stride), 1, stride)[:, :y, :x]
        tumour[:, index] = evidence.calibration.probabilities(fine)[1:]
    return tumour.transpose(0, 3, 2, 1)


def _between(index: int, count: int, stride: int) -> tuple[int, int, float]:
    """The two coarse voxels (of ``count``) around the centre of a fine one, and the share of the second."""
    position = min(max((index + 0.5) / stride - 0.5, 0), count - 1)
    low = int(position)
    return low, min(low + 1, count - 1), position - low


def _upsample(maps: np.ndarray, axis: int, stride: int) -> np.ndarray:
    """Linear along one axis, voxel centres kept, the outer voxels' values beyond their centres."""
    size = list(maps.shape)
    size[axis] *= stride
    result = np.empty(size, maps.dtype)
    nearest = np.arange(maps.shape[axis])
    for phase in range(stride):
        offset = (phase + 0.5) / stride - 0.5  # of the fine voxel's centre from the coarse one's, in coarse voxels
        other = np.clip(nearest + (1 if offset > 0 else -1), 0, nearest[-1])
        target = result[(slice(None),) * axis + (slice(phase, None, stride),)]
        np.multiply(maps.take(other, axis), np.float32(abs(offset)), out=target)
        target += maps * np.float32(1 - abs(offset))
    return result
