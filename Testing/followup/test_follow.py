import json
from dataclasses import replace

import numpy as np
import pytest
from made_up_visits import motion, visit

from ProtoSegBrainLib.followup.change import NO_ASSESSMENT
from ProtoSegBrainLib.followup.follow import FollowConfig, follow


def test_growth_between_two_dates_in_a_head_that_moved():
    first, second = visit(4, 2, date="2024-03-01"), visit(6, 3, date="2024-06-01", noise=1, moved=motion())
    said = []
    found = follow([second, first], on_progress=lambda share, what: said.append((share, what)))
    assert [each.name for each in found.visits] == ["2024-03-01", "2024-06-01"]
    change = found.regions["WT"]
    assert change.volumes_ml == (first.prediction.volumes_ml["WT"], second.prediction.volumes_ml["WT"])
    assert {each.region for each in found.maps} == {"WT", "TC", "ET"}
    whole = next(each for each in found.maps if each.region == "WT")
    assert whole.volumes_ml["gone"] < 0.02 * change.volumes_ml[0]
    assert whole.volumes_ml["new"] == pytest.approx(change.change_ml[1], rel=0.05)
    assert found.new_foci == (0, 0)
    assert any("2024-06-01: WT: the volume has grown" in sentence for sentence in found.sentences)
    assert found.sentences[-1] == NO_ASSESSMENT
    assert "order of their dates" in found.warnings[0]
    assert said[-1] == (1.0, "Done")
    assert [share for share, _ in said] == sorted(share for share, _ in said)


def test_no_change_is_called_none():
    found = follow([visit(date="2024-03-01"), visit(date="2024-06-01", noise=1, moved=motion())])
    assert all(change.change_ml == (0, 0) for change in found.regions.values())
    assert not any(some for change in found.regions.values() for some in change.thresholds)
    assert found.reasons == ((), ())
    assert all(each.volumes_ml["new"] == each.volumes_ml["gone"] == 0 for each in found.maps)


def test_a_tumour_that_is_gone_and_comes_back():
    dates = [visit(date="2024-01-01"), visit(0, 0, 0, date="2024-02-01", noise=1), visit(date="2024-03-01", noise=2)]
    found = follow(dates)
    change = found.regions["WT"]
    assert change.volumes_ml[1] == 0
    assert change.change_percent == (0, -100, 0)
    assert change.since_nadir_percent == (0, -100, None)
    gone, back = (each for each in found.maps if each.region == "WT")
    assert (gone.earlier, gone.later, back.earlier, back.later) == (0, 1, 1, 2)
    assert gone.volumes_ml["stayed"] == back.volumes_ml["stayed"] == 0
    assert found.new_foci == (0, 0, 1)


def test_a_new_focus_apart_from_the_tumour_is_counted_but_not_one_that_grew_out_of_it():
    first, apart, beside = visit(3, 2, 0), visit(3, 2, 0, noise=1, centre=(6, 18, 11)), visit(5, 4, 0, noise=2)
    assert follow([first, apart]).new_foci == (0, 1)
    assert follow([first, beside]).new_foci == (0, 0)
    assert any("1 new enhancing part apart" in sentence for sentence in follow([first, apart]).sentences)


def test_two_patients_are_refused_unless_a_person_knows_better():
    mine, theirs = visit(case_id="mine"), visit(head=3, noise=1, case_id="theirs")
    with pytest.raises(ValueError, match=r"mine \(first\) and theirs \(second\) look like two patients.*same-patient"):
        follow([mine, theirs])
    found = follow([mine, theirs], FollowConfig(same_patient=True))
    assert any("looks like that of another patient" in warning for warning in found.warnings)


def test_different_models_and_corrections_are_said():
    other = visit(noise=1)
    model = {**other.prediction.model, "name": "older", "identity": "else"}
    found = follow([visit(), replace(other, prediction=replace(other.prediction, model=model))])
    assert any("different models (by hand, older)" in warning for warning in found.warnings)


def test_what_it_says_is_json():
    values = follow([visit(), visit(noise=1)]).to_dict()
    assert json.loads(json.dumps(values))["visits"][1]["name"] == "second"
    assert np.array(values["registrations"][1]["motion"]).shape == (4, 4)
