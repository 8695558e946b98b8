import datetime
from dataclasses import replace

import pytest
from made_up_visits import visit

from ProtoSegBrainLib.followup.visit import Visit, date_of, in_order, parse_date


def names(visits):
    return [each.name for each in visits]


def test_dates_put_scans_into_order_and_a_sentence_says_so():
    later, earlier = visit(date="2024-05-01", noise=1), visit(date="2024-03-01")
    ordered, said = in_order([later, earlier])
    assert names(ordered) == ["2024-03-01", "2024-05-01"]
    assert said == ("The scans were put into the order of their dates.",)
    assert in_order([earlier, later])[1] == ()


def test_scans_without_dates_are_taken_as_they_come():
    ordered, said = in_order([visit(noise=n) for n in range(11)])
    assert names(ordered)[:3] == ["first", "second", "third"]
    assert names(ordered)[10] == "11th"
    assert "no dates" in said[0]


@pytest.mark.parametrize(
    ("visits", "sentence"),
    [
        ([visit()], "at least two dates; got 1"),
        ([visit(date="2024-03-01"), visit(noise=1, case_id="undated")], "There is no date for undated"),
        ([visit(date="2024-03-01"), visit(date="2024-03-01", noise=1)], "Two scans are dated 2024-03-01"),
        ([visit(case_id="one"), visit(case_id="other")], "one and other are the same scan"),
    ],
)
def test_what_makes_no_order_is_refused(visits, sentence):
    with pytest.raises(ValueError, match=sentence):
        in_order(visits)


def test_a_result_of_other_images_is_refused():
    made = visit()
    wrong = replace(made.prediction, label=made.prediction.label[1:])
    with pytest.raises(ValueError, match="give the result of these images"):
        Visit(made.case, wrong)


@pytest.mark.parametrize("text", ["2024-03-01", "20240301", " 2024-03-01 "])
def test_days_are_read_as_people_type_them(text):
    assert parse_date(text) == datetime.date(2024, 3, 1)


@pytest.mark.parametrize("text", ["01.03.2024", "2024-02-30", "spring"])
def test_what_is_no_day_is_named(text):
    with pytest.raises(ValueError, match="expected a date such as 2024-03-01; got"):
        parse_date(text)


def test_files_without_a_date_have_none():
    assert date_of(visit().case) is None
