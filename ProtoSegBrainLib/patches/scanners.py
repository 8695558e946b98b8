"""Changes to a patch that imitate scanners and protocols the data set does not have."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 3.0
"""Added to z-scores before they are multiplied: air and the darkest tissue lie above -3."""


def white_noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise of deviation 1, of the images' shape."""
    generator = torch.Generator(images.device).manual_seed(int(rng.integers(2**62)))
    return torch.randn(images.shape, generator=generator, device=images.device)


def under_bias_field(image: Tensor, deviation: float, rng: np.random.Generator, knots: int = 4) -> Tensor:
    """(X, Y, Z) times a smooth gain; intensities are shifted to be positive.

    Args:
        image: z-scores.
        deviation: Standard deviation of the logarithm of the gain at its knots.
        rng: Draws the gain.
        knots: So many along each axis, linear between them.
    """
    drawn = rng.normal(0, deviation, (1, 1, knots, knots, knots))
    coarse = torch.as_tensor(drawn, dtype=torch.float32, device=image.device)
    field = F.interpolate(coarse, size=tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]
    return (image + SHIFT) * field.exp() - SHIFT


def under_gamma_curve(image: Tensor, exponent: float) -> Tensor:
    """(X, Y, Z) with its intensities raised to a power between darkest and brightest, which stay."""
    low, high = image.min(), image.max()
    width = (high - low).clamp(min=1e-3)
    return ((image - low) / width).pow(exponent) * width + low


def under_tone_curve(image: Tensor, deviation: float, rng: np.random.Generator, knots: int = 7) -> Tensor:
    """(X, Y, Z) with its intensities sent through a random rising curve; mean and deviation of the brain stay.

    Sequences of one name weigh tissues differently: in one FLAIR oedema hardly stands out from grey matter, in one T2
    fluid outshines everything. What is brighter stays brighter, by how much does not. Mean and deviation are kept
    because a scan is z-scored after its scanner has drawn the curve.

    Args:
        image: z-scores, 0 outside the brain.
        deviation: Of the logarithm of the slopes between the knots, which lie evenly between darkest and brightest.
        rng: Draws the slopes.
        knots: So many, linear between them.
    """
    brain = image != 0
    values = image[brain]
    if len(values) < 2 or bool(values.min() == values.max()):
        return image
    low, high = values.min(), values.max()
    rises = np.exp(rng.normal(0, deviation, knots - 1))
    curve = torch.as_tensor(np.concatenate([[0.0], np.cumsum(rises)]), dtype=image.dtype, device=image.device)
    place = (values - low) / (high - low) * (knots - 1)
    below = place.long().clamp(max=knots - 2)
    changed = torch.lerp(curve[below], curve[below + 1], place - below)
    scale = values.std() / changed.std().clamp(min=1e-6)
    result = image.clone()
    result[brain] = (changed - changed.mean()) * scale + values.mean()
    return result


def smooth(image: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of (X, Y, Z) with a kernel of 5 voxels an axis."""
    offsets = torch.arange(-2, 3, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = kernel / kernel.sum()
    result = image[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 5, 2
        result = F.conv3d(result, kernel.view(shape), padding=padding)
    return result[0, 0]


def thick_slices(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Average over slices of 2 to 7 voxels along one axis, then interpolate back."""
    axis, thickness = int(rng.integers(3)), int(rng.integers(2, 8))
    x, y, z = (n if a != axis else max(1, n // thickness) for a, n in enumerate(image.shape))
    coarse = F.adaptive_avg_pool3d(image[None, None], (x, y, z))
    return F.interpolate(coarse, size=tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]


def shift_modality(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Misregistration: one modality moved by up to 2 voxels along each axis."""
    index = int(rng.integers(len(images)))
    moved = torch.roll(images[index], [int(s) for s in rng.integers(-2, 3, 3)], dims=(0, 1, 2))
    return torch.cat([images[:index], moved[None], images[index + 1 :]])


def truncate(images: Tensor, rng: np.random.Generator) -> Tensor:
    """One modality ends at a plane across a random axis: its field of view did not take in the whole brain."""
    index, axis, kept = int(rng.integers(len(images))), int(rng.integers(3)), rng.uniform(0.3, 0.95)
    border = round(images.shape[1 + axis] * kept)
    gone: list[int | slice] = [index, slice(None), slice(None), slice(None)]
    gone[1 + axis] = slice(border, None) if rng.random() < 0.5 else slice(None, -border)
    images = images.clone()
    images[tuple(gone)] = 0
    return images
