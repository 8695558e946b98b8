"""Exchanged modalities, found in a simulated case and in real ones."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ProtoSegBrainLib.checking.recognition import class_ranks, modality_order
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.network.calibration import Normality
from ProtoSegBrainLib.network.weights import BUNDLED, read_card
from ProtoSegBrainLib.result.familiarity import exchanged, look_of
from ProtoSegBrainLib.simulation.simulate import simulate_case

PAIRS = list(itertools.combinations(range(4), 2))


@pytest.fixture(scope="module")
def prepared():
    return prepare(simulate_case(1, shape=(96, 96, 64)))


def normality_at(look, deviation=0.2):
    """Looks spread around this one, each measure by itself."""
    names = tuple(name for name in look if name.startswith(("asymmetry", "correlation")))
    independent = tuple(map(tuple, np.eye(len(names))))
    return Normality(names, tuple(look[n] for n in names), (deviation,) * len(names), independent, 1.0)


def exchanged_order(first, second):
    order = list(range(4))
    order[first], order[second] = second, first
    return order


def exchange(prepared, first, second):
    return replace(prepared, images=prepared.images[exchanged_order(first, second)])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_pair_of_exchanged_modalities_is_named(prepared, first, second):
    reference = normality_at(look_of(prepared.images))
    wrong = exchange(prepared, first, second)
    names = MODALITIES[first], MODALITIES[second]
    for ranks in (class_ranks(wrong), np.full((4, 4), np.nan)):
        assert modality_order(look_of(wrong.images), ranks, reference) == dict([names, names[::-1]])
    assert modality_order(look_of(prepared.images), class_ranks(prepared), reference) == {}


def test_three_modalities_in_a_ring_are_named(prepared):
    reference = normality_at(look_of(prepared.images))
    wrong = replace(prepared, images=prepared.images[[2, 0, 1, 3]])  # T2 goes by T1, T1 by T1ce, T1ce by T2
    assert modality_order(look_of(wrong.images), class_ranks(wrong), reference) == {
        "t1n": "t2w", "t1c": "t1n", "t2w": "t1c",
    }  # fmt: skip


def test_the_label_decides_between_t1_and_t1ce_where_their_contrasts_are_alike(prepared):
    """A reference that knows the two only as equal leaves it to the enhancing tumour."""
    look = look_of(prepared.images)
    reference = normality_at(look, deviation=1e3)
    wrong = exchange(prepared, 0, 1)
    assert modality_order(look_of(wrong.images), class_ranks(wrong), reference) == {"t1n": "t1c", "t1c": "t1n"}
    assert modality_order(look_of(wrong.images), np.full((4, 4), np.nan), reference) == {}
    assert modality_order(look, class_ranks(prepared), reference) == {}


def test_ranks_run_from_the_darkest_to_the_brightest_of_the_brain(prepared):
    images = np.zeros_like(prepared.images)
    images[:] = np.array([0.5, -3, 2, 5], np.float32)[prepared.label] * prepared.brain
    ranks = class_ranks(replace(prepared, images=images))
    share = (
        np.bincount(prepared.label[::2, ::2, ::2][prepared.brain[::2, ::2, ::2]]) / prepared.brain[::2, ::2, ::2].sum()
    )
    assert ranks == pytest.approx(np.tile([share[1], 0, share[0] + share[1], 1 - share[3]], (4, 1)))
    assert np.isnan(class_ranks(replace(prepared, label=None))).all()


def test_real_cases_are_in_order_and_nearly_every_exchange_is_found(real_data):
    reference = read_card(BUNDLED).calibration.familiarity.look
    found = []
    for case in list_cases(real_data / "brats")[::25]:
        prepared = prepare(read_case(case))
        look, ranks = look_of(prepared.images), class_ranks(prepared)
        assert modality_order(look, ranks, reference) == {}
        for first, second in PAIRS:
            order = exchanged_order(first, second)
            swap = {MODALITIES[first]: MODALITIES[second], MODALITIES[second]: MODALITIES[first]}
            moved = modality_order(
                exchanged(look, dict(zip(MODALITIES, MODALITIES, strict=True)) | swap), ranks[order], reference
            )
            found.append(moved == swap)
    assert np.mean(found) >= 0.9
