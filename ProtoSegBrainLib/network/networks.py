"""Which network a configuration describes."""

from __future__ import annotations

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.model import ModelConfig, PlainNet, ProtoSegNet
from ProtoSegBrainLib.network.peers import PeerConfig, PeerNet
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet

NetworkConfig = ModelConfig | PeerConfig


def build_network(config: NetworkConfig) -> SegmentationNet:
    """A network with random weights."""
    if isinstance(config, PeerConfig):
        return PeerNet(config)
    return ProtoSegNet(config) if has_prototypes(config) else PlainNet(config)


def has_prototypes(config: NetworkConfig) -> bool:
    """Whether it describes a network that decides through prototypes."""
    return isinstance(config, ModelConfig) and sum(config.prototypes_per_class) > 0


def size_multiple_of(config: NetworkConfig) -> int:
    """Of what the sizes of its inputs must be multiples."""
    return config.level_strides[-1] if isinstance(config, ModelConfig) else config.size_multiple


def sizes_of(config: NetworkConfig) -> tuple[int, ...]:
    """Numbers of channels and prototypes that occur among the shapes of its tensors."""
    if isinstance(config, PeerConfig):
        return config.channels[:1] if config.architecture == "segresnet" else config.channels
    own = (config.embedding_channels, sum(config.prototypes_per_class)) if has_prototypes(config) else ()
    return (*config.widths, config.aspp_channels, *own)


def regions_of(config: NetworkConfig) -> tuple[str, ...]:
    """The regions that a network finds."""
    is_whole = isinstance(config, PeerConfig) and config.target == "whole_tumour"
    return ("WT",) if is_whole else tuple(REGIONS)
