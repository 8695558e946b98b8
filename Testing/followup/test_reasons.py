from dataclasses import replace

import pytest
from made_up_visits import visit

from ProtoSegBrainLib.followup.reasons import LEAST_SHARE, is_one_model, reasons


def test_prototypes_that_count_for_more_and_for_less_are_named_with_their_shares():
    before, after = visit(6, 0, 0), visit(6, 5, 0, noise=1)
    found = reasons(before, after)
    by_class = {each.class_name: each for each in found}
    assert by_class["ED"].share_before == pytest.approx(1)
    assert by_class["ET"].share_before == 0
    assert by_class["ET"].share_after == pytest.approx(1 - by_class["ED"].share_after, abs=1e-6)
    assert "more of: prototype 3 (prototype 3, ET; 0% to" in by_class["ET"].sentence
    assert by_class["ED"].sentence.startswith("less of:")
    differences = [abs(each.share_after - each.share_before) for each in found]
    assert differences == sorted(differences, reverse=True)
    assert min(differences) >= LEAST_SHARE


def test_the_same_tumour_has_no_reasons():
    assert reasons(visit(), visit(noise=1)) == ()


def test_different_models_are_not_compared():
    other = visit(noise=1)
    other = replace(other, prediction=replace(other.prediction, model={**other.prediction.model, "identity": "else"}))
    assert not is_one_model([visit(), other])
    assert reasons(visit(), other) == ()
