"""Tumour probabilities on the network's grid -> label and probabilities of the case; needs no torch.

The last steps of ``predict`` and of ``whatif``, which therefore decide alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.volume import INDEX_TOLERANCE, Volume, begin_at, bounding_box, corners, resample, voxel_ml
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.result.prediction import LARGEST_IN_BRAIN, volumes_ml

NCR, ET = CLASSES.index("NCR"), CLASSES.index("ET")
WORTH_SAYING_ML = 0.5
RELABELLED = "Relabelled: "
"""How every sentence begins that says what a rule did to the label after the most probable class was taken."""


class Decision(NamedTuple):
    """What is decided for the voxels of a case, and sentences on what the calibrated rules did."""

    label: np.ndarray
    probabilities: np.ndarray
    sentences: tuple[str, ...]


def decide(
    tumour: np.ndarray, affine: np.ndarray, brain: np.ndarray, brain_affine: np.ndarray, calibration: Calibration
) -> Decision:
    """Label and probabilities on the case's grid, the calibrated rules applied.

    Args:
        tumour: (3, X, Y, Z) float32, calibrated probabilities of NCR, ED, ET on the network's grid.
        affine: 4x4, voxel of ``tumour`` -> RAS mm.
        brain: Bool, on the case's grid; where it is False there is no tumour.
        brain_affine: 4x4, voxel of ``brain`` -> RAS mm.
        calibration: Of the model; its temperatures are already in ``tumour``.
    """
    label, probabilities = on_reference(tumour, affine, brain, brain_affine)
    label, on_parts = remove_small_components(label, brain_affine, calibration.minimum_component_ml)
    label, on_enhancement = remove_small_enhancement(label, brain_affine, calibration.minimum_et_ml)
    return Decision(label, probabilities, (*on_parts, *on_enhancement))


def on_reference(
    tumour: np.ndarray, affine: np.ndarray, brain: np.ndarray, brain_affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Label and probabilities on the case's grid, before any rule; arguments as of ``decide``.

    Returns:
        label: uint8 class indices, the most probable class (the first of equals).
        probabilities: (4, ...) float32; background is what the others leave, exactly 1 outside the brain and at most
            ``LARGEST_IN_BRAIN`` inside.
    """
    shape = brain.shape
    # Both lie in memory as in a file, i fastest: made, mapped and written without turning the axes round.
    probabilities = np.zeros((len(CLASSES), *reversed(shape)), np.float32).transpose(0, 3, 2, 1)
    label = np.zeros(shape[::-1], np.uint8).transpose()

    box, box_affine = _box_on_reference(tumour.shape[1:], affine, shape, brain_affine)
    probabilities[0] = 1
    inside, boxed_label, boxed_brain = probabilities[:, box[0], box[1], box[2]], label[box], brain[box]

    def decide_slice(k: int) -> None:
        _decide_slice([part[..., k] for part in mapped], boxed_brain[..., k], inside[..., k], boxed_label[..., k])

    with ThreadPoolExecutor(len(tumour)) as pool:
        volumes = [Volume(part, affine) for part in tumour]
        mapped = list(pool.map(lambda volume: resample(volume, boxed_brain.shape, box_affine, order=1).array, volumes))
        list(pool.map(decide_slice, range(boxed_brain.shape[2])))
    return label, probabilities


def _decide_slice(
    tumour: Sequence[np.ndarray], brain: np.ndarray, probabilities: np.ndarray, label: np.ndarray
) -> None:
    """Fill one slice of probabilities (4, X, Y) and label (X, Y): so much the processor's cache can hold."""
    largest = np.ones_like(label, np.float32)
    for part, target in zip(tumour, probabilities[1:], strict=True):
        np.multiply(part, brain, out=target)
        largest -= target
    np.clip(largest, 0, LARGEST_IN_BRAIN, out=probabilities[0], where=brain)
    for index, probability in enumerate(probabilities[1:], start=1):
        np.copyto(label, index, where=probability > largest)
        np.maximum(largest, probability, out=largest)


def remove_small_components(
    label: np.ndarray, affine: np.ndarray, minimum_ml: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Separate parts (26 neighbours) of the whole tumour below ``minimum_ml`` become background; the largest stays.

    Returns the label and, where more than 0.5 ml went, a sentence.
    """
    if minimum_ml <= 0 or (box := bounding_box(label)) is None:
        return label, ()
    parts, volumes = _parts(label[box], affine)
    gone = volumes < minimum_ml
    gone[[0, volumes[1:].argmax() + 1]] = False
    if not gone.any():
        return label, ()
    label = label.copy(order="K")
    label[box][gone[parts]] = 0
    removed = float(volumes[gone].sum())
    if removed <= WORTH_SAYING_ML:
        return label, ()
    sentence = (
        f"{RELABELLED}{np.count_nonzero(gone)} separate parts of less than {minimum_ml:g} ml, {removed:.2f} ml in all, "
        "became background, as this model was calibrated. The probabilities are left as they were."
    )
    return label, (sentence,)


def components(label: np.ndarray, affine: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n, 2): volume of each separate part of the whole tumour and how much of it is true, in ml; the largest first."""
    box = bounding_box(label)
    if box is None:
        return np.zeros((0, 2))
    parts, volumes = _parts(label[box], affine)
    true = np.bincount(parts.ravel(), truth[box].ravel(), len(volumes)) * voxel_ml(affine)
    found = np.stack([volumes, true], axis=1)[1:]
    return found[np.argsort(-found[:, 0], kind="stable")]


def remove_small_enhancement(
    label: np.ndarray, affine: np.ndarray, minimum_et_ml: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    """ET of less than ``minimum_et_ml`` in all becomes NCR; returns the label and a sentence if that happened.

    A few stray voxels of enhancement in a low-grade tumour are nearly always wrong; most challenge entries do this.
    """
    volume = volumes_ml(label, affine)["ET"]
    if not 0 < volume < minimum_et_ml:
        return label, ()
    sentence = (
        f"{RELABELLED}enhancing tumour of {volume:.2f} ml in all is below the minimum of {minimum_et_ml:g} ml that "
        "this model was calibrated for; it became necrotic / non-enhancing core. The probabilities stay as they were."
    )
    return np.where(label == ET, np.uint8(NCR), label), (sentence,)


def _parts(tumour: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the part in which each voxel lies (0 none), and the parts' volumes in ml by number."""
    parts, _ = ndimage.label(tumour, np.ones((3, 3, 3)))
    return parts, np.bincount(parts.ravel()) * voxel_ml(affine)


def _box_on_reference(
    shape: tuple[int, ...], affine: np.ndarray, reference_shape: tuple[int, ...], reference_affine: np.ndarray
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The part of the case's grid within the network's field of view, and the affine of that part."""
    index = (np.linalg.inv(reference_affine) @ affine @ corners(shape, rim=0.5))[:3]
    low = np.maximum(np.ceil(index.min(axis=1) - INDEX_TOLERANCE), 0).astype(int)
    high = np.minimum(np.floor(index.max(axis=1) + INDEX_TOLERANCE) + 1, reference_shape).astype(int)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), begin_at(reference_affine, low)
