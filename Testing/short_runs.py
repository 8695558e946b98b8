"""Runs of a few steps on made-up cases, for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from synthetic import TINY, training_case

from ProtoSegBrainLib.network.networks import has_prototypes
from ProtoSegBrainLib.network.peers import PeerConfig
from ProtoSegBrainLib.patches.cases import TrainingCase
from ProtoSegBrainLib.patches.sampling import SamplingConfig
from ProtoSegBrainLib.training.logbook import read_log
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.recipe import TrainConfig
from ProtoSegBrainLib.training.trainer import Trainer

SEGMENTATION = {"region_dice", "cross_entropy"}
CASES = [training_case(number) for number in range(3)]
CONFIG = TrainConfig(
    model=TINY, sampling=SamplingConfig(patch_size=16), steps=8, log_every=1, precision="float32", device="cpu",
    warm_up_share=0.15, validations=0,
)  # fmt: skip

PLAIN = replace(TINY, prototypes_per_class=(0, 0, 0, 0))
UNET = PeerConfig("unet", channels=(4, 4, 8, 8, 8))
REGIONS = PeerConfig("segresnet", channels=(8, 16), target="regions", dropout=0.1, window=16)
DEEP = PeerConfig("resunet", channels=(4, 8, 8, 8), deep_supervision=2)
WHOLE = PeerConfig("neuroseg", channels=(4, 8, 8), target="whole_tumour")


def run(config: TrainConfig, out: Path, until_step: int | None = None, cases: list[TrainingCase] = CASES) -> Trainer:
    """A run from its start, with or without prototypes as its network says."""
    trainer = (PrototypeTrainer if has_prototypes(config.model) else Trainer)(config, cases, out)
    trainer.run(until_step)
    return trainer


def curve(out: Path) -> list[dict[str, float]]:
    """The log but for the clock."""
    lines = read_log(out / "log.jsonl")
    return [{name.removeprefix("loss/"): value for name, value in line.items() if name != "minutes"} for line in lines]


def segmentation_loss(line: dict[str, float]) -> float:
    """Without the prototype terms."""
    return sum(line[name] for name in SEGMENTATION)


def assert_same_state(first: Trainer, second: Trainer) -> None:
    """All weights and statistics are equal to the bit."""
    for ours, other in ((first.network, second.network), (first.ema, second.ema)):
        for (name, value), expected in zip(ours.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(value, expected), name
