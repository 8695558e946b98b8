from dataclasses import replace

import pytest
from made_up_visits import visit

from ProtoSegBrainLib.followup.change import DOUBT, diameter_change, not_measurable, region_change, region_sentence
from ProtoSegBrainLib.network.calibration import RegionReliability


def at(volume, quantile=None, diameters=None):
    """A visit with this volume of WT, and what follows from that."""
    made = visit()
    reliability = () if quantile is None else (RegionReliability("WT", 40, 0.01, quantile, 0.9, None),)
    evidence = made.prediction.evidence
    evidence = replace(evidence, calibration=replace(evidence.calibration, reliability=reliability))
    prediction = replace(
        made.prediction,
        volumes_ml={**made.prediction.volumes_ml, "WT": volume},
        evidence=evidence,
        findings={"enhancing_diameters_mm": diameters},
    )
    return replace(made, prediction=prediction)


def diameters(longest, perpendicular, measurable=True):
    return {
        "longest": longest,
        "perpendicular": perpendicular,
        "product_mm2": longest * perpendicular,
        "measurable": measurable,
    }


def test_changes_in_ml_and_per_cent_against_the_first_date_and_the_nadir():
    change = region_change("WT", [at(40.0), at(10.0), at(15.0)])
    assert change.volumes_ml == (40, 10, 15)
    assert change.change_ml == (0, -30, -25)
    assert change.change_percent == (0, -75, -62.5)
    assert change.since_nadir_percent == (0, -75, 50)
    assert change.is_beyond_interval == (False, None, None)


def test_from_nothing_there_is_no_per_cent():
    change = region_change("WT", [at(0.0), at(3.0)])
    assert change.change_percent == (None, None)
    assert change.change_ml == (0, 3)
    assert change.thresholds == ((), ())
    assert "0.0 to 3.0 ml (+3.0 ml)," in region_sentence(change, 1)


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (13.99, ""),
        (14.0, "grown by 40% since its smallest value, by 40% or more: RANO 2.0's threshold of progression"),
        (3.51, ""),
        (3.5, "shrunk by 65% since the first date, by 65% or more: RANO 2.0's threshold of partial response"),
    ],
)
def test_thresholds_of_volume_are_those_of_rano(later, said):
    _, found = region_change("WT", [at(10.0), at(later)]).thresholds
    assert [said in sentence for sentence in found] == ([True] if said else [])


def test_growth_counts_from_the_nadir_and_shrinkage_from_the_first_date():
    *_, last = region_change("WT", [at(10.0), at(4.0), at(5.6)]).thresholds
    assert len(last) == 1
    assert "grown by 40%" in last[0]


@pytest.mark.parametrize(("longest", "said"), [(24.9, ""), (25.0, "grown by 25%"), (10.0, "shrunk by 50%"), (10.1, "")])
def test_thresholds_of_the_product_are_those_of_rano(longest, said):
    visits = [at(1.0, diameters=diameters(20, 10)), at(1.0, diameters=diameters(longest, 10))]
    change = diameter_change(visits)
    assert change.product_mm2 == (200, longest * 10)
    assert [said in sentence for sentence in change.thresholds[1]] == ([True] if said else [])
    assert not_measurable(change) == ""


def test_what_is_too_small_to_measure_is_said():
    change = diameter_change([at(1.0, diameters=diameters(20, 10)), at(1.0, diameters=diameters(9, 5, False))])
    assert "below 10 mm" in not_measurable(change)
    assert diameter_change([at(1.0), at(2.0)]).product_mm2 == (0, 0)
    assert diameter_change([at(1.0), at(2.0)]).change_percent == (None, None)


def test_a_change_is_beyond_the_interval_where_each_volume_lies_outside_the_other_dates_interval():
    first = at(10.0, quantile=0.5)
    inside, outside = region_change("WT", [first, at(11.0, 0.5)]), region_change("WT", [first, at(40.0, 0.5)])
    (low, high), _ = inside.intervals_ml
    assert low < 10 < 11 < high < 40
    assert inside.is_beyond_interval == (False, False)
    assert outside.is_beyond_interval == (False, True)
    assert "within what the model's interval allows" in region_sentence(inside, 1)
    assert "beyond what the model's interval allows" in region_sentence(outside, 1)


def test_a_threshold_that_is_passed_within_the_interval_is_doubted():
    """With a quantile of .5, volumes of 10 and 15 ml lie in each other's interval, 10 and 40 do not."""
    doubted = region_change("WT", [at(10.0, 0.5), at(15.0, 0.5)]).thresholds[1]
    sure = region_change("WT", [at(10.0, 0.5), at(40.0, 0.5)]).thresholds[1]
    unknown = region_change("WT", [at(10.0), at(15.0)]).thresholds[1]
    assert [DOUBT in sentence for sentence in (*doubted, *sure, *unknown)] == [True, False, False]
    after_the_nadir = region_change("WT", [at(40.0, 0.5), at(10.0, 0.5), at(15.0, 0.5)]).thresholds
    assert DOUBT not in after_the_nadir[1][0]
    assert DOUBT in after_the_nadir[2][0]
