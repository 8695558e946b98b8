"""Patches cut from cases at random, most of them around tumours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.patches.augmentation import UNCHANGED, AugmentationConfig, augment, random_affine, warp
from ProtoSegBrainLib.patches.cases import TrainingCase
from ProtoSegBrainLib.patches.tumours import transplant


@dataclass(frozen=True)
class SamplingConfig:
    """How patches are drawn."""

    patch_size: int = field(default=88, metadata={"help": "edge of a training patch in voxels"})
    tumour_share: float = field(default=0.75, metadata={"help": "share of patches centred near a tumour voxel"})
    healthy_share: float = field(
        default=0.0, metadata={"help": "share of patches from brains whose tumour was replaced by their other side"}
    )
    simulated_healthy: int = field(
        default=0, metadata={"help": "how many simulated healthy brains these patches are drawn from, too"}
    )
    jitter: float = field(default=0.3, metadata={"help": "largest offset of the centre, as a share of the patch"})


class Batch(NamedTuple):
    """Patches with their labels."""

    images: Tensor  # (B, 4, X, Y, Z) float32
    label: Tensor  # (B, X, Y, Z) int64


class PatchSampler:
    """Draws augmented patches.

    Patch number i is a function of the seed and i, so a resumed run sees what it would have seen.

    Args:
        cases: What patches are cut from.
        sampling: Size and place of the patches.
        augmentation: Random changes to them.
        size_multiple: Of the network; the patch size must be a multiple of it.
        seed: Of all randomness.
        healthy: Brains without a tumour, from which ``sampling.healthy_share`` of the patches are cut.

    Raises:
        ValueError: There is no case, or the network cannot take patches of this size.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        sampling: SamplingConfig,
        augmentation: AugmentationConfig,
        *,
        size_multiple: int,
        seed: int,
        healthy: Sequence[TrainingCase] = (),
    ) -> None:
        if sampling.patch_size % size_multiple:
            raise ValueError(f"patch_size must be a multiple of {size_multiple}, not {sampling.patch_size}.")
        if not cases:
            raise ValueError("There is no case to draw patches from; expected at least one.")
        self.cases = cases
        self.sampling = sampling
        self.augmentation = augmentation
        self.seed = seed
        self.healthy = healthy

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The patches with these numbers."""
        patches = [self.patch(number) for number in numbers]
        return Batch(torch.stack([p[0] for p in patches]), torch.stack([p[1] for p in patches]))

    def patch(self, number: int) -> tuple[Tensor, Tensor]:
        """Patch ``number``: (4, X, Y, Z) float32 and (X, Y, Z) int64, augmented."""
        rng = np.random.default_rng([self.seed, number])
        case, centre = self._place(number, rng)
        size = self.sampling.patch_size
        matrix = random_affine(self.augmentation, rng)
        images, label = cut(case, centre, size if matrix is None else int(size * 1.3))
        if rng.random() < self.augmentation.transplant and bool((label > 0).any()):
            images, label = transplant(images, label, *self._same_place(case, centre, len(label), rng), rng)
        if matrix is not None:
            images, label = warp(images, label, matrix, size)
        return augment(images, label, self.augmentation, rng)

    def _place(self, number: int, rng: np.random.Generator) -> tuple[TrainingCase, np.ndarray]:
        """The case that a patch is cut from, and its centre."""
        # Where there are no healthy brains nothing is drawn, so that patches stay what they were.
        if self.healthy and rng.random() < self.sampling.healthy_share:
            brain = self.healthy[int(rng.integers(len(self.healthy)))]
            return brain, rng.uniform(0.2, 0.8, 3) * np.asarray(brain.label.shape)
        case = self.cases[self._case_index(number)]
        return case, self._centre(case, rng)

    def _same_place(
        self, case: TrainingCase, centre: np.ndarray, size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """The patch of a random case that lies in its brain where ``centre`` lies in that of ``case``."""
        other = self.cases[int(rng.integers(len(self.cases)))]
        return cut(other, centre * np.asarray(other.label.shape) / np.asarray(case.label.shape), size)

    def _case_index(self, number: int) -> int:
        """Every case once per epoch, in a new order each: neighbours in a batch are different cases."""
        epoch, place = divmod(number, len(self.cases))
        return int(np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.cases))[place])

    def _centre(self, case: TrainingCase, rng: np.random.Generator) -> np.ndarray:
        shape = np.asarray(case.label.shape)
        if case.voxels and rng.random() < self.sampling.tumour_share:
            voxels = case.voxels[int(rng.choice(list(case.voxels)))]
            reach = self.sampling.jitter * self.sampling.patch_size
            return voxels[rng.integers(len(voxels))] + rng.uniform(-reach, reach, 3)
        return rng.uniform(0.2, 0.8, 3) * shape


def plain_batches(
    cases: Sequence[TrainingCase], sampling: SamplingConfig, count: int, *, size_multiple: int, seed: int
) -> Iterator[Batch]:
    """``count`` patches without augmentation, one at a time; arguments as for ``PatchSampler``."""
    sampler = PatchSampler(cases, sampling, UNCHANGED, size_multiple=size_multiple, seed=seed)
    for number in range(count):
        yield sampler.batch([number])


def cut(case: TrainingCase, centre: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """The cube of ``size`` voxels around ``centre``, zero where it leaves the case; float32 and int64.

    The cube is moved inside along axes where the case is large enough.
    """
    shape = np.asarray(case.label.shape)
    start = np.round(centre - size / 2).astype(int)
    start = np.where(shape >= size, np.clip(start, 0, np.maximum(shape - size, 0)), (shape - size) // 2)
    low, high = np.maximum(start, 0), np.minimum(start + size, shape)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    padding = [int(n) for axis in (2, 1, 0) for n in (low[axis] - start[axis], start[axis] + size - high[axis])]
    return F.pad(case.images[:, x, y, z].float(), padding), F.pad(case.label[x, y, z].long(), padding)
