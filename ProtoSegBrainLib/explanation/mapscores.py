"""How well similarity maps, decision and confidence of one case agree with the expert's label; arrays only, no torch.

Everything is counted on the prototype grid, where the decision is made. A voxel there holds several of the label,
so it counts for each class by its share: sums of shares are sums over the label's own voxels. Only the brain counts:
air is trivially different and would flatter every figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.evidence import Evidence

PARTS = ("NCR", "ET", "oedema at the core", "oedema further out", "shell", "brain further out")
"""The places a prototype may look at, in the sense of Huang et al. 2023 (parts of an object)."""
SHELL = PARTS.index("shell")
SHELL_MM = 10.0
AT_THE_CORE_MM = 5.0
TOP_SHARE = 0.001
"""Share of the brain in which a prototype's activation is called its highlight (Nauta et al. 2023: 0.1 %)."""
RISK_POINTS = 21
TAU = 101
"""Thresholds of the QU-BraTS score: uncertainty 0, 1, ... 100."""

NCR, ED, ET = (CLASSES.index(name) for name in ("NCR", "ED", "ET"))
TUMOUR = {name: index for index, name in enumerate(CLASSES) if index}


@dataclass(frozen=True, eq=False)
class BrainMaps:
    """One case on the prototype grid, its n voxels of brain in a row.

    Attributes:
        similarities: (P, n) float32.
        shares: (K, n) float32, share of each class in a voxel, by the expert's label.
        parts: (n,) index into ``PARTS``.
        evidence: How the similarities become a decision.
    """

    similarities: np.ndarray
    shares: np.ndarray
    parts: np.ndarray
    evidence: Evidence

    @cached_property
    def logits(self) -> np.ndarray:
        """(K, n)."""
        return self.evidence.logits(self.similarities)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n,) class index."""
        return self.logits.argmax(axis=0)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(K, n), calibrated."""
        return self.evidence.calibration.probabilities(self.logits)

    @cached_property
    def owners(self) -> np.ndarray:
        """(P,) class index of each prototype."""
        return np.array([CLASSES.index(name) for name in self.evidence.prototype_class])

    @cached_property
    def highlights(self) -> np.ndarray:
        """(P, t) voxels of each prototype's highlight."""
        return highlights_of(self.similarities)

    @cached_property
    def highlighted_part(self) -> np.ndarray:
        """(P,) part in which most of each prototype's highlight lies."""
        return highlight_part(self.parts, self.highlights)

    @cached_property
    def present(self) -> np.ndarray:
        """(P,) whether the case has a voxel or more of each prototype's class."""
        return self.shares[self.owners].sum(axis=1) >= 1

    @cached_property
    def entropy(self) -> np.ndarray:
        """(n,) entropy of the calibrated probabilities, 0 to 1."""
        return -(self.probabilities * np.log(np.maximum(self.probabilities, 1e-12))).sum(axis=0) / np.log(len(CLASSES))

    @cached_property
    def right(self) -> np.ndarray:
        """(n,) share of a voxel that the decision gets right."""
        return np.take_along_axis(self.shares, self.predicted[None], axis=0)[0]


def parts_of(label: np.ndarray, voxel_mm: float) -> np.ndarray:
    """(x, y, z) class indices -> (x, y, z) indices into ``PARTS``."""
    parts = np.full(label.shape, len(PARTS) - 1, np.int8)
    tumour, core = label > 0, np.isin(label, (NCR, ET))
    if tumour.any():
        parts[ndimage.distance_transform_edt(~tumour, voxel_mm) <= SHELL_MM] = SHELL
    parts[label == ED] = PARTS.index("oedema further out")
    if core.any():
        near = ndimage.distance_transform_edt(~core, voxel_mm) <= AT_THE_CORE_MM
        parts[near & (label == ED)] = PARTS.index("oedema at the core")
    for name, index in (("NCR", NCR), ("ET", ET)):
        parts[label == index] = PARTS.index(name)
    return parts


def highlights_of(similarities: np.ndarray) -> np.ndarray:
    """(P, n) -> (P, t) the ``TOP_SHARE`` of voxels, at least one, where each prototype is most active."""
    count = max(1, round(TOP_SHARE * similarities.shape[1]))
    return np.argpartition(similarities, -count, axis=1)[:, -count:]


# -- similarity maps -----------------------------------------------------------------------------------------------


def purity(maps: BrainMaps) -> dict[str, float]:
    """Mean similarity inside a class over the mean elsewhere, of the mean map of the class's prototypes.

    The ratio depends on where the similarity has its zero: models with different similarities are not like for like.
    Elsewhere is, in turn: the other tumour classes (``purity``, as the seed's author defines it); the brain without
    tumour (``purity_background``); its 10 mm around the tumour (``purity_shell``); all of the brain but the class
    (``purity_outside``, nearest to how that author's 4.40/3.07/5.33 were computed, where air counted too). NaN where a
    side is empty or all similarities elsewhere are 0.
    """
    healthy = maps.shares[0]
    scores = {}
    for name, index in TUMOUR.items():
        inside, similarities = maps.shares[index], maps.similarities[maps.owners == index]
        elsewhere = {
            "purity": 1 - healthy - inside,
            "purity_background": healthy,
            "purity_shell": healthy * (maps.parts == SHELL),
            "purity_outside": 1 - inside,
        }
        for key, shares in elsewhere.items():
            scores[f"{key}.{name}"] = _ratio_of_means(similarities, inside, shares)
    return scores


def _ratio_of_means(similarities: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
    if len(similarities) == 0 or min(inside.sum(), outside.sum()) < 1:  # less than a voxel
        return float("nan")
    here, there = ((similarities @ shares).mean() / shares.sum() for shares in (inside, outside))
    return float(here / there) if there > 0 else float("nan")


def activation_precision(maps: BrainMaps) -> dict[str, float]:
    """Share of the active voxels of a class's evidence that lie in the tumour (Wei et al. 2023, MProtoNet).

    Active: at least 0.5 after the map is scaled to 0..1. ``activation_precision`` is the mean over NCR, ED and ET;
    ``activation_precision_class`` asks for the class itself instead of the whole tumour.
    """
    scores = {f"activation_precision_class.{name}": float("nan") for name in TUMOUR}
    in_tumour = []
    for name, index in TUMOUR.items():
        active = is_active(maps.evidence.weight[index] @ maps.similarities)
        if not active.any():
            continue
        in_tumour.append(float(1 - maps.shares[0, active].mean()))
        if maps.shares[index].sum() >= 1:
            scores[f"activation_precision_class.{name}"] = float(maps.shares[index, active].mean())
    return {"activation_precision": float(np.mean(in_tumour)) if in_tumour else float("nan"), **scores}


def is_active(values: np.ndarray) -> np.ndarray:
    """Where a map, scaled to 0..1, is at least 0.5; nowhere, where it is constant."""
    low, high = float(values.min()), float(values.max())
    return (values >= (low + high) / 2) if high > low else np.zeros(values.shape, bool)


def highlight_purity(maps: BrainMaps) -> np.ndarray:
    """(P,) share of each prototype's highlight that has its class."""
    rows = zip(maps.owners, maps.highlights, strict=True)
    return np.array([maps.shares[owner, voxels].mean() for owner, voxels in rows])


def highlight_part(parts: np.ndarray, highlights: np.ndarray) -> np.ndarray:
    """(P,) the part, of ``PARTS``, that holds most of each prototype's highlight."""
    return np.array([np.bincount(parts[voxels], minlength=len(PARTS)).argmax() for voxels in highlights])


def leading_voxels(maps: BrainMaps) -> np.ndarray:
    """(P,) number of voxels whose decision a prototype leads: it adds most to the logit of the predicted class."""
    counts = np.zeros(len(maps.owners), np.int64)
    for index in range(len(CLASSES)):
        members = np.flatnonzero(maps.owners == index)
        voxels = maps.predicted == index
        if len(members) and voxels.any():
            contributions = maps.evidence.weight[index, members, None] * maps.similarities[members][:, voxels]
            counts[members] = np.bincount(contributions.argmax(axis=0), minlength=len(members))
    return counts


def tumour_evidence(logits: np.ndarray) -> np.ndarray:
    """(K, ...) -> (...): log-odds of any tumour against background, the reason for WT."""
    high = logits[1:].max(axis=0)
    return high + np.log(np.exp(logits[1:] - high).sum(axis=0)) - logits[0]


# -- decision ------------------------------------------------------------------------------------------------------


def grid_dice(predicted: np.ndarray, shares: np.ndarray) -> float:
    """Mean Dice of WT, TC and ET of (n,) classes against (K, n) shares; both empty 1, one empty 0."""
    scores = []
    for members in REGIONS.values():
        found, truth = np.isin(predicted, members), shares[list(members)].sum(axis=0)
        total = found.sum() + truth.sum()
        scores.append(2 * truth[found].sum() / total if total > 0 else 1.0)
    return float(np.mean(scores))


def dice_without_each(maps: BrainMaps) -> np.ndarray:
    """(P,) mean Dice of WT, TC and ET with one prototype taken out of the last layer."""
    weight, similarities = maps.evidence.weight, maps.similarities
    removed = (maps.logits - weight[:, p, None] * similarities[p] for p in range(len(similarities)))
    return np.array([grid_dice(logits.argmax(axis=0), maps.shares) for logits in removed])


def dice_without_all(maps: BrainMaps) -> float:
    """Mean Dice with every prototype taken out: what the bias alone decides."""
    decision = np.full(maps.shares.shape[1], maps.evidence.bias.argmax())
    return grid_dice(decision, maps.shares)


# -- confidence ----------------------------------------------------------------------------------------------------


def error_auroc(maps: BrainMaps) -> dict[str, float]:
    """Do entropy, and distance to the nearest prototype, find the voxels that are wrong? Area under the ROC curve."""
    nearest = -maps.similarities.max(axis=0)  # similarity falls steadily with distance, so the order is the same
    scores = {"entropy": maps.entropy, "prototype_distance": nearest}
    return {f"error_auroc.{name}": auroc(score, 1 - maps.right, maps.right) for name, score in scores.items()}


def auroc(score: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive has the higher score, ties counted half; both weigh (n,). NaN without either."""
    _, rank = np.unique(score, return_inverse=True)
    positives, negatives = (np.bincount(rank, weights) for weights in (positive, negative))
    pairs = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / pairs) if pairs > 0 else float("nan")


def risk_coverage(maps: BrainMaps) -> np.ndarray:
    """(RISK_POINTS,) share of errors among the most certain 0, 5, ... 100 % of the voxels (El-Yaniv and Wiener 2010).

    The risk at no coverage is that of the most certain voxel.
    """
    errors = (1 - maps.right)[np.argsort(maps.entropy, kind="stable")]
    risk = np.cumsum(errors) / np.arange(1, len(errors) + 1)
    return np.interp(np.linspace(0, len(errors), RISK_POINTS), np.arange(1, len(errors) + 1), risk)


def qu_brats(maps: BrainMaps) -> dict[str, float]:
    """QU-BraTS score of WT, TC and ET (Mehta et al. 2022): reward errors that are uncertain, and certain hits.

    Voxels more uncertain than tau = 0, 1, ... 100 are set aside. Mean of: area under the Dice of the rest; 1 - area
    under the share of true positives set aside; the same of true negatives. Uncertainty is the entropy of the region's
    own probability. A share of nothing is 0.
    """
    return {f"qu_brats.{region}": _qu_brats(maps, members) for region, members in REGIONS.items()}


def _qu_brats(maps: BrainMaps, members: tuple[int, ...]) -> float:
    probability = maps.probabilities[list(members)].sum(axis=0).astype(np.float64).clip(1e-12, 1 - 1e-12)
    entropy = -(probability * np.log2(probability) + (1 - probability) * np.log2(1 - probability))
    level = np.ceil(100 * entropy.clip(0, 1) - 1e-6).astype(int)  # kept from this tau on
    found, truth = np.isin(maps.predicted, members), maps.shares[list(members)].sum(axis=0)

    def kept(share: np.ndarray) -> np.ndarray:
        return np.cumsum(np.bincount(level, share, minlength=TAU))

    hits, false, missed = kept(found * truth), kept(found * (1 - truth)), kept(~found * truth)
    quiet = kept(~found * (1 - truth))
    total = 2 * hits + false + missed
    dice = np.divide(2 * hits, total, out=np.ones(TAU), where=total > 0)
    lost = [_area(1 - values / values[-1]) if values[-1] > 0 else 0.0 for values in (hits, quiet)]
    return float((_area(dice) + (1 - lost[0]) + (1 - lost[1])) / 3)


def _area(curve: np.ndarray) -> float:
    """Mean of a curve between equidistant points, by trapezoids."""
    return float((curve[1:] + curve[:-1]).mean() / 2)
