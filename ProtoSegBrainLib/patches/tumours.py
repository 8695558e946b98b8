"""Changes to a patch that imitate tumours the data set does not have: hardly enhancing, faint, in another brain."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.patches.scanners import smooth

T1N, T1C = MODALITIES.index("t1n"), MODALITIES.index("t1c")
NCR, ED, ET = CLASSES.index("NCR"), CLASSES.index("ED"), CLASSES.index("ET")


def remove_enhancement(images: Tensor, label: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Take enhancement out, wholly or on one side of a random plane: T1ce is blended to T1 there, ET becomes NCR.

    Low-grade tumours do not enhance and are rare in the data; without this a network paints ET into them. Up to a
    fifth of the enhancement stays visible, since such cores are not exactly as dark in T1ce as in T1.
    """
    removed = label == ET
    if rng.random() < 0.5:
        removed = removed & _half_space(removed, rng)
    soft = smooth(removed.float(), 1.0)
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
    share = torch.maximum((smooth(oedema, 1.0) / 0.5).clamp(max=1), oedema) * ((label == 0) | (label == ED))
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
    soft = smooth(_dilate(tumour, int(rng.integers(2, 8))), 1.0)
    share = torch.maximum(soft, tumour).clamp(max=1) * shared  # 1 on the tumour, fading over the rim of the margin
    return torch.lerp(other_images, images, share), torch.where(share > 0.5, label, other_label)


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
