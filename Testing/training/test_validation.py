"""Scores of patches while a run lasts, and of whole cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.multiprocessing
from short_runs import CASES, CONFIG, PLAIN, assert_same_state, run

from ProtoSegBrainLib.network.segmentation_net import upsample
from ProtoSegBrainLib.patches.cases import whole_window
from ProtoSegBrainLib.training.logbook import read_log
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.trainer import Trainer
from ProtoSegBrainLib.training.validation import predict_classes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_predicted_classes_are_the_argmax_of_the_upsampled_logits(tmp_path):
    network = run(replace(CONFIG, steps=30), tmp_path).ema.eval()
    predicted = predict_classes(network, CASES[0])
    window = whole_window(CASES[0], 4)
    x, y, z = CASES[0].label.shape
    expected = upsample(network(window).logits, window.shape[2:]).argmax(1)[0, :x, :y, :z]
    assert predicted.shape == (x, y, z)
    assert predicted.dtype == np.uint8
    assert len(np.unique(predicted)) > 1
    assert (predicted == expected.numpy()).mean() > 0.97  # bfloat16 moves a border here and there


def test_classes_are_predicted_in_what_the_processor_computes_natively(tmp_path, monkeypatch):
    """A processor without bfloat16 emulates it, which takes many times as long as float32."""
    monkeypatch.setattr("ProtoSegBrainLib.training.validation.half_precision_of", lambda _: torch.float32)
    network = PrototypeTrainer(CONFIG, CASES, tmp_path).ema.eval()
    window = whole_window(CASES[0], 4)
    x, y, z = CASES[0].label.shape
    expected = upsample(network(window).logits, window.shape[2:]).argmax(1)[0, :x, :y, :z]
    np.testing.assert_array_equal(predict_classes(network, CASES[0]), expected.numpy())


def test_loss_and_dice_are_logged_now_and_then_and_change_nothing(tmp_path):
    validated = replace(CONFIG, steps=8, validations=2, validation_patches=2)
    trainer = PrototypeTrainer(validated, CASES[:2], tmp_path / "validated", held_out=CASES[2:])
    trainer.run()
    plain = PrototypeTrainer(replace(validated, validations=0), CASES[:2], tmp_path / "plain")
    plain.run()
    assert_same_state(trainer, plain)
    lines = [line for line in read_log(tmp_path / "validated" / "log.jsonl") if "held_out/loss" in line]
    assert [line["step"] for line in lines] == [4, 8]
    names = {f"{group}/{name}" for group in ("training", "held_out") for name in ("loss", *DICES)}
    assert [set(line) for line in lines] == [names | {"step"}] * 2
    assert lines[1]["held_out/loss"] == trainer.validate(CASES[2:])["loss"]


DICES = ("dice_WT", "dice_TC", "dice_ET")


def test_validation_takes_all_patches_together(tmp_path):
    trainer = Trainer(replace(CONFIG, model=PLAIN, validation_patches=3), CASES, tmp_path)
    with torch.no_grad():
        trainer.ema.head.weight.zero_()
        trainer.ema.head.bias.copy_(torch.tensor([0.0, 0, 0, 5]))  # ET everywhere
    patches = list(trainer._plain_batches(CASES, 3, CONFIG.seed + 2))
    label = torch.cat([patch.label for patch in patches])
    for name, classes in {"WT": (1, 2, 3), "ET": (3,)}.items():
        true = sum(int((label == k).sum()) for k in classes)
        expected = 2 * true / (true + label.numel())
        assert trainer.validate(CASES)[f"dice_{name}"] == pytest.approx(expected)
