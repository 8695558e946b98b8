"""Which network a configuration describes, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from synthetic import TINY

from ProtoSegBrainLib.network.model import ModelConfig, PlainNet, ProtoSegNet
from ProtoSegBrainLib.network.networks import build_network, config_from_dict, has_prototypes, size_multiple_of
from ProtoSegBrainLib.network.peers import PeerConfig, PeerNet

PLAIN = replace(TINY, prototypes_per_class=(0, 0, 0, 0))
PEER = PeerConfig("neuroseg", channels=(4, 8), target="regions", dropout=0.1)


@pytest.mark.parametrize(("config", "kind"), [(TINY, ProtoSegNet), (PLAIN, PlainNet), (PEER, PeerNet)])
def test_a_configuration_is_built_and_survives_json(config, kind):
    network = build_network(config)
    assert type(network) is kind
    assert network.config == config
    assert network.size_multiple == size_multiple_of(config)
    assert has_prototypes(config) == bool(network.prototype_class)
    assert config_from_dict(json.loads(json.dumps(asdict(config)))) == config


def test_a_configuration_of_before_the_reach_has_none():
    content = asdict(ModelConfig())
    del content["reach"]
    assert config_from_dict(content).reach is None


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="wings"):
        config_from_dict({"architecture": "unet", "wings": 2})
