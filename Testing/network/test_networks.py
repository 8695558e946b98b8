"""Which network a configuration describes, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from synthetic import TINY

from ProtoSegBrainLib.network.model import ModelConfig, PlainNet, ProtoSegNet
from ProtoSegBrainLib.network.networks import (
    NetworkConfig,
    build_network,
    has_prototypes,
    size_multiple_of,
    sizes_of,
)
from ProtoSegBrainLib.network.peers import PeerConfig, PeerNet
from ProtoSegBrainLib.records import stored

PLAIN = replace(TINY, prototypes_per_class=(0, 0, 0, 0))
PEER = PeerConfig("neuroseg", channels=(4, 8), target="regions", dropout=0.1)


@pytest.mark.parametrize(("config", "kind"), [(TINY, ProtoSegNet), (PLAIN, PlainNet), (PEER, PeerNet)])
def test_a_configuration_is_built_and_survives_json(config, kind):
    network = build_network(config)
    assert type(network) is kind
    assert network.config == config
    assert network.size_multiple == size_multiple_of(config)
    assert has_prototypes(config) == bool(network.prototype_class)
    assert stored(json.loads(json.dumps(asdict(config))), NetworkConfig) == config


def test_a_configuration_of_before_the_reach_has_none():
    content = asdict(ModelConfig())
    del content["reach"]
    assert stored(content, NetworkConfig).reach is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"model: backbone, stem_stride, .*checkpointing missing"),
        ({"architecture": "unet"}, r"model: channels, dropout, target, deep_supervision, window missing"),
        ({"architecture": "unet", "wings": 2}, r"model\.wings: unknown key"),
        (asdict(TINY) | {"widths": [10**9, 8]}, r"model: widths: at most 4096, not 1000000000"),
        (asdict(TINY) | {"blocks": [1, 10**9]}, r"model: blocks: at most 64"),
        (asdict(TINY) | {"prototypes_per_class": [10**9, 1, 1, 1]}, r"model: prototypes_per_class: at most 4096"),
        (asdict(TINY) | {"aspp_channels": 0}, r"model: aspp_channels must lie between 1 and 4096"),
        (asdict(TINY) | {"embedding_channels": -3}, r"model: embedding_channels must lie between"),
        (asdict(PEER) | {"channels": [4, 10**9]}, r"model: channels needs 2 to 8 numbers"),
        (asdict(PEER) | {"window": 2**40}, r"model: window must be a multiple of 2 up to 4096"),
    ],
)
def test_a_configuration_that_lacks_something_or_asks_for_too_much_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        stored(content, NetworkConfig, "model")


@pytest.mark.parametrize("config", [TINY, PLAIN, PEER])
def test_its_sizes_are_those_of_its_tensors(config):
    shapes = [tuple(value.shape) for value in build_network(config).state_dict().values()]
    assert set(sizes_of(config)) <= {size for shape in shapes for size in shape}
