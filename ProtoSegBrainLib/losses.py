"""Loss terms: one function, one equation.

Segmentation terms take logits and truth, (B, K, x, y, z) each: the truth is the share of each class in a voxel of the
prototype grid (``class_shares``), so a boundary is learned to a fraction of a voxel at an eighth of the cost of full
resolution. Prototype terms take N sampled, label-pure voxels of that grid: distances or similarities (N, P), labels
(N,), and ``identity`` (K, P), 1 where prototype p belongs to class k. All return a scalar; an absent class adds
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES, REGIONS

# Added to both sides of a Dice ratio, in voxels of the grid of the logits (2.4 ml where that is 2 mm): a sliver at the
# edge of a patch weighs less than a tumour, and false voxels in a case without the region cost until the last is gone.
SMOOTH_VOXELS = 300.0


@dataclass(frozen=True)
class LossConfig:
    """Weight of each loss term; 0 leaves it out."""

    dice: float = field(default=0.0, metadata={"help": "weight of the per-class Dice loss"})
    weighted_dice: float = field(default=0.0, metadata={"help": "weight of the generalised (volume-weighted) Dice"})
    region_dice: float = field(default=1.0, metadata={"help": "weight of the Dice loss of WT, TC and ET"})
    region_sigmoid_dice: float = field(
        default=0.0, metadata={"help": "weight of the Dice loss of WT, TC and ET as three sigmoids (target regions)"}
    )
    smooth_voxels: float = field(
        default=SMOOTH_VOXELS, metadata={"help": "voxels of the logits' grid added to both sides of a Dice ratio"}
    )
    cross_entropy: float = field(default=1.0, metadata={"help": "weight of the cross-entropy"})
    focal: float = field(default=0.0, metadata={"help": "weight of the focal loss"})
    hard_examples: float = field(default=0.0, metadata={"help": "weight of the cross-entropy of the hardest voxels"})
    deep_supervision: tuple[float, ...] = field(
        default=(0.5, 0.25), metadata={"help": "weights of the losses of coarser decoder levels, where there are any"}
    )
    purity: float = field(default=0.1, metadata={"help": "joint phase: weight of the purity loss"})
    cluster: float = field(default=0.2, metadata={"help": "joint phase: weight of the clustering loss"})
    separation: float = field(default=0.2, metadata={"help": "joint phase: weight of the separation loss"})
    diversity: float = field(default=0.05, metadata={"help": "joint phase: weight of the diversity loss"})
    l1: float = field(default=1e-4, metadata={"help": "joint phase: weight of the L1 norm of the last layer"})


def class_shares(label: Tensor, stride: int) -> Tensor:
    """(B, X, Y, Z) classes -> (B, K, x, y, z) float32, the share of each class in a block of ``stride`` cubed."""
    shares = [F.avg_pool3d((label == index).float(), stride) for index in range(1, len(CLASSES))]
    tumour = torch.stack(shares, dim=1)
    return torch.cat([1 - tumour.sum(dim=1, keepdim=True), tumour], dim=1)


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = SMOOTH_VOXELS) -> Tensor:
    """Mean over the tumour classes of 1 - soft Dice (Milletari et al. 2016), summed over the batch."""
    return (1 - _soft_dice(logits.softmax(dim=1)[:, 1:], truth[:, 1:], (0, 2, 3, 4), smooth)).mean()


def weighted_dice_loss(logits: Tensor, truth: Tensor, smooth: float = SMOOTH_VOXELS) -> Tensor:
    """Generalised Dice over all classes, each weighted by 1 / volume^2 (Sudre et al. 2017, eq. for GDL)."""
    probabilities = logits.softmax(dim=1)
    axes = (0, 2, 3, 4)
    weight = (truth.sum(axes) + smooth).reciprocal().square()
    overlap = (weight * (probabilities * truth).sum(axes)).sum()
    total = (weight * (probabilities + truth).sum(axes)).sum()
    return 1 - 2 * overlap / total


def region_dice_loss(logits: Tensor, truth: Tensor, smooth: float = SMOOTH_VOXELS) -> Tensor:
    """Mean over WT, TC, ET of 1 - soft Dice of the region's summed probabilities, per case.

    Per case, because the score is per case: a small enhancing rim weighs as much as a large one, and false enhancement
    in a case without any costs its whole share.
    """
    members = logits.new_tensor([[k in classes for k in range(len(CLASSES))] for classes in REGIONS.values()])
    # The regions are unions of classes, so only the class-wise sums are needed from each term of the Dice.
    probabilities = logits.softmax(dim=1).flatten(2)  # (B, K, n)
    truth = truth.flatten(2)
    overlap = torch.einsum("rk,bkl,rl->br", members, probabilities @ truth.transpose(1, 2), members)
    total = (probabilities.sum(2) + truth.sum(2)) @ members.T
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def region_sigmoid_dice_loss(logits: Tensor, truth: Tensor, smooth: float = SMOOTH_VOXELS) -> Tensor:
    """Mean over WT, TC, ET of 1 - soft Dice with squares below (Milletari et al. 2016), each region its own sigmoid.

    For class logits that were made of region logits (``peers.class_logits``), of which these are the differences.
    """
    classes = [CLASSES.index(name) for name in ("background", "ED", "NCR", "ET")]
    probabilities = logits[:, classes].diff(dim=1).sigmoid()
    regions = truth[:, classes[1:]].flip(1).cumsum(dim=1).flip(1)  # WT, TC, ET
    axes = (0, 2, 3, 4)
    overlap = (probabilities * regions).sum(axes)
    total = (probabilities.square() + regions.square()).sum(axes)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def cross_entropy_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy over all voxels."""
    return F.cross_entropy(logits, truth)


def focal_loss(logits: Tensor, truth: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean of sum_k t_k (1 - p_k)^gamma (-log p_k) (Lin et al. 2017, eq. 4 without alpha, for shares t)."""
    log_probabilities = logits.log_softmax(dim=1)
    return -(truth * (1 - log_probabilities.exp()).pow(gamma) * log_probabilities).sum(dim=1).mean()


def hard_examples_loss(logits: Tensor, truth: Tensor, share: float = 0.05) -> Tensor:
    """Mean cross-entropy of the hardest ``share`` of the voxels (Shrivastava et al. 2016)."""
    entropy = F.cross_entropy(logits, truth, reduction="none").flatten()
    return entropy.topk(max(1, int(share * entropy.numel()))).values.mean()


def cluster_loss(distances: Tensor, label: Tensor, identity: Tensor) -> Tensor:
    """Mean distance of a voxel to the nearest prototype of its own class (ProtoPNet, Chen et al. 2019, Clst)."""
    own = identity.bool()[label]  # (N, P)
    has_prototype = own.any(dim=1)
    if not has_prototype.any():
        return distances.sum() * 0
    nearest = distances.masked_fill(~own, torch.inf).amin(dim=1)
    return nearest[has_prototype].mean()


def separation_loss(distances: Tensor, label: Tensor, identity: Tensor, margin: float = 1.5) -> Tensor:
    """Mean of max(0, margin - distance to the nearest prototype of another class).

    ProtoPNet's Sep (Chen et al. 2019), made bounded by a hinge: its own form falls for ever. The margin is the default
    network's reach: beyond it a prototype is not similar at all.
    """
    other = ~identity.bool()[label]
    nearest = distances.masked_fill(~other, torch.inf).amin(dim=1)
    return F.relu(margin - nearest[nearest.isfinite()]).mean() if nearest.isfinite().any() else distances.sum() * 0


def purity_loss(similarities: Tensor, label: Tensor, identity: Tensor, margin: float = 1.0) -> Tensor:
    """Mean over prototypes of max(0, margin - (mean similarity inside its class - highest mean inside another)).

    The origin document's purity term with means taken inside each class, so that the many voxels elsewhere do not
    drown the few inside, and a hinge, so that it rests once a prototype is pure.
    """
    membership = F.one_hot(label, identity.shape[0]).float()  # (N, K)
    counts = membership.sum(0)
    present = counts > 0
    means = (membership.T @ similarities)[present] / counts[present, None]  # (present K, P)
    own = identity[present].bool()
    usable = own.any(dim=0)
    if not usable.any() or present.sum() < 2:
        return similarities.sum() * 0
    inside = (means * own).sum(0)
    outside = means.masked_fill(own, -torch.inf).amax(dim=0)
    return F.relu(margin - (inside - outside))[usable].mean()


def diversity_loss(similarities: Tensor, label: Tensor, identity: Tensor) -> Tensor:
    """Mean over same-class pairs of exp(-J / 2), J the symmetric KL divergence of their maps over the class's voxels.

    ProtoSeg (Sacha et al. 2023): two prototypes of one class should be active in different places.
    """
    losses = []
    for index in range(identity.shape[0]):
        maps = similarities[label == index][:, identity[index].bool()]  # (n, p)
        if maps.shape[0] < 2 or maps.shape[1] < 2:
            continue
        log_maps = maps.log_softmax(dim=0).T  # (p, n)
        cross = log_maps.exp() @ log_maps.T  # sum_n a log b
        entropy = cross.diagonal()
        divergence = entropy[:, None] - cross + (entropy[None, :] - cross.T)
        upper = torch.triu_indices(len(divergence), len(divergence), offset=1, device=maps.device)
        losses.append(torch.exp(-0.5 * divergence[upper[0], upper[1]]).mean())
    return torch.stack(losses).mean() if losses else similarities.sum() * 0


SEGMENTATION_TERMS: dict[str, Callable[[LossConfig, Tensor, Tensor], Tensor]] = {
    "dice": lambda config, logits, truth: dice_loss(logits, truth, config.smooth_voxels),
    "weighted_dice": lambda config, logits, truth: weighted_dice_loss(logits, truth, config.smooth_voxels),
    "region_dice": lambda config, logits, truth: region_dice_loss(logits, truth, config.smooth_voxels),
    "region_sigmoid_dice": lambda config, logits, truth: region_sigmoid_dice_loss(logits, truth, config.smooth_voxels),
    "cross_entropy": lambda _, logits, truth: cross_entropy_loss(logits, truth),
    "focal": lambda _, logits, truth: focal_loss(logits, truth),
    "hard_examples": lambda _, logits, truth: hard_examples_loss(logits, truth),
}
PROTOTYPE_TERMS = ("purity", "cluster", "separation", "diversity", "l1")


def segmentation_losses(config: LossConfig, logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """The weighted segmentation terms that are switched on, by name."""
    weights = {name: float(getattr(config, name)) for name in SEGMENTATION_TERMS}
    return {name: weights[name] * SEGMENTATION_TERMS[name](config, logits, truth) for name in weights if weights[name]}


def prototype_losses(
    config: LossConfig, distances: Tensor, similarities: Tensor, label: Tensor, identity: Tensor, last_weight: Tensor
) -> dict[str, Tensor]:
    """The weighted prototype terms of the joint phase that are switched on, by name."""
    terms = {
        "purity": lambda: purity_loss(similarities, label, identity),
        "cluster": lambda: cluster_loss(distances, label, identity),
        "separation": lambda: separation_loss(distances, label, identity),
        "diversity": lambda: diversity_loss(similarities, label, identity),
        "l1": lambda: last_weight.abs().sum(),
    }
    weights = {name: float(getattr(config, name)) for name in PROTOTYPE_TERMS}
    return {name: weights[name] * terms[name]() for name in PROTOTYPE_TERMS if weights[name]}


def _soft_dice(probabilities: Tensor, truth: Tensor, axes: tuple[int, ...], smooth: float) -> Tensor:
    """Soft Dice over ``axes``."""
    overlap = (probabilities * truth).sum(axes)
    return (2 * overlap + smooth) / (probabilities.sum(axes) + truth.sum(axes) + smooth)
