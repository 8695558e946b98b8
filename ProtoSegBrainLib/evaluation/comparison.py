"""What scores per case say of a network, and of two: intervals and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
FEWEST_PAIRS = 6
"""With five pairs the smallest two-sided p of the Wilcoxon test is 1/16: it could not fall below .05."""


@dataclass(frozen=True)
class Estimate:
    """One score over the cases.

    Attributes:
        n: Cases.
        mean: Their mean.
        median: Their median.
        low: Lower end of the 95 % interval of the mean; NaN for fewer than two cases.
        high: Its upper end.
    """

    n: int
    mean: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One score of a network minus that of the reference, case by case.

    Attributes:
        estimate: Over the differences.
        p: Two-sided Wilcoxon signed-rank test; 1 where no case differs, NaN where fewer than six do.
    """

    estimate: Estimate
    p: float


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, median and the percentile bootstrap interval of the mean (Efron 1979), the same in every call.

    Raises:
        ValueError: There is no value, or one is not a number.
    """
    scores = np.asarray(values, float)
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"Expected the scores of one case or more, all of them numbers; got {list(values)[:5]}.")
    low, high = _interval(scores) if scores.size > 1 else (nan, nan)
    return Estimate(scores.size, float(scores.mean()), float(np.median(scores)), low, high)


def difference(values: Sequence[float], reference: Sequence[float]) -> Difference:
    """Compare the scores of the same cases in the same order.

    Raises:
        ValueError: Their numbers differ; or as ``estimate``.
    """
    from scipy.stats import wilcoxon  # takes a second to import

    if len(values) != len(reference):
        raise ValueError(f"Expected the same cases on both sides; got {len(values)} and {len(reference)} scores.")
    differences = np.asarray(values, float) - np.asarray(reference, float)
    n_different = np.count_nonzero(differences)
    p = nan if n_different else 1.0
    if n_different >= FEWEST_PAIRS:
        p = float(wilcoxon(differences).pvalue)
    return Difference(estimate(differences.tolist()), p)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
