"""How unsure a prediction is, voxel by voxel: entropy, and disagreement between views; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy in units of its largest value, log K: 0 certain, 1 all classes equally likely.

    Args:
        probabilities: (K, ...) float32 that sum to one; classes first.

    Returns:
        (...) float32, in the memory order of ``probabilities``.
    """
    result = np.zeros_like(probabilities[0], np.float32)
    order: Literal["F", "C"] = "F" if result.flags.f_contiguous else "C"
    flat = [channel.ravel(order) for channel in probabilities]  # views, unless the memory order differs
    unsure = np.flatnonzero(flat[0] < 1)  # most of a volume is outside the brain
    total = np.zeros(unsure.size, np.float32)
    for channel in flat:
        p = channel[unsure]
        total -= p * np.log(np.maximum(p, np.finfo(np.float32).tiny))
    result.ravel(order)[unsure] = total / np.float32(np.log(len(probabilities)))
    return result


def disagreement(views: Sequence[np.ndarray]) -> np.ndarray:
    """Jensen-Shannon distance of the views' probabilities, 0 where they agree, 1 where each is sure of another class.

    JS = H(mean of the views) - mean of H(view), in units of its largest value: log of the number of views, or of
    classes where these are fewer (Lin 1991, eq. 5.1). Its root is a distance (Endres and Schindelin 2003), which grows
    in proportion to small differences. One view alone gives 0.

    Args:
        views: Each (K, ...) float32, probabilities on one grid.

    Returns:
        (...) float32.
    """
    if len(views) == 1:
        return np.zeros_like(views[0][0], np.float32)
    mean = sum(views[1:], start=views[0]) / np.float32(len(views))
    divergence = entropy(mean) - sum(entropy(view) for view in views) / np.float32(len(views))
    classes = len(views[0])
    divergence *= np.float32(np.log(classes) / np.log(min(classes, len(views))))
    return np.sqrt(np.clip(divergence, 0, 1))
