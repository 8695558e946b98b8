"""A model file small enough to segment in a moment; its weights are random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ProtoSegBrainLib.network.model import ModelConfig
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network
from ProtoSegBrainLib.network.peers import PeerConfig
from ProtoSegBrainLib.network.weights import ModelCard, save_model

SMALL = ModelConfig(
    widths=(4, 8), blocks=(1, 1), aspp_rates=(1,), aspp_channels=8, embedding_channels=4,
    prototypes_per_class=(1, 1, 1, 1),
)  # fmt: skip
PLAIN = replace(SMALL, prototypes_per_class=(0, 0, 0, 0))
PEER = PeerConfig("neuroseg", channels=(4, 8))
WHOLE = replace(PEER, target="whole_tumour")


def save_small_model(path: Path, seed: int = 0, config: NetworkConfig = SMALL) -> Path:
    """Write it, with its card, which names it as the file."""
    torch.manual_seed(seed)
    save_model(path, build_network(config), ModelCard(path.stem, config))
    return path
