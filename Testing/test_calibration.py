"""Calibration: checked on logits and volumes whose answer can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ProtoSegBrainLib.calibration import UnseenCase, calibrate, choose_minimum_et_ml, fit_temperature, observe
from ProtoSegBrainLib.dataset import TrainingCase
from ProtoSegBrainLib.model import ModelConfig, ProtoSegNet


def case_with(et_ml: float = 0.0, et_dice: float = 1.0, without: float = 0.0, logits=None, shares=None) -> UnseenCase:
    empty = torch.zeros(0, 4)
    return UnseenCase(
        "a", empty if logits is None else logits, empty if shares is None else shares, et_ml, et_dice, without
    )


def test_temperature_undoes_overconfidence() -> None:
    """Two classes with a true odds ratio of e, given logits three times too large: the temperature is 3."""
    truth = torch.tensor([[0.0, 1.0, -50.0, -50.0]]).softmax(dim=1)
    logits = 3 * torch.tensor([[0.0, 1.0, -50.0, -50.0]])

    assert fit_temperature([case_with(logits=logits, shares=truth)]) == pytest.approx((3.0,) * 4, rel=1e-3)


def test_temperature_is_one_for_all_classes_so_that_no_label_changes() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(500, 4, generator=rng)
    shares = torch.nn.functional.one_hot(torch.randint(4, (500,), generator=rng), 4).float()

    assert len(set(fit_temperature([case_with(logits=logits, shares=shares)]))) == 1


def test_minimum_et_removes_the_false_and_keeps_the_true() -> None:
    """0.4 ml painted into a case without ET (0 -> 1), 0.9 ml of true ET (0.8 -> 0 if removed)."""
    cases = [case_with(et_ml=0.4, et_dice=0.0, without=1.0), case_with(et_ml=0.9, et_dice=0.8, without=0.0)]

    assert choose_minimum_et_ml(cases) == 0.5


def test_minimum_et_is_zero_where_nothing_is_gained() -> None:
    assert choose_minimum_et_ml([case_with(et_ml=0.05, et_dice=0.9), case_with(et_ml=20.0, et_dice=0.9)]) == 0.0


def test_observe_draws_from_the_brain_and_measures_et() -> None:
    """A network that sees nothing predicts one class everywhere; its logits are those of every voxel."""
    torch.manual_seed(0)
    network = ProtoSegNet(ModelConfig(widths=(8, 8), blocks=(1, 1), aspp_channels=4, prototypes_per_class=(1, 1, 1, 1)))
    with torch.no_grad():
        network.last_layer.weight.zero_()
        network.last_layer.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    images = torch.zeros(4, 16, 16, 16, dtype=torch.float16)
    images[:, 4:12, 4:12, 4:12] = 1
    label = torch.zeros(16, 16, 16, dtype=torch.uint8)
    label[4:12, 4:12, 4:12] = 3

    seen = observe(network.eval(), TrainingCase("a", images, label, np.eye(4), {}))

    assert seen.logits.shape == (4**3, 4)
    assert torch.equal(seen.shares, torch.tensor([0.0, 0, 0, 1]).expand(64, 4))
    assert seen.et_ml == 16**3 / 1000
    assert seen.et_dice == pytest.approx(2 * 512 / (512 + 4096))
    assert seen.et_dice_without == 0.0


def test_nothing_to_calibrate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        calibrate([])
