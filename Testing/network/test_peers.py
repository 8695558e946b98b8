"""The peers: what they are made of, and that they answer as ours does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.inference import run_network
from ProtoSegBrainLib.network.peers import PeerConfig, PeerNet, class_logits
from ProtoSegBrainLib.training.configuration import load_config

SMALL = {
    "unet": PeerConfig("unet", channels=(4, 4, 8, 8, 8)),
    "segresnet": PeerConfig("segresnet", channels=(8, 16), target="regions"),
    "resunet": PeerConfig("resunet", channels=(4, 8, 8), deep_supervision=1),
    "neuroseg": PeerConfig("neuroseg", channels=(4, 8, 8), target="whole_tumour"),
}


def network(config: PeerConfig) -> PeerNet:
    torch.manual_seed(0)
    return PeerNet(config).eval()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("unet", 22_583_908),  # the seed's document: 22.58 M
        ("segresnet", 4_702_227),
        ("resunet", 22_757_452),
        ("neuroseg", 4_811_129),
    ],
)
def test_the_seeds_networks_have_their_size(name, parameters):
    config = load_config(name).model
    assert sum(value.numel() for value in PeerNet(config).parameters()) == parameters


@pytest.mark.parametrize("name", SMALL)
def test_each_answers_with_four_classes_at_the_resolution_of_the_input(name):
    net = network(SMALL[name])
    n = 2 * net.size_multiple
    images = torch.randn(2, 4, n, n, 2 * n)
    with torch.no_grad():
        output = net(images)
    assert output.logits.shape == (2, 4, n, n, 2 * n)
    assert output.logits.dtype == torch.float32
    assert output.similarities.shape == output.distances.shape == (2, 0, n, n, 2 * n)
    assert output.deep == ()
    assert net.prototype_class == ()
    with pytest.raises(ValueError, match=f"multiples of {net.size_multiple}"):
        net(images[..., :-1])


def test_deep_supervision_gives_further_logits_in_training_only():
    net = network(SMALL["resunet"]).train()
    output = net(torch.randn(1, 4, 8, 8, 8))
    assert [level.shape for level in output.deep] == [output.logits.shape]
    assert net.eval()(torch.randn(1, 4, 8, 8, 8)).deep == ()


@pytest.mark.parametrize("name", ["unet", "segresnet"])
def test_half_precision_changes_little(name):
    net, images = network(SMALL[name]), torch.randn(4, 32, 32, 32)
    with torch.inference_mode():
        exact, half = (run_network(net, images, precision)[1] for precision in (torch.float32, torch.bfloat16))
    assert 0 < float((exact - half).abs().max()) < 0.1 * float(exact.abs().max()) + 0.05


# -- what channels mean ------------------------------------------------------------------------------------------------


def test_nested_regions_become_the_classes_that_thresholds_of_a_half_give():
    w, t, e = torch.meshgrid(*[torch.linspace(-4, 4, 9) + 0.1] * 3, indexing="ij")
    nested = (e <= t) & (t <= w)
    regions = torch.stack([w[nested], t[nested], e[nested]])[None]
    label = class_logits(regions, "regions").argmax(dim=1)[0].numpy()
    for found, classes in zip((regions[0] > 0).numpy(), REGIONS.values(), strict=True):  # WT, TC, ET
        np.testing.assert_array_equal(np.isin(label, classes), found)
    assert set(label) == {0, 1, 2, 3}


def test_the_whole_tumour_stands_where_oedema_does():
    outputs = torch.tensor([-3.0, 2.0])[None, None]
    assert class_logits(outputs, "whole_tumour").argmax(dim=1).tolist() == [[0, 2]]
    truth = one_hot(torch.tensor([[0, 1, 2, 3]]), 4).movedim(-1, 1).float()
    taught = network(SMALL["neuroseg"]).teachable(truth)
    assert taught.argmax(dim=1).tolist() == [[0, 2, 2, 2]]
    assert torch.equal(network(SMALL["unet"]).teachable(truth), truth)


# -- whole brains ------------------------------------------------------------------------------------------------------


def test_tiles_of_the_unet_give_the_whole_brains_logits():
    net = network(SMALL["unet"])
    images = torch.randn(4, 16, 16, 2 * net.receptive_field + 64)
    with torch.inference_mode():
        whole, tiled = (run_network(net, images, torch.float32, tile=tile)[1] for tile in (None, 32))
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=1e-4)


def test_a_network_with_a_window_meets_no_other_size():
    sizes = []
    net = network(replace(SMALL["segresnet"], window=16))
    net.network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    with torch.inference_mode():
        similarities, logits = run_network(net, torch.randn(4, 30, 17, 24), torch.float32)
    assert set(sizes) == {(16, 16, 16)}
    assert similarities.shape == (0, 32, 24, 24)
    assert logits.shape == (4, 32, 24, 24)
    assert logits.isfinite().all()


def test_windows_agree_with_the_whole_where_nothing_reaches_across():
    """One convolution of one voxel: where the window lies makes no difference."""
    net = network(replace(SMALL["segresnet"], target="classes", window=16))
    net.network = torch.nn.Conv3d(4, 4, 1)
    images = torch.randn(4, 24, 40, 16)
    with torch.inference_mode():
        blended, whole = run_network(net, images, torch.float32)[1], net.network(images[None])[0]
    torch.testing.assert_close(blended, whole, atol=1e-5, rtol=1e-5)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architecture": "transformer"}, "architecture"),
        ({"target": "everything"}, "target"),
        ({"channels": (8,)}, "channels"),
        ({"channels": (4, 8, 0, 8, 8)}, "channels"),
        ({"architecture": "unet", "channels": (4, 8, 8)}, "five levels"),
        ({"deep_supervision": 1}, "deep_supervision"),
        ({"architecture": "resunet", "deep_supervision": 9}, "deep_supervision"),
        ({"dropout": 1.0}, "dropout"),
        ({"window": 20}, "window"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named):
        replace(SMALL["unet"], **changes)
