"""What four images are: stripped or not, aligned or not."""

import numpy as np
from phantom import AFFINE, phantom

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.preparation.look import look_at


def volumes(**changed: Volume) -> dict[str, Volume]:
    return {role: Volume(array, AFFINE) for role, array in phantom().items()} | changed


def with_background(role: str) -> Volume:
    return Volume(phantom()[role] + np.int16(7), AFFINE)


def test_a_stripped_and_aligned_case_is_ready():
    look = look_at(volumes())
    assert look.is_ready
    assert look.sentence == "Skull-stripped, aligned"
    assert not look.skull_sentences
    assert not look.brain_sentences


def test_what_has_no_zero_background_has_a_skull():
    look = look_at({role: with_background(role) for role in phantom()})
    assert set(look.with_skull) == set(phantom())
    assert not look.is_ready
    assert look.sentence.startswith("With skull, ")


def test_one_image_with_skull_is_named():
    look = look_at(volumes(t2w=with_background("t2w")))
    assert look.with_skull == ("t2w",)
    assert look.sentence.startswith("T2 with skull")
    assert "T2" in look.skull_sentences[0]


def test_a_head_in_air_of_zeros_is_no_brain():
    """As scanners give it that set air to 0: much of the field of view is 0, and yet nothing was stripped."""
    affine = AFFINE @ np.diag([3.0, 3.0, 3.0, 1.0])
    look = look_at({role: Volume(array, affine) for role, array in phantom().items()})
    assert set(look.with_skull) == set(phantom())
    assert "ml are not zero" in look.skull_sentences[0]


def test_a_stripped_image_that_lies_elsewhere_is_seen():
    moved = AFFINE.copy()
    moved[:3, 3] += [0, 14, 0]
    look = look_at(volumes(t2f=Volume(phantom()["t2f"], moved)))
    assert look.are_apart
    assert not look.with_skull
    assert look.sentence == "Skull-stripped, not aligned"
    assert any("FLAIR" in sentence for sentence in look.brain_sentences)
