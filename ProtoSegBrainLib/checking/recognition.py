"""Which image is which modality, and which number which class, told from the images themselves.

No header shows modalities under each other's names or classes under each other's numbers. Both are found by trying
every order and asking which fits best: that of the modalities by the contrasts which a calibrated model knows from its
cases (result/familiarity.py), that of the classes by how gliomas look: oedema lies outermost, enhancing tumour is the
brightest class on T1ce. Another order must fit clearly better, so that a rare case is not taken for a wrong one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from ProtoSegBrainLib.images.codings import LEAST_VOXELS_COMPARED
from ProtoSegBrainLib.images.preprocess import NetworkInput
from ProtoSegBrainLib.images.volume import bounding_box
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.evidence import Normality
from ProtoSegBrainLib.result.familiarity import exchanged, unusualness

MODALITY_MARGIN = 0.05
"""Mahalanobis distance per measure by which another order must fit better. With it none of 50 held-out real cases is
named, with a label not even by what was learned from another challenge; without a label 5 are then."""
CLASS_MARGIN = 0.2
"""The same for classes, in the sum that ``class_order`` compares; none of those cases is named."""
ET_WEIGHT, ED_WEIGHT = 0.5, 0.3
"""Of the label's word against that distance."""
NCR, ED, ET = (CLASSES.index(name) for name in ("NCR", "ED", "ET"))
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


def outward(label: np.ndarray) -> np.ndarray:
    """Share of each class's surface that faces background, (classes,); 0 for background and for what is not there.

    Args:
        label: (X, Y, Z) classes. Surfaces are the faces between two voxels of different classes.
    """
    box = bounding_box(label)
    faces = np.zeros((len(CLASSES), len(CLASSES)))
    if box is None:
        return faces[0]
    tight = np.pad(label[box], 1)
    for axis in range(3):
        first, second = (np.moveaxis(tight, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        pairs = first.astype(int) * len(CLASSES) + second
        faces += np.bincount(pairs.ravel(), minlength=faces.size).reshape(faces.shape)
    faces += faces.T
    np.fill_diagonal(faces, 0)
    share: np.ndarray = faces[0] / np.maximum(faces.sum(axis=1), 1)
    return share


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


def class_order(label: np.ndarray, ranks: np.ndarray) -> dict[str, str]:
    """What the classes seem to be: name they go by -> name that fits, of those that are not the same.

    Classes of few voxels keep their names: too little is seen of them.

    Args:
        label: (X, Y, Z) classes.
        ranks: From ``class_ranks``.
    """
    open_surface, on_t1c = outward(label), np.nan_to_num(ranks[T1C])
    seen = [index for index in (NCR, ED, ET) if np.isfinite(ranks[T1C, index])]

    def fit(order: Mapping[int, int]) -> float:
        """Of an order: class -> the class that goes by its name now."""
        ncr, ed, et = (order.get(index, index) for index in (NCR, ED, ET))
        outermost = 2 * open_surface[ed] - open_surface[ncr] - open_surface[et]
        return float(outermost + 2 * on_t1c[et] - on_t1c[ncr] - on_t1c[ed])

    orders = [dict(zip(seen, now, strict=True)) for now in itertools.permutations(seen)]
    best = max(orders, key=fit)
    if fit(best) - fit(orders[0]) <= CLASS_MARGIN:
        return {}
    return {CLASSES[now]: CLASSES[fitting] for fitting, now in best.items() if now != fitting}
