"""Evidence: numbers that can be worked out on paper."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from by_hand import evidence_for

from ProtoSegBrainLib.network.calibration import Calibration, Familiarity, Normality, RegionReliability
from ProtoSegBrainLib.network.evidence import Evidence, Neighbour, Prototype, TaughtPrototype
from ProtoSegBrainLib.records import stored

RECORD = Prototype(0, "ET", "case_1", (1.5, -2.0, 3.25), 2.0, {"t1c": 2.5}, 0.0, tuple(np.linspace(0, 4, 101)))


def test_logits_are_bias_plus_the_contributions() -> None:
    evidence = evidence_for(["background", "ET", "ET"], weight=2.0, bias=0.5)
    similarities = np.array([1.0, 3.0, 0.25], np.float32)
    contributions = evidence.contributions(similarities)
    np.testing.assert_allclose(contributions, [[2, 0, 0], [0, 0, 0], [0, 0, 0], [0, 6, 0.5]])
    np.testing.assert_allclose(contributions.sum(axis=1) + 0.5, evidence.logits(similarities), atol=1e-6)
    maps = np.repeat(similarities, 8).reshape(3, 2, 2, 2)
    np.testing.assert_allclose(evidence.logits(maps)[3], np.full((2, 2, 2), 7.0))


@pytest.mark.parametrize("similarity", ["log", "cosine"])
def test_distance_is_the_inverse_of_similarity(similarity: str) -> None:
    evidence = replace(evidence_for(["ET"]), similarity=similarity)
    distances = np.array([0, 0.01, 0.5, 2, 4.0])
    similarities = np.log((distances + 1) / (distances + 0.01)) if similarity == "log" else 1 - distances / 4
    np.testing.assert_allclose(evidence.distances(similarities), distances, atol=1e-9)


def test_beyond_its_reach_a_similarity_is_0() -> None:
    evidence = replace(evidence_for(["ET"]), reach=2.0)
    zero = np.log(3 / 2.01)
    assert evidence.largest_similarity == pytest.approx(np.log(100) - zero)
    distances = np.array([0, 0.3, 2.0])
    similarities = np.log((distances + 1) / (distances + 0.01)) - zero
    np.testing.assert_allclose(evidence.distances(similarities), distances, atol=1e-9)
    assert Evidence.from_dict(evidence.to_dict()).reach == 2.0


def test_percentile_says_how_many_true_voxels_are_less_similar() -> None:
    evidence = replace(evidence_for(["ET"]), prototypes=(RECORD,))
    assert evidence.percentile(0, 3.72) == pytest.approx(93)
    assert (evidence.percentile(0, -1), evidence.percentile(0, 9)) == (0, 100)
    assert evidence_for(["ET"]).percentile(0, 1.0) is None
    many_zeros = replace(RECORD, similarity_quantiles=(0.0,) * 50 + tuple(np.linspace(0.1, 4, 51)))
    assert replace(evidence, prototypes=(many_zeros,)).percentile(0, 0.0) == 0


def test_json_gives_it_back_to_the_last_bit(rng: np.random.Generator) -> None:
    weight = rng.random((4, 3), np.float32)
    evidence = replace(
        evidence_for(["ED", "ET", "NCR"]),
        weight=weight,
        prototypes=tuple(replace(RECORD, index=i, class_name=name) for i, name in enumerate(("ED", "ET", "NCR"))),
        calibration=Calibration((1, 2, 3, 4), 0.5),
    )
    back = Evidence.from_dict(json.loads(json.dumps(evidence.to_dict())))
    np.testing.assert_array_equal(back.weight, weight)
    assert back.weight.dtype == np.float32
    assert (back.prototypes, back.calibration) == (evidence.prototypes, evidence.calibration)
    assert back.prototype_class == evidence.prototype_class


def test_the_record_of_a_prototype_survives_json_and_old_ones_lack_a_portrait() -> None:
    full = replace(
        RECORD,
        contrast={"t1c": 2.0},
        surroundings={"ET": 0.75, "outside": 0.25},
        explained_share=0.5,
        purity=1.0,
        stability=0.9,
        neighbours=(Neighbour("case_2", (1.0, 2.0, 3.0), 0.25),),
    )
    assert stored(json.loads(json.dumps(asdict(full))), Prototype) == full
    known = ("index", "class_name", "case_id", "position_mm", "patch_size_mm", "profile", "projection_distance")
    old = {name: asdict(RECORD)[name] for name in known}
    assert stored(old, Prototype) == replace(RECORD, similarity_quantiles=())


def test_a_calibration_survives_json_and_old_ones_know_less() -> None:
    normality = Normality(("brain_ml", "noise.t1n"), (7.0, -1.0), (0.1, 0.2), ((1.0, 0.3), (0.3, 1.0)), 1.5)
    full = Calibration(
        (1.0, 2.0, 1.5, 1.25),
        minimum_et_ml=0.5,
        minimum_component_ml=1.0,
        reliability=(RegionReliability("WT", 50, 0.01, 0.3, 0.9, None, (0.5, 0.0, 0.1, 0.0, 0.2), 0.08),),
        familiarity=Familiarity(normality, None, 50),
    )
    assert stored(json.loads(json.dumps(asdict(full))), Calibration) == full
    old = {"temperature": [1.0, 1.0, 1.0, 1.0], "minimum_et_ml": 0.5}
    assert stored(old, Calibration) == Calibration(minimum_et_ml=0.5)


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="4 positive numbers"):
        Calibration((1.0, 0.0, 1.0, 1.0))


def test_the_temperature_of_the_leading_class_divides_all_logits() -> None:
    """Two classes lead a voxel each, the first of equals the third; a temperature of 2 halves the logits."""
    logits = np.log(np.array([[4, 1, 1, 1], [1, 4, 1, 1], [4, 4, 1, 1]], np.float32)).T
    before = logits.copy()
    found = Calibration(temperature=(2.0, 1.0, 0.5, 0.5)).probabilities(logits)
    np.testing.assert_allclose(found[:, 0], np.array([2, 1, 1, 1]) / 5, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], np.array([1, 4, 1, 1]) / 7, rtol=1e-6)
    np.testing.assert_allclose(found[:, 2], np.array([2, 2, 1, 1]) / 6, rtol=1e-6)
    np.testing.assert_allclose(
        Calibration(temperature=(2.0,) * 4).probabilities(logits)[:, 1], np.array([1, 2, 1, 1]) / 5
    )
    np.testing.assert_array_equal(logits, before)


def test_a_prototypes_scale_is_read_between_its_quantiles() -> None:
    record = replace(RECORD, similarity_quantiles=(0.0, 1.0, 3.0))
    assert [record.similarity_at(per_cent) for per_cent in (0, 25, 50, 75, 100)] == [0, 0.5, 1, 2, 3]
    assert replace(RECORD, similarity_quantiles=()).similarity_at(50) is None


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("weight", [[1.0], [1.0]], "weight must have the shape"),
        ("weight", [[1.0], [1.0, 2.0], [1.0], [1.0]], "rows of one length"),
        ("weight", [["x"], [1.0], [1.0], [1.0]], r"weight\[0\]\[0\]: expected a number"),
        ("bias", [0.0], "bias must have the shape"),
        ("bias", [0.0, 1e39, 0.0, 0.0], "bias holds what is not a number"),
        ("prototype_class", ["tumour"], "prototype_class is of background"),
        ("similarity", "euclid", "similarity must be log or cosine"),
        ("epsilon", 0, "epsilon must lie between"),
        ("prototype_stride", 10**9, "prototype_stride must lie between"),
        ("prototypes", [asdict(replace(RECORD, index=3))], r"prototypes\[0\]: expected index and class \(0, 'ET'\)"),
    ],
)
def test_a_wrong_part_of_it_is_named(part: str, value: object, message: str) -> None:
    content = json.loads(json.dumps(evidence_for(["ET"]).to_dict()))
    assert Evidence.from_dict(content).prototype_class == ("ET",)
    with pytest.raises(ValueError, match=message):
        Evidence.from_dict(content | {part: value})


TAUGHT = TaughtPrototype(2, "ET", (10.0, 0.0, 0.0), (0.6, 0.8), 0.1, 1.0, 5.0)


def test_a_persons_prototype_is_alike_near_by_only() -> None:
    assert TAUGHT.largest_similarity == pytest.approx(np.log(10) - np.log(2 / 1.1))
    assert TAUGHT.likeness(np.array([0.0, 1.0, 4.0])) == pytest.approx([TAUGHT.largest_similarity, 0, 0])
    places = np.array([[10.0, 0, 0], [15.0, 0, 0], [10.0, 21, 0]])
    assert TAUGHT.nearness(places) == pytest.approx([1, np.exp(-0.5), 0])
    assert TAUGHT.farthest_mm == 20
    similarity = float(TAUGHT.likeness(np.array(0.3)) * TAUGHT.nearness(places[1]))
    assert TAUGHT.distance(similarity, places[1]) == pytest.approx(0.3)


def test_a_last_layer_with_points_survives_json_and_older_ones_have_none() -> None:
    learned = evidence_for(["background", "ET"])
    evidence = replace(
        learned,
        prototype_class=("background", "ET", "ET"),
        weight=np.concatenate([learned.weight, np.ones((4, 1), np.float32)], axis=1),
        taught=(TAUGHT,),
    )
    assert evidence.n_learned == 2
    assert evidence.largest_similarity_to(2) == TAUGHT.largest_similarity
    assert evidence.largest_similarity_to(1) == evidence.largest_similarity
    again = Evidence.from_dict(json.loads(json.dumps(evidence.to_dict())))
    assert again.taught == (TAUGHT,)
    older = learned.to_dict()
    older.pop("taught", None)
    assert Evidence.from_dict(older).taught == ()


@pytest.mark.parametrize(
    "change", [{"class_name": "WT"}, {"number": 0}, {"embedding": (1.0, 1.0)}, {"sigma_mm": 0.0}, {"epsilon": 1.0}]
)
def test_what_is_no_persons_prototype_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(TAUGHT, **change)
