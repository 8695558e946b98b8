import numpy as np
import pytest

from ProtoSegBrainLib.correction.fit import Places, fit_weights


def test_one_point_leads_by_the_margin_and_no_more():
    """ET lags behind background by 3; with a similarity of 2 it takes (4 + 3) / 2."""
    points = Places(np.array([[3.0, -1.0, 0.0, 0.0]]), np.array([[2.0]]), np.array([3]))
    assert fit_weights(points, margin=4.0) == pytest.approx([3.5])


def test_a_point_that_is_right_already_weighs_nothing():
    points = Places(np.array([[0.0, 0.0, 0.0, 9.0]]), np.array([[2.0]]), np.array([3]))
    assert fit_weights(points, margin=4.0) == pytest.approx([0.0], abs=1e-9)


def test_points_of_one_class_share_the_work():
    """Either alone would need 2; together they lead where both lie."""
    logits = np.array([[0.0, -9, -9, 0.0], [0.0, -9, -9, 0.0]])
    points = Places(logits, np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([3, 3]))
    weights = fit_weights(points, margin=4.0)
    leads = points.similarities @ weights
    assert leads == pytest.approx([4, 4])
    assert weights.sum() == pytest.approx(8 / 3)


def test_points_that_contradict_each_other_are_weighed_against_each_other():
    logits = np.zeros((2, 4))
    points = Places(logits, np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([3, 0]))
    et, background = fit_weights(points, margin=4.0)
    assert 2 * et - background == pytest.approx(4)
    assert 2 * background - et == pytest.approx(4)


def test_what_cannot_be_had_is_paid_for_and_not_infinite():
    points = Places(np.zeros((2, 4)), np.ones((2, 2)), np.array([3, 0]))
    assert np.isfinite(fit_weights(points, margin=4.0)).all()
