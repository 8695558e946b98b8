"""The shipped weights: what a user gets from them, on simulated cases, which they have not seen in training."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from benchmarks.cross_validation import contribution_error
from benchmarks.four_grids import dice_at_best, dice_of_four_grids, region_dice
from ProtoSegBrainLib.explanation.explain import explain_voxel
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.network.evidence import QUANTILES
from ProtoSegBrainLib.network.weights import BUNDLED, load_model
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.predict import predict
from ProtoSegBrainLib.simulation.simulate import simulate_case

SEED = 1


@pytest.fixture(scope="module")
def a_simulated_case() -> Case:
    return simulate_case(SEED)


@pytest.fixture(scope="module")
def its_prediction(a_simulated_case: Case) -> Prediction:
    return predict(a_simulated_case)


def test_weights_are_small_and_know_their_origin() -> None:
    network, card = load_model()
    assert BUNDLED.stat().st_size < 8_000_000
    assert len(card.prototypes) == len(network.prototype_class)
    assert all(prototype.case_id in card.training["cases"] for prototype in card.prototypes)
    assert not any("simulated" in case_id for case_id in card.training["cases"])
    counts = np.bincount(network.prototype_class, minlength=4)
    assert counts.min() >= 5


def test_no_image_is_in_the_card() -> None:
    """A card names a case and a place; it holds no list long enough to be a patch."""

    def longest(value: object) -> int:
        if isinstance(value, dict):
            return max(map(longest, value.values()), default=0)
        return max(len(value), *map(longest, value)) if isinstance(value, list) and value else 0

    content = json.loads(BUNDLED.with_suffix(".json").read_text())
    assert longest(content["prototypes"]) == QUANTILES  # its scale: one number per per cent
    assert BUNDLED.with_suffix(".json").stat().st_size < 200_000


def test_what_is_said_of_a_result_is_known() -> None:
    """Percentiles, intervals, expected Dice, limits of what is familiar: nothing is left at "not known"."""
    _, card = load_model()
    calibration = card.calibration
    assert all(len(prototype.similarity_quantiles) == QUANTILES for prototype in card.prototypes)
    assert len(set(calibration.temperature)) > 1
    assert {known.region for known in calibration.reliability} == {"WT", "TC", "ET"}
    assert calibration.familiarity is not None


def test_a_decision_is_the_sum_of_what_prototypes_add(its_prediction: Prediction) -> None:
    i, j, k = np.argwhere(its_prediction.label == 3)[100]
    explanation = explain_voxel(its_prediction, (int(i), int(j), int(k)))
    for name, logit in explanation.logits.items():
        parts = [c.contribution for c in explanation.contributions if c.class_name == name]
        assert logit == pytest.approx(explanation.bias[name] + sum(parts), abs=1e-5)
    assert all(c.percentile is not None for c in explanation.contributions)


def test_every_logit_of_a_brain_is_bias_and_contributions(a_simulated_case: Case) -> None:
    network, _ = load_model()
    images = torch.from_numpy(prepare(a_simulated_case).images)
    padding = [p for n in reversed(images.shape[1:]) for p in (0, -n % network.size_multiple)]
    assert contribution_error(network, F.pad(images, padding)[None]) < 1e-5


def test_a_place_that_is_like_no_prototype_is_background() -> None:
    """Without similarities the biases decide: no tumour may be left."""
    network, _ = load_model()
    assert int(network.last_layer.bias.argmax()) == 0


def test_simulated_tumour_is_found(a_simulated_case: Case, its_prediction: Prediction) -> None:
    assert region_dice(its_prediction.label, a_simulated_case.label)["WT"] >= 0.80


def test_the_brain_far_from_the_tumour_stays_free(a_simulated_case: Case, its_prediction: Prediction) -> None:
    """Less than 1 ml may be painted more than 10 mm away from the true tumour."""
    every_second = (slice(None, None, 2),) * 3
    distance_mm = ndimage.distance_transform_edt(a_simulated_case.label[every_second] == 0, sampling=2)
    far = (its_prediction.label[every_second] > 0) & (distance_mm > 10)
    assert np.count_nonzero(far) * 8 < 1000


def test_four_oblique_grids_give_what_the_aligned_case_gives(real_data, tmp_path) -> None:
    case = read_case(real_data / "original_format" / "BraTS2021_00006", with_label=False)
    aligned = predict(case)
    agreement, at_best = dice_of_four_grids(case, aligned, tmp_path), dice_at_best(case, aligned)
    assert agreement["WT"] >= 0.95
    assert agreement["TC"] >= 0.95
    assert all(agreement[name] <= at_best[name] < 1 for name in agreement)
    assert agreement["ET"] >= at_best["ET"] - 0.06


def test_four_oblique_grids_of_a_simulated_case(a_simulated_case: Case, its_prediction: Prediction, tmp_path) -> None:
    """Looser than the real case's: interpolation takes away more of the simulation's noise, which has no grain."""
    assert dice_of_four_grids(a_simulated_case, its_prediction, tmp_path)["WT"] >= 0.9


def test_a_mirrored_brain_gives_the_mirrored_tumour(a_simulated_case: Case, its_prediction: Prediction) -> None:
    """Mirrored anatomy (not only a mirrored array) is another brain; the tumour must follow it."""
    mirrored = dataclasses.replace(a_simulated_case, images=a_simulated_case.images[:, ::-1].copy(), label=None)
    prediction = predict(mirrored)
    assert region_dice(prediction.label[::-1], its_prediction.label)["WT"] >= 0.9
