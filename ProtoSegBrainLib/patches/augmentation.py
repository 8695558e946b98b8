"""Random changes to a training patch that imitate scanners, protocols and tumours the data set does not have.

``augment`` works on one patch on its device; all randomness comes from the numpy generator it is given, so a patch is
a function of its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.patches.scanners import (
    shift_modality,
    smooth,
    thick_slices,
    truncate,
    under_bias_field,
    under_gamma_curve,
    under_tone_curve,
    white_noise,
)
from ProtoSegBrainLib.patches.tumours import ET, remove_enhancement, weaken_enhancement, weaken_oedema


@dataclass(frozen=True)
class AugmentationConfig:
    """Probability and strength of each change. Intensities are z-scores."""

    flip: float = field(default=0.5, metadata={"help": "probability of a left-right flip"})
    spatial: float = field(default=0.5, metadata={"help": "probability of a rotation and scaling"})
    rotation_degrees: float = field(default=20.0, metadata={"help": "largest rotation about each axis"})
    scaling: float = field(default=0.25, metadata={"help": "largest relative change of size"})
    transplant: float = field(
        default=0.0, metadata={"help": "probability that a patch's tumour is put into another case's brain"}
    )
    enhancement_removal: float = field(
        default=0.12, metadata={"help": "probability that enhancement is taken out and ET becomes NCR"}
    )
    faint_enhancement: float = field(
        default=0.0, metadata={"help": "probability that enhancement is made fainter and stays ET"}
    )
    faint_oedema: float = field(default=0.0, metadata={"help": "probability that oedema is made fainter and stays ED"})
    contrast: float = field(default=0.6, metadata={"help": "probability of a new gain and offset per modality"})
    gain: float = field(default=0.25, metadata={"help": "largest relative change of a modality's gain"})
    offset: float = field(default=0.15, metadata={"help": "standard deviation of a modality's offset"})
    gamma: float = field(default=0.25, metadata={"help": "probability of a gamma curve, per modality"})
    tone_curve: float = field(default=0.0, metadata={"help": "probability of a random rising curve, per modality"})
    tone_curve_deviation: float = field(
        default=0.5, metadata={"help": "largest standard deviation of the logarithm of that curve's slopes"}
    )
    bias_field: float = field(default=0.2, metadata={"help": "probability of a smooth gain, per modality"})
    bias_field_deviation: float = field(
        default=0.3, metadata={"help": "largest standard deviation of that gain's logarithm"}
    )
    noise: float = field(default=0.2, metadata={"help": "probability of Gaussian noise"})
    noise_deviation: float = field(default=0.25, metadata={"help": "largest standard deviation of the noise"})
    blur: float = field(default=0.1, metadata={"help": "probability of a Gaussian blur, per modality"})
    thick_slices: float = field(default=0.08, metadata={"help": "probability of thick slices, per modality"})
    shift: float = field(default=0.05, metadata={"help": "probability that one modality is shifted by a voxel or two"})
    truncation: float = field(default=0.0, metadata={"help": "probability that one modality ends inside the brain"})
    dropout: float = field(default=0.08, metadata={"help": "probability that one modality is missing"})


UNCHANGED = AugmentationConfig(**dict.fromkeys(AugmentationConfig.__dataclass_fields__, 0.0))
"""Patches stay as they are cut."""


def augment(
    images: Tensor, label: Tensor, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Change one patch. Voxels outside the brain stay exactly 0, and so does a modality that is absent.

    Args:
        images: (4, X, Y, Z) float32 z-scores, 0 outside the brain.
        label: (X, Y, Z) int64 classes.
        config: Probabilities and strengths.
        rng: The only source of randomness.
    """
    if rng.random() < config.flip:
        images, label = images.flip(1), label.flip(0)
    if rng.random() < config.enhancement_removal and bool((label == ET).any()):
        images, label = remove_enhancement(images, label, rng)
    if rng.random() < config.faint_enhancement:
        images = weaken_enhancement(images, rng)
    # Where it is off nothing is drawn, so that patches stay what they were; as for tone curves and truncation.
    if config.faint_oedema and rng.random() < config.faint_oedema:
        images = weaken_oedema(images, label, rng)
    brain = (images != 0).any(dim=0)
    shown = brain & (images != 0).flatten(1).any(dim=1)[:, None, None, None]
    images = torch.stack([_change_modality(image, config, rng) for image in images])
    if rng.random() < config.noise:
        images = images + rng.uniform(0, config.noise_deviation) * white_noise(images, rng)
    if rng.random() < config.shift:
        images = shift_modality(images, rng)
    images = images * shown
    if config.truncation and rng.random() < config.truncation:
        images = truncate(images, rng)
    if rng.random() < config.dropout:
        images[rng.integers(len(images))] = 0
    return images, label


def random_affine(config: AugmentationConfig, rng: np.random.Generator) -> np.ndarray | None:
    """A 3x3 rotation times scaling, or None when none is drawn."""
    if rng.random() >= config.spatial:
        return None
    matrix = np.diag(1 + rng.uniform(-config.scaling, config.scaling, 3))
    for axis in range(3):
        angle = np.deg2rad(rng.uniform(-config.rotation_degrees, config.rotation_degrees))
        first, second = (a for a in range(3) if a != axis)
        turn = np.eye(3)
        turn[[first, first, second, second], [first, second, first, second]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        matrix = matrix @ turn
    return matrix


def warp(images: Tensor, label: Tensor, matrix: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """Resample a patch about its centre by ``matrix`` to ``size`` cubed: images linear, label nearest."""
    scale = size / np.asarray(images.shape[1:])
    # grid_sample orders axes last to first and measures in half-widths of the source.
    theta = torch.as_tensor((scale[:, None] * matrix)[::-1, ::-1].copy(), dtype=torch.float32, device=images.device)
    theta = torch.cat([theta, torch.zeros(3, 1, device=images.device)], dim=1)[None]
    grid = F.affine_grid(theta, [1, 1, size, size, size], align_corners=False)
    warped = F.grid_sample(images[None], grid, mode="bilinear", align_corners=False)[0]
    labels = F.grid_sample(label[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0]
    return warped, labels.long()


def _change_modality(image: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> Tensor:
    if rng.random() < config.thick_slices:
        image = thick_slices(image, rng)
    if rng.random() < config.blur:
        image = smooth(image, rng.uniform(0.4, 1.0))
    if rng.random() < config.bias_field:
        deviation, knots = rng.uniform(0, config.bias_field_deviation), int(rng.integers(2, 5))
        image = under_bias_field(image, deviation, rng, knots)  # few knots: a coil's; many: local
    if rng.random() < config.gamma:
        image = under_gamma_curve(image, rng.uniform(0.7, 1.5))
    if config.tone_curve and rng.random() < config.tone_curve:
        image = under_tone_curve(image, rng.uniform(0, config.tone_curve_deviation), rng)
    if rng.random() < config.contrast:
        image = image * rng.uniform(1 / (1 + config.gain), 1 + config.gain) + rng.normal(0, config.offset)
    return image
