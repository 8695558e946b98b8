"""The network over whole volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_network import OPTIONS, brain, make, seeing_every_class
from torch import nn

from ProtoSegBrainLib.network.inference import fuse_for_inference, run_network, run_views, tiles
from ProtoSegBrainLib.network.model import ProtoSegNet

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def a_network() -> ProtoSegNet:
    return seeing_every_class()


@pytest.mark.parametrize("tta", [False, True])
def test_logits_are_the_last_layer_of_the_similarities(a_network: ProtoSegNet, tta: bool) -> None:
    images = torch.randn(4, 22, 17, 19)
    for precision in (torch.float32, torch.bfloat16):
        with torch.inference_mode():
            similarities, logits = run_network(a_network, images, precision, tta=tta)
            assert similarities.dtype == logits.dtype == torch.float32
            torch.testing.assert_close(a_network.last_layer(similarities[None])[0], logits, atol=1e-5, rtol=0)


def test_tiles_with_their_margin_equal_one_window(a_network: ProtoSegNet) -> None:
    size = (3 * a_network.receptive_field, a_network.receptive_field + 12, 10)
    images = torch.randn(4, *size)
    with torch.inference_mode():
        whole = run_network(a_network, images, torch.float32)
        tiled = run_network(a_network, images, torch.float32, tile=6)
        a_network.__class__ = type("Short", (ProtoSegNet,), {"receptive_field": 4})
        short = run_network(a_network, images, torch.float32, tile=6)
    for expected, found in zip(whole, tiled, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)  # the logarithm magnifies rounding near 0
    assert (short[1] - whole[1]).abs().max() > 1e-2, "a margin too short must show, or this test says nothing"


def test_tiles_cover_all_once_on_multiples() -> None:
    covered = np.zeros((24, 16, 8), int)
    for core, window in tiles((24, 16, 8), tile=6, margin=5, multiple=4):
        covered[core] += 1
        for c, w, n in zip(core, window, covered.shape, strict=True):
            assert w.start == max(0, c.start - 8)
            assert w.stop == min(n, c.stop + 8)
    assert (covered == 1).all()


def test_mirror_averaging_has_no_preferred_side(a_network: ProtoSegNet) -> None:
    images = torch.randn(4, 16, 12, 20)
    with torch.inference_mode():
        plain = run_network(a_network, images, torch.float32)
        straight = run_network(a_network, images, torch.float32, tta=True)
        mirrored = run_network(a_network, images.flip(1), torch.float32, tta=True)
    for expected, found in zip(straight, mirrored, strict=True):
        torch.testing.assert_close(found.flip(1), expected, atol=1e-4, rtol=0)
    assert (straight[1] - plain[1]).abs().max() > 1e-2


def test_views_are_turned_back_and_average_to_the_result(a_network: ProtoSegNet) -> None:
    images = torch.randn(4, 16, 12, 20)
    with torch.inference_mode():
        straight, mirrored = run_views(a_network, images, torch.float32, tta=True)
        of_mirror = run_network(a_network, images.flip(1), torch.float32)
        averaged = run_network(a_network, images, torch.float32, tta=True)
        assert len(run_views(a_network, images, torch.float32)) == 1
    for one, other, turned, mean in zip(straight, mirrored, of_mirror, averaged, strict=True):
        torch.testing.assert_close(other, turned.flip(1), atol=1e-4, rtol=0)
        torch.testing.assert_close((one + other) / 2, mean, atol=1e-6, rtol=0)


@pytest.mark.parametrize("option", ["resnet", "plain", "efficient", "pooling", "group norm", "three levels"])
def test_fused_network_equals_the_unfused_one(option: str) -> None:
    network, images = make(**OPTIONS[option]), brain(16, 16, 8)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    fused = fuse_for_inference(network)
    with torch.no_grad():
        torch.testing.assert_close(fused(images).logits, network(images).logits, rtol=0, atol=1e-4)
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm3d)]
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items()), "must be a copy"
