"""What-if results: by hand, and against the network with a changed last layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import evidence_for, prediction_for, without_prototypes

from ProtoSegBrainLib.explanation.explain import explain_voxel
from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.network.calibration import Calibration, RegionReliability
from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet
from ProtoSegBrainLib.network.weights import ModelCard, load_model
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.prediction_files import read_prediction, write_prediction
from ProtoSegBrainLib.result.reliability import assess_region
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

SMALL = ModelConfig(
    widths=(4, 8), blocks=(1, 1), aspp_rates=(1, 2), aspp_channels=4, embedding_channels=4,
    prototypes_per_class=(2, 1, 2, 2),
)  # fmt: skip
EXACT = PredictConfig(device="cpu", precision="float32")
COS, SIN = np.cos(np.deg2rad(17)), np.sin(np.deg2rad(17))
GRIDS = {
    "plain": (np.diag([1.0, 1, 1, 1]), (27, 30, 25)),
    "LPS": (np.diag([-1.0, -1, 1, 1]), (27, 30, 25)),
    "turned axes": (np.array([[0, 0, 1.0, 3], [-1, 0, 0, 9], [0, -1, 0, 2], [0, 0, 0, 1]]), (27, 30, 25)),
    "anisotropic": (np.diag([-0.8, 1.3, 2.5, 1]), (34, 23, 12)),
    "oblique, anisotropic": (
        np.array([[COS, 1.2 * SIN, 0, -30], [SIN, -1.2 * COS, 0, 44.5], [0, 0, 2, 7], [0, 0, 0, 1.0]]),
        (27, 25, 13),
    ),
}


@pytest.fixture(scope="module")
def a_model() -> tuple[ProtoSegNet, ModelCard]:
    """Prototypes that are embeddings of noise, and biases under which every class is seen somewhere."""
    torch.manual_seed(0)
    network = ProtoSegNet(SMALL).eval()
    with torch.no_grad():
        noise = torch.randn(1, 4, 16, 16, 16)
        vectors = network.embed(noise)[0].flatten(1)
        chosen = torch.linspace(0, vectors.shape[1] - 1, len(SMALL.prototype_class)).long()
        network.prototype_layer.prototype_vectors.copy_(vectors[:, chosen].T[..., None, None, None])
        network.last_layer.bias -= network(noise).logits.mean(dim=(0, 2, 3, 4))
    return network, ModelCard("test", SMALL, calibration=Calibration((1.2, 0.9, 1.1, 0.8)))


def noise_brain(affine: np.ndarray, shape: tuple[int, int, int], share: float = 0.42) -> Case:
    """Noise in an ellipsoid whose half axes are this share of the image, off the centre."""
    index = np.indices(shape).astype(float)
    size = np.reshape(shape, (3, 1, 1, 1))
    brain = (((index - 0.47 * size) / (share * size)) ** 2).sum(axis=0) < 1
    images = np.random.default_rng(3).normal(100, 20, (4, *shape)) * brain
    return Case("noise", images.astype(np.float32), affine)


@pytest.mark.parametrize("share", [0.42, 0.7])  # the latter reaches beyond the image
@pytest.mark.parametrize("name", GRIDS)
def test_it_is_what_the_network_gives(name: str, share: float, a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    network, card = a_model
    case = noise_brain(*GRIDS[name], share)
    prediction = predict(case, a_model, EXACT)
    assert len(np.unique(prediction.label)) == 4
    check_equal(whatif(prediction), prediction)

    changed = ProtoSegNet(SMALL).eval()
    changed.load_state_dict(network.state_dict())
    with torch.no_grad():
        changed.last_layer.weight[:, 5] = 0
        changed.last_layer.weight[:, 2] *= 1.5
    expected = predict(case, (changed, card), EXACT)
    assert (expected.label != prediction.label).any()
    check_equal(whatif(prediction, disabled=[5], weights={2: 1.5}), expected)


def check_equal(found: Prediction, expected: Prediction) -> None:
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    np.testing.assert_array_equal(found.evidence.weight, expected.evidence.weight)
    assert found.volumes_ml == expected.volumes_ml


def ball_of_enhancement() -> Prediction:
    """ET wins in the middle 4 x 4 x 4 voxels of 8 x 8 x 8, ED in a plane, background elsewhere."""
    maps = np.stack([np.full((4, 4, 4), s) for s in (2.0, 0.3, 0.3)])
    maps[2, 1:3, 1:3, 1:3] = 4.5
    maps[1, :, :, 0] = 4
    return prediction_for(maps, evidence_for(["background", "ED", "ET"], weight=2.0))


def test_turning_a_prototype_off_takes_its_class_away() -> None:
    prediction = ball_of_enhancement()
    assert set(np.unique(prediction.label)) == {0, 2, 3}
    changed = whatif(prediction, disabled=[2])
    assert set(np.unique(changed.label)) == {0, 2}
    assert changed.volumes_ml["ET"] == 0
    np.testing.assert_array_equal(changed.evidence.weight[3], 0)
    assert "prototype 2 (ET) is turned off" in changed.warnings[-1]
    # The given result is left as it was.
    assert prediction.evidence.weight[3, 2] == 2
    assert not prediction.warnings


def test_a_changed_result_explains_itself() -> None:
    changed = whatif(ball_of_enhancement(), weights={2: 0.25})
    assert "prototype 2 (ET) counts 0.25 times" in changed.warnings[-1]
    explanation = explain_voxel(changed, (3, 3, 3))
    entry = next(c for c in explanation.contributions if c.prototype == 2)
    assert entry.weight == pytest.approx(0.5)
    assert explanation.logits["ET"] == pytest.approx(entry.contribution)
    assert explanation.class_name == "background"


def test_nothing_changed_needs_no_sentence_and_changes_add_up() -> None:
    prediction = ball_of_enhancement()
    assert whatif(prediction).warnings == ()
    twice = whatif(whatif(prediction, weights={2: 0.5}), weights={2: 0.5}, disabled=[1])
    assert twice.evidence.weight[3, 2] == pytest.approx(0.5)
    assert len(twice.warnings) == 2


def test_what_was_measured_on_the_models_own_results_is_not_said_of_others() -> None:
    known = Calibration((1.2,) * 4, reliability=(RegionReliability("WT", 20, 0.01, 0.3, 0.9, 0.9),))
    prediction = ball_of_enhancement()
    prediction = replace(prediction, evidence=replace(prediction.evidence, calibration=known))
    assert whatif(prediction, weights={0: 1.0}).evidence.calibration == prediction.evidence.calibration
    changed = whatif(prediction, [0])
    assert changed.evidence.calibration.temperature == prediction.evidence.calibration.temperature
    assert assess_region(prediction, "WT")["ece"] == 0.01
    assert assess_region(changed, "WT")["ece"] is None


def test_the_minimum_of_enhancement_holds_and_its_sentence_is_renewed() -> None:
    prediction = ball_of_enhancement()
    volume = prediction.volumes_ml["ET"]
    evidence = replace(prediction.evidence, calibration=Calibration(minimum_et_ml=1.01 * volume))
    strict = whatif(replace(prediction, evidence=evidence))
    np.testing.assert_array_equal(strict.label, np.where(prediction.label == 3, 1, prediction.label))
    assert strict.warnings[0].startswith("Relabelled: ")
    without = whatif(strict, disabled=[2])
    assert len(without.warnings) == 1
    assert without.warnings[0].startswith("What-if")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"disabled": [3]}, "0 to 2; got 3"),
        ({"disabled": [-1]}, "got -1"),
        ({"weights": {1: -0.5}}, "prototype 1: expected a number of at least 0"),
        ({"weights": {1: np.nan}}, "prototype 1"),
    ],
)
def test_what_cannot_be_done_is_refused(request_: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        whatif(ball_of_enhancement(), **request_)  # type: ignore[arg-type]


def test_a_real_case_from_its_files(real_data: Path, tmp_path: Path) -> None:
    case = read_case(next((real_data / "original_format").iterdir()), with_label=False)
    write_prediction(predict(case, load_model(None)), tmp_path)
    prediction = read_prediction(tmp_path)
    assert prediction.volumes_ml["WT"] > 0
    np.testing.assert_array_equal(whatif(prediction).label, prediction.label)


def test_without_prototypes_there_is_nothing_to_change() -> None:
    mute = without_prototypes(prediction_for(np.ones((1, 3, 3, 3)), evidence_for(["ET"])))
    with pytest.raises(ValueError, match=r"This model \(mute\) has no prototypes, so it cannot say why\."):
        whatif(mute, disabled=[0])
