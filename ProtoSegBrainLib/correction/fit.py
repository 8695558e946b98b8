"""How much each point counts: weights of all of them together, no more than it takes.

With a_ij the similarity of point j at the place of point i, and lead_ik the logit of point i's class there less that of
class k without any point, the weights w >= 0 are the least (sum of w_j) for which every point's class leads at its
place by a margin: sum_j ([c_j = c_i] - [c_j = k]) w_j a_ij >= margin - lead_ik for every other class k. This is a
linear program; what cannot be reached, because two points contradict each other, is paid for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

PRICE_OF_A_POINT = 1e3
"""Of a margin that is missed by 1, in units of weight: points come before everything."""


class Places(NamedTuple):
    """The places of points, and which class is to lead there.

    Attributes:
        logits: (U, K) without any point.
        similarities: (U, U) of each place to each point.
        classes: (U,) class index that is to lead.
    """

    logits: np.ndarray
    similarities: np.ndarray
    classes: np.ndarray


def fit_weights(points: Places, margin: float) -> np.ndarray:
    """(U,) weights >= 0.

    Args:
        points: The places of the U points, in order.
        margin: By which a point's class leads at its place, in logits.
    """
    count = len(points.classes)
    rows, leads = _leads(points)
    prices = np.concatenate([np.ones(count), np.full(len(rows), PRICE_OF_A_POINT)])
    matrix = sparse.hstack([sparse.csr_matrix(rows), sparse.identity(len(rows), format="csr")])
    found = linprog(prices, A_ub=-matrix, b_ub=leads - margin, bounds=(0, None), method="highs")
    if found.x is None:  # cannot be: every miss has its price
        raise ValueError(f"The weights of {count} points could not be found: {found.message}")
    return np.asarray(found.x[:count])


def _leads(points: Places) -> tuple[np.ndarray, np.ndarray]:
    """For every place and every other class: what the points add to the lead, (m, U), and the lead, (m,)."""
    rows, leads = [], []
    for k in range(points.logits.shape[1]):
        other = points.classes != k
        own = points.classes[None] == points.classes[other][:, None]
        rows.append((own.astype(float) - (points.classes == k)[None]) * points.similarities[other])
        leads.append(points.logits[other, points.classes[other]] - points.logits[other, k])
    return np.concatenate(rows), np.concatenate(leads)
