"""How much each point counts: weights of all of them together, no more than it takes.

With a_ij the similarity of point j at the place of point i, and lead_ik the logit of point i's class there less that of
class k without any point, the weights w >= 0 are the least (sum of w_j) for which every point's class leads at its
place by a margin: sum_j ([c_j = c_i] - [c_j = k]) w_j a_ij >= margin - lead_ik for every other class k. Places that the
result is sure of and that nobody pointed at are guarded: what they lose of their lead costs something, too. This is a
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
    """Places at which the points' similarities are known, and which class is to lead there.

    Attributes:
        logits: (n, K) without any point.
        similarities: (n, U) to the points.
        classes: (n,) class index that is to lead.
    """

    logits: np.ndarray
    similarities: np.ndarray
    classes: np.ndarray


def fit_weights(points: Places, owners: np.ndarray, margin: float, guards: Places, price: float) -> np.ndarray:
    """(U,) weights >= 0.

    Args:
        points: The places of the U points, in order.
        owners: (U,) class index of each point.
        margin: By which a point's class leads at its place, in logits.
        guards: Places that are to stay what they are.
        price: Of a lead that a guard loses, in units of weight for 1 a guard.
    """
    count = len(owners)
    rows, needed = _leads(points, owners)
    guarded, led = _leads(guards, owners)
    floor = np.minimum(led, margin)  # a guard may lose what it has beyond the margin
    prices = np.concatenate(
        [np.ones(count), np.full(len(rows), PRICE_OF_A_POINT), np.full(len(guarded), price / max(len(guarded), 1))]
    )
    matrix = sparse.hstack(
        [sparse.csr_matrix(np.vstack([rows, guarded])), sparse.identity(len(rows) + len(guarded), format="csr")]
    )
    least = np.concatenate([margin - needed, floor - led])
    found = linprog(prices, A_ub=-matrix, b_ub=-least, bounds=(0, None), method="highs")
    if found.x is None:  # cannot be: every miss has its price
        raise ValueError(f"The weights of {count} points could not be found: {found.message}")
    return np.asarray(found.x[:count])


def _leads(places: Places, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every place and every other class: what the points add to the lead, (m, U), and the lead, (m,)."""
    rows, leads = [], []
    for k in range(places.logits.shape[1]):
        other = places.classes != k
        own = owners[None] == places.classes[other][:, None]
        rows.append((own.astype(float) - (owners == k)[None]) * places.similarities[other])
        leads.append(places.logits[other, places.classes[other]] - places.logits[other, k])
    return np.concatenate(rows), np.concatenate(leads)
