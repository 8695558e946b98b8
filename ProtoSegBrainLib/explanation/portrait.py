"""Portraits of prototypes: what each stands for, measured over the training cases.

Measured in the brain on the prototype grid, where a voxel's class is the most frequent one in its block. One network
pass per case, and one more for some of them, with slight noise and bias field, for the stability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.explanation.perturbation import brain_of, similarities_of, with_bias_field, with_noise
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.device import at_native_precision
from ProtoSegBrainLib.network.evidence import QUANTILES, Neighbour, Prototype
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.patches.cases import (
    TrainingCase,
    class_shares,
    padded_label,
    position_mm,
    pure_label,
    whole_window,
)
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.lesion import midline

BINS = 4096  # of a histogram of similarities; quantiles are exact to one bin, about 0.001
STRONGEST_SHARE = 1e-3  # of the voxels of all brains
STABLE_SHARE = 0.1  # of the voxels that a case has of the prototype's class
NEIGHBOURS = 3
SURROUNDINGS_MM = 6
OTHER_SIDE_MM = 5  # half the edge of the cube on the other side of the brain
FEWEST_NORMAL_VOXELS = 100
STABILITY_CASES = 12


@dataclass(frozen=True)
class CaseView:
    """A case as the prototypes see it, on the prototype grid.

    Attributes:
        case: The case.
        stride: Voxels of the case per voxel of the prototype grid.
        similarities: (P, x, y, z).
        distances: (P, x, y, z).
        classes: (x, y, z) class that most voxels of the block have, -1 outside the brain.
        pure: (x, y, z) class of a patch that has but one, else -1.
    """

    case: TrainingCase
    stride: int
    similarities: Tensor
    distances: Tensor
    classes: Tensor
    pure: Tensor


@torch.no_grad()
def portray(
    network: ProtoSegNet,
    cases: Sequence[TrainingCase],
    prototypes: Sequence[Prototype],
    on_progress: Progress | None = None,
) -> tuple[Prototype, ...]:
    """The prototypes with all that is measured of them over the training cases.

    ``contrast`` and ``surroundings`` stay empty for a prototype whose own case is not among the cases, ``contrast``
    also where the other side of the brain has no normal tissue at that place.

    Args:
        network: Projected and re-fitted.
        cases: It was trained on.
        prototypes: Their records, in order.
        on_progress: Called with a fraction from 0 to 1 and what is being done.

    Raises:
        ValueError: There is no case.
    """
    if not cases:
        raise ValueError("A portrait needs the training cases; got none.")
    network.eval()
    tally = _Tally(network)
    neighbours: list[list[Neighbour]] = [[] for _ in prototypes]
    kept: list[list[bool]] = [[] for _ in prototypes]
    shaken = {case.case_id for case in cases[:: -(-len(cases) // STABILITY_CASES)]}
    own: dict[int, dict[str, Any]] = {}
    for number, case in enumerate(cases):
        view = look_at(network, case)
        tally.add(view)
        for index, neighbour in _nearest_patches(view, prototypes):
            neighbours[index].append(neighbour)
        if case.case_id in shaken:
            for index, stays in _kept_places(network, view, whole_window(case, network.size_multiple)[0]):
                kept[index].append(stays)
        own |= {p.index: _own_patch(case, p) for p in prototypes if p.case_id == case.case_id}
        if on_progress:
            on_progress((number + 1) / len(cases), f"Portraits of the prototypes: {case.case_id}")
    return tuple(
        replace(
            prototype,
            **tally.measures(prototype.index),
            **own.get(prototype.index, {}),
            stability=_share(kept[prototype.index]),
            neighbours=tuple(sorted(neighbours[prototype.index], key=lambda n: n.distance)[:NEIGHBOURS]),
        )
        for prototype in prototypes
    )


def look_at(network: ProtoSegNet, case: TrainingCase) -> CaseView:
    """Run the network over the whole case, in the precision the processor computes natively."""
    window = whole_window(case, network.size_multiple)
    label, stride = padded_label(case, window), network.prototype_stride
    with at_native_precision(window.device):
        output = network(window)
    classes = torch.where(brain_of(window, stride), class_shares(label, stride)[0].argmax(dim=0), -1)
    pure = pure_label(label, stride, network.config.prototype_size)[0]
    return CaseView(case, stride, output.similarities[0], output.distances[0], classes, pure)


class _Tally:
    """Histograms of the similarities over all cases, of all brain voxels and of those of the prototype's class."""

    def __init__(self, network: ProtoSegNet) -> None:
        self.owners = torch.tensor(network.prototype_class)
        self.largest = network.prototype_layer.max_similarity()
        weight = network.last_layer.weight.detach().cpu().double().numpy()
        self.own_weight = np.maximum(weight[self.owners.numpy(), np.arange(len(self.owners))], 0)
        self.anywhere = np.zeros((len(self.owners), BINS))
        self.in_class = np.zeros((len(self.owners), BINS))
        self.sums = np.zeros(len(self.owners))

    def add(self, view: CaseView) -> None:
        inside = view.classes >= 0
        classes = view.classes[inside]
        for index, owner in enumerate(self.owners.tolist()):
            similarities = view.similarities[index][inside]
            own = similarities[classes == owner]
            self.anywhere[index] += self._histogram(similarities)
            self.in_class[index] += self._histogram(own)
            self.sums[index] += float(own.double().sum())

    def _histogram(self, similarities: Tensor) -> np.ndarray:
        bins = (similarities * (BINS / self.largest)).long().clamp(0, BINS - 1)
        return torch.bincount(bins, minlength=BINS).cpu().numpy()

    def measures(self, index: int) -> dict[str, Any]:
        """Fields of the prototype that follow from the histograms."""
        return {
            "similarity_quantiles": self._quantiles(index),
            "purity": self._purity(index),
            "explained_share": self._explained_share(index),
        }

    def _quantiles(self, index: int) -> tuple[float, ...]:
        filled = np.flatnonzero(self.in_class[index])
        if not len(filled):
            return ()
        first, last = filled[0], filled[-1]
        below = np.concatenate([[0.0], np.cumsum(self.in_class[index, first : last + 1])])
        edges = np.arange(first, last + 2) * (self.largest / BINS)
        values = np.interp(np.linspace(0, 1, QUANTILES), below / below[-1], edges)
        return tuple(np.round(values, 4).tolist())

    def _purity(self, index: int) -> float:
        """Counts from the most similar voxel down; of the last bin a part."""
        anywhere, in_class = self.anywhere[index, ::-1], self.in_class[index, ::-1]
        wanted = max(1.0, STRONGEST_SHARE * anywhere.sum())
        before = np.cumsum(anywhere) - anywhere
        taken = np.clip(wanted - before, 0, anywhere)
        share = np.divide(taken, anywhere, out=np.zeros_like(taken), where=anywhere > 0)
        return round(float((share * in_class).sum() / wanted), 4)

    def _explained_share(self, index: int) -> float | None:
        evidence = self.own_weight * self.sums
        total = evidence[(self.owners == self.owners[index]).numpy()].sum()
        return round(float(evidence[index] / total), 4) if total > 0 else None


def _nearest_patches(view: CaseView, prototypes: Iterable[Prototype]) -> Iterator[tuple[int, Neighbour]]:
    """The label-pure patch of its class that is nearest to each prototype of another case."""
    for prototype in prototypes:
        if prototype.case_id == view.case.case_id:
            continue
        found = nearest_voxel(view, prototype)
        if found:
            distance, voxel = found
            place = position_mm(view.case, voxel, view.stride)
            yield prototype.index, Neighbour(view.case.case_id, place, round(distance, 4))


def nearest_voxel(view: CaseView, prototype: Prototype) -> tuple[float, tuple[int, int, int]] | None:
    """Distance and voxel of the case's nearest label-pure patch of the prototype's class; None if it has none."""
    owner = CLASSES.index(prototype.class_name)
    distances = torch.where(view.pure == owner, view.distances[prototype.index], torch.inf)
    flat = int(distances.argmin())
    distance = float(distances.flatten()[flat])
    x, y, z = (int(n) for n in np.unravel_index(flat, tuple(distances.shape)))
    return (distance, (x, y, z)) if np.isfinite(distance) else None


def _kept_places(network: ProtoSegNet, view: CaseView, images: Tensor) -> Iterator[tuple[int, bool]]:
    """Does the place that a prototype answers to most stay one of its strongest when the images change a little?

    For each prototype whose class the case has. Not the peak itself is followed: of many places that answer alike
    another may win. How many count as strongest goes by the class's size, so that large classes are not worse off.
    """
    rng = np.random.default_rng(0)
    changed = similarities_of(network, with_bias_field(with_noise(images, rng), rng)[None])[0]
    inside = view.classes >= 0
    for index, owner in enumerate(network.prototype_class):
        size = int((view.classes == owner).sum())
        if size:
            flat = int(torch.where(inside, view.similarities[index], -torch.inf).argmax())
            around = F.max_pool3d(changed[index][None], 3, stride=1, padding=1).flatten()[flat]
            strongest = changed[index][inside].topk(math.ceil(STABLE_SHARE * size)).values
            yield index, bool(around >= strongest[-1])


def _share(outcomes: Sequence[bool]) -> float | None:
    return round(float(np.mean(outcomes)), 4) if outcomes else None


# -- the prototype's own patch -----------------------------------------------------------------------------------------


def _own_patch(case: TrainingCase, prototype: Prototype) -> dict[str, Any]:
    """Contrast and surroundings, from the prototype's own case; RAS axes, 1 mm voxels."""
    centre = voxel_at(case, prototype.position_mm)
    in_brain = any(prototype.profile.values())
    other_side = _contrast(case, centre, prototype.profile) if in_brain else {}
    return {"contrast": other_side, "surroundings": _surroundings(case, centre)}


def _contrast(case: TrainingCase, centre: np.ndarray, profile: dict[str, float]) -> dict[str, float]:
    """The profile less the mean of the normal tissue at the mirrored place; {} where there is too little of it."""
    brain = Volume((case.images != 0).any(dim=0).cpu().numpy(), np.eye(4))
    normal, offset = midline(brain)
    images, label, _ = _cube(case, centre - 2 * (centre @ normal - offset) * normal, OTHER_SIDE_MM)
    healthy = (label == 0) & images.any(axis=0)
    if healthy.sum() < FEWEST_NORMAL_VOXELS:
        return {}
    means = images[:, healthy].mean(axis=1)
    return {m: round(profile[m] - float(mean), 3) for m, mean in zip(MODALITIES, means, strict=True)}


def _surroundings(case: TrainingCase, centre: np.ndarray) -> dict[str, float]:
    """Share of each class within a ball around the patch; what has no signal is outside the brain."""
    images, label, offsets = _cube(case, centre, SURROUNDINGS_MM)
    ball = np.linalg.norm(offsets, axis=0) <= SURROUNDINGS_MM
    brain = images.any(axis=0)
    shares = {name: (ball & brain & (label == index)).sum() for index, name in enumerate(CLASSES)}
    shares["outside"] = (ball & ~brain).sum()
    return {name: round(float(count / ball.sum()), 3) for name, count in shares.items()}


def _cube(case: TrainingCase, centre: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, label and offsets from ``centre`` of the voxels at most ``reach`` away along each axis, in the case."""
    low = np.maximum(np.ceil(centre - reach).astype(int), 0)
    high = np.maximum(np.floor(centre + reach).astype(int) + 1, low)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    label = case.label[x, y, z].cpu().numpy()
    offsets = np.indices(label.shape) + (low - centre)[:, None, None, None]
    return case.images[:, x, y, z].float().cpu().numpy(), label, offsets


def voxel_at(case: TrainingCase, place_mm: Sequence[float]) -> np.ndarray:
    """The place in voxels of the case, of any fraction."""
    return (np.linalg.inv(case.affine) @ [*place_mm, 1.0])[:3]
