"""Prototypes from data: k-means start, projection onto training patches, re-fit of the last layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from synthetic import SHAPE, TINY, labelled_case, training_case
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import Prototype
from ProtoSegBrainLib.patches.cases import TrainingCase, class_shares, padded_label, pure_label, whole_window
from ProtoSegBrainLib.training.losses import cross_entropy_loss, region_dice_loss
from ProtoSegBrainLib.training.prototypes import (
    gather_voxels,
    initialise_prototypes,
    project_prototypes,
    pure_embeddings,
    refit_last_layer,
    reseed_prototypes,
    sample_pure_voxels,
)


def network(**changes) -> ProtoSegNet:
    torch.manual_seed(0)
    return ProtoSegNet(replace(TINY, **changes)).eval()


def grid_voxel(prototype: Prototype, case: TrainingCase, stride: int = 2) -> tuple[int, int, int]:
    """The voxel of the prototype grid whose centre lies at the recorded position."""
    voxel = (np.linalg.inv(case.affine) @ [*prototype.position_mm, 1])[:3]
    x, y, z = (voxel - (stride - 1) / 2) / stride
    whole = round(x), round(y), round(z)
    np.testing.assert_allclose((x, y, z), whole, atol=0.02)  # positions are kept to 0.01 mm
    return whole


def striped_case(number: int, classes: tuple[int, ...] = (0, 2, 3, 1)) -> TrainingCase:
    """A stripe of 6 or more voxels for each class: wide enough for a patch of 3 voxels of the prototype grid."""
    stripes = np.repeat(classes, SHAPE[0] // len(classes))
    return labelled_case(number, np.broadcast_to(stripes[:, None, None], SHAPE).astype(np.uint8))


# -- label-pure voxels -------------------------------------------------------------------------------------------------


def test_sampled_voxels_are_of_every_class_and_no_more_than_asked():
    pure = torch.tensor([0] * 50 + [1] * 3 + [-1] * 20 + [3] * 10).reshape(1, 83, 1, 1)
    flat, classes = (drawn[0] for drawn in sample_pure_voxels(pure, 5, torch.Generator().manual_seed(0)))
    assert [(classes == index).sum().item() for index in (-1, 0, 1, 2, 3)] == [7, 5, 3, 0, 5]
    there = classes >= 0
    assert torch.equal(pure.flatten()[flat[there]], classes[there])
    assert len(set(flat[there].tolist())) == 13, "none twice"
    assert (sample_pure_voxels(torch.full((1, 2, 2, 2), -1), 5)[1] == -1).all()


def test_a_case_draws_the_same_voxels_in_any_company():
    pure = torch.randint(-1, 4, (3, 4, 5, 6), generator=torch.Generator().manual_seed(1))
    together = sample_pure_voxels(pure, 7, torch.Generator().manual_seed(2))
    alone = sample_pure_voxels(pure[1:2], 7, torch.Generator().manual_seed(2))
    assert torch.equal(together[0][1], alone[0][0])
    assert torch.equal(together[1][1], alone[1][0])


def test_gathered_vectors_are_those_of_the_voxels():
    maps = torch.randn(2, 3, 2, 4, 5)
    flat = torch.tensor([0, 7, 39, 40, 79])
    assert torch.equal(gather_voxels(maps, flat), maps.flatten(2).movedim(1, -1).reshape(80, 3)[flat])


# -- k-means -----------------------------------------------------------------------------------------------------------


def test_k_means_puts_the_prototypes_of_a_class_on_its_clusters(monkeypatch):
    net = network()
    centres = F.normalize(torch.randn(4, 2, 4, generator=torch.Generator().manual_seed(3)), dim=2)  # (K, cluster, C)

    def embed(images: Tensor) -> Tensor:
        """The first channel carries class and cluster; the embedding is that cluster's centre, nearly."""
        code = F.max_pool3d(images[:, :1], 2)[:, 0].long()
        vectors = centres.flatten(0, 1)[code].movedim(-1, 1)
        return F.normalize(vectors + 0.01 * torch.randn(vectors.shape), dim=1)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(3):
            code = (
                torch.randint(8, (1, 6, 6, 6)).repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
            )
            yield torch.stack([code, *[torch.ones_like(code)] * 3], dim=1).float(), code // 2

    monkeypatch.setattr(net, "embed", embed)
    initialise_prototypes(net, batches(), seed=0)
    vectors = net.prototype_layer.prototype_vectors.detach().flatten(1).reshape(4, 2, 4)  # (K, prototype, C)
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones(4, 2))
    for own, truth in zip(vectors, centres, strict=True):
        distance = torch.cdist(own, truth)
        assert distance.amin(dim=1).max() < 0.02  # each prototype on a cluster
        assert sorted(distance.argmin(dim=1).tolist()) == [0, 1]  # and on different ones
    assert net.training


def test_only_a_prototype_that_left_the_data_is_moved_and_onto_a_voxel_far_from_the_others(monkeypatch):
    net = network()  # two prototypes per class
    axes = torch.eye(4)
    net.prototype_layer.prototype_vectors.data = torch.stack(
        [axes[0], axes[1], axes[0], axes[3], axes[2], axes[2], axes[1], axes[0]]
    )[:, :, None, None, None]
    before = net.prototype_layer.prototype_vectors.detach().flatten(1).clone()
    net.last_layer.weight.data[1, 2:4] = torch.tensor([3.0, 1.0])
    # Class 1 has voxels at axis 0 (a prototype of its own is there) and at axis 1 (none is); the others are not there.
    label = torch.full((1, 8, 8, 8), -1)
    label[0, :4], label[0, 4:] = 1, 1
    vectors = axes[0].expand(1, 4, 4, 4, 4).movedim(-1, 1).clone()
    vectors[:, :, 2:] = axes[1][:, None, None, None]
    monkeypatch.setattr(net, "embed", lambda _: vectors)
    assert reseed_prototypes(net, iter([(torch.ones(1, 4, 8, 8, 8), label)]), distance=0.1, seed=0) == [3]
    after = net.prototype_layer.prototype_vectors.detach().flatten(1)
    torch.testing.assert_close(after[3], axes[1])  # drawn where the class has no prototype yet
    assert torch.equal(after[[0, 1, 2, 4, 5, 6, 7]], before[[0, 1, 2, 4, 5, 6, 7]])
    assert net.last_layer.weight[1, 3] == 2  # the mean of its class
    assert reseed_prototypes(net, iter([(torch.ones(1, 4, 8, 8, 8), label)]), distance=0.1, seed=0) == []


def test_a_prototype_among_voxels_of_another_class_is_moved(monkeypatch):
    net = network()
    axes = torch.eye(4)
    net.prototype_layer.prototype_vectors.data = axes[[3, 3, 0, 0, 0, 1, 2, 2]][:, :, None, None, None]
    # Class 1 is at axis 0; class 2 at axis 1, but for one voxel in 32 at axis 0: prototype 4 is near to that one.
    label = torch.ones(1, 8, 8, 8, dtype=torch.long)
    label[0, 4:] = 2
    vectors = axes[0].expand(1, 4, 4, 4, 4).movedim(-1, 1).clone()
    vectors[:, :, 2:] = axes[1][:, None, None, None]
    vectors[:, :, 3, 3, 3] = axes[0]
    monkeypatch.setattr(net, "embed", lambda _: vectors)
    assert reseed_prototypes(net, iter([(torch.ones(1, 4, 8, 8, 8), label)] * 8), distance=0.1, seed=0) == [4]


def test_voxels_outside_the_brain_are_no_embeddings_of_background(monkeypatch):
    net = network()
    monkeypatch.setattr(net, "embed", lambda _: torch.ones(1, 4, 4, 4, 4))
    images = torch.zeros(1, 4, 8, 8, 8)
    images[0, 2, :2, :4] = 1  # of the prototype grid 1 x 2 x 4 voxels
    points = pure_embeddings(net, iter([(images, torch.zeros(1, 8, 8, 8, dtype=torch.long))]), seed=0)
    assert [len(points[index]) for index in range(4)] == [8, 0, 0, 0]


def test_a_class_that_is_not_there_keeps_its_prototypes():
    net = network(prototype_size=3)
    before = net.prototype_layer.prototype_vectors.detach().clone()
    case = striped_case(0, classes=(0, 2))
    initialise_prototypes(net, iter([(whole_window(case, 4), padded_label(case, whole_window(case, 4)))]), seed=0)
    after = net.prototype_layer.prototype_vectors.detach()
    owners = torch.tensor(net.prototype_class)
    absent = (owners == 1) | (owners == 3)
    assert torch.equal(before[absent], after[absent])
    assert not torch.equal(before[~absent], after[~absent])
    # A patch prototype starts with the same vector in all its voxels.
    assert torch.equal(after[~absent], after[~absent][..., :1, :1, :1].expand(-1, -1, 3, 3, 3))


# -- projection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"prototype_size": 3}, {"similarity": "cosine", "norm": "batch"}], ids=str)
def test_a_projected_prototype_is_the_embedding_of_its_recorded_patch(changes):
    net = network(**changes)
    size = net.config.prototype_size
    made = map(training_case, range(3)) if size == 1 else map(striped_case, range(3))
    cases = {case.case_id: case for case in made}
    records = project_prototypes(net, list(cases.values()))
    assert [record.index for record in records] == list(range(len(net.prototype_class)))
    for record in records:
        case = cases[record.case_id]
        x, y, z = grid_voxel(record, case)
        embedding = net.embed(whole_window(case, net.size_multiple)).detach()
        distances = net.prototype_layer.distances(embedding)[0, record.index]
        assert distances[x, y, z] < 1e-5
        half = size // 2
        patch = embedding[0][:, x - half : x + half + 1, y - half : y + half + 1, z - half : z + half + 1]
        vector = net.prototype_layer.prototype_vectors[record.index]
        torch.testing.assert_close(vector, patch, atol=1e-5, rtol=0)
        # Label-pure, of the prototype's class.
        block = case.label[tuple(slice(2 * (v - half), 2 * (v + half + 1)) for v in (x, y, z))]
        assert block.numel() == (2 * size) ** 3
        assert record.class_name == CLASSES[net.prototype_class[record.index]]
        assert (block == net.prototype_class[record.index]).all()
        assert record.patch_size_mm == 2 * size


def test_the_record_tells_the_patchs_intensities_and_how_far_the_prototype_moved():
    net = network()
    case = training_case(0)
    before = net.prototype_layer.unit_vectors().detach().clone()
    record = project_prototypes(net, [case])[5]
    x, y, z = (2 * v for v in grid_voxel(record, case))
    patch = case.images[:, x : x + 2, y : y + 2, z : z + 2].float().mean(dim=(1, 2, 3))
    assert list(record.profile) == list(MODALITIES)
    np.testing.assert_allclose(list(record.profile.values()), patch, atol=1e-3)
    after = net.prototype_layer.unit_vectors().detach()
    assert record.projection_distance == pytest.approx(float((after[5] - before[5]).square().sum()), abs=1e-5)


def test_prototypes_of_one_class_come_from_distinct_cases_while_there_are_enough():
    records = project_prototypes(network(prototypes_per_class=(3, 3, 3, 3)), [training_case(n) for n in range(3)])
    sources = defaultdict(list)
    for record in records:
        sources[record.class_name].append(record.case_id)
    assert all(sorted(ids) == ["case_0", "case_1", "case_2"] for ids in sources.values())
    records = project_prototypes(network(prototypes_per_class=(4, 4, 4, 4)), [training_case(n) for n in range(2)])
    assert [r.case_id for r in records[:4]].count("case_0") == 2


def test_a_prototype_goes_to_the_nearest_patch_of_its_class():
    net = network(prototypes_per_class=(1, 1, 1, 1))
    cases = [training_case(n) for n in range(2)]
    least = {}
    for index in range(4):
        distances = []
        for case in cases:
            window = whole_window(case, 4)
            pure = pure_label(padded_label(case, window), 2)[0] == index
            distances.append(net(window).distances[0, index][pure].min().item())
        least[index] = min(distances)
    for record in project_prototypes(net, cases):
        assert record.projection_distance == pytest.approx(least[record.index], abs=1e-6)


def test_a_search_in_half_precision_gives_prototypes_of_full_precision():
    net, cases = network(), {case.case_id: case for case in map(training_case, range(3))}
    with torch.autocast("cpu", torch.bfloat16):
        records = project_prototypes(net, list(cases.values()))
    for record in records:
        embedding = net.embed(whole_window(cases[record.case_id], 4))
        place = (0, record.index, *grid_voxel(record, cases[record.case_id]))
        assert net.prototype_layer.distances(embedding)[place] < 1e-5


def test_no_prototype_comes_from_the_padding_around_a_case():
    net = network(prototypes_per_class=(1, 1, 1, 1))
    case = training_case(0)
    case = replace(case, images=case.images[:, :, :, :21], label=case.label[:, :, :21])  # padded to 24 along z
    outside = net.embed(whole_window(case, 4))[0, :, 5, 5, 11]
    with torch.no_grad():
        net.prototype_layer.prototype_vectors[0] = outside[:, None, None, None]
    x, y, z = grid_voxel(project_prototypes(net, [case])[0], case)
    assert 2 * x + 2 <= SHAPE[0]
    assert 2 * y + 2 <= SHAPE[1]
    assert 2 * z + 2 <= 21


def test_a_class_without_a_pure_patch_is_named():
    with pytest.raises(ValueError, match="No training case has a label-pure patch of ET"):
        project_prototypes(network(), [training_case(n, classes=(2, 1)) for n in range(2)])


def test_a_class_without_prototypes_needs_no_patch():
    net = network(prototypes_per_class=(2, 2, 2, 0))
    assert len(project_prototypes(net, [training_case(0, classes=(2, 1))])) == 6


# -- re-fit ------------------------------------------------------------------------------------------------------------


def whole_loss(net: ProtoSegNet, cases: list[TrainingCase]) -> float:
    """What the re-fit minimises, over all cases."""
    total = 0.0
    for case in cases:
        window = whole_window(case, 4)
        logits, truth = net(window).logits.detach(), class_shares(padded_label(case, window), 2)
        total += float(cross_entropy_loss(logits, truth) + region_dice_loss(logits, truth))
    return total / len(cases)


def test_half_precision_around_the_refit_rounds_the_embeddings_alone():
    layers = []
    for enabled in (False, True):
        net, cases = network(), [training_case(n) for n in range(2)]
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            refit_last_layer(net, cases, steps=30)
        layers.append(net.last_layer.weight.detach())
    torch.testing.assert_close(layers[1], layers[0], atol=1e-2, rtol=0)  # below the .0156 between bfloat16s there
    assert not torch.equal(layers[1], layers[1].bfloat16().float())


@pytest.mark.parametrize("class_connected", [True, False])
def test_the_refit_lowers_its_loss_and_moves_the_last_layer_alone(class_connected):
    net = network(class_connected=class_connected)
    cases = [training_case(n) for n in range(2)]
    project_prototypes(net, cases)
    before, start = {k: v.clone() for k, v in net.state_dict().items()}, whole_loss(net, cases)
    losses = refit_last_layer(net, cases, steps=30, learning_rate=0.1)
    assert len(losses) == 30
    assert losses[-1] < losses[0]
    assert whole_loss(net, cases) < start
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"last_layer.weight", "last_layer.bias"}
    if class_connected:
        identity = net.last_layer.prototype_class_identity
        assert (net.last_layer.weight >= 0).all()
        assert not net.last_layer.weight[identity == 0].any()
