"""What surrounds the brain, taken as 0: a constant, rounding around one, NaN; and intensities of extreme units.

Everything after this file takes 0 for "no brain here". Files say it otherwise where the whole image was normalised
(z-score, -1 to 1), where it was interpolated, or by NaN. The background is told on a coarse grid, from the faces
inwards, in layers: an image may have been padded with another constant later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.naming import names_of
from ProtoSegBrainLib.images.volume import Volume, bounding_box

COARSE_EDGE = 40
"""Samples along an axis by which the background is told."""
LEAST_SHARE = 0.5
"""Of the faces, filled by a background; a brain may touch them."""
NOISE = 2e-3
"""Of the range of intensities: deviations this small are rounding, not tissue."""
MOST_NEAR = 0.05
"""Share of the faces that may deviate by up to ten times that; more is air as scanners see it, no constant."""
MOST_LAYERS = 3
SAFE = 1e-15, 1e15
"""Largest intensities outside these are scaled: in single precision, their squares would come near to its ends."""
MOSTLY = 0.99
"""Share of the brain that is darker than its background where the contrast is inverted."""


@dataclass(frozen=True)
class _Layer:
    """A constant around the brain, and how far its voxels stray from it; the value NaN stands for infinity, too."""

    value: float
    tolerance: float = 0.0

    def covers(self, array: np.ndarray) -> np.ndarray:
        if np.isnan(self.value):
            return ~np.isfinite(array)
        return np.abs(array - self.value) <= self.tolerance if self.tolerance else array == self.value


@dataclass(frozen=True)
class _Found:
    """An image with background 0, what its background was before, and how it looks."""

    volume: Volume
    layers: tuple[_Layer, ...] = ()
    not_finite: int = 0
    is_inverted: bool = False


def with_zero_background(volumes: Mapping[str, Volume]) -> tuple[dict[str, Volume], list[str]]:
    """The images with 0 around the brain, in units that fit single precision, and sentences on what was done and seen.

    A constant is subtracted, so that a voxel of the brain is 0 afterwards only if it had the background's value. NaN
    and infinity stay where they are not connected to the faces.

    Args:
        volumes: By role, each on its own grid. Images that need no change come back as they are.
    """
    with ThreadPoolExecutor(max(len(volumes), 1)) as pool:
        found = dict(zip(volumes, pool.map(_zeroed, volumes.values()), strict=True))
    return {role: image.volume for role, image in found.items()}, _sentences(found)


def _sentences(found: Mapping[str, _Found]) -> list[str]:
    """What a user should know, one sentence for all images that it holds for."""
    constants = {role: [layer.value for layer in image.layers if layer.value] for role, image in found.items()}
    rounded = [role for role, image in found.items() if not constants[role] and image.layers]
    constant = [role for role, values in constants.items() if values]
    surrounded = [role for role, image in found.items() if image.not_finite]
    inverted = [role for role, image in found.items() if image.is_inverted]
    sentences = []
    if constant:
        values = ", ".join(" and ".join(f"{value:.4g}" for value in constants[role]) for role in constant)
        sentences.append(
            f"{names_of(constant)}: the background is a constant other than 0 ({values}); it was taken as 0."
        )
    if rounded:
        sentences.append(f"{names_of(rounded)}: the background is 0 but for rounding; it was taken as 0.")
    if surrounded:
        count = sum(image.not_finite for image in found.values())
        sentences.append(f"{names_of(surrounded)}: NaN or infinity around the brain was taken as 0 ({count} voxels).")
    if inverted:
        sentences.append(
            f"{names_of(inverted)}: the brain is darker than its background; the contrast seems to be inverted, and "
            "then the result cannot be trusted."
        )
    return sentences


def _zeroed(volume: Volume) -> _Found:
    array = volume.array
    if array.ndim != 3 or not array.size:
        return _Found(volume)
    sample = _coarse(array)
    if not np.isfinite(sample).any():
        return _Found(volume)
    layers = _layers(sample)
    not_finite = array.dtype.kind == "f" and not np.isfinite(array.min() + array.max())
    constants = tuple(layer for layer in layers if layer.value or layer.tolerance if np.isfinite(layer.value))
    exponent = _exponent(sample)
    if not (constants or not_finite or exponent):
        return _Found(volume, is_inverted=_is_inverted(sample))
    # A step of the ladder of powers of two loses no digit.
    scaled = np.ldexp(array.astype(np.float64), -exponent)
    zeroed = _without(scaled, [_Layer(*np.ldexp((layer.value, layer.tolerance), -exponent)) for layer in layers])
    if not zeroed.any():  # all of the brain is NaN, which whoever checks the image will say
        return _Found(volume)
    changed = int(np.count_nonzero(~np.isfinite(scaled) & np.isfinite(zeroed))) if not_finite else 0
    return _Found(replace(volume, array=zeroed), constants, changed, _is_inverted(_coarse(zeroed)))


def _coarse(array: np.ndarray) -> np.ndarray:
    """Every so-and-so-many-th voxel."""
    i, j, k = (slice(None, None, -(-n // COARSE_EDGE)) for n in array.shape)
    return array[i, j, k].astype(np.float64)


def _layers(sample: np.ndarray) -> list[_Layer]:
    """The constants around the brain, from the faces inwards."""
    layers: list[_Layer] = []
    while len(layers) < MOST_LAYERS:
        layer = _outermost(sample, layers)
        if layer is None:
            break
        layers.append(layer)
        box = bounding_box(~layer.covers(sample))
        if box is None:  # nothing but this constant: no image
            return layers[:-1]
        sample = sample[box]
    return layers


def _outermost(sample: np.ndarray, known: Sequence[_Layer]) -> _Layer | None:
    """The constant that fills the faces, if one does that is not known yet."""
    faces = np.concatenate([sample[side].ravel() for axis in range(3) for side in _sides(axis)])
    finite = faces[np.isfinite(faces)]
    if finite.size < (1 - LEAST_SHARE) * faces.size:
        return None if any(np.isnan(layer.value) for layer in known) else _Layer(float("nan"))
    value = float(np.median(finite))
    if any(layer.covers(np.array(value)) for layer in known):
        return None
    if (finite == value).all():
        return _Layer(value)
    some = np.append(sample.ravel(order="K")[::7], value)
    noise = NOISE * float(np.percentile(np.abs(some[np.isfinite(some)] - value), 99.5))
    deviations = np.abs(finite - value)
    near = deviations <= noise
    is_air = np.count_nonzero(deviations <= 10 * noise) - np.count_nonzero(near) > MOST_NEAR * faces.size
    if near.sum() < LEAST_SHARE * faces.size or is_air:
        return None
    tolerance = min(2 * float(deviations[near].max()), noise)
    return _Layer(0.0, tolerance + abs(value)) if abs(value) <= tolerance else _Layer(value, tolerance)


def _sides(axis: int) -> list[tuple[slice | int, ...]]:
    """Index of the two faces across an axis."""
    return [tuple(end if a == axis else slice(None) for a in range(3)) for end in (0, -1)]


def _exponent(sample: np.ndarray) -> int:
    """The power of two by which intensities are divided to fit single precision; 0 where they do."""
    finite = np.abs(sample[np.isfinite(sample)])
    largest = float(finite.max()) if finite.size else 0.0
    return 0 if largest == 0 or SAFE[0] < largest < SAFE[1] else int(np.frexp(largest)[1])


def _without(array: np.ndarray, layers: Sequence[_Layer]) -> np.ndarray:
    """float32 with 0 in place of the layers; the innermost constant is subtracted from the rest."""
    constants = [layer for layer in layers if np.isfinite(layer.value)]
    inner = constants[-1] if constants else _Layer(0.0)
    result = array - inner.value
    result[inner.covers(array)] = 0
    if len(layers) > 1 or not np.isfinite(array.min() + array.max()):
        background = ~np.isfinite(array) | inner.covers(array)
        for layer in layers:
            background |= layer.covers(array)
        result[_from_faces(background)] = 0
    with np.errstate(over="ignore"):
        return result.astype(np.float32)


def _from_faces(mask: np.ndarray) -> np.ndarray:
    """The part of a mask that is connected to the faces of the grid."""
    parts, _ = ndimage.label(mask)
    at_faces = np.unique(np.concatenate([parts[side].ravel() for axis in range(3) for side in _sides(axis)]))
    return np.isin(parts, at_faces[at_faces > 0])


def _is_inverted(sample: np.ndarray) -> bool:
    """Whether the brain is darker than the 0 around it."""
    own = sample[np.isfinite(sample) & (sample != 0)]
    return own.size > 0 and own.size < sample.size and bool(np.count_nonzero(own < 0) >= MOSTLY * own.size)
