"""Contributions and shares: numbers that can be worked out on paper, and sums over whole brains."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for, upsampled, without_prototypes

from ProtoSegBrainLib.explanation.explain import all_region_shares, explain, explain_voxel, region_shares
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.result.prediction import Prediction

FOUR = ("background", "ED", "ET", "ET")
# Turned about z, flipped along y, 1 x 1.5 x 3 mm, shifted.
COS, SIN = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
OBLIQUE = np.array([[COS, 1.5 * SIN, 0, -30], [SIN, -1.5 * COS, 0, 44.5], [0, 0, 3, 7], [0, 0, 0, 1.0]])


@pytest.fixture
def two_prototypes() -> Prediction:
    """Background is everywhere 1 similar; ET 0.5, but 3 in one corner voxel of the prototype grid."""
    maps = np.stack([np.full((3, 3, 3), 1.0), np.full((3, 3, 3), 0.5)])
    maps[1, 0, 0, 0] = 3
    evidence = evidence_for(["background", "ET"], weight=2.0, bias=0.5)
    quantiles = tuple(np.linspace(0, 4, 101))
    records = tuple(
        Prototype(index, name, "case_1", (0, 0, 0), 2.0, {}, 0.0, quantiles)
        for index, name in enumerate(evidence.prototype_class)
    )
    return prediction_for(maps, replace(evidence, prototypes=records))


@pytest.fixture
def random_maps(rng: np.random.Generator) -> Prediction:
    """Four prototypes, all classes somewhere, on an oblique grid; the outer voxels lie outside the brain."""
    brain = np.zeros((10, 8, 12), bool)
    brain[1:-1, 1:-1, 1:-1] = True
    maps = rng.uniform(0.2, 4.6, (4, 5, 4, 6))
    evidence = evidence_for(FOUR, weight=1.5, bias=-0.25)
    evidence.weight[3] /= 2  # there are two of them
    return prediction_for(maps, evidence, OBLIQUE, brain)


def test_a_voxel_on_paper(two_prototypes: Prediction) -> None:
    explanation = explain(two_prototypes, (0.5, 0.5, 0.5))  # centre of the corner voxel of the prototype grid
    assert explanation.logits == pytest.approx({"background": 2.5, "NCR": 0.5, "ED": 0.5, "ET": 6.5})
    assert explanation.bias == dict.fromkeys(CLASSES, 0.5)
    assert (explanation.class_name, explanation.inside_brain) == ("ET", True)
    first, second = explanation.contributions
    assert (first.prototype, first.class_name, first.weight) == (1, "ET", 2)
    assert (first.similarity, first.contribution) == (pytest.approx(3), pytest.approx(6))
    assert np.log((first.distance + 1) / (first.distance + 0.01)) == pytest.approx(3)
    assert (first.percentile, second.percentile) == (pytest.approx(75), pytest.approx(25))
    assert (second.prototype, second.class_name, second.contribution) == (0, "background", pytest.approx(2))
    # The nearest voxel is (0, 0, 0): its similarity is that of the corner, as no centre lies beyond it.
    others = np.exp([2.5, 0.5, 0.5, 6.5])
    assert list(explanation.probabilities.values()) == pytest.approx(list(others / others.sum()), rel=1e-5)


def test_between_two_voxels_the_similarity_is_their_mean(two_prototypes: Prediction) -> None:
    found = {c.prototype: c.similarity for c in explain(two_prototypes, (1.5, 0.5, 0.5)).contributions}
    assert found == {0: pytest.approx(1), 1: pytest.approx(1.75)}
    # At the centre of voxel (1, 0, 0) three quarters belong to the corner.
    assert explain_voxel(two_prototypes, (1, 0, 0)).contributions[0].similarity == pytest.approx(0.75 * 3 + 0.25 * 0.5)


def test_contributions_sum_to_the_logit_on_and_between_the_prototypes_grid(random_maps: Prediction) -> None:
    on_grid = random_maps.evidence.logits(random_maps.similarities)
    for voxel in np.ndindex(5, 4, 6):
        explanation = explain(random_maps, (random_maps.similarity_affine @ [*voxel, 1])[:3])
        check_sums(explanation, on_grid[(slice(None), *voxel)])
    between = upsampled(on_grid)
    for voxel in np.ndindex(10, 8, 12):
        check_sums(explain_voxel(random_maps, voxel), between[(slice(None), *voxel)])


def check_sums(explanation: object, logits: np.ndarray) -> None:
    for name, logit in zip(CLASSES, logits, strict=True):
        parts = [c.contribution for c in explanation.contributions if c.class_name == name]  # type: ignore[attr-defined]
        total = explanation.bias[name] + sum(parts)  # type: ignore[attr-defined]
        assert total == pytest.approx(logit, abs=1e-5)
        assert explanation.logits[name] == pytest.approx(total, abs=1e-9)  # type: ignore[attr-defined]


def test_a_point_and_the_voxel_it_is_the_centre_of_are_explained_alike(random_maps: Prediction) -> None:
    point = explain(random_maps, (OBLIQUE @ [7, 2, 9, 1])[:3])
    voxel = explain_voxel(random_maps, (7, 2, 9))
    assert point.position_mm == pytest.approx(voxel.position_mm)
    assert point.class_name == voxel.class_name == CLASSES[random_maps.label[7, 2, 9]]
    assert point.logits == pytest.approx(voxel.logits)
    assert voxel.probabilities == pytest.approx(dict(zip(CLASSES, random_maps.probabilities[:, 7, 2, 9], strict=True)))


def test_outside_the_brain_it_is_background_and_outside_the_image_an_error(random_maps: Prediction) -> None:
    explanation = explain_voxel(random_maps, (0, 4, 4))
    assert (explanation.inside_brain, explanation.class_name) == (False, "background")
    assert explanation.contributions
    assert explain(random_maps, (OBLIQUE @ [-0.5, 0, 0, 1])[:3])  # the rim belongs to the image
    with pytest.raises(ValueError, match="outside the image of case by_hand"):
        explain(random_maps, (OBLIQUE @ [-0.6, 0, 0, 1])[:3])
    with pytest.raises(ValueError, match="10 x 8 x 12"):
        explain_voxel(random_maps, (10, 0, 0))
    with pytest.raises(ValueError, match="three whole numbers"):
        explain_voxel(random_maps, (1.5, 0, 0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="three numbers"):
        explain(random_maps, (1, np.nan, 0))


def test_a_prototype_that_speaks_for_several_classes_is_listed_for_each(two_prototypes: Prediction) -> None:
    weight = two_prototypes.evidence.weight.copy()
    weight[2, 1] = -0.5
    changed = replace(two_prototypes, evidence=replace(two_prototypes.evidence, weight=weight))
    listed = [(c.prototype, c.class_name, c.contribution) for c in explain(changed, (0.5, 0.5, 0.5)).contributions]
    assert listed == [(1, "ET", pytest.approx(6)), (0, "background", pytest.approx(2)), (1, "ED", pytest.approx(-1.5))]


def test_json_has_the_agreed_names(two_prototypes: Prediction) -> None:
    content = json.loads(json.dumps(explain_voxel(two_prototypes, (0, 0, 0)).to_dict()))
    assert {"logits", "bias", "probabilities", "contributions", "class", "inside_brain"} <= set(content)
    names = {"prototype", "class", "distance", "similarity", "percentile", "weight", "contribution"}
    assert set(content["contributions"][0]) == names


def test_shares_on_paper(two_prototypes: Prediction) -> None:
    # Twice the ET prototype, the second three times as strong: shares 1 to 3, wherever the region lies.
    evidence = evidence_for(["background", "ET", "ET"])
    maps = np.concatenate([two_prototypes.similarities, 3 * two_prototypes.similarities[1:]])
    prediction = prediction_for(maps, evidence)
    assert (prediction.label == 3).any()
    for region in ("ET", "TC", "WT"):
        assert region_shares(prediction, region) == {2: pytest.approx(0.75), 1: pytest.approx(0.25)}
    assert region_shares(prediction, "ED") == {}
    with pytest.raises(ValueError, match="WT, TC, ET"):
        region_shares(prediction, "liver")


def test_shares_are_the_sums_of_what_is_listed_for_the_voxels(random_maps: Prediction) -> None:
    assert {0, 2, 3} <= set(np.unique(random_maps.label))
    for region, members in (("WT", (1, 2, 3)), ("ED", (2,)), ("ET", (3,))):
        sums = np.zeros(len(FOUR))
        for voxel in np.argwhere(np.isin(random_maps.label, members)):
            explanation = explain_voxel(random_maps, voxel)
            for entry in explanation.contributions:
                if entry.class_name == explanation.class_name:
                    sums[entry.prototype] += entry.contribution
        shares = region_shares(random_maps, region)
        expected = {index: pytest.approx(value, rel=1e-5) for index, value in enumerate(sums / sums.sum()) if value}
        assert shares == expected
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert all_region_shares(random_maps)[region] == pytest.approx(shares)


def test_without_prototypes_there_is_no_why(two_prototypes: Prediction) -> None:
    mute = without_prototypes(two_prototypes)
    sentence = r"This model \(mute\) has no prototypes, so it cannot say why\."
    with pytest.raises(ValueError, match=sentence):
        explain(mute, (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match=sentence):
        explain_voxel(mute, (1, 0, 0))
    assert (mute.label == 3).any()
    assert all_region_shares(mute) == {name: {} for name in ("WT", "TC", "ET", "NCR", "ED")}
