import numpy as np
import pytest

from ProtoSegBrainLib.images.volume import Volume, resample
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case
from ProtoSegBrainLib.simulation.two_dates import TwoDatesConfig, simulate_two_dates

SHAPE = (120, 120, 78)
"""Half the size of the BraTS grid: half of the head, in mm."""


@pytest.fixture(scope="module")
def grown():
    return simulate_two_dates(1, SHAPE, TwoDatesConfig(growth=2.0))


def back(dates):
    """Images and label of the later date where the earlier head lies."""
    affine = dates.motion @ dates.later.affine
    grid = (SHAPE, dates.earlier.affine)
    images = [resample(Volume(image, affine), *grid, order=1).array for image in dates.later.images]
    label = resample(Volume(dates.later.label, affine), *grid, order=0).array
    return np.stack(images), label


def test_the_earlier_date_is_that_of_simulate_case(grown):
    assert np.array_equal(grown.earlier.images, simulate_case(1, SHAPE).images)
    assert grown.later.case_id == "simulated_1_later"
    assert "no patient" in grown.later.warnings[0]


@pytest.mark.parametrize(("growth", "low", "high"), [(2.0, 1.6, 2.6), (0.5, 0.35, 0.65), (1.0, 1.0, 1.0)])
def test_the_tumour_changes_by_what_was_asked(growth, low, high):
    dates = simulate_two_dates(2, SHAPE, TwoDatesConfig(growth=growth))
    for name in ("WT", "TC"):
        before, after = dates.volumes_ml[name]
        assert low <= after / before <= high, name
    _, label = back(dates)
    assert np.count_nonzero(label) == pytest.approx(dates.volumes_ml["WT"][1] * 1000, rel=0.02)


def test_the_head_lies_where_the_motion_says(grown):
    assert np.linalg.norm(grown.motion[:3, :3] @ grown.motion[:3, :3].T - np.eye(3)) < 1e-6
    assert np.degrees(np.arccos((np.trace(grown.motion[:3, :3]) - 1) / 2)) >= 4
    images, label = back(grown)
    healthy = (grown.earlier.label == 0) & (label == 0) & (grown.earlier.images[0] > 0) & (images[0] > 0)
    assert np.corrcoef(grown.earlier.images[0][healthy], images[0][healthy])[0, 1] > 0.8  # T1 has the most contrast
    apart = grown.later.images[0][grown.earlier.images[0] > 0]
    assert np.corrcoef(grown.earlier.images[0][grown.earlier.images[0] > 0], apart)[0, 1] < 0.8


def test_noise_and_scale_are_others(grown):
    same = simulate_two_dates(1, SHAPE, TwoDatesConfig(growth=2.0))
    assert np.array_equal(same.later.images, grown.later.images)
    other = simulate_two_dates(3, SHAPE, TwoDatesConfig(growth=1.0, degrees=0.0, shift_mm=0.0))
    inside = (other.earlier.images[0] > 0) & (other.later.images[0] > 0)
    assert np.count_nonzero(inside) > 0.97 * np.count_nonzero(other.earlier.images[0])
    assert not np.allclose(other.earlier.images[0][inside], other.later.images[0][inside], rtol=0.01)
    assert (other.earlier.label != other.later.label).mean() < 0.002


def test_a_healthy_brain_has_two_dates_without_a_tumour():
    dates = simulate_two_dates(1, (60, 60, 40), TwoDatesConfig(simulation=SimulationConfig(tumour=None)))
    assert dates.volumes_ml == {"WT": (0, 0), "TC": (0, 0), "ET": (0, 0)}
    assert not dates.later.label.any()


def test_what_is_no_growth_is_refused():
    with pytest.raises(ValueError, match="growth: expected a number above 0, got 0"):
        TwoDatesConfig(growth=0)
