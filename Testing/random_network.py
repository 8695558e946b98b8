"""A small prototype network with random weights, in each of its options."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet

SMALL = ModelConfig(
    widths=(4, 8), blocks=(1, 1), aspp_rates=(1, 2), aspp_channels=4, embedding_channels=6,
    prototypes_per_class=(2, 1, 1, 2),
)  # fmt: skip
NARROW = replace(SMALL, embedding_channels=4)
OPTIONS: dict[str, dict[str, Any]] = {
    "resnet": {},
    "plain": {"backbone": "plain"},
    "efficient": {"backbone": "efficient"},
    "cosine": {"similarity": "cosine"},
    "unlimited reach": {"reach": None},
    "patch of 3": {"prototype_size": 3},
    "patch of 5": {"prototype_size": 5, "reach": None},  # random patches of that size are like nothing
    "wide rates": {"aspp_rates": (1, 2, 3)},
    "pointwise": {"aspp_pointwise": True},
    "pooling": {"aspp_pooling": True},
    "group norm": {"norm": "group"},
    "instance norm": {"norm": "instance"},
    "one prototype a class": {"prototypes_per_class": (1, 1, 1, 1)},
    "ten a class, none of background": {"prototypes_per_class": (0, 10, 10, 10)},
    "free last layer": {"class_connected": False},
    "stem of stride 1": {"stem_stride": 1, "prototype_stride": 1},
    "no decoder": {"prototype_stride": 4},
    "three levels": {"widths": (4, 6, 8), "blocks": (0, 1, 2)},
}


def make(config: ModelConfig = SMALL, **changes: Any) -> ProtoSegNet:
    """Random weights, biases and running statistics, in evaluation mode."""
    torch.manual_seed(0)
    network = ProtoSegNet(replace(config, **changes)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.get_buffer("running_mean"), 0, 0.2)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
    nn.init.normal_(network.last_layer.bias)
    return network


def seeing_every_class() -> ProtoSegNet:
    """Random weights and running statistics under which every class is seen somewhere."""
    torch.manual_seed(0)
    network = ProtoSegNet(NARROW).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.normal_(norm.get_buffer("running_mean"), 0, 0.2)
            nn.init.uniform_(norm.get_buffer("running_var"), 0.5, 2)
    with torch.no_grad():
        embedding = network.embed(torch.randn(1, 4, 16, 16, 16))[0].flatten(1)  # (C, voxels)
        chosen = torch.cat([embedding.argmax(1), embedding.argmin(1)])[: len(NARROW.prototype_class)]  # far apart
        network.prototype_layer.prototype_vectors.copy_(embedding[:, chosen].T[..., None, None, None])
        logits = network(torch.randn(1, 4, 16, 16, 16)).logits
        network.last_layer.bias -= logits.mean(dim=(0, 2, 3, 4))
    return network


def gradient(tensor: Tensor) -> Tensor:
    """That of a tensor which must have one."""
    assert tensor.grad is not None
    return tensor.grad


def brain(*size: int, batch: int = 1) -> Tensor:
    """Random images (batch, 4, *size), the same each time."""
    return torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(1))
