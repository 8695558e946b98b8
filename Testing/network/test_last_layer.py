"""Logits are sums of contributions, and weights stay in their set."""

from __future__ import annotations

import pytest
import torch
from random_network import make

from ProtoSegBrainLib.training.configuration import load_config

pytestmark = pytest.mark.usefixtures("one_thread")


def test_logits_of_a_hundred_are_the_sum_of_contributions_to_a_hundred_thousandth() -> None:
    layer = make(load_config("default").model).last_layer
    with torch.no_grad():
        similarities = 8 * torch.rand(1, layer.weight.shape[1], 20, 20, 20)
        logits = layer(similarities)[0].flatten(1)
        sums = layer.weight.double() @ similarities[0].flatten(1).double() + layer.bias.double()[:, None]
    assert 60 < logits.max() < 128
    assert logits.dtype == torch.float32
    assert (logits - sums).abs().max() < 1e-5


def test_constrain_leaves_non_negative_weights_to_the_own_class_only() -> None:
    layer = make().last_layer
    with torch.no_grad():
        layer.weight.copy_(torch.arange(24.0).reshape(4, 6) - 10)
    before = layer.weight.detach().clone()
    layer.constrain()
    for index, owner in enumerate((0, 0, 1, 2, 3, 3)):
        expected = torch.zeros(4)
        expected[owner] = max(0.0, before[owner, index].item())
        assert layer.weight[:, index].tolist() == expected.tolist()
    assert (layer.weight > 0).any()
    free = make(class_connected=False).last_layer
    with torch.no_grad():
        free.weight.copy_(before)
    free.constrain()
    assert torch.equal(free.weight, before)


def test_where_nothing_is_similar_background_is_decided() -> None:
    layer = make().last_layer
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, 0.25, 2.0, -1.0]))
    layer.constrain()
    assert layer.bias.tolist() == [0.5, 0.25, 0.5, -1.0]
    assert int(layer(torch.zeros(1, 6, 1, 1, 1)).argmax(dim=1)) == 0
