"""What a configuration refuses, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.multiprocessing
from short_runs import CONFIG
from synthetic import TINY

from ProtoSegBrainLib.network.networks import size_multiple_of
from ProtoSegBrainLib.patches.sampling import SamplingConfig
from ProtoSegBrainLib.training.recipe import TrainConfig, precision_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("edge", "halved"), [(2, False), (3, True)])
def test_half_precision_is_not_for_the_smallest_grids_of_a_processor(monkeypatch, edge, halved):
    monkeypatch.setattr("ProtoSegBrainLib.training.recipe.half_precision_of", lambda _: torch.bfloat16)
    sampling = replace(CONFIG.sampling, patch_size=edge * size_multiple_of(TINY))
    config = replace(CONFIG, precision="auto", sampling=sampling)
    assert precision_of(config, "cpu") == (torch.bfloat16 if halved else torch.float32)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("optimiser", "lion"), ("schedule", "step"), ("precision", "int8"), ("steps", 0), ("accumulation", 0)),
        *(("minutes", -1.0), ("learning_rate", -0.1), ("seed", -1), ("warm_up_share", 1.5), ("ema_decay", 2.0)),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .*{value}"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("patch_size", [-4, 0, 18, 2**20])
def test_a_patch_the_network_cannot_take_is_refused_at_once(patch_size):
    with pytest.raises(ValueError, match=f"patch_size: expected a multiple of 4 up to 1024; got {patch_size}"):
        TrainConfig(model=TINY, sampling=SamplingConfig(patch_size=patch_size))
