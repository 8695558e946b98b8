"""Tiny training cases whose classes can be told by their intensities, and a tiny network that learns them."""

from __future__ import annotations

import numpy as np
import torch

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import begin_at
from ProtoSegBrainLib.network.model import ModelConfig
from ProtoSegBrainLib.patches.cases import TrainingCase

SHAPE = (24, 20, 22)  # not multiples of the network's 4, so that windows are padded
# Mean z-score of each class in t1n, t1c, t2w, t2f.
INTENSITY = np.array([(0.5, 0.2, -0.5, -0.5), (-2, -1.5, 2, 0.5), (-0.5, -0.5, 1, 2.5), (0, 3, 0.5, 1)], np.float32)
# 2.5 degrees about z, 1 mm, shifted.
COS, SIN = np.cos(np.deg2rad(2.5)), np.sin(np.deg2rad(2.5))
AFFINE = np.array([[COS, -SIN, 0, -11], [SIN, COS, 0, 7.5], [0, 0, 1, 30], [0, 0, 0, 1.0]])

TINY = ModelConfig(
    widths=(8, 8), blocks=(1, 1), norm="group", aspp_rates=(1, 2), aspp_channels=4, embedding_channels=4,
    prototypes_per_class=(2, 2, 2, 2),
)  # fmt: skip


def training_case(number: int, classes: tuple[int, ...] = (2, 3, 1)) -> TrainingCase:
    """Nested boxes of ``classes``, from the outside in, in noise; where they lie depends on ``number``."""
    rng = np.random.default_rng(number)
    label = np.zeros(SHAPE, np.uint8)
    low = rng.integers(2, 6, 3)
    for index, size in zip(classes, (14, 10, 5), strict=False):
        start = low + (14 - size) // 2
        label[tuple(slice(a, a + size) for a in start)] = index
    return labelled_case(number, label)


def labelled_case(number: int, label: np.ndarray) -> TrainingCase:
    """A case with this label (X, Y, Z) uint8, and images to match."""
    rng = np.random.default_rng(number)
    images = np.moveaxis(INTENSITY[label], -1, 0) + rng.normal(0, 0.3, (4, *label.shape)).astype(np.float32)
    voxels = {index: np.argwhere(label == index) for index in (1, 2, 3) if (label == index).any()}
    tensors = torch.from_numpy(images.astype(np.float16)), torch.from_numpy(label)
    return TrainingCase(f"case_{number}", *tensors, AFFINE, voxels)


def on_the_grid_of_a_head(case: TrainingCase, case_id: str) -> Case:
    """A case as it can be written and read: in a field of view that a head has, 0 around it, its intensities whole."""
    room = [(16, 16)] * 3
    images = np.pad((100 * case.images.float() + 1000).numpy(), [(0, 0), *room])
    return Case(case_id, images, begin_at(case.affine, (-16, -16, -16)), np.pad(case.label.numpy(), room))
