"""What was done to a raw study: into JSON and back, and in a sentence."""

import json

import numpy as np
import pytest

from ProtoSegBrainLib.images.preparation import Move, Preparation

TURNED = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, -5.5], [0.0, 0.0, 1.0, 0.25], [0.0, 0.0, 0.0, 1.0]])


def a_preparation() -> Preparation:
    moves = {
        "t2f": Move(TURNED, 20.1234, 90.0, 0.61, 0.2, ("It may be wrong.",)),
        "t1n": Move(np.eye(4), 0.0, 0.0, 0.8, 0.8),
    }
    return Preparation("With skull, not aligned", moves, "HD-BET", 1432.04, {"t2f": '3 "AX FLAIR"'})


def test_it_comes_back_from_json_as_it_was():
    again = Preparation.from_dict(json.loads(json.dumps(a_preparation().to_dict())))
    assert again.to_dict() == a_preparation().to_dict()
    np.testing.assert_allclose(again.moves["t2f"].motion, TURNED)
    assert again.moves["t1n"].is_kept
    assert not again.moves["t2f"].is_kept


def test_the_sentence_says_what_was_moved_and_where_the_brain_comes_from():
    assert a_preparation().sentence == (
        "With skull, not aligned; FLAIR was moved by 20.1 mm and 90.0 degrees; T1 was left where it was; "
        "brain of 1432 ml: HD-BET."
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("moves"),
        lambda values: values.update(moves=3),
        lambda values: values["moves"]["t2f"].update(motion=[[1, 2], [3, 4]]),
        lambda values: values["moves"]["t2f"].update(degrees="many"),
        lambda values: values["moves"]["t2f"].pop("doubts"),
        lambda values: values.update(brain_ml=None),
        lambda values: values.update(series=["a"]),
    ],
)
def test_damage_is_one_kind_of_error(damage):
    values = a_preparation().to_dict()
    damage(values)
    with pytest.raises(ValueError, match=r"moves|motion|degrees|doubts|brain_ml|series|preparation"):
        Preparation.from_dict(values)
