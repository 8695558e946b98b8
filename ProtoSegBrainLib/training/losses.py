"""Loss terms: one function, one equation.

Segmentation terms take logits and truth, (B, K, X, Y, Z) each, on the grid of the images, to which the network's logits
are upsampled as in inference: what is trained is what is scored. Prototype terms take N places for label-pure voxels of
the prototype grid: distances or similarities (N, P), labels (N,), -1 where a place holds no voxel, and ``identity``
(K, P), 1 where prototype p belongs to class k. All return a scalar; an absent class adds nothing.

Prototype terms ask nothing of the values they compute with: a GPU need not wait, and ``torch.vmap`` takes them for all
cases of a batch together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.segmentation_net import upsample

# Added to both sides of a Dice ratio, in voxels of 1 mm (2.4 ml): a sliver at the edge of a patch weighs less than a
# tumour, and false voxels in a case without the region cost until the last is gone.
SMOOTH_VOXELS = 2400.0
# In place of minus infinity, whose softmax over nothing is no number.
VERY_LOW = -1e4


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
        default=SMOOTH_VOXELS, metadata={"help": "voxels (1 mm) added to both sides of a Dice ratio"}
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
    own = _is_own(label, identity)
    return _mean_where(own.any(dim=1), distances.masked_fill(~own, torch.inf).amin(dim=1))


def separation_loss(distances: Tensor, label: Tensor, identity: Tensor, margin: float = 1.5) -> Tensor:
    """Mean of max(0, margin - distance to the nearest prototype of another class).

    ProtoPNet's Sep (Chen et al. 2019), made bounded by a hinge: its own form falls for ever. The margin is the default
    network's reach: beyond it a prototype is not similar at all.
    """
    other = ~_is_own(label, identity) & (label >= 0)[:, None]
    return _mean_where(other.any(dim=1), F.relu(margin - distances.masked_fill(~other, torch.inf).amin(dim=1)))


def purity_loss(similarities: Tensor, label: Tensor, identity: Tensor, margin: float = 1.0) -> Tensor:
    """Mean over prototypes of max(0, margin - (mean similarity inside its class - highest mean inside another)).

    The origin document's purity term with means taken inside each class, so that the many voxels elsewhere do not
    drown the few inside, and a hinge, so that it rests once a prototype is pure.
    """
    membership = _membership(label, len(identity))
    counts = membership.sum(dim=0)
    means = (membership.T @ similarities) / counts.clamp(min=1)[:, None]  # (K, P)
    present, own = (counts > 0)[:, None], identity.bool()
    inside = (means * identity).sum(dim=0)
    outside = means.masked_fill(own | ~present, -torch.inf).amax(dim=0)
    usable = (own & present).any(dim=0) & (~own & present).any(dim=0)
    return _mean_where(usable, F.relu(margin - (inside - outside)))


def diversity_loss(similarities: Tensor, label: Tensor, identity: Tensor) -> Tensor:
    """Mean over same-class pairs of exp(-J / 2), J the symmetric KL divergence of their maps over the class's voxels.

    ProtoSeg (Sacha et al. 2023): two prototypes of one class should be active in different places.
    """
    own = _is_own(label, identity)  # (N, P)
    log_maps = similarities.masked_fill(~own, VERY_LOW).log_softmax(dim=0) * own
    cross = (log_maps.exp() * own).T @ log_maps  # sum_n a log b, of a pair of one class
    entropy = cross.diagonal()
    divergence = entropy[:, None] - cross + (entropy[None, :] - cross.T)
    enough = _membership(label, len(identity)).sum(dim=0) > 1
    pairs = (identity[:, :, None] * identity[:, None, :]).triu(diagonal=1) * enough[:, None, None]  # (K, P, P)
    alike = torch.exp(-0.5 * divergence.where(pairs.any(dim=0), 0))
    counts = pairs.sum(dim=(1, 2))
    return _mean_where(counts > 0, (pairs * alike).sum(dim=(1, 2)) / counts.clamp(min=1))


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


def level_losses(config: LossConfig, levels: Sequence[Tensor], truth: Tensor) -> dict[str, Tensor]:
    """As ``segmentation_losses``, of logits (B, K, x, y, z) at one level or, for deep supervision, several.

    It is the weighted mean over the levels, so that the sum stays what it is without. Logits are upsampled first.
    Taught the shares of the classes in the voxels of its own grid, a network names each after its largest share and
    loses what is thinner: the rims of ET.

    Args:
        config: Weights of terms and of levels.
        levels: Finest first.
        truth: (B, K, X, Y, Z), on the grid of the images.
    """
    weights = (1.0, *config.deep_supervision)[: len(levels)]
    sums: dict[str, Tensor] = {}
    for weight, logits in zip(weights, levels, strict=True):
        fine = upsample(logits, truth.shape[2:])
        for name, term in segmentation_losses(config, fine, truth).items():
            sums[name] = sums.get(name, 0) + term * (weight / sum(weights))
    return sums


def prototype_losses(
    config: LossConfig, distances: Tensor, similarities: Tensor, label: Tensor, identity: Tensor, last_weight: Tensor
) -> dict[str, Tensor]:
    """The weighted prototype terms of the joint phase that are switched on, by name, of one case."""
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


def _is_own(label: Tensor, identity: Tensor) -> Tensor:
    """(N, P) bool: the prototype is of the voxel's class."""
    return (_membership(label, len(identity)) @ identity).bool()


def _membership(label: Tensor, classes: int) -> Tensor:
    """(N, K) float32: 1 at the class of each voxel."""
    return (label[:, None] == torch.arange(classes, device=label.device)).float()


def _mean_where(chosen: Tensor, values: Tensor) -> Tensor:
    """Mean of the chosen values, 0 without any."""
    return values.where(chosen, 0).sum() / chosen.sum().clamp(min=1)
