"""From a ``Case`` to what the network sees, and back: the same code for training and inference.

``prepare``: RAS axes, 1 mm voxels (interpolated once, from the files' own grids), brain crop, z-score inside the brain.
``to_reference`` maps an array on the network's grid back to the case's exact grid.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, begin_at, bounding_box, canonical, corners, resample

SPACING_MM = 1.0
# Grids this close to 1 mm are taken as they are: resampling would blur more than it corrects.
SPACING_TOLERANCE_MM = 0.02
MARGIN_VOXELS = 2
# Of a millimetre: a face this near to a whole one lies on it.
ROUNDING = 1e-3
# The brightest voxels (vessels, artefacts) differ between scanners and file formats; they are clipped before the
# mean and standard deviation are taken.
CLIP_PERCENTILE = 99.9


@dataclass(frozen=True)
class NetworkInput:
    """A case on the network's grid.

    Attributes:
        case_id: Of the case.
        images: (4, X, Y, Z) float32, z-scored inside the brain, 0 outside it, RAS axes, 1 mm.
        affine: 4x4, voxel of ``images`` -> RAS mm.
        brain: (X, Y, Z) bool, True where any modality is not zero.
        label: (X, Y, Z) uint8 classes, or None.
        reference_shape: Shape of the case's grid.
        reference_affine: Affine of the case's grid.
    """

    case_id: str
    images: np.ndarray
    affine: np.ndarray
    brain: np.ndarray
    label: np.ndarray | None
    reference_shape: tuple[int, int, int]
    reference_affine: np.ndarray


def prepare(case: Case) -> NetworkInput:
    """Bring a case to RAS axes and 1 mm, crop to the brain and z-score each modality inside it.

    Raises:
        ValueError: The case has no voxel that is not zero.
    """
    images, brain, label, affine = _to_network_grid(case)
    box = _brain_box(brain, case.case_id)
    affine = begin_at(affine, [part.start for part in box])
    brain = np.ascontiguousarray(brain[box])
    label = None if label is None else np.ascontiguousarray(label[box])
    # Until here images are the case's own memory; only the crop is copied, each modality in a thread.
    cropped = np.empty((len(images), *brain.shape), np.float32)
    with ThreadPoolExecutor(len(images)) as pool:
        list(pool.map(lambda image, out: _z_score(image[box], out), images, cropped))
    nx, ny, nz = case.images.shape[1:]
    return NetworkInput(case.case_id, cropped, affine, brain, label, (nx, ny, nz), case.affine)


def to_reference(array: np.ndarray, network_input: NetworkInput, order: int) -> np.ndarray:
    """Map (X, Y, Z) or (C, X, Y, Z) from the network's grid to the case's grid; 0 outside the brain crop.

    Args:
        array: On the grid of ``network_input``.
        network_input: Where the array comes from.
        order: 1 linear, 0 nearest.
    """
    if array.ndim == 4:
        return np.stack([to_reference(channel, network_input, order) for channel in array])
    volume = Volume(array, network_input.affine)
    return resample(volume, network_input.reference_shape, network_input.reference_affine, order).array


def _to_network_grid(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Images, brain, label and affine with RAS axes and 1 mm voxels; views of the case where its voxels are 1 mm."""
    whole = canonical(Volume(np.moveaxis(case.images, 0, -1), case.affine))
    if not case.originals and np.abs(np.asarray(whole.spacing_mm) - SPACING_MM).max() <= SPACING_TOLERANCE_MM:
        label = None if case.label is None else canonical(Volume(case.label, case.affine)).array
        return np.moveaxis(whole.array, -1, 0), canonical(Volume(case.brain, case.affine)).array, label, whole.affine
    volumes = case.originals or tuple(Volume(image, case.affine) for image in case.images)
    shape, target = _millimetre_grid(case)
    with ThreadPoolExecutor(len(volumes)) as pool:
        images = np.stack(list(pool.map(lambda volume: _interpolate(volume, shape, target), volumes)))
    if case.mask is not None:
        images *= resample(Volume(case.mask.astype(np.uint8), case.affine), shape, target, order=1).array >= 0.5
    brain = np.asarray(images.any(axis=0))
    if case.label is None:
        return images, brain, None, target
    return images, brain, resample(Volume(case.label, case.affine), shape, target, order=0).array, target


def _millimetre_grid(case: Case) -> tuple[tuple[int, int, int], np.ndarray]:
    """Voxel centres on whole millimetres of RAS, around the box of voxels that are not zero.

    It does not depend on how slices were laid: a patient scanned on another grid meets the network upright, on the
    lattice of the training cases.
    """
    box = _brain_box(case.brain, case.case_id)
    affine = begin_at(case.affine, [part.start for part in box])
    position = (affine @ corners([part.stop - part.start for part in box], rim=0.5))[:3]
    low, high = np.ceil(position.min(axis=1) - ROUNDING), np.floor(position.max(axis=1) + ROUNDING)
    target = np.eye(4)
    target[:3, 3] = low
    nx, ny, nz = (int(n) + 1 for n in high - low)
    return (nx, ny, nz), target


def _interpolate(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Linear, between the voxels of the brain alone: its rim does not fade into the zeros around it."""
    inside = (volume.array != 0).astype(np.float32)
    weight = resample(Volume(inside, volume.affine), shape, affine, order=1).array
    image = resample(volume, shape, affine, order=1).array
    return np.where(weight >= 0.5, image / np.maximum(weight, 0.5), 0)


def _brain_box(brain: np.ndarray, case_id: str) -> tuple[slice, ...]:
    """Around the brain, with a margin where the grid has room for it."""
    box = bounding_box(brain)
    if box is None:
        raise ValueError(f"Case {case_id}: every voxel is zero; a brain was expected.")
    ends = zip(box, brain.shape, strict=True)
    return tuple(slice(max(0, part.start - MARGIN_VOXELS), min(n, part.stop + MARGIN_VOXELS)) for part, n in ends)


def _z_score(image: np.ndarray, out: np.ndarray) -> None:
    """Write ``image`` to ``out`` with zero mean and unit deviation over its own voxels.

    Its own voxels are those that are not zero (fields of view differ between modalities). The others stay 0, the
    mean, so that they speak for nothing. A constant image becomes 0.
    """
    out[...] = image
    own = out != 0
    values = out[own]
    if values.size == 0:
        return
    # Every 7th voxel gives the percentile to well within the noise, in a tenth of the time.
    np.minimum(values, np.percentile(values[::7], CLIP_PERCENTILE), out=values)
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    # Less is the rounding of a constant, in whatever units.
    rounding = float(np.finfo(np.float32).eps) * max(abs(float(values[0])), abs(mean))
    out[own] = (values - mean) / max(deviation, rounding)
