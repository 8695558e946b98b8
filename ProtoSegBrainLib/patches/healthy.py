"""Brains without a tumour to learn from: cases whose tumour is replaced by the other side, and simulated ones."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ProtoSegBrainLib.patches.cases import TrainingCase, cached, in_memory
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case

TWIN, SIMULATED = "_healthy", "simulated_healthy_"
"""What names of healthy brains end and begin with."""
STEP = 3
"""Voxels between those that the midplane is looked for on."""
LARGEST_OFFSET = 15
"""Voxels by which the middle of the brain may lie beside that of its box."""
LARGEST_TILT_DEGREES = 8
RIM = 4
"""Voxels around the tumour that are replaced with it: labels end before the tissue that a tumour changes does."""
SEAM = 2.0
"""Standard deviation in voxels of the blur of the seam."""
FIRST_SEED = 1000
"""Of the simulated healthy brains: those from 0 on are kept for tests."""


def healthy_brains(
    cases: Sequence[TrainingCase], simulated: int, cache: Path, device: str = "cpu", on_progress: Progress | None = None
) -> list[TrainingCase]:
    """The twins of cases, and so many simulated healthy brains; a second call finds them in ``cache``.

    Args:
        cases: Of the training, never held-out ones.
        simulated: How many simulated brains.
        cache: Where prepared cases lie.
        device: Where the result is kept.
        on_progress: Called with a fraction from 0 to 1 and what is being done.
    """
    makers: dict[str, Callable[[], TrainingCase]] = {
        f"{case.case_id}{TWIN}": functools.partial(healthy_twin, case) for case in cases
    }
    makers |= {f"{SIMULATED}{n}": functools.partial(simulated_healthy, FIRST_SEED + n) for n in range(simulated)}
    brains = []
    for number, (name, make) in enumerate(makers.items()):
        brains.append(cached(name, cache, make, device))
        if on_progress:
            on_progress((number + 1) / len(makers), f"Preparing {name}")
    return brains


def healthy_twin(case: TrainingCase) -> TrainingCase:
    """The brain of a case as it might be without its tumour: the tumour is replaced by the mirrored other side.

    The plane of symmetry is found first (``midplane``); the seam is soft. Where the other side holds tumour or no
    brain, image and label stay what they are, so that the label is true everywhere. Each modality is z-scored anew:
    without the bright tumour, healthy tissue has more contrast.

    Args:
        case: Its images are z-scores, 0 outside the brain.
    """
    images, label = case.images.float().cpu(), case.label.cpu()
    tumour = label > 0
    mirrored, mirrored_tumour = _mirrored(images, tumour, *midplane(images, label))
    replaced = _grown(tumour.float(), RIM) > 0
    usable = (mirrored != 0).any(dim=0) & ~_grown(mirrored_tumour.float(), RIM).bool() & (images != 0).any(dim=0)
    share = _blurred((replaced & usable).float()) * usable
    share = torch.maximum(share, (tumour & usable).float())
    # An image that ends where the other side is needed stays as it is there.
    own = (images != 0) & (mirrored != 0)
    twin = torch.where(own, torch.lerp(images, mirrored, share), images * (share < 1))
    left = torch.where(share >= 1, 0, label).to(label.dtype)
    return TrainingCase(f"{case.case_id}{TWIN}", _z_scored(twin).half(), left, case.affine, {})


def simulated_healthy(seed: int) -> TrainingCase:
    """A simulated brain without a tumour, prepared as cases are."""
    return in_memory(simulate_case(seed, config=SimulationConfig(tumour=None)))


def midplane(images: Tensor, label: Tensor) -> tuple[float, float]:
    """Where a brain is most like its mirror image: offset in voxels from the middle of axis 0, tilt in degrees.

    The tilt is about axis 2 (the head turned in the scanner). Found on every third voxel, by the correlation of all
    images over the brain without the tumour; (0, 0) for an empty case.

    Args:
        images: (4, X, Y, Z) z-scores, 0 outside the brain.
        label: (X, Y, Z) classes.
    """
    images = images[:, ::STEP, ::STEP, ::STEP]
    healthy = (images != 0).any(dim=0) & (label[::STEP, ::STEP, ::STEP] == 0)
    if not bool(healthy.any()):
        return 0.0, 0.0
    largest = LARGEST_OFFSET // STEP
    coarse = itertools.product(np.arange(-largest, largest + 0.5, 0.5), np.arange(-LARGEST_TILT_DEGREES, 9, 2))
    offset, tilt = _best(images, healthy, coarse)
    fine = itertools.product(offset + np.array([-0.25, 0, 0.25]), tilt + np.array([-1, 0, 1]))
    offset, tilt = _best(images, healthy, fine)
    # The first of three voxels stands for them: the middle of those that are looked at is not that of all.
    beside = ((healthy.shape[0] - 1) * STEP - (label.shape[0] - 1)) / 2
    return offset * STEP + beside, tilt


def _best(images: Tensor, healthy: Tensor, planes: Iterable[tuple[float, float]]) -> tuple[float, float]:
    offset, tilt = max(planes, key=lambda plane: _likeness(images, healthy, *plane))
    return float(offset), float(tilt)


def _likeness(images: Tensor, healthy: Tensor, offset: float, tilt: float) -> float:
    """Correlation of the images with their mirror images where both are healthy brain; less where few voxels are."""
    mirrored, other = _mirrored(images, ~healthy, offset, tilt)
    both = healthy & ~other
    if int(both.sum()) < 0.5 * int(healthy.sum()):
        return -1.0
    a, b = images[:, both].flatten(), mirrored[:, both].flatten()
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / (a.norm() * b.norm()).clamp(min=1e-6)) * float(both.sum() / healthy.sum()) ** 0.5


def _mirrored(images: Tensor, mask: Tensor, offset: float, tilt_degrees: float) -> tuple[Tensor, Tensor]:
    """Images (4, X, Y, Z) and a mask (X, Y, Z) mirrored at a plane; 0 and False where they come from outside.

    Mirroring at a plane whose normal is turned by t about axis 2 is a turn by 2 t after mirroring at axis 0.
    """
    x, y, _ = images.shape[1:]
    angle = np.deg2rad(2 * tilt_degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    # Voxels from the plane's foot in the middle of the image; the plane's normal is (cos t, sin t).
    mirror = np.array([[-cos, -sin], [-sin, cos]])
    foot = offset * np.array([1.0, 0.0])
    shift = foot - mirror @ foot
    scale = np.array([x / 2, y / 2])  # grid_sample counts in half-widths
    linear, moved = mirror * scale[None, :] / scale[:, None], shift / scale
    theta = torch.eye(3, 4)
    # grid_sample orders axes last to first: (z, y, x).
    theta[1, 1], theta[1, 2], theta[1, 3] = float(linear[1, 1]), float(linear[1, 0]), float(moved[1])
    theta[2, 1], theta[2, 2], theta[2, 3] = float(linear[0, 1]), float(linear[0, 0]), float(moved[0])
    grid = F.affine_grid(theta[None], [1, 1, *images.shape[1:]], align_corners=False)
    nearest = F.grid_sample(mask[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0] > 0
    inside = F.grid_sample((images != 0).float()[None], grid, mode="nearest", align_corners=False)[0] > 0
    return F.grid_sample(images[None], grid, mode="bilinear", align_corners=False)[0] * inside, nearest


def _grown(mask: Tensor, voxels: int) -> Tensor:
    """(X, Y, Z) float mask, grown by a ball."""
    if not bool(mask.any()):
        return mask
    far = ndimage.distance_transform_edt(mask.numpy() == 0)
    return torch.from_numpy((far <= voxels).astype(np.float32))


def _blurred(mask: Tensor) -> Tensor:
    """Wholly inside, fading to 0 within the rim."""
    soft = ndimage.gaussian_filter(mask.numpy(), SEAM)
    return torch.from_numpy(np.clip(2 * soft - 0.5, 0, 1).astype(np.float32))


def _z_scored(images: Tensor) -> Tensor:
    """Each modality with mean 0 and deviation 1 over its own voxels; one that is absent stays 0."""
    result = torch.zeros_like(images)
    for image, out in zip(images, result, strict=True):
        own = image != 0
        if bool(own.any()):
            out[own] = (image[own] - image[own].mean()) / image[own].std().clamp(min=1e-6)
    return result
