"""The backbone's blocks and its stem."""

from __future__ import annotations

import pytest
import torch
from random_network import brain, make
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")


def test_backbones_differ_in_what_they_compute() -> None:
    outputs = [make(backbone=name)(brain(8, 8, 8)).logits for name in ("resnet", "plain", "efficient")]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    depthwise = [m for m in make(backbone="efficient").modules() if isinstance(m, nn.Conv3d) and m.groups > 1]
    assert len(depthwise) == 2


def test_stem_keeps_each_voxel_of_a_block() -> None:
    """The stem's channel (i, j, k, c) of voxel (x, y, z) is image c at (2x + i, 2y + j, 2z + k)."""
    network, images = make(), brain(8, 8, 8)
    stem = network.backbone.stem
    weight = stem.conv.get_parameter("0.weight")
    with torch.no_grad():
        weight.zero_()
        weight[0, (1 * 4 + 0 * 2 + 1) * 4 + 3, 1, 1, 1] = 1
        stem.conv[1], stem.conv[2] = nn.Identity(), nn.Identity()
        assert torch.equal(stem(images)[0, 0], images[0, 3, 1::2, 0::2, 1::2])
