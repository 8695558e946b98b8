"""All that a run is made of besides its data, and what follows from it: the first network, the precision."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ProtoSegBrainLib.network.device import PRECISIONS, half_precision_of
from ProtoSegBrainLib.network.model import ModelConfig
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network, size_multiple_of
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.patches.augmentation import AugmentationConfig
from ProtoSegBrainLib.patches.sampling import SamplingConfig
from ProtoSegBrainLib.training.losses import LossConfig
from ProtoSegBrainLib.training.optimisation import OPTIMISERS

# Where a processor has AVX512-BF16 but no AMX, oneDNN (torch 2.13) leaves uninitialised memory, NaN at times, in the
# gradient of a 3x3x3 kernel on a grid of 2x2x2.
TOO_SMALL_A_GRID = 2
LARGEST_PATCH = 1024


@dataclass(frozen=True)
class TrainConfig:
    """All that a run is made of, besides its data."""

    model: NetworkConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    steps: int = field(default=6000, metadata={"help": "optimiser steps; --minutes overrides it"})
    minutes: float = field(default=0.0, metadata={"help": "fit the whole run into this time; 0: count steps"})
    batch_size: int = field(default=2, metadata={"help": "patches per step and process"})
    accumulation: int = field(default=1, metadata={"help": "batches per optimiser step"})
    optimiser: str = field(default="muon", metadata={"help": "adam, adamw, muon or sgd"})
    learning_rate: float = field(default=2e-3, metadata={"help": "highest learning rate"})
    weight_decay: float = field(default=1e-2, metadata={"help": "weight decay"})
    schedule: str = field(default="cosine", metadata={"help": "cosine or plateau"})
    ramp_share: float = field(default=0.03, metadata={"help": "share of the run in which the learning rate rises"})
    warm_up_share: float = field(default=0.6, metadata={"help": "share of the run before the joint phase"})
    frozen_norm_share: float = field(
        default=0.3, metadata={"help": "last share of the run, in which BatchNorm keeps its running statistics"}
    )
    start_from: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "model (.safetensors) to go on from, its prototypes stay, there is no warm-up; of several the mean"
        },
    )
    finish_share: float = field(default=0.1, metadata={"help": "share of --minutes kept for the projection phase"})
    clip_norm: float = field(default=5.0, metadata={"help": "largest norm of the gradient"})
    ema_decay: float = field(default=0.998, metadata={"help": "decay of the averaged weights"})
    prototype_rate: float = field(
        default=0.1, metadata={"help": "joint phase: learning rate of the prototypes as a share of the network's"}
    )
    reseed_at: tuple[float, ...] = field(
        default=(),
        metadata={"help": "shares of the run at which prototypes that left the data are moved back (docs/training.md)"},
    )
    reseed_distance: float = field(
        default=0.1, metadata={"help": "squared distance from which a prototype has left them"}
    )
    portraits: bool = field(
        default=True, metadata={"help": "measure at the end what each prototype stands for (minutes on a CPU)"}
    )
    prototype_voxels: int = field(default=400, metadata={"help": "label-pure voxels per class for prototype losses"})
    precision: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or mps"})
    seed: int = field(default=0, metadata={"help": "seed of everything random"})
    checkpoint_minutes: float = field(default=3.0, metadata={"help": "time between checkpoints"})
    scored_cases: int = field(default=10, metadata={"help": "most cases on which Dice is reported at the end"})
    log_every: int = field(default=20, metadata={"help": "steps between log lines"})
    validations: int = field(
        default=10, metadata={"help": "how often loss and Dice on fixed patches are logged in a run; 0: never"}
    )
    validation_patches: int = field(default=4, metadata={"help": "how many patches, of held-out and of training cases"})
    cache: str = field(default="", metadata={"help": "folder for prepared cases (default: prepared/ in --out)"})
    trackers: tuple[str, ...] = field(default=(), metadata={"help": "tensorboard, wandb"})
    name: str = field(default="", metadata={"help": "name on the model card"})

    def __post_init__(self) -> None:
        """Refuse early what would fail later, naming the field."""
        known = {"optimiser": OPTIMISERS, "schedule": ("cosine", "plateau"), "precision": ("auto", *PRECISIONS)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name}: expected one of {', '.join(values)}; got {getattr(self, name)!r}.")
        for name in ("steps", "batch_size", "accumulation", "log_every"):
            least = 0 if name == "steps" and self.start_from else 1  # a mean of models can be concluded as it is
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}; got {getattr(self, name)}.")
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{name}: expected 0 or more; got {value}.")
            if (name.endswith("_share") or name == "ema_decay") and value > 1:
                raise ValueError(f"{name}: expected a share, 0 to 1; got {value}.")
        patch_size, multiple = self.sampling.patch_size, size_multiple_of(self.model)
        if not 1 <= patch_size <= LARGEST_PATCH or patch_size % multiple:
            raise ValueError(f"patch_size: expected a multiple of {multiple} up to {LARGEST_PATCH}; got {patch_size}.")


def first_network(config: TrainConfig) -> SegmentationNet:
    """A random network, or the one that ``start_from`` names; of several the mean of their weights.

    The mean of networks that went on from one another is often surer of unfamiliar scans than the last of them
    (Wortsman et al., ICML 2022 and CVPR 2022); that of networks without a common past is of no use. A run takes its
    BatchNorm statistics anew.

    Raises:
        ValueError: One was built otherwise than ``config.model`` says.
    """
    if not config.start_from:
        return build_network(config.model)
    networks = [_load_alike(place, config.model) for place in config.start_from]
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    networks[0].load_state_dict(mean)
    return networks[0]


def _load_alike(place: str, model: NetworkConfig) -> SegmentationNet:
    network, card = load_model(Path(place))
    if _but_for_reach(card.model) != _but_for_reach(model):
        raise ValueError(f"--start-from {place}: that network is {card.model}, this run's {model}.")
    return network


def _but_for_reach(config: NetworkConfig) -> NetworkConfig:
    """Networks that differ in their reach alone can be changed into one another."""
    return replace(config, reach=None) if isinstance(config, ModelConfig) else config


def precision_of(config: TrainConfig, device: str) -> torch.dtype:
    """Of the convolutions of a run."""
    if config.precision != "auto":
        return PRECISIONS[config.precision]
    coarsest = config.sampling.patch_size // size_multiple_of(config.model)
    if device == "cpu" and coarsest <= TOO_SMALL_A_GRID:
        return torch.float32
    native = half_precision_of(torch.device(device))
    return native if native == torch.bfloat16 else torch.float32  # float16 would need its loss scaled


def recorded(config: TrainConfig) -> dict[str, Any]:
    """The configuration for the card, without the places of this machine."""
    started = tuple("/".join(Path(place).parts[-2:]) for place in config.start_from)
    content: dict[str, Any] = json.loads(json.dumps(asdict(replace(config, cache="", start_from=started))))
    return content
