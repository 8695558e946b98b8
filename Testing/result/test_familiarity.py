"""Familiarity: measures of images of a few voxels, distances of points on paper, and what must be flagged."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for, without_prototypes

from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.network.calibration import Calibration, Familiarity, Normality
from ProtoSegBrainLib.records import stored
from ProtoSegBrainLib.result.familiarity import (
    assess,
    fit_familiarity,
    fit_normality,
    judge,
    likeness_of,
    look_of,
    unusualness,
)
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case

INDEPENDENT = Normality(("asymmetry.t1n", "asymmetry.t1c"), (0.0, 0.5), (0.1, 0.2), ((1.0, 0.0), (0.0, 1.0)), 2.0)
LIKENESS = {
    "distance.brain.50": 0.05,
    "distance.brain.90": 0.1,
    "distance.tumour.50": 0.1,
    "tumour_share": 0.06,
    "tumour_certainty": 0.9,
}


@pytest.fixture(scope="module")
def looks() -> list[dict[str, float]]:
    """Of twelve small simulated cases."""
    return [look_of(images_of(seed)) for seed in range(12)]


def images_of(seed: int, tumour: str | None = "high_grade") -> np.ndarray:
    return prepare(simulate_case(seed, (64, 64, 48), SimulationConfig(tumour=tumour))).images


def some_likenesses(count: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(1)
    return [{name: value * np.exp(rng.normal(0, 0.1)) for name, value in LIKENESS.items()} for _ in range(count)]


def test_look_by_hand() -> None:
    """T1 is a ramp, T1ce its negative, T2 a constant, FLAIR empty."""
    ramp = np.arange(1, 33, dtype=np.float32)[:, None, None] * np.ones((32, 8, 8), np.float32)
    look = look_of(np.stack([ramp, -ramp, np.ones_like(ramp), np.zeros_like(ramp)]))
    assert look["brain_ml"] == pytest.approx(32 * 8 * 8 / 1000)
    assert look["correlation.t1n.t1c"] == pytest.approx(-1, abs=1e-5)
    assert look["correlation.t1n.t2w"] == look["correlation.t2w.t2f"] == 0
    assert (look["missing.t2w"], look["missing.t2f"]) == (0, 1)
    assert [look[f"noise.{name}"] for name in ("t1n", "t2w", "t2f")] == [0, 0, 0]
    assert look["asymmetry.t1n"] == pytest.approx(0, abs=1e-6)


def test_noise_and_asymmetry_by_hand() -> None:
    """1, 3, 1, 3, ...: |2 * 3 - 1 - 1| = 4 everywhere. Nine tenths 1, one tenth 5: (5 + 1 - 2) / 4 = 1."""
    comb = np.where(np.arange(20) % 2, 3.0, 1.0)[:, None, None] * np.ones((20, 4, 4))
    skewed = np.where(np.arange(20) < 18, 1.0, 5.0)[:, None, None] * np.ones((20, 4, 4))
    look = look_of(np.stack([comb, skewed, -skewed, comb]).astype(np.float32))
    assert look["noise.t1n"] == 4
    assert look["asymmetry.t1c"] == 1
    assert look["asymmetry.t2w"] == -1


def test_likeness_by_hand() -> None:
    """Four prototype voxels of 2 mm: one outside the brain, two healthy, one tumour, on an anisotropic flipped grid."""
    distance = Volume(np.array([9.0, 0.1, 0.2, 0.5]).reshape(4, 1, 1), np.diag([2.0, 2, 2, 1]))
    flipped = np.diag([-2.0, 4, 2, 1])
    flipped[0, 3] = 6
    label = Volume(np.array([3, 0, 0, 0], np.uint8).reshape(4, 1, 1), flipped)
    background = Volume(np.array([0.25, 0.9, 0.9, 1.0], np.float32).reshape(4, 1, 1), flipped)
    found = likeness_of(distance, label, background)
    assert found == pytest.approx(
        {
            "distance.brain.50": 0.2,
            "distance.brain.90": 0.44,
            "distance.tumour.50": 0.5,
            "tumour_share": 1 / 3,
            "tumour_certainty": 0.75,
        }
    )
    nothing = likeness_of(distance, Volume(np.zeros((4, 1, 1), np.uint8), flipped), background)
    assert (nothing["tumour_share"], nothing["tumour_certainty"]) == (0, 1)


def test_unusualness_by_hand() -> None:
    """Three and four deviations: sqrt((9 + 16) / 2) / 2."""
    measured = {"asymmetry.t1n": 0.3, "asymmetry.t1c": -0.3}
    assert unusualness(INDEPENDENT, measured) == pytest.approx(np.sqrt(12.5) / 2)


def test_measures_that_go_together_make_a_deviation_from_it_unusual() -> None:
    """Correlation 0.8, both one deviation up: 2 / 1.8; one up, one down: 2 / 0.2."""
    related = replace(INDEPENDENT, correlation=((1.0, 0.8), (0.8, 1.0)), limit=1.0)
    together = unusualness(related, {"asymmetry.t1n": 0.1, "asymmetry.t1c": 0.7})
    against = unusualness(related, {"asymmetry.t1n": 0.1, "asymmetry.t1c": 0.3})
    assert together**2 * 2 == pytest.approx(2 / 1.8)
    assert against**2 * 2 == pytest.approx(2 / 0.2)


def test_only_the_harmful_side_counts() -> None:
    normal = Normality(("distance.brain.50", "tumour_share"), (np.log(0.1), np.log(0.1)), (1, 1), ((1, 0), (0, 1)), 1)
    assert unusualness(normal, {"distance.brain.50": 0.01, "tumour_share": 0.5}) == 0
    assert unusualness(normal, {"distance.brain.50": 0.1 * np.e, "tumour_share": 0.1}) == pytest.approx(np.sqrt(0.5))
    assert unusualness(normal, {"distance.brain.50": 0.1, "tumour_share": 0.1 / np.e}) == pytest.approx(np.sqrt(0.5))


def test_the_limit_is_the_largest_distance_of_few_cases() -> None:
    """-0.1, -0.08, ... 0.1 have a standard deviation of sqrt(0.004); from them 0.5 lies 0.5 / sqrt(0.004) away."""
    cases = [{"asymmetry.t1n": x} for x in (*np.linspace(-0.1, 0.1, 11), 0.5)]
    assert fit_normality(cases).limit == pytest.approx(0.5 / np.sqrt(0.004), abs=1e-3)


def test_cases_like_the_others_are_not_flagged(looks: list[dict[str, float]]) -> None:
    known = fit_familiarity(looks, some_likenesses(12))
    new = [judge(known, look_of(images_of(seed)), LIKENESS) for seed in (20, 21, 22)]
    assert [answer["flag"] for answer in new] == [False] * 3
    assert "held against 12" in new[0]["sentence"]


def missing(images: np.ndarray) -> np.ndarray:
    return images * np.array([1, 0, 1, 1], np.float32)[:, None, None, None]


def noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(images.shape)
    return ((images + noise) * (images != 0).any(axis=0) / np.sqrt(2)).astype(np.float32)


def with_skull(images: np.ndarray) -> np.ndarray:
    wide = np.pad(images, [(0, 0), *[(6, 6)] * 3])
    rim = (wide == 0).all(axis=0)
    return np.where(rim, np.random.default_rng(0).normal(2, 1, wide.shape), wide).astype(np.float32)


def test_several_modalities_that_are_noisy_are_one_reason(looks: list[dict[str, float]]) -> None:
    known = fit_familiarity(looks, some_likenesses(12))
    sentence = judge(known, look_of(noisy(images_of(20))), LIKENESS)["sentence"]
    assert "T1, T1ce, T2 and FLAIR are unusually noisy" in sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[[2, 3, 0, 1]], "T1, T1ce, T2 and FLAIR seem to be exchanged"),
        (lambda x: x[[0, 1, 3, 2]], "T2 and FLAIR seem to be exchanged"),
        (missing, "T1ce is empty in 100% of the brain"),
        (noisy, "noisy"),
        (with_skull, "was the skull removed?"),
        (lambda x: -x, "inverted"),
    ],
    ids=["shuffled", "two exchanged", "missing", "noise", "skull", "inverted"],
)
def test_a_changed_scan_is_flagged_and_the_sentence_says_why(looks: list[dict[str, float]], change, words: str) -> None:
    known = fit_familiarity(looks, some_likenesses(12))
    answer = judge(known, look_of(change(images_of(20))), LIKENESS)
    assert answer["flag"]
    assert answer["score"] > 1
    assert answer["sentence"].startswith("This scan is unlike the training data: ")
    assert words in answer["sentence"]


def test_a_brain_without_tumour_and_voxels_unlike_all_prototypes_are_flagged(looks: list[dict[str, float]]) -> None:
    known = fit_familiarity(looks, some_likenesses(12))
    healthy = LIKENESS | {"tumour_share": 0.0, "distance.tumour.50": 0.0, "tumour_certainty": 1.0}
    assert "hardly any tumour was found" in judge(known, looks[0], healthy)["sentence"]
    assert "brain is less like the prototypes" in judge(known, {}, LIKENESS | {"distance.brain.50": 0.5})["sentence"]


def test_a_tumour_marked_with_less_certainty_than_nine_of_ten_is_flagged() -> None:
    """A tenth of .70, .71, ... .80 is .71; (1 - .65) / (1 - .71) = 1.207."""
    likenesses = [case | {"tumour_certainty": 0.7 + 0.01 * n} for n, case in enumerate(some_likenesses(11))]
    known = fit_familiarity([{"brain_ml": 1400.0 + n} for n in range(11)], likenesses)
    assert known.least_certainty == pytest.approx(0.71)
    only_certainty = replace(known, look=None, likeness=None)
    unsure = judge(only_certainty, {}, LIKENESS | {"tumour_certainty": 0.65})
    assert unsure["score"] == pytest.approx(1.207, abs=1e-3)
    assert "unsure of the tumour that it marked (mean probability 0.65)" in unsure["sentence"]
    assert not judge(only_certainty, {}, LIKENESS | {"tumour_certainty": 0.72})["flag"]
    assert stored(asdict(known), Familiarity) == known


def test_assess_reads_the_prediction() -> None:
    """A squared distance of 0.5 to the only prototype near by, where 0.1 is usual; the model may also know nothing."""
    evidence = evidence_for(["background", "ET"])
    s = np.log(1.5 / 0.51)
    similarities = np.full((2, 2, 2, 2), s, np.float32)
    similarities[1] -= 0.1
    prediction = prediction_for(similarities, evidence)
    assert assess(prediction)["flag"] is None
    assert "not known" in assess(prediction)["sentence"]
    normal = Normality(("distance.brain.50",), (float(np.log(0.1)),), (float(np.log(5)),), ((1.0,),), 0.5)
    known = replace(evidence, calibration=Calibration(familiarity=Familiarity(None, normal, 30)))
    answer = assess(replace(prediction, evidence=known))
    assert answer["flag"] is True
    assert answer["score"] == pytest.approx(2, abs=1e-3)  # one deviation, and the limit is half of one


def test_few_cases_teach_nothing() -> None:
    assert fit_familiarity([{"brain_ml": 1.0}] * 9, [LIKENESS] * 9) == Familiarity(n=9)


def test_without_prototypes_the_tumour_alone_is_measured() -> None:
    """Four voxels: one tumour of probability 0.75, two healthy, one outside the brain."""
    label = Volume(np.array([3, 0, 0, 0], np.uint8).reshape(4, 1, 1), np.eye(4))
    background = Volume(np.array([0.25, 0.9, 0.9, 1.0], np.float32).reshape(4, 1, 1), np.eye(4))
    found = likeness_of(None, label, background)
    assert found == pytest.approx({"tumour_share": 1 / 3, "tumour_certainty": 0.75})


def test_a_result_without_prototypes_is_assessed(looks: list[dict[str, float]]) -> None:
    likenesses = [{name: one[name] for name in ("tumour_share", "tumour_certainty")} for one in some_likenesses(12)]
    known = fit_familiarity(looks, likenesses)
    maps = np.zeros((2, 10, 10, 10))
    maps[0], maps[1, :4, :4, :4] = 1, 6
    brain = np.ones((20, 20, 20), bool)
    brain[0] = False
    made = prediction_for(maps, evidence_for(["background", "ET"]), brain=brain)
    mute = without_prototypes(
        replace(made, evidence=replace(made.evidence, calibration=Calibration(familiarity=known)))
    )
    assert assess(mute)["flag"] is False
    unsure = replace(mute, probabilities=np.where(brain, 0.5 + 0.2 * mute.probabilities, mute.probabilities))
    said = assess(unsure)
    assert said["flag"] is True
    assert "unsure of the tumour" in said["sentence"]


def test_a_simulated_case_says_so_whatever_else_is_known() -> None:
    prediction = replace(
        prediction_for(np.zeros((2, 2, 2, 2)), evidence_for(["background", "ET"])), case_id="simulated_1"
    )
    normal = Normality(("tumour_share",), (0.0,), (1e6,), ((1.0,),), 1.0)
    known = replace(prediction.evidence, calibration=Calibration(familiarity=Familiarity(None, normal, 30)))
    for each in (prediction, replace(prediction, evidence=known)):
        assert assess(each)["sentence"].startswith("This case is simulated, no patient. ")
    assert "simulated" not in assess(replace(prediction, case_id="x"))["sentence"]
