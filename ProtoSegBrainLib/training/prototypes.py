"""Prototypes from data: k-means initialisation, projection onto real training patches, re-fit of the last layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.last_layer import LastLayer
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.segmentation_net import upsample
from ProtoSegBrainLib.patches.cases import (
    TrainingCase,
    brain_label,
    class_shares,
    padded_label,
    position_mm,
    pure_label,
    whole_window,
)
from ProtoSegBrainLib.patches.sampling import Batch
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.training.losses import SMOOTH_VOXELS, cross_entropy_loss, region_dice_loss

# A prototype with fewer voxels of its class than this among its nearest speaks for another.
LEAST_PURITY = 0.5


def sample_pure_voxels(pure: Tensor, per_class: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Up to ``per_class`` different voxels of each class, drawn at random; all cases draw alike.

    Args:
        pure: (B, x, y, z) classes, -1 is no class.
        per_class: Voxels of each class.
        generator: Of the CPU, whatever the device.

    Returns:
        Flat indices (B, N) over a case's voxels, and their classes (B, N), -1 in places for which there was no voxel.
        N is ``per_class`` for each of the classes, or as many as the case has voxels.
    """
    flat = pure.flatten(1)[:, None]  # (B, 1, n)
    classes = torch.arange(len(CLASSES), device=pure.device)[:, None]
    lots = torch.rand(flat.shape[2], generator=generator).to(pure.device)
    drawn = lots.where(flat == classes, -1.0).topk(min(per_class, flat.shape[2]), dim=2)  # (B, K, per_class)
    return drawn.indices.flatten(1), classes.where(drawn.values >= 0, -1).flatten(1)


def gather_voxels(maps: Tensor, flat: Tensor) -> Tensor:
    """(B, C, x, y, z) at flat indices over (B, x, y, z) -> (n, C)."""
    # A view where memory is channels-last, as it is on the way out of the network.
    return maps.movedim(1, -1).flatten(0, 3).index_select(0, flat)


@torch.no_grad()
def initialise_prototypes(network: ProtoSegNet, batches: Iterator[Batch], seed: int) -> None:
    """Set each class's prototypes to the k-means centres of embeddings of label-pure voxels.

    A class that has fewer label-pure voxels than prototypes keeps the prototypes it has. For patch prototypes every
    voxel of the patch starts as the centre.
    """
    owners = torch.tensor(network.prototype_class)
    for index, points in pure_embeddings(network, batches, seed).items():
        count = int((owners == index).sum())
        if 0 < count <= len(points):
            centres, _ = kmeans2(points.double().numpy(), count, iter=20, minit="++", seed=seed)
            _place(network, (owners == index).nonzero()[:, 0].tolist(), torch.from_numpy(centres).float())


@torch.no_grad()
def reseed_prototypes(network: ProtoSegNet, batches: Iterator[Batch], distance: float, seed: int) -> list[int]:
    """Move each prototype that has lost its class onto a label-pure voxel of it.

    Lost is one that is farther than ``distance`` from all label-pure voxels of its class (nothing holds it near the
    data between two projections; it would be like nothing in any patient, and the projection would lose it), or one
    whose nearest voxels are mostly of other classes. The new place is drawn as in k-means++ (Arthur and Vassilvitskii
    2007), with a probability that grows with the distance to the class's other prototypes. Its weight becomes the mean
    weight of its class.

    Returns:
        The prototypes that were moved. A class without label-pure voxels keeps its own.
    """
    generator = torch.Generator().manual_seed(seed)
    found = pure_embeddings(network, batches, seed)
    classes = torch.cat([torch.full((len(points),), index) for index, points in found.items()])
    centre = network.config.prototype_size // 2
    vectors = network.prototype_layer.unit_vectors()[:, :, centre, centre, centre].cpu()
    distances = 2 - 2 * vectors @ torch.cat(list(found.values())).T  # (P, n)
    moved: list[int] = []
    for index, points in found.items():
        members = [p for p, owner in enumerate(network.prototype_class) if owner == index]
        if not members or not len(points):
            continue
        own = distances[members][:, classes == index]  # (p, n)
        lost = (own.amin(dim=1) > distance) | (_purity(distances[members], classes == index) < LEAST_PURITY)
        for place in lost.nonzero()[:, 0].tolist():
            nearest = own[~lost].amin(dim=0) if not lost.all() else torch.ones(len(points))
            drawn = int(torch.multinomial(nearest.clamp(min=1e-6), 1, generator=generator))
            _place(network, [members[place]], points[drawn : drawn + 1])
            own[place], lost[place] = 2 - 2 * points[drawn] @ points.T, False
            network.last_layer.weight[index, members[place]] = network.last_layer.weight[index, members].mean()
            moved.append(members[place])
    return moved


def _purity(distances: Tensor, own: Tensor) -> Tensor:
    """Share of its class among the nearest half per cent of the voxels, (p,), of prototypes with distances (p, n)."""
    nearest = distances.topk(max(1, distances.shape[1] // 200), dim=1, largest=False).indices
    return own[nearest].float().mean(dim=1)


@torch.no_grad()
def pure_embeddings(network: ProtoSegNet, batches: Iterator[Batch], seed: int) -> dict[int, Tensor]:
    """Embeddings (n, C) of unit length, on the CPU, of up to 200 label-pure voxels per class and patch, by class."""
    found: dict[int, list[Tensor]] = {index: [] for index in range(len(CLASSES))}
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    for images, label in batches:
        embedding = F.normalize(network.embed(images), dim=1)
        pure = pure_label(brain_label(images, label), network.prototype_stride, network.config.prototype_size)
        for case_embedding, flat, classes in zip(embedding, *sample_pure_voxels(pure, 200, generator), strict=True):
            vectors = gather_voxels(case_embedding[None], flat)
            for index in range(len(CLASSES)):
                found[index].append(vectors[classes == index].cpu())
    network.train()
    return {index: torch.cat(parts) for index, parts in found.items()}


def _place(network: ProtoSegNet, prototypes: list[int], points: Tensor) -> None:
    """Put prototypes at points (n, C); of a patch prototype, every voxel."""
    vectors = network.prototype_layer.prototype_vectors
    unit = F.normalize(points, dim=1)[:, :, None, None, None]
    vectors[prototypes] = unit.expand(-1, -1, *vectors.shape[2:]).to(vectors)


@dataclass(frozen=True)
class Candidate:
    """The patch of one case that is nearest to one prototype."""

    distance: float
    voxel: tuple[int, int, int]  # on the prototype grid
    case: TrainingCase


@torch.no_grad()
def project_prototypes(
    network: ProtoSegNet, cases: Sequence[TrainingCase], on_progress: Progress | None = None
) -> tuple[Prototype, ...]:
    """Replace each prototype by the embedding of a label-pure training patch of its class (Chen et al. 2019, push).

    Prototypes of one class go to distinct cases where there are enough of them, by the assignment of least total
    distance. Patches are searched in whole cases, at the precision of the surrounding autocast; the embeddings of those
    that were found are then taken in float32.

    Raises:
        ValueError: No case has a label-pure patch of a class that has prototypes.
    """
    network.eval()
    candidates: dict[int, list[Candidate]] = {index: [] for index in range(len(network.prototype_class))}
    for number, case in enumerate(cases):
        for index, candidate in _nearest_patches(network, case):
            candidates[index].append(candidate)
        if on_progress:
            on_progress((number + 1) / len(cases), f"Projecting prototypes: {case.case_id}")
    chosen: dict[int, Candidate] = {}
    for class_index in sorted(set(network.prototype_class)):
        members = [p for p, owner in enumerate(network.prototype_class) if owner == class_index]
        chosen.update(_assign_distinct_cases({p: candidates[p] for p in members}, CLASSES[class_index]))
    vectors = _embeddings_of(network, chosen)
    before = network.prototype_layer.unit_vectors()
    network.prototype_layer.prototype_vectors[list(vectors)] = torch.stack(list(vectors.values()))
    moved = (network.prototype_layer.unit_vectors() - before).square().sum(dim=1).mean(dim=(1, 2, 3)).tolist()
    return tuple(_record(network, index, chosen[index], moved[index]) for index in sorted(chosen))


def _nearest_patches(network: ProtoSegNet, case: TrainingCase) -> Iterator[tuple[int, Candidate]]:
    window = whole_window(case, network.size_multiple)
    all_distances = network(window).distances[0]
    label = brain_label(window, padded_label(case, window))
    pure = pure_label(label, network.prototype_stride, network.config.prototype_size)[0]
    for index, owner in enumerate(network.prototype_class):
        distances = torch.where(pure == owner, all_distances[index], torch.inf)
        flat = int(distances.argmin())
        if torch.isfinite(distances.flatten()[flat]):
            x, y, z = (int(n) for n in np.unravel_index(flat, tuple(pure.shape)))
            yield index, Candidate(float(distances.flatten()[flat]), (x, y, z), case)


def _embeddings_of(network: ProtoSegNet, chosen: dict[int, Candidate]) -> dict[int, Tensor]:
    """The patches' embeddings (C, s, s, s) in float32, each case embedded once."""
    size, found = network.config.prototype_size, {}
    for case in {candidate.case.case_id: candidate.case for candidate in chosen.values()}.values():
        window = whole_window(case, network.size_multiple)
        with torch.autocast(window.device.type, enabled=False):
            padded = F.pad(network.embed(window)[0], [size // 2] * 6)
        for index, candidate in chosen.items():
            if candidate.case.case_id == case.case_id:
                x, y, z = candidate.voxel
                found[index] = padded[:, x : x + size, y : y + size, z : z + size].clone()
    return found


def _assign_distinct_cases(candidates: dict[int, list[Candidate]], class_name: str) -> dict[int, Candidate]:
    """One candidate per prototype, from distinct cases while cases last."""
    prototypes = list(candidates)
    case_ids = sorted({c.case.case_id for options in candidates.values() for c in options})
    if not case_ids:
        raise ValueError(f"No training case has a label-pure patch of {class_name}, which its prototypes could become.")
    # Each case may serve ceil(prototypes / cases) times.
    columns = case_ids * math.ceil(len(prototypes) / len(case_ids))
    by_case = {p: {c.case.case_id: c for c in options} for p, options in candidates.items()}
    cost = np.array([[by_case[p][c].distance if c in by_case[p] else 1e6 for c in columns] for p in prototypes])
    # No more rows than columns: every row gets a column, in order.
    _, chosen = linear_sum_assignment(cost)
    return {p: by_case[p][columns[column]] for p, column in zip(prototypes, chosen, strict=True)}


def _record(network: ProtoSegNet, index: int, candidate: Candidate, moved: float) -> Prototype:
    stride, size, case = network.prototype_stride, network.config.prototype_size, candidate.case
    voxel = np.asarray(candidate.voxel)
    i, j, k = (slice(int(a), int(a) + size * stride) for a in (voxel - size // 2) * stride)
    profile = case.images[:, i, j, k].float().mean(dim=(1, 2, 3)).cpu()
    return Prototype(
        index=index,
        class_name=CLASSES[network.prototype_class[index]],
        case_id=case.case_id,
        position_mm=position_mm(case, candidate.voxel, stride),
        patch_size_mm=float(size * stride),
        profile={m: round(float(v), 3) for m, v in zip(MODALITIES, profile, strict=True)},
        projection_distance=moved,
    )


def refit_last_layer(
    network: ProtoSegNet,
    cases: Sequence[TrainingCase],
    *,
    steps: int = 240,
    learning_rate: float = 0.03,
    smooth_voxels: float = SMOOTH_VOXELS,
    on_progress: Progress | None = None,
) -> list[float]:
    """Fit weights and bias of the last layer to the fixed similarities of whole cases; returns the loss per step.

    The rate must bring a network home that has hardly learned, too: at a third of it the seed's ended with one class.
    Embeddings are computed at the precision of the surrounding autocast.
    """
    with torch.no_grad():
        network.eval()
        stored = [_similarities_and_label(network, case) for case in cases]
    optimiser = torch.optim.Adam(network.last_layer.requires_grad_().parameters(), learning_rate)
    losses = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        losses.append(_refit_step(network.last_layer, optimiser, *stored[step % len(stored)], smooth_voxels))
        if on_progress:
            on_progress((step + 1) / steps, "Re-fitting the last layer")
    return losses


def _refit_step(
    layer: LastLayer, optimiser: torch.optim.Optimizer, similarities: Tensor, label: Tensor, smooth_voxels: float
) -> float:
    """In float32 throughout; returns the loss."""
    truth = class_shares(label, 1)
    with torch.autocast(similarities.device.type, enabled=False):
        logits = upsample(layer(similarities.float()), label.shape[1:])
        loss = cross_entropy_loss(logits, truth) + region_dice_loss(logits, truth, smooth_voxels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    layer.constrain()
    return float(loss.detach())


def _similarities_and_label(network: ProtoSegNet, case: TrainingCase) -> tuple[Tensor, Tensor]:
    """Similarities (1, P, x, y, z) float16 and classes (1, X, Y, Z) int8 of a whole case."""
    window = whole_window(case, network.size_multiple)
    return network(window).similarities.half(), padded_label(case, window).to(torch.int8)
