"""Calibration: checked on logits, volumes and parts whose answer can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ProtoSegBrainLib.evaluation.calibration import (
    EnhancingVolume,
    Voxels,
    calibrate,
    choose_minimum_component_ml,
    choose_minimum_et_ml,
    draw,
    fit,
    fit_temperature,
    observe,
)
from ProtoSegBrainLib.network.model import ModelConfig, PlainNet, ProtoSegNet
from ProtoSegBrainLib.patches.cases import TrainingCase


def voxels(log_odds: float, factor: float, count: int = 1000) -> Voxels:
    """Voxels that are class 1 rather than 0 with these log-odds, and logits that say ``factor`` times as much."""
    logits = torch.tensor([[0.0, factor * log_odds, -80.0, -80.0]]).expand(count, 4)
    ones = round(count / (1 + np.exp(-log_odds)))
    return Voxels(logits, (torch.arange(count) < ones).long())


def test_temperature_undoes_overconfidence() -> None:
    """The class that leads has a true odds ratio of e, the logits are three times too large: the temperature is 3."""
    assert fit_temperature([voxels(1.0, 3.0)])[1] == pytest.approx(3, rel=0.01)


def test_each_leading_class_has_its_own_temperature() -> None:
    """Voxels led by class 1 are overconfident twice, those led by class 0 three times."""
    found = fit_temperature([voxels(1.0, 2.0), voxels(-1.5, 3.0)])
    assert found[:2] == pytest.approx((3, 2), rel=0.01)


def test_a_class_that_hardly_leads_gets_the_common_temperature() -> None:
    found = fit_temperature([voxels(1.0, 3.0, count=400)])
    assert found == pytest.approx((3,) * 4, rel=0.02)
    nothing = Voxels(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert fit_temperature([nothing]) == (1.0,) * 4


def test_minimum_et_removes_the_false_and_keeps_the_true() -> None:
    """0.4 ml painted into a case without ET (0 -> 1), 0.9 ml of true ET (0.8 -> 0 if removed)."""
    false, true = EnhancingVolume(0.4, 0.0, 1.0), EnhancingVolume(0.9, 0.8, 0.0)
    assert choose_minimum_et_ml([false, false, true]) == 0.5


def test_minimum_et_is_not_chosen_for_one_case() -> None:
    false, true = EnhancingVolume(0.4, 0.0, 1.0), EnhancingVolume(0.9, 0.8, 0.0)
    assert choose_minimum_et_ml([false, true]) == 0.0
    assert choose_minimum_et_ml([false]) == 0.0
    assert choose_minimum_et_ml([]) == 0.0


def test_minimum_et_is_zero_where_nothing_is_gained() -> None:
    assert choose_minimum_et_ml([EnhancingVolume(0.05, 0.9, 0.0), EnhancingVolume(20.0, 0.9, 0.0)]) == 0.0


def test_minimum_component_removes_false_parts_and_keeps_true_ones() -> None:
    """A true part of 0.6 ml must stay, a false one of 0.2 ml go: 0.25 ml is the least that does both."""
    parts = np.array([[50.0, 40.0], [0.6, 0.6], [0.2, 0.0]])
    assert choose_minimum_component_ml([parts], [50.0]) == 0.25
    assert choose_minimum_component_ml([parts[:2]], [50.0]) == 0.0
    assert choose_minimum_component_ml([np.array([[0.2, 0.0]]), np.zeros((0, 2))], [9.0, 0.0]) == 0.0


@pytest.fixture
def a_network() -> ProtoSegNet:
    """A network that sees nothing and says ET everywhere."""
    torch.manual_seed(0)
    network = ProtoSegNet(ModelConfig(widths=(8, 8), blocks=(1, 1), aspp_channels=4, prototypes_per_class=(1, 1, 1, 1)))
    with torch.no_grad():
        network.last_layer.weight.zero_()
        network.last_layer.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    return network.eval()


@pytest.fixture
def a_training_case() -> TrainingCase:
    """A cube of 8³ voxels of brain, half of it ET, on a grid that the network has to pad."""
    images = torch.zeros(4, 15, 16, 16, dtype=torch.float16)
    images[:, 4:12, 4:12, 4:12] = 1
    label = torch.zeros(15, 16, 16, dtype=torch.uint8)
    label[4:8, 4:12, 4:12] = 3
    return TrainingCase("a", images, label, np.diag([-1.0, -1, 1, 1]), {})


def test_observe(a_network: ProtoSegNet, a_training_case: TrainingCase) -> None:
    seen = observe(a_network, a_training_case, group=3)
    assert (seen.case_id, seen.group, seen.stride) == ("a", 3, 2)
    assert seen.brain.sum() == 512
    assert seen.look["brain_ml"] == pytest.approx(0.512)
    assert seen.distance.array.shape == tuple(seen.logits.shape[1:])
    assert torch.equal(seen.voxels.logits, torch.tensor([0.0, 0, 0, 1]).expand(512, 4))
    assert seen.voxels.classes.sum() == 3 * 256
    np.testing.assert_array_equal(seen.label, 3 * seen.brain)


def test_draw_takes_voxels_of_the_brain_from_every_leading_class() -> None:
    """40,000 voxels: 36,000 led by class 0, the rest by class 2; 1000 of the latter lie outside the brain."""
    logits = torch.zeros(4, 40, 40, 25)
    logits[2, 36:] = 1
    brain = np.ones((40, 40, 25), bool)
    brain[39] = False
    drawn = draw(logits, brain, np.full(brain.shape, 2, np.uint8))
    assert [(drawn.logits.argmax(dim=1) == index).sum().item() for index in range(4)] == [5000, 0, 3000, 0]
    assert (drawn.classes == 2).all()


def test_fit_measures_what_it_chose(a_network: ProtoSegNet, a_training_case: TrainingCase) -> None:
    """Half of what is called ET is: the log-odds against each of three other classes, one of them true, are minimal."""
    found = fit([observe(a_network, a_training_case)])
    assert len(found.temperature) == 4
    assert [region.region for region in found.reliability] == ["WT", "TC", "ET"]
    et = found.reliability[2]
    assert (et.n, et.volume_quantile, et.dice_coefficients) == (1, None, ())
    probability = np.exp(1 / found.temperature[3]) / (3 + np.exp(1 / found.temperature[3]))
    assert et.ece == pytest.approx(abs(probability - 0.5), abs=1e-3)
    assert found.familiarity is not None
    assert found.familiarity.likeness is None


def test_calibrate_numbers_the_models(a_network: ProtoSegNet, a_training_case: TrainingCase) -> None:
    found = calibrate([(a_network, [a_training_case] * 9), (a_network, [a_training_case] * 9)])
    assert found.reliability[0].n == 18
    assert found.reliability[0].measured_coverage == 1.0  # all alike: each model's cases lie at the other's quantile


def test_nothing_to_calibrate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        calibrate([])


def test_a_network_without_prototypes_is_calibrated_too(a_training_case: TrainingCase) -> None:
    torch.manual_seed(0)
    config = ModelConfig(widths=(8, 8), blocks=(1, 1), aspp_channels=4, prototypes_per_class=(0, 0, 0, 0))
    network = PlainNet(config).eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    seen = observe(network, a_training_case)
    assert seen.distance is None
    np.testing.assert_array_equal(seen.label, 3 * seen.brain)
    found = fit([seen] * 10)
    assert found.familiarity is not None
    assert found.familiarity.likeness is not None
    assert found.familiarity.likeness.measures == ("tumour_share", "tumour_certainty")
    probability = np.exp(1 / found.temperature[3]) / (3 + np.exp(1 / found.temperature[3]))
    assert found.reliability[2].ece == pytest.approx(abs(probability - 0.5), abs=1e-3)
