"""Which network a configuration describes."""

from __future__ import annotations

from typing import Any

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


def regions_of(config: NetworkConfig) -> tuple[str, ...]:
    """The regions that a network finds."""
    is_whole = isinstance(config, PeerConfig) and config.target == "whole_tumour"
    return ("WT",) if is_whole else tuple(REGIONS)


def config_from_dict(content: dict[str, Any]) -> NetworkConfig:
    """From what ``asdict`` and JSON made of it: only a peer's has an ``architecture``.

    Raises:
        TypeError: It holds a field that there is not.
        ValueError: It cannot be built.
    """
    if "architecture" in content:
        return PeerConfig(**_with_tuples(content))
    return ModelConfig(**_with_tuples({"reach": None} | content))  # models that are older than the field had no reach


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
