"""Intervals and paired differences, against numbers that are known."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy import stats

from ProtoSegBrainLib.evaluation.comparison import difference, estimate


def test_estimate_of_known_scores(rng: np.random.Generator) -> None:
    scores = rng.normal(0.8, 0.1, 40)
    found = estimate(scores.tolist())
    assert (found.n, found.mean, found.median) == (40, pytest.approx(scores.mean()), pytest.approx(np.median(scores)))
    # For scores as regular as these, the bootstrap agrees with the interval of the normal distribution.
    half = 1.96 * scores.std() / 40**0.5
    assert (found.low, found.high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.005)
    assert estimate(scores.tolist()) == found


def test_the_interval_covers_the_truth_about_as_often_as_it_says(rng: np.random.Generator) -> None:
    found = [estimate(rng.normal(0, 1, 30).tolist()) for _ in range(100)]
    assert 87 <= sum(each.low < 0 < each.high for each in found) <= 99


def test_one_case_has_no_interval() -> None:
    found = estimate([0.5])
    assert (found.n, found.mean, found.median) == (1, 0.5, 0.5)
    assert isnan(found.low)
    assert isnan(found.high)
    assert estimate([0.5, 0.5]).low == estimate([0.5, 0.5]).high == 0.5


@pytest.mark.parametrize("scores", [[], [0.1, float("nan")]])
def test_no_score_or_no_number_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="Expected the scores of one case or more"):
        estimate(scores)


def test_paired_difference(rng: np.random.Generator) -> None:
    ours = rng.uniform(0.5, 0.9, 20)
    theirs = ours - 0.05 + rng.normal(0, 0.02, 20)
    found = difference(theirs.tolist(), ours.tolist())
    assert found.estimate.mean == pytest.approx((theirs - ours).mean())
    assert found.estimate.high < 0
    assert found.p == pytest.approx(stats.wilcoxon(theirs, ours).pvalue)
    assert found.p < 0.001
    # Pairing is what finds it: the difference is small against the spread of the cases.
    assert stats.mannwhitneyu(theirs, ours).pvalue > found.p


def test_six_pairs_that_all_differ_one_way_have_the_smallest_p_there_is() -> None:
    found = difference([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 0, 0, 0, 0, 0])
    assert found.p == pytest.approx(2 / 2**6)


def test_too_few_pairs_for_a_test() -> None:
    assert isnan(difference([0.1, 0.2, 0.3, 0.4, 0.5], [0, 0, 0, 0, 0]).p)
    assert isnan(difference([1.0] * 8 + [0.5], [1.0] * 9).p)  # only one of nine differs


def test_networks_that_agree_everywhere_do_not_differ() -> None:
    found = difference([0.5, 0.7, 0.9], [0.5, 0.7, 0.9])
    assert (found.p, found.estimate.mean, found.estimate.low, found.estimate.high) == (1, 0, 0, 0)


def test_other_numbers_of_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 3 scores"):
        difference([1, 2], [1, 2, 3])
