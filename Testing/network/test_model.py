"""The network as a whole: options, what decides, where a voxel lies, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from random_network import OPTIONS, SMALL, brain, gradient, make
from torch import nn

from ProtoSegBrainLib.network.model import ModelConfig, PlainNet, ProtoSegNet, with_reach
from ProtoSegBrainLib.network.segmentation_net import upsample
from ProtoSegBrainLib.training.configuration import load_config
from ProtoSegBrainLib.training.losses import cross_entropy_loss

pytestmark = pytest.mark.usefixtures("one_thread")


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds_learns_and_is_explained_by_its_similarities(option: str) -> None:
    network = make(**OPTIONS[option])
    config, images = network.config, brain(16, 8, 24)
    count, stride = sum(config.prototypes_per_class), config.prototype_stride
    with torch.no_grad():
        output = network(images)
    grid = (16 // stride, 8 // stride, 24 // stride)
    assert output.logits.shape == (1, 4, *grid)
    assert output.similarities.shape == output.distances.shape == (1, count, *grid)
    assert all(part.dtype == torch.float32 for part in output[:3])
    assert output.distances.min() >= 0
    assert output.distances.max() <= 4 + 1e-5
    assert output.logits.std() > 1e-4, "the image must matter"

    torch.testing.assert_close(network.last_layer(output.similarities), output.logits, rtol=0, atol=0)
    layer = network.last_layer
    contributions = layer.weight[None, :, :, None, None, None] * output.similarities[:, None]  # (1, K, P, x, y, z)
    explained = layer.bias[None, :, None, None, None] + contributions.sum(dim=2)
    assert (output.logits - explained).abs().max() < 1e-5

    network.train()
    network(images).logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert gradient(parameter).isfinite().all(), name
    assert any(gradient(parameter).abs().sum() > 0 for parameter in network.prototype_layer.parameters())


def test_aspp_has_a_branch_per_rate_and_per_switch() -> None:
    network = make(aspp_rates=(1, 3), aspp_pointwise=True, aspp_pooling=True)
    convolutions = [module for module in network.aspp.branches.modules() if isinstance(module, nn.Conv3d)]
    kernels = [(convolution.kernel_size[0], convolution.dilation[0]) for convolution in convolutions]
    assert kernels == [(3, 1), (3, 3), (1, 1)]
    assert network.aspp.fuse.get_parameter("0.weight").shape[1] == 4 * 4
    assert make().aspp.pooling is None


# -- the similarities are the only path ------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"aspp_pooling": True, "class_connected": False, "prototype_size": 3}])
def test_zeroed_similarities_leave_nothing_of_the_image(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make(**changes)
    monkeypatch.setattr(network.prototype_layer, "similarities", torch.zeros_like)
    logits = network(brain(16, 16, 16)).logits
    bias = network.last_layer.bias[None, :, None, None, None].expand_as(logits)
    torch.testing.assert_close(logits, bias, rtol=0, atol=0)


def test_no_gradient_reaches_the_image_past_the_similarities(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = make(), brain(8, 8, 8).requires_grad_()
    original = network.prototype_layer.similarities
    network(images).logits.sum().backward()
    assert gradient(images).abs().sum() > 0
    images.grad = None
    monkeypatch.setattr(network.prototype_layer, "similarities", lambda distances: original(distances).detach())
    network(images).logits.sum().backward()
    assert images.grad is None


def test_upsampled_logits_are_the_classes_of_upsampled_similarities() -> None:
    network, size = make(), (16, 16, 24)
    with torch.no_grad():
        output = network(brain(*size))
        classified_late = network.last_layer(upsample(output.similarities, size))
    torch.testing.assert_close(upsample(output.logits, size), classified_late, rtol=0, atol=1e-5)


# -- distances and similarities --------------------------------------------------------------------------------------


def test_another_reach_leaves_the_logits_within_it() -> None:
    network = make(reach=None).eval()
    network.last_layer.weight.data.copy_(torch.rand_like(network.last_layer.weight) * network.last_layer.weight)
    image = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = network(image)
        farthest = before.distances.amax(dim=1)
        reach = float(farthest.median())
        after = with_reach(network, reach)(image)
    near = farthest < reach
    torch.testing.assert_close(after.logits.movedim(1, -1)[near], before.logits.movedim(1, -1)[near], rtol=0, atol=1e-4)
    assert (after.similarities[before.distances >= reach + 1e-6] == 0).all()
    assert not with_reach(network, 2.0).training


def test_prototypes_stay_float32_under_autocast() -> None:
    network, images = make(), brain(8, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = network(images)
        features = network.features(images)
    assert all(part.dtype == torch.float32 for part in output[:3])
    torch.testing.assert_close(output.distances, network.prototype_layer.distances(features), rtol=0, atol=1e-6)


def test_embed_gives_the_unit_vectors_that_are_compared() -> None:
    network, images = make(), brain(8, 8, 8)
    with torch.no_grad():
        embedding = network.embed(images)
        vectors = network.prototype_layer.unit_vectors().flatten(1)
        output = network(images)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(1, 4, 4, 4))
    cosine = torch.einsum("bcxyz,pc->bpxyz", embedding, vectors)
    torch.testing.assert_close(output.distances, 2 - 2 * cosine, rtol=0, atol=1e-5)


# -- where a voxel lies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["resnet", "efficient", "patch of 3", "stem of stride 1", "three levels"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrored_weights_mirror_the_output_without_a_shift(option: str, axis: int) -> None:
    network = make(**OPTIONS[option])
    mirrored = make(**OPTIONS[option])
    stem = network.config.stem_stride
    with torch.no_grad():
        for name, parameter in mirrored.named_parameters():
            if parameter.ndim == 5:
                parameter.copy_(parameter.flip(2 + axis))
            if name == "backbone.stem.conv.0.weight":
                blocks = parameter.unflatten(1, (stem, stem, stem, 4))  # the block's voxels swap places, too
                parameter.copy_(blocks.flip(1 + axis).flatten(1, 4))
        images = brain(16, 24, 8)
        expected = network(images).logits
        found = mirrored(images.flip(2 + axis)).logits.flip(2 + axis)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def reach_of(network: ProtoSegNet, length: int) -> int:
    """Largest distance along x from a prototype voxel's block to an input voxel that its distances depend on."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.weight.abs_()  # with positive weights, biases and images no ReLU hides a path
                if module.bias is not None:
                    module.bias.abs_()
            if isinstance(module, nn.BatchNorm3d):
                module.reset_parameters()
    stride, reach = network.prototype_stride, 0
    for voxel in range(length // 2, length // 2 + network.size_multiple, stride):  # every place in a coarse voxel
        images = brain(length, 8, 8).abs().requires_grad_()
        network(images).distances[0, :, voxel // stride].sum().backward()
        touched = gradient(images).abs().sum(dim=(0, 1, 3, 4)).nonzero().flatten()
        reach = max(reach, voxel - int(touched.min()), int(touched.max()) - (voxel + stride - 1))
    return reach


WINDOWED = ("pooling", "group norm", "instance norm")  # these see the whole window


@pytest.mark.parametrize("option", [name for name in OPTIONS if name not in WINDOWED])
def test_receptive_field_is_the_true_reach_rounded_up(option: str) -> None:
    network = make(**OPTIONS[option])
    margin = network.receptive_field
    length = 2 * margin + 6 * network.size_multiple
    reach = reach_of(network, length)
    assert reach <= margin <= reach + 2 * network.size_multiple
    assert margin % network.size_multiple == 0


def test_a_voxel_beyond_the_receptive_field_changes_nothing() -> None:
    network = make()
    margin = network.receptive_field
    images = brain(margin + 16, 8, 8)
    changed = images.clone()
    changed[:, :, 0] += 100
    with torch.no_grad():
        before, after = network(images).logits, network(changed).logits
    first_untouched = (margin + 1 + 1) // 2
    assert torch.equal(before[:, :, first_untouched:], after[:, :, first_untouched:])
    assert not torch.allclose(before[:, :, :4], after[:, :, :4])


@pytest.mark.parametrize("option", ["resnet", "efficient", "patch of 3", "three levels"])
def test_a_tile_with_that_margin_gives_the_whole_brains_logits(option: str) -> None:
    network = make(**OPTIONS[option])
    margin, multiple, stride = network.receptive_field, network.size_multiple, network.prototype_stride
    start, core = margin + 2 * multiple, 2 * multiple  # context is cut off on both sides
    images = brain(start + core + margin + 2 * multiple, 16, 16)
    with torch.no_grad():
        whole = network(images).logits
        tile = network(images[:, :, start - margin : start + core + margin]).logits
        tight = network(images[:, :, start - multiple : start + core + multiple]).logits
    expected = whole[:, :, start // stride : (start + core) // stride]
    found = tile[:, :, margin // stride : (margin + core) // stride]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (tight[:, :, multiple // stride : (multiple + core) // stride] - expected).abs().max() > 1e-4


# -- checkpointing, presets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["resnet", "plain", "efficient"])
def test_checkpointing_changes_neither_gradients_nor_running_statistics(backbone: str) -> None:
    plain, frugal = make(backbone=backbone).train(), make(backbone=backbone, checkpointing=True).train()
    images = brain(8, 8, 16, batch=2)
    for network in (plain, frugal):
        network(images).logits.square().mean().backward()
    for (name, expected), found in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(gradient(found), gradient(expected), msg=name)
    fresh = dict(make(backbone=backbone).named_buffers())
    for (name, expected_buffer), buffer in zip(plain.named_buffers(), frugal.buffers(), strict=True):
        if "running" in name:
            torch.testing.assert_close(buffer, expected_buffer, msg=name)
            assert not torch.equal(buffer, fresh[name]), "one forward moves them once"
    assert all(m.momentum == 0.03 for m in frugal.modules() if isinstance(m, nn.BatchNorm3d))


def test_default_preset_is_small_and_speaks_for_every_class() -> None:
    network = ProtoSegNet(ModelConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) * 2 < 8e6, "half precision fits in 8 MB"
    assert min(ModelConfig().prototypes_per_class) >= 5
    assert network.prototype_class[:6] == (0,) * 6


def test_seed_preset_trains_for_a_few_steps_and_its_loss_falls() -> None:
    torch.manual_seed(0)
    network = ProtoSegNet(load_config("seed").model).train()
    assert network.prototype_layer.prototype_vectors.shape == (3, 256, 1, 1, 1)
    assert network.size_multiple == network.prototype_stride == 8
    images = brain(16, 8, 8, batch=2)
    truth = F.one_hot(torch.arange(4).reshape(2, 2, 1, 1), 4).movedim(-1, 1).float()  # (2, 4, 2, 1, 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = cross_entropy_loss(network(images).logits, truth)
        loss.backward()
        optimiser.step()
        network.last_layer.constrain()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[1] < losses[0]


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone": "unet"}, "backbone must be one of .*efficient.*plain.*resnet.* not 'unet'"),
        ({"norm": "layer"}, "norm"),
        ({"similarity": "dot"}, "similarity"),
        ({"stem_stride": 3}, "stem_stride"),
        ({"blocks": (1,)}, r"blocks.*\(1,\)"),
        ({"widths": (), "blocks": ()}, "widths"),
        ({"widths": (4, 0)}, "widths"),
        ({"aspp_rates": ()}, "aspp_rates"),
        ({"aspp_rates": (0, 1)}, "aspp_rates"),
        ({"prototype_size": 2}, "prototype_size"),
        ({"prototype_size": -1}, "prototype_size"),
        ({"prototype_stride": 3}, r"prototype_stride must be one of \(2, 4\), not 3"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"prototypes_per_class": (1, 1, 1)}, "prototypes_per_class"),
        ({"prototypes_per_class": (1, 1, 1, -1)}, "prototypes_per_class"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(SMALL, **changes)


def test_without_prototypes_there_is_a_plain_head_and_no_prototype_network() -> None:
    config = replace(SMALL, prototypes_per_class=(0, 0, 0, 0))
    with pytest.raises(ValueError, match="at least one prototype"):
        ProtoSegNet(config)
    network, images = PlainNet(config).eval(), brain(16, 8, 24)
    with torch.no_grad():
        output = network(images)
        expected = network.head(network.decoded(images))
    stride = config.prototype_stride
    assert output.logits.shape == (1, 4, 16 // stride, 8 // stride, 24 // stride)
    torch.testing.assert_close(output.logits, expected)
    assert output.similarities.shape[1] == output.distances.shape[1] == 0
    assert network.prototype_class == ()
