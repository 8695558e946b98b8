"""Networks of every kind with random weights, small enough to run in a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_model import SMALL

from ProtoSegBrainLib.network.model import SegmentationNet
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network
from ProtoSegBrainLib.network.peers import PeerConfig
from ProtoSegBrainLib.network.weights import ModelCard

WIDE = replace(SMALL, prototype_size=3, similarity="cosine", norm="instance", aspp_pooling=True)
PEERS = {
    "unet": PeerConfig("unet", channels=(4, 4, 8, 8, 8)),
    "segresnet": PeerConfig("segresnet", channels=(8, 8), target="regions"),
    "resunet": PeerConfig("resunet", channels=(4, 8, 8, 8), target="regions", deep_supervision=1, window=32),
    "neuroseg": PeerConfig("neuroseg", channels=(4, 8), target="whole_tumour"),
}


def model_of(config: NetworkConfig) -> tuple[SegmentationNet, ModelCard]:
    """A network with random weights, its normalisations away from where they begin, and its card."""
    if isinstance(config, PeerConfig):
        pytest.importorskip("monai")
    torch.manual_seed(1)
    network = build_network(config)
    with torch.no_grad():
        network(torch.randn(2, 4, 32, 32, 32))  # moves the running statistics
    return network.eval(), ModelCard("random", config)
