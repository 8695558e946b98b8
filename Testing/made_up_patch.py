"""A made-up patch with a tumour, and augmentation that makes one change to it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ProtoSegBrainLib.patches.augmentation import AugmentationConfig, augment

T1N, T1C = 0, 1
NCR, ED, ET = 1, 2, 3
STRENGTHS = (
    "rotation_degrees",
    "scaling",
    "noise_deviation",
    "gain",
    "offset",
    "bias_field_deviation",
    "tone_curve_deviation",
)
SWITCHES = [f.name for f in fields(AugmentationConfig) if f.name not in STRENGTHS]
OFF = replace(AugmentationConfig(), **dict.fromkeys(SWITCHES, 0.0))


def only(**changes: Any) -> AugmentationConfig:
    return replace(OFF, **changes)


def a_patch(size: int = 16) -> tuple[Tensor, Tensor]:
    """An off-centre brain (a box) with nested, lop-sided tumour classes; z-scores without a zero inside the brain."""
    generator = torch.Generator().manual_seed(0)
    brain = torch.zeros(size, size, size)
    brain[1 : size - 3, 2 : size - 1, 3 : size - 2] = 1
    label = torch.zeros(size, size, size, dtype=torch.long)
    label[3:11, 4:12, 5:12] = ED
    label[4:9, 5:11, 6:11] = ET
    label[5:7, 6:9, 7:9] = NCR
    images = torch.randn(4, size, size, size, generator=generator) * 0.2 + torch.tensor([0.5, 1, 1.5, 2]).view(
        4, 1, 1, 1
    )
    images[T1C][label == ET] += 3
    return images * brain, label


def drawn(config: AugmentationConfig, seed: int, patch: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    return augment(*(patch or a_patch()), config, np.random.default_rng(seed))
