"""Patches of cases that show what prototypes stand for: their own, or the most similar ones of simulated cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ProtoSegBrainLib.explanation.portrait import CaseView, look_at, nearest_voxel, voxel_at
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.segmentation_net import upsample
from ProtoSegBrainLib.patches.cases import TrainingCase

SQUARE_MM = 40
"""Edge of a patch; even, so that a prototype's block of two voxels lies in the middle."""


@dataclass(frozen=True, eq=False)
class Patch:
    """An axial square of a case, to be shown on a prototype's card; axes are RAS, voxels 1 mm.

    Attributes:
        prototype: Index of the prototype it shows.
        case_id: Of the case.
        position_mm: Centre of the square in the case's RAS space.
        images: (4, n, n) z-scores.
        similarity: (n, n) to the prototype.
        overview: (X, Y) FLAIR of the whole slice.
        corner: First voxel (x, y) of the square in the slice.
        simulated: Whether the case is made by formulas.
    """

    prototype: int
    case_id: str
    position_mm: tuple[float, float, float]
    images: np.ndarray
    similarity: np.ndarray
    overview: np.ndarray
    corner: tuple[int, int]
    simulated: bool = False


@torch.no_grad()
def own_patches(
    network: ProtoSegNet, cases: Iterable[TrainingCase], prototypes: Sequence[Prototype]
) -> tuple[Patch, ...]:
    """The patch that each prototype is, for the prototypes whose case is among the cases."""
    patches = []
    for case in cases:
        members = [prototype for prototype in prototypes if prototype.case_id == case.case_id]
        if members:
            view = look_at(network, case)
            patches += [_patch(view, p, voxel_at(case, p.position_mm)) for p in members]
    return tuple(patches)


@torch.no_grad()
def simulated_patches(
    network: ProtoSegNet, cases: Iterable[TrainingCase], prototypes: Sequence[Prototype]
) -> tuple[Patch, ...]:
    """For each prototype the nearest label-pure patch of its class in simulated cases, where they have one."""
    nearest: dict[int, tuple[float, Patch]] = {}
    for case in cases:
        view = look_at(network, case)
        for prototype in prototypes:
            distance, voxel = nearest_voxel(view, prototype) or (np.inf, (0, 0, 0))
            if distance < nearest.get(prototype.index, (np.inf,))[0]:
                centre = np.asarray(voxel) * view.stride + (view.stride - 1) / 2
                patch = replace(_patch(view, prototype, centre), simulated=True)
                nearest[prototype.index] = distance, patch
    return tuple(patch for _, patch in nearest.values())


def _patch(view: CaseView, prototype: Prototype, centre: np.ndarray) -> Patch:
    """The axial square around a place in voxels of the case."""
    case = view.case
    x, y, z = (int(n) for n in np.floor(centre))
    corner = x - SQUARE_MM // 2 + 1, y - SQUARE_MM // 2 + 1
    images = case.images[:, :, :, z].float().cpu().numpy()
    whole = [n * view.stride for n in view.classes.shape]
    similarity = upsample(view.similarities[prototype.index][None, None], whole)[0, 0, :, :, z].cpu().numpy()
    return Patch(
        prototype=prototype.index,
        case_id=case.case_id,
        position_mm=_rounded(case.affine @ [*centre, 1.0]),
        images=np.stack([_square(image, corner) for image in images]),
        similarity=_square(similarity, corner),
        overview=images[MODALITIES.index("t2f")],
        corner=corner,
    )


def _square(image: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """The square that begins at ``corner``; 0 where it leaves the image."""
    padded = np.pad(image, SQUARE_MM)
    x, y = (slice(start + SQUARE_MM, start + 2 * SQUARE_MM) for start in corner)
    return padded[x, y]


def _rounded(place: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 2) for value in place[:3])
    return x, y, z
