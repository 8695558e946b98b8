"""Which image is which modality, told from the images themselves.

No header shows modalities under each other's names. They are found by trying every order and asking which fits best the
contrasts that a calibrated model knows from its cases (result/familiarity.py). Another order must fit clearly better,
so that a rare case is not taken for a wrong one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from ProtoSegBrainLib.images.codings import LEAST_VOXELS_COMPARED
from ProtoSegBrainLib.images.preprocess import NetworkInput
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.calibration import Normality
from ProtoSegBrainLib.result.familiarity import exchanged, unusualness

MODALITY_MARGIN = 0.05
"""Mahalanobis distance per measure by which another order must fit better. With it none of 50 held-out real cases is
named, with a label not even by what was learned from another challenge; without a label 5 are then."""
ET_WEIGHT, ED_WEIGHT = 0.5, 0.3
"""Of the label's word against that distance."""
ED, ET = (CLASSES.index(name) for name in ("ED", "ET"))
T1N, T1C, T2F = (MODALITIES.index(name) for name in ("t1n", "t1c", "t2f"))


def class_ranks(prepared: NetworkInput) -> np.ndarray:
    """How bright each class is in each modality: the mean rank of its voxels among those of the brain.

    Returns:
        (modalities, classes), 0 darkest to 1 brightest; NaN for a class of few voxels, and without a label.
    """
    ranks = np.full((len(MODALITIES), len(CLASSES)), np.nan)
    if prepared.label is None:
        return ranks
    label, brain, images = (array[..., ::2, ::2, ::2] for array in (prepared.label, prepared.brain, prepared.images))
    for index in range(len(CLASSES)):
        members = brain & (label == index)
        if np.count_nonzero(members) < LEAST_VOXELS_COMPARED:
            continue
        for ranked, image in zip(ranks, images, strict=True):
            values = np.sort(image[brain])
            ranked[index] = np.searchsorted(values, image[members]).mean() / values.size
    return ranks


def modality_order(look: Mapping[str, float], ranks: np.ndarray, reference: Normality) -> dict[str, str]:
    """What the images seem to be: name they go by -> name that fits, of those that are not the same.

    An order's misfit is the Mahalanobis distance of the look that it gives, less the label's word where there is one:
    enhancing tumour is brighter on T1ce than on T1, oedema brighter on FLAIR than on T1.

    Args:
        look: From ``look_of``.
        ranks: From ``class_ranks``.
        reference: How cases in the right order look.
    """
    rank = np.nan_to_num(ranks)

    def misfit(order: tuple[int, ...]) -> float:
        source = {MODALITIES[place]: MODALITIES[image] for place, image in enumerate(order)}
        t1n, t1c, t2f = (rank[order[place]] for place in (T1N, T1C, T2F))
        label = ET_WEIGHT * (t1c[ET] - t1n[ET]) + ED_WEIGHT * (t2f[ED] - t1n[ED])
        return unusualness(reference, exchanged(look, source)) * reference.limit - float(label)

    orders = list(itertools.permutations(range(len(MODALITIES))))
    best = min(orders, key=misfit)
    if misfit(orders[0]) - misfit(best) <= MODALITY_MARGIN:
        return {}
    return {MODALITIES[image]: MODALITIES[place] for place, image in enumerate(best) if place != image}
