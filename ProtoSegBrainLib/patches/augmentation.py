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

from ProtoSegBrainLib.labels import CLASSES, MODALITIES

T1N, T1C = MODALITIES.index("t1n"), MODALITIES.index("t1c")
NCR, ED, ET = CLASSES.index("NCR"), CLASSES.index("ED"), CLASSES.index("ET")
SHIFT = 3.0
"""Added to z-scores before they are multiplied: air and the darkest tissue lie above -3."""


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


def augment(
    images: Tensor, label: Tensor, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Change one patch. Voxels outside the brain stay exactly 0.

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
    images = torch.stack([_change_modality(image, config, rng) for image in images])
    if rng.random() < config.noise:
        images = images + rng.uniform(0, config.noise_deviation) * white_noise(images, rng)
    if rng.random() < config.shift:
        images = _shift_modality(images, rng)
    images = images * brain
    if config.truncation and rng.random() < config.truncation:
        images = truncate(images, rng)
    if rng.random() < config.dropout:
        images[rng.integers(len(images))] = 0
    return images, label


def remove_enhancement(images: Tensor, label: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Take enhancement out, wholly or on one side of a random plane: T1ce is blended to T1 there, ET becomes NCR.

    Low-grade tumours do not enhance and are rare in the data; without this a network paints ET into them. Up to a
    fifth of the enhancement stays visible, since such cores are not exactly as dark in T1ce as in T1.
    """
    removed = label == ET
    if rng.random() < 0.5:
        removed = removed & _half_space(removed, rng)
    soft = _smooth(removed.float(), 1.0)
    soft = torch.maximum((soft / 0.5).clamp(max=1), removed.float())  # wholly inside, fading just outside
    images = images.clone()
    images[T1C] = torch.lerp(images[T1C], images[T1N], soft * rng.uniform(0.8, 1.0))
    return images, torch.where(removed, NCR, label)


def weaken_enhancement(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Imitate less contrast agent: T1ce is blended to T1 by a tenth to six tenths, everywhere; labels stay.

    How bright enhancement is depends on dose, delay and scanner; a network that has seen only bright ones takes
    faint ones for necrosis. Where a modality is missing (all 0) nothing is changed.
    """
    if not bool(images[T1C].any()) or not bool(images[T1N].any()):
        return images
    images = images.clone()
    images[T1C] = torch.lerp(images[T1C], images[T1N], rng.uniform(0.1, 0.6))
    return images


def weaken_oedema(images: Tensor, label: Tensor, rng: np.random.Generator) -> Tensor:
    """Imitate oedema that hardly stands out: in each modality it loses up to seven tenths of its contrast; labels stay.

    How much brighter than healthy brain oedema is differs more between patients and scanners than between most
    tissues; a network that has seen mostly bright ones leaves faint ones out. Contrast is the local mean's distance
    from the mean of the patch's healthy brain, so that fine texture and noise remain. Where a modality is missing,
    and where the patch has no oedema or no healthy brain, nothing is changed.

    Args:
        images: (4, X, Y, Z) z-scores, 0 outside the brain.
        label: (X, Y, Z) int64 classes.
        rng: Draws one share for each modality.
    """
    oedema = (label == ED).float()
    # Wholly inside, fading over the healthy rim; never into the core.
    share = torch.maximum((_smooth(oedema, 1.0) / 0.5).clamp(max=1), oedema) * ((label == 0) | (label == ED))
    weakened = []
    for image, lost in zip(images, rng.uniform(0, 0.7, len(images)), strict=True):
        own = image != 0
        here, healthy = own & (share > 0), image[own & (label == 0)]
        if not bool(here.any()) or not len(healthy):
            weakened.append(image)
            continue
        excess = _local_mean(image - healthy.mean(), here)
        weakened.append(image - float(lost) * share * here * excess)
    return torch.stack(weakened)


def transplant(
    images: Tensor, label: Tensor, other_images: Tensor, other_label: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Put the tumour of one patch, with a margin of 2 to 7 voxels of what surrounds it, into another case's patch.

    After CarveMix (Zhang et al., NeuroImage 2023). What would come to lie outside either brain is left out; without
    a tumour the result is the other patch.

    Args:
        images: (4, X, Y, Z) z-scores, 0 outside the brain.
        label: (X, Y, Z) int64 classes.
        other_images: Of the case that receives the tumour, the same shape.
        other_label: Of that case.
        rng: Draws the margin.
    """
    tumour = (label > 0).float()
    shared = (images != 0).any(dim=0) & (other_images != 0).any(dim=0)
    soft = _smooth(_dilate(tumour, int(rng.integers(2, 8))), 1.0)
    share = torch.maximum(soft, tumour).clamp(max=1) * shared  # 1 on the tumour, fading over the rim of the margin
    return torch.lerp(other_images, images, share), torch.where(share > 0.5, label, other_label)


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


def truncate(images: Tensor, rng: np.random.Generator) -> Tensor:
    """One modality ends at a plane across a random axis: its field of view did not take in the whole brain."""
    index, axis, kept = int(rng.integers(len(images))), int(rng.integers(3)), rng.uniform(0.3, 0.95)
    border = round(images.shape[1 + axis] * kept)
    gone: list[int | slice] = [index, slice(None), slice(None), slice(None)]
    gone[1 + axis] = slice(border, None) if rng.random() < 0.5 else slice(None, -border)
    images = images.clone()
    images[tuple(gone)] = 0
    return images


def _change_modality(image: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> Tensor:
    if rng.random() < config.thick_slices:
        image = _thick_slices(image, rng)
    if rng.random() < config.blur:
        image = _smooth(image, rng.uniform(0.4, 1.0))
    if rng.random() < config.bias_field:
        deviation, knots = rng.uniform(0, config.bias_field_deviation), int(rng.integers(2, 5))
        image = under_bias_field(image, deviation, rng, knots)  # few knots: a coil's; many: local
    if rng.random() < config.gamma:
        image = _gamma(image, rng.uniform(0.7, 1.5))
    if config.tone_curve and rng.random() < config.tone_curve:
        image = under_tone_curve(image, rng.uniform(0, config.tone_curve_deviation), rng)
    if rng.random() < config.contrast:
        image = image * rng.uniform(1 / (1 + config.gain), 1 + config.gain) + rng.normal(0, config.offset)
    return image


def _gamma(image: Tensor, exponent: float) -> Tensor:
    low, high = image.min(), image.max()
    width = (high - low).clamp(min=1e-3)
    return ((image - low) / width).pow(exponent) * width + low


def _thick_slices(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Average over slices of 2 to 7 voxels along one axis, then interpolate back."""
    axis, thickness = int(rng.integers(3)), int(rng.integers(2, 8))
    x, y, z = (n if a != axis else max(1, n // thickness) for a, n in enumerate(image.shape))
    coarse = F.adaptive_avg_pool3d(image[None, None], (x, y, z))
    return F.interpolate(coarse, size=tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]


def _smooth(image: Tensor, deviation: float) -> Tensor:
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


def _local_mean(image: Tensor, mask: Tensor) -> Tensor:
    """(X, Y, Z) mean of ``image`` over the voxels of ``mask`` within some 4 voxels, linear between; 0 far from any."""
    x, y, z = (max(1, n // 4) for n in image.shape)
    both = torch.stack([image * mask, mask.to(image.dtype)])[None]
    total, share = F.adaptive_avg_pool3d(both, (x, y, z))[0]
    both = torch.stack([total, share])[None]
    total, share = F.interpolate(both, size=tuple(image.shape), mode="trilinear", align_corners=False)[0]
    return total / share.clamp(min=1e-6)


def _dilate(mask: Tensor, voxels: int) -> Tensor:
    """(X, Y, Z) float mask grown by a cube of so many voxels to each side."""
    result = mask[None, None]
    for axis in range(3):
        kernel, padding = [1, 1, 1], [0, 0, 0]
        kernel[axis], padding[axis] = 2 * voxels + 1, voxels
        result = F.max_pool3d(result, kernel, stride=1, padding=padding)
    return result[0, 0]


def _shift_modality(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Misregistration: one modality moved by up to 2 voxels along each axis."""
    index = int(rng.integers(len(images)))
    moved = torch.roll(images[index], [int(s) for s in rng.integers(-2, 3, 3)], dims=(0, 1, 2))
    return torch.cat([images[:index], moved[None], images[index + 1 :]])


def _half_space(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """True on one side of a random plane through a random voxel of ``mask``."""
    voxels = mask.nonzero()
    origin = voxels[int(rng.integers(len(voxels)))].float()
    normal = rng.normal(size=3)
    axes = [torch.arange(n, device=mask.device, dtype=torch.float32) for n in mask.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (
        (x - origin[0]) * float(normal[0]) + (y - origin[1]) * float(normal[1]) + (z - origin[2]) * float(normal[2])
    ) > 0
