"""What a prototype does when the image changes: stability, spatial misalignment, effective receptive field.

A ``Scene`` is the part of a case around the predicted tumour. Measures that run the network many times run it there
instead of on the whole brain: what lies further away than its margin counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.explanation.mapscores import highlight_part, highlights_of, is_active
from ProtoSegBrainLib.network.device import at_native_precision
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.patches.scanners import under_bias_field, white_noise

NOISE_DEVIATION, NOISE_LIMIT = 0.2, 0.25
"""Of the noise of Huang et al. 2023; intensities are z-scores."""
BIAS_FIELD_DEVIATION = 0.1
GRADIENT_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Scene:
    """The part of a case around the predicted tumour.

    Attributes:
        images: (4, X, Y, Z) float32 on the network's device; the sizes are multiples of the network's.
        brain: (x, y, z) bool on the prototype grid.
        target: (x, y, z) bool, the predicted tumour.
        box: Where it lies on the prototype grid of the case.
        fill: (4, 1, 1, 1) mean of the healthy brain, by the prediction, per modality.
        voxel_mm: Edge of a voxel of ``images``.
    """

    images: Tensor
    brain: Tensor
    target: Tensor
    box: tuple[slice, ...]
    fill: Tensor
    voxel_mm: float


def scene_around(
    window: Tensor, brain: Tensor, target: Tensor, network: ProtoSegNet, margin_mm: float, voxel_mm: float
) -> Scene:
    """Cut the predicted tumour with a margin out of a whole case.

    Args:
        window: (4, X, Y, Z) the case as the network sees it.
        brain: (x, y, z) bool on the prototype grid.
        target: (x, y, z) bool, the predicted tumour; not empty.
        network: Whose cells the cut must not divide.
        margin_mm: Around the bounding box of the tumour.
        voxel_mm: Edge of a voxel of ``window``.
    """
    stride = network.prototype_stride
    cell, margin = network.size_multiple // stride, margin_mm / (voxel_mm * stride)
    voxels = target.nonzero()
    low = ((voxels.amin(dim=0) - margin) / cell).floor().clamp(min=0).int() * cell
    high = ((voxels.amax(dim=0) + 1 + margin) / cell).ceil().int() * cell
    ends = zip(low.tolist(), high.tolist(), target.shape, strict=True)
    box = tuple(slice(a, min(b, n)) for a, b, n in ends)
    x, y, z = (slice(part.start * stride, part.stop * stride) for part in box)
    healthy = per_voxel(brain & ~target, stride) & (window != 0).any(dim=0)
    fill = window[:, healthy].mean(dim=1)[:, None, None, None].nan_to_num()
    return Scene(window[:, x, y, z], brain[box], target[box], box, fill, voxel_mm)


def brain_of(window: Tensor, stride: int) -> Tensor:
    """(1, 4, X, Y, Z) -> (x, y, z) on the prototype grid: True where a voxel of any modality is not 0."""
    return F.max_pool3d((window != 0).any(dim=1).float(), stride)[0] > 0


def per_voxel(mask: Tensor, stride: int) -> Tensor:
    """(x, y, z) on the prototype grid -> (X, Y, Z) on the network's grid."""
    for axis in range(3):
        mask = mask.repeat_interleave(stride, dim=axis)
    return mask


@torch.no_grad()
def similarities_of(network: ProtoSegNet, images: Tensor) -> Tensor:
    """(B, 4, X, Y, Z) -> (B, P, x, y, z) float32, in the precision the processor computes natively."""
    with at_native_precision(images.device):
        return network(images).similarities


# -- stability -----------------------------------------------------------------------------------------------------


def with_noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise of 0.2 clipped at 0.25 (Huang et al. 2023) on every non-zero voxel."""
    noise = white_noise(images, rng) * NOISE_DEVIATION
    return images + noise.clamp(-NOISE_LIMIT, NOISE_LIMIT) * (images != 0)


def with_bias_field(images: Tensor, rng: np.random.Generator) -> Tensor:
    """A smooth gain per modality, 10 % in standard deviation, on every non-zero voxel."""
    changed = torch.stack([under_bias_field(image, BIAS_FIELD_DEVIATION, rng) for image in images])
    return torch.where(images != 0, changed, images)


Change = Callable[[Tensor, np.random.Generator], Tensor]
CHANGES: dict[str, Change] = {"noise": with_noise, "bias_field": with_bias_field}


def perturbed_parts(
    network: ProtoSegNet, window: Tensor, brain: Tensor, parts: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """(P,) part that each prototype highlights, by the way in which the images were changed.

    Args:
        network: In evaluation mode.
        window: (4, X, Y, Z) the whole case.
        brain: (x, y, z) bool with n voxels.
        parts: (n,) of the unchanged case.
        rng: For the changes.
    """
    maps = {name: similarities_of(network, change(window, rng)[None])[0] for name, change in CHANGES.items()}
    maps["shift"] = _shifted_similarities(network, window)
    in_brain = {name: values[:, brain].cpu().numpy() for name, values in maps.items()}
    return {name: highlight_part(parts, highlights_of(values)) for name, values in in_brain.items()}


def _shifted_similarities(network: ProtoSegNet, window: Tensor) -> Tensor:
    """Similarities of the case moved by one voxel of the prototype grid along each axis, moved back."""
    stride = network.prototype_stride
    moved = F.pad(window, [stride, network.size_multiple - stride] * 3)
    x, y, z = (slice(1, 1 + n // stride) for n in window.shape[1:])
    return similarities_of(network, moved[None])[0][:, x, y, z]


# -- spatial misalignment ------------------------------------------------------------------------------------------


def spatial_misalignment(
    network: ProtoSegNet,
    scene: Scene,
    prototypes: Sequence[int],
    rng: np.random.Generator,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """How far prototypes depend on what lies outside the region they highlight (Sacha et al. 2024).

    Noise is laid over all voxels whose activation, scaled to 0..1 over the scene, is below 0.5.

    Returns:
        ``location``: (len(prototypes),) 1 - overlap (intersection over union) of the region before and after.
        ``activation``: relative change of the mean similarity in the region. NaN where a map is constant.
    """
    before = similarities_of(network, scene.images[None])[0][:, scene.brain].cpu().numpy()
    regions = {p: is_active(before[p]) for p in prototypes}
    figures: dict[str, list[float]] = {"location": [], "activation": []}
    for start in range(0, len(prototypes), batch_size):
        batch = prototypes[start : start + batch_size]
        changed = torch.stack([_noise_outside(network, scene, regions[p], rng) for p in batch])
        for p, values in zip(batch, similarities_of(network, changed), strict=True):
            after, region = values[p][scene.brain].cpu().numpy(), regions[p]
            moved = is_active(after)
            union = (region | moved).sum()
            figures["location"].append(float(1 - (region & moved).sum() / union) if union else np.nan)
            mean = before[p][region].mean() if union else np.nan
            figures["activation"].append(float(abs(after[region].mean() - mean) / mean) if union else np.nan)
    return {name: np.array(values) for name, values in figures.items()}


def _noise_outside(network: ProtoSegNet, scene: Scene, region: np.ndarray, rng: np.random.Generator) -> Tensor:
    inside = torch.zeros_like(scene.brain)
    inside[scene.brain] = torch.as_tensor(region, device=inside.device)
    return torch.where(per_voxel(inside, network.prototype_stride), scene.images, with_noise(scene.images, rng))


# -- effective receptive field -------------------------------------------------------------------------------------


def effective_receptive_field_mm(network: ProtoSegNet, scene: Scene, prototype: int) -> float:
    """Diameter of the sphere around a prototype's peak from which 90 % of the effect of white noise comes.

    That is the squared gradient of the similarity at the peak with respect to the images (gradient: Luo et al. 2016),
    summed over the modalities. NaN where it is zero: the peak is the prototype itself.
    """
    with torch.no_grad():
        values = network(scene.images[None]).similarities[0, prototype].masked_fill(~scene.brain, -torch.inf)
    peak = int(values.argmax())
    images = scene.images.clone().requires_grad_()
    network(images[None]).similarities[0, prototype].flatten()[peak].backward()
    gradient = images.grad.double().square().sum(dim=0) if images.grad is not None else torch.zeros(())
    if not float(gradient.sum()) > 0:
        return float("nan")
    stride = network.prototype_stride
    centre = np.array(np.unravel_index(peak, tuple(values.shape))) * stride + (stride - 1) / 2
    axes = [torch.arange(n, device=images.device) - c for n, c in zip(images.shape[1:], centre, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    distance, order = (x**2 + y**2 + z**2).sqrt().flatten().sort()
    held = gradient.flatten()[order].cumsum(0)
    radius = distance[int(torch.searchsorted(held, GRADIENT_SHARE * held[-1]))]
    return float(2 * radius * scene.voxel_mm)
