"""Runs of a few steps on made-up cases, for the tests of training."""

from __future__ import annotations

from pathlib import Path

from synthetic import TINY, training_case

from ProtoSegBrainLib.network.networks import has_prototypes
from ProtoSegBrainLib.patches.dataset import SamplingConfig, TrainingCase
from ProtoSegBrainLib.training.logbook import read_log
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.trainer import TrainConfig, Trainer

SEGMENTATION = {"region_dice", "cross_entropy"}
CASES = [training_case(number) for number in range(3)]
CONFIG = TrainConfig(
    model=TINY, sampling=SamplingConfig(patch_size=16), steps=8, log_every=1, precision="float32", device="cpu",
    warm_up_share=0.15, validations=0,
)  # fmt: skip


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
