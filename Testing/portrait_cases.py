"""Prototypes, and cases as they see them, whose portraits can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from synthetic import AFFINE, TINY, labelled_case

from ProtoSegBrainLib.explanation.portrait import CaseView
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.patches.cases import TrainingCase


def network(**changes) -> ProtoSegNet:
    torch.manual_seed(0)
    return ProtoSegNet(replace(TINY, **changes)).eval()


def record(index: int, class_name: str, case_id: str = "elsewhere", voxel: tuple[float, ...] = (0, 0, 0)) -> Prototype:
    """A prototype whose patch has its centre at a voxel of the case's grid."""
    x, y, z = (AFFINE @ [*voxel, 1.0])[:3]
    return Prototype(index, class_name, case_id, (x, y, z), 2.0, dict.fromkeys(MODALITIES, 0.0), 0.0)


def blank_case(number: int, shape: tuple[int, int, int]) -> TrainingCase:
    """All background, all four images 1: everything is brain."""
    label, images = torch.zeros(shape, dtype=torch.uint8), torch.ones(4, *shape, dtype=torch.float16)
    return TrainingCase(f"case_{number}", images, label, AFFINE, {})


def view_of(number: int, similarities: torch.Tensor, classes: torch.Tensor) -> CaseView:
    """What the prototypes are said to see on a prototype grid of stride 2; distance 4 less the similarity."""
    x, y, z = (2 * n for n in classes.shape)
    return CaseView(blank_case(number, (x, y, z)), 2, similarities, 4 - similarities, classes, classes)


def portrait_of_et() -> list[Prototype]:
    return [record(1, "ET"), record(2, "ET")]


def striped_case(number: int) -> TrainingCase:
    stripes = np.repeat((0, 2, 3, 1), 6)
    return labelled_case(number, np.broadcast_to(stripes[:, None, None], (24, 20, 22)).astype(np.uint8))
