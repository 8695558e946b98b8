import re
from dataclasses import replace

import pytest
from made_up_visits import motion, visit

from ProtoSegBrainLib.followup.follow import follow
from ProtoSegBrainLib.network.calibration import RegionReliability
from ProtoSegBrainLib.pictures.followup import write_followup_report
from ProtoSegBrainLib.pictures.followup_pictures import MOST_DATES, followup_pictures, shown_visits


def page(followup, tmp_path):
    return write_followup_report(followup, tmp_path / "followup.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def two():
    return follow([visit(4, 2, date="2024-03-01"), visit(6, 3, date="2024-06-01", noise=1, moved=motion())])


def test_it_says_what_the_follow_up_says(two, tmp_path):
    shown = page(two, tmp_path)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", shown))
    for sentence in two.sentences:
        assert sentence in text.replace("&#39;", "'")
    for name, change in two.regions.items():
        assert name in text
        for ml in change.volumes_ml:
            assert f"{ml:.1f} ml" in text
    assert "2024-03-01" in text
    assert "2024-06-01" in text
    assert "not for diagnosis" in text


def test_one_file_that_needs_no_other(two, tmp_path):
    shown = page(two, tmp_path)
    sources = re.findall(r'(?:src|[^:]href)="([^"]{0,30})', shown)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert [path.name for path in tmp_path.iterdir()] == ["followup.html"]


def test_dates_stand_side_by_side_in_both_modalities(two):
    pictures = followup_pictures(two)
    assert [[(each.visit[-5:-3], each.modality) for each in row] for row in pictures.rows] == [
        [("03", "t1c"), ("06", "t1c"), ("03", "t2f"), ("06", "t2f")]
    ] * 3
    assert [each.plane for row in pictures.rows for each in row[:1]] == ["Axial", "Coronal", "Sagittal"]
    (changes,) = pictures.changes
    assert [each.region for each in changes] == ["WT", "TC", "ET"]
    assert all("image" in each.picture.drawing for each in changes)


def test_a_head_that_moved_is_shown_where_the_first_one_lies(two):
    """The outlines of the same tissue fall together: without the registration they would lie 8 mm apart."""
    same = follow([visit(date="2024-03-01"), visit(date="2024-06-01", noise=1, moved=motion())])
    first, second, *_ = followup_pictures(same).rows[0]
    begins = [re.search(r'd="M([\d.]+) ([\d.]+)', each.picture.drawing).groups() for each in (first, second)]
    assert [float(n) for n in begins[1]] == pytest.approx([float(n) for n in begins[0]], abs=2.1)


def test_of_many_dates_the_first_and_the_last_are_shown(tmp_path):
    many = follow([visit(4 + n / 4, 2, date=f"2024-0{n + 1}-01", noise=n) for n in range(MOST_DATES + 2)])
    assert shown_visits(many) == [0, 3, 4, 5]
    assert "2 dates between are not shown here" in page(many, tmp_path)
    rows = followup_pictures(many).rows
    assert [len(row) for row in rows] == [4, 4, 4, 4]
    assert rows[-1][0].modality == "t2f"


def test_intervals_are_bars_and_numbers(tmp_path):
    def calibrated(made):
        evidence = made.prediction.evidence
        known = tuple(RegionReliability(name, 40, 0.01, 0.4, 0.9, None) for name in ("WT", "TC", "ET"))
        evidence = replace(evidence, calibration=replace(evidence.calibration, reliability=known))
        return replace(made, prediction=replace(made.prediction, evidence=evidence))

    found = follow([calibrated(visit()), calibrated(visit(6, 3, noise=1))])
    low, high = found.regions["WT"].intervals_ml[0]
    shown = page(found, tmp_path)
    assert f"{low:.1f} to {high:.1f}" in shown
    assert "equal" in shown


def test_names_are_escaped_and_no_tumour_is_no_error(tmp_path):
    found = follow([visit(case_id="<script>x</script>"), visit(0, 0, 0, noise=1), visit(0, 0, 0, noise=2)])
    shown = page(found, tmp_path)
    assert "<script>x" not in shown
    assert "&lt;script&gt;x" in shown
    healthy = follow([visit(0, 0, 0), visit(0, 0, 0, noise=1)])
    assert "0.0 ml" in page(healthy, tmp_path)
