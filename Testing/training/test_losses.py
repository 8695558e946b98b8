from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ProtoSegBrainLib.network.peers import class_logits
from ProtoSegBrainLib.network.segmentation_net import upsample
from ProtoSegBrainLib.patches.cases import class_shares
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.training import losses
from ProtoSegBrainLib.training.losses import (
    SEGMENTATION_TERMS,
    SMOOTH_VOXELS,
    LossConfig,
    cluster_loss,
    cross_entropy_loss,
    diversity_loss,
    level_losses,
    prototype_losses,
    purity_loss,
    segmentation_losses,
    separation_loss,
)

# Two voxels: the first truly background, the second truly ET. Class probabilities, one voxel a line.
PROBABILITIES = ((0.7, 0.1, 0.1, 0.1), (0.2, 0.1, 0.2, 0.5))
S = SMOOTH_VOXELS
IDENTITY = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]).float()  # (K, P)
NO_BACKGROUND = torch.eye(4)[:, 1:]  # as in the preset "seed"


def voxels(values: tuple[tuple[float, ...], ...]) -> Tensor:
    """One row per voxel -> (1, K, n, 1, 1)."""
    return torch.tensor(values).T[None, :, :, None, None].contiguous()


def two_voxels() -> tuple[Tensor, Tensor]:
    """Logits and truth."""
    return voxels(PROBABILITIES).log(), voxels(((1.0, 0, 0, 0), (0, 0, 0, 1.0)))


# -- segmentation terms ----------------------------------------------------------------------------------------------


def soft_dice(overlap: float, total: float) -> float:
    return (2 * overlap + S) / (total + S)


HAND_COMPUTED = {
    # Classes: overlap, then probabilities + truth. NCR and ED are absent and still cost what is painted.
    "dice": 1 - (soft_dice(0, 0.2) + soft_dice(0, 0.3) + soft_dice(0.5, 0.6 + 1)) / 3,
    # WT 0.3 + 0.8, TC 0.2 + 0.6, ET 0.1 + 0.5.
    "region_dice": 1 - (soft_dice(0.8, 1.1 + 1) + soft_dice(0.6, 0.8 + 1) + soft_dice(0.5, 0.6 + 1)) / 3,
    "weighted_dice": 1
    - 2
    * ((0.7 + 0.5) / (1 + S) ** 2)
    / ((0.9 + 1) / (1 + S) ** 2 + 0.2 / S**2 + 0.3 / S**2 + (0.6 + 1) / (1 + S) ** 2),
    # Sigmoids of the differences of logits, a / (a + b): ED to background, NCR to ED, ET to NCR; squares below.
    "region_sigmoid_dice": 1
    - (
        soft_dice(0.2 / 0.4, (0.1 / 0.8) ** 2 + (0.2 / 0.4) ** 2 + 1)
        + soft_dice(0.1 / 0.3, (0.1 / 0.2) ** 2 + (0.1 / 0.3) ** 2 + 1)
        + soft_dice(0.5 / 0.6, (0.1 / 0.2) ** 2 + (0.5 / 0.6) ** 2 + 1)
    )
    / 3,
    "cross_entropy": -(math.log(0.7) + math.log(0.5)) / 2,
    "focal": -(0.3**2 * math.log(0.7) + 0.5**2 * math.log(0.5)) / 2,
    "hard_examples": -math.log(0.5),
}


@pytest.mark.parametrize("name", SEGMENTATION_TERMS)
def test_segmentation_term_by_hand(name: str) -> None:
    value = SEGMENTATION_TERMS[name](LossConfig(), *two_voxels()).item()
    assert value == pytest.approx(HAND_COMPUTED[name], abs=1e-6)


@pytest.mark.parametrize("name", SEGMENTATION_TERMS)
def test_fewer_smoothing_voxels_make_the_dice_terms_steeper_and_leave_the_others(name: str) -> None:
    value = SEGMENTATION_TERMS[name](LossConfig(smooth_voxels=2.0), *two_voxels()).item()
    if "dice" not in name:
        assert value == pytest.approx(HAND_COMPUTED[name], abs=1e-6)
    elif name == "region_dice":
        parts = [(2 * a + 2) / (b + 2) for a, b in ((0.8, 2.1), (0.6, 1.8), (0.5, 1.6))]
        assert value == pytest.approx(1 - sum(parts) / 3, abs=1e-6)
    else:
        assert value > HAND_COMPUTED[name]


def test_region_dice_is_per_case_and_dice_over_the_batch() -> None:
    logits, truth = two_voxels()
    empty = voxels(((1.0, 0, 0, 0), (1.0, 0, 0, 0)))
    batch = torch.cat([logits, logits]), torch.cat([truth, empty])
    alone = losses.region_dice_loss(logits, empty).item()
    expected = (HAND_COMPUTED["region_dice"] + alone) / 2
    assert losses.region_dice_loss(*batch).item() == pytest.approx(expected, abs=1e-6)
    painted = 1 - (soft_dice(0, 1.1) + soft_dice(0, 0.8) + soft_dice(0, 0.6)) / 3
    assert alone == pytest.approx(painted, abs=1e-6)
    pooled = 1 - (soft_dice(0, 0.4) + soft_dice(0, 0.6) + soft_dice(0.5, 1.2 + 1)) / 3
    assert losses.dice_loss(*batch).item() == pytest.approx(pooled, abs=1e-6)


def test_cross_entropy_takes_shares() -> None:
    logits = voxels(((0.5, 0.25, 0.125, 0.125),)).log()
    truth = voxels(((0.5, 0.5, 0, 0),))
    expected = -(math.log(0.5) + math.log(0.25)) / 2
    assert losses.cross_entropy_loss(logits, truth).item() == pytest.approx(expected)


def test_hard_examples_are_the_hardest_share() -> None:
    truth = voxels(((1.0, 0, 0, 0),) * 40)
    rest = 0.05
    logits = voxels(((1 - 3 * rest, rest, rest, rest),) * 38 + ((0.1, 0.9, 0, 0), (0.3, 0.7, 0, 0)))
    loss = losses.hard_examples_loss(logits.clamp(min=1e-20).log(), truth)
    assert loss.item() == pytest.approx(-(math.log(0.1) + math.log(0.3)) / 2, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in SEGMENTATION_TERMS if name != "region_sigmoid_dice"])
def test_segmentation_term_rests_at_the_truth_and_points_to_it(name: str) -> None:
    term, truth = partial(SEGMENTATION_TERMS[name], LossConfig()), two_voxels()[1]
    assert term(truth * 60, truth).item() == pytest.approx(0, abs=1e-6)
    logits = torch.zeros(1, 4, 2, 1, 1, requires_grad=True)
    term(logits, truth).backward()
    assert logits.grad is not None
    assert logits.grad[0, 3, 1] <= 0 <= logits.grad[0, 3, 0], "ET rises where it is true and falls where it is not"
    assert logits.grad.abs().sum() > 1e-4


def test_sigmoids_of_regions_rest_where_each_region_is_true() -> None:
    truth = voxels(((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0)))
    regions = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1.0]])[None, :, :, None, None] * 60 - 30  # WT, TC, ET
    assert losses.region_sigmoid_dice_loss(class_logits(regions, "regions"), truth).item() == pytest.approx(0, abs=1e-6)
    wrong = losses.region_sigmoid_dice_loss(class_logits(-regions, "regions"), truth).item()
    assert wrong == pytest.approx(1 - (S / (4 + S)), abs=1e-6)


@pytest.mark.parametrize("name", SEGMENTATION_TERMS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_segmentation_gradients_are_finite_without_any_tumour(name: str, scale: float) -> None:
    logits = (torch.linspace(-1, 1, 64).reshape(1, 4, 4, 2, 2) * scale).requires_grad_()
    truth = class_shares(torch.zeros(1, 8, 4, 4, dtype=torch.long), 2)
    loss = SEGMENTATION_TERMS[name](LossConfig(), logits, truth)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# -- prototype terms -------------------------------------------------------------------------------------------------

DISTANCES = torch.tensor(
    [
        [0.5, 0.2, 0.9, 1.5, 2.0],  # of background: nearest own 0.2, nearest other 0.9
        [0.4, 3.0, 0.1, 0.3, 0.8],  # of NCR: own 0.1, nearest other 0.3
    ]
)
LABEL = torch.tensor([0, 1])


def test_cluster_is_the_mean_distance_to_the_nearest_own_prototype() -> None:
    assert cluster_loss(DISTANCES, LABEL, IDENTITY).item() == pytest.approx((0.2 + 0.1) / 2)


def test_separation_is_the_mean_shortfall_to_the_nearest_foreign_prototype() -> None:
    assert separation_loss(DISTANCES, LABEL, IDENTITY).item() == pytest.approx((0.6 + 1.2) / 2)  # the margin is 1.5
    assert separation_loss(DISTANCES, LABEL, IDENTITY, margin=1.0).item() == pytest.approx((0.1 + 0.7) / 2)
    assert separation_loss(DISTANCES, LABEL, IDENTITY, margin=0.5).item() == pytest.approx((0 + 0.2) / 2)
    assert separation_loss(DISTANCES + 1.5, LABEL, IDENTITY).item() == 0, "at rest beyond the margin"


SIMILARITIES = torch.tensor(
    [
        [2.0, 0.5, 0.3, 9.0, 9.0],  # background
        [4.0, 0.5, 0.5, 9.0, 9.0],  # background
        [1.0, 0.2, 1.0, 9.0, 9.0],  # NCR
    ]
)


def test_purity_is_the_shortfall_of_the_mean_inside_against_the_highest_mean_outside() -> None:
    label = torch.tensor([0, 0, 1])
    # Prototype 0: 3 - 1 = 2, at rest. 1: 0.5 - 0.2. 2: 1 - 0.4. Prototypes 3 and 4 have no voxel of their class.
    expected = (0 + (1 - 0.3) + (1 - 0.6)) / 3
    assert purity_loss(SIMILARITIES, label, IDENTITY).item() == pytest.approx(expected)
    assert purity_loss(SIMILARITIES, label, IDENTITY, margin=0.3).item() == pytest.approx(0, abs=1e-6)


def test_purity_counts_a_mean_per_class_however_many_voxels_it_has() -> None:
    label = torch.tensor([0, 0, 1])
    many = torch.cat([SIMILARITIES, SIMILARITIES[:1].expand(50, -1), SIMILARITIES[1:2].expand(50, -1)])
    more = torch.cat([label, torch.zeros(100, dtype=torch.long)])
    assert purity_loss(many, more, IDENTITY).item() == pytest.approx(purity_loss(SIMILARITIES, label, IDENTITY).item())


def test_diversity_is_one_for_identical_maps_and_by_hand_for_two() -> None:
    label = torch.tensor([0, 0, 1])
    same = SIMILARITIES.clone()
    same[:, 1] = same[:, 0] + 5  # softmax does not see an offset
    assert diversity_loss(same, label, IDENTITY).item() == pytest.approx(1)
    # Maps over the two background voxels with odds 1 : 3 and 1 : 1.
    maps = SIMILARITIES.clone()
    maps[:2, 0] = torch.tensor([0.25, 0.75]).log()
    maps[:2, 1] = torch.tensor([0.5, 0.5]).log()
    divergence = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    assert diversity_loss(maps, label, IDENTITY).item() == pytest.approx(math.exp(-divergence / 2), rel=1e-5)
    apart = SIMILARITIES.clone()
    apart[:2, :2] = torch.tensor([[50.0, -50.0], [-50.0, 50.0]])
    assert diversity_loss(apart, label, IDENTITY).item() == pytest.approx(0, abs=1e-9)


def test_diversity_is_the_mean_over_pairs() -> None:
    identity = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).float()
    maps = torch.tensor([[0.0, 0.0, 40.0], [0.0, 0.0, -40.0]])  # a pair alike, two pairs apart
    assert diversity_loss(maps, torch.tensor([0, 0]), identity).item() == pytest.approx(1 / 3, abs=1e-6)


TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "purity": purity_loss,
    "cluster": cluster_loss,
    "separation": separation_loss,
    "diversity": diversity_loss,
}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("identity", [IDENTITY, NO_BACKGROUND, torch.eye(4)[:, :1]], ids=["all", "seed", "one"])
@pytest.mark.parametrize("label", [[], [0], [0, 0], [2, 2], [0, 1, 2, 3], [0, 0, 3, 3]])
def test_prototype_terms_and_gradients_are_finite_whatever_is_absent(
    name: str, identity: Tensor, label: list[int]
) -> None:
    classes = torch.tensor(label, dtype=torch.long)
    maps = torch.linspace(0, 4, len(label) * identity.shape[1]).reshape(-1, identity.shape[1]).requires_grad_()
    loss = TERMS[name](maps, classes, identity)
    loss.backward()
    assert loss.ndim == 0
    assert loss.isfinite()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_without_background_prototypes_background_only_separates() -> None:
    distances = torch.tensor([[0.25, 0.5, 3.0], [0.75, 2.0, 2.5]])
    label = torch.tensor([0, 1])
    assert cluster_loss(distances, label, NO_BACKGROUND).item() == pytest.approx(0.75)
    assert cluster_loss(distances[:1], label[:1], NO_BACKGROUND).item() == 0
    assert separation_loss(distances, label, NO_BACKGROUND).item() == pytest.approx((1.25 + 0) / 2)
    # NCR's prototype: 0.75 inside, 0.25 in background.
    assert purity_loss(distances, label, NO_BACKGROUND).item() == pytest.approx(0.5)
    assert diversity_loss(distances, label, NO_BACKGROUND).item() == 0


@pytest.mark.parametrize("name", TERMS)
def test_places_without_a_voxel_change_nothing(name: str) -> None:
    maps, label = torch.rand(6, 5) * 4, torch.tensor([0, 0, 1, 1, 3, 3])
    more = torch.cat([maps, torch.rand(3, 5) * 4]), torch.cat([label, torch.full((3,), -1)])
    assert TERMS[name](*more, IDENTITY).item() == pytest.approx(TERMS[name](maps, label, IDENTITY).item())
    nothing = TERMS[name](maps, torch.full((6,), -1), IDENTITY)
    assert nothing.item() == 0


class Waits(TorchDispatchMode):
    """Counts the operations for which a GPU's results must be known."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen += 1
        if any(word in str(func) for word in ("nonzero", "_local_scalar_dense", "masked_select", "index.Tensor")):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", TERMS)
def test_cases_are_computed_together_and_without_waiting(name: str) -> None:
    maps = (torch.rand(3, 8, 5) * 4).requires_grad_()
    label = torch.randint(-1, 4, (3, 8))
    one_by_one = torch.stack([TERMS[name](*case, IDENTITY) for case in zip(maps, label, strict=True)]).mean()
    (expected,) = torch.autograd.grad(one_by_one, maps)
    with Waits() as waits:
        together = torch.vmap(lambda m, c: TERMS[name](m, c, IDENTITY))(maps, label).mean()
        (gradient,) = torch.autograd.grad(together, maps)
    assert waits.names == []
    assert waits.seen > 10, "what is counted below vmap and backwards"
    assert together.item() == pytest.approx(one_by_one.item(), abs=1e-6)
    torch.testing.assert_close(gradient, expected)


# -- sums by config --------------------------------------------------------------------------------------------------


def test_only_terms_with_a_weight_are_computed_and_weighted() -> None:
    config = LossConfig(region_dice=0, cross_entropy=0.5, focal=2)
    terms = segmentation_losses(config, *two_voxels())
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"cross_entropy": 0.5 * HAND_COMPUTED["cross_entropy"], "focal": 2 * HAND_COMPUTED["focal"]}
    )


def test_prototype_losses_are_the_weighted_terms() -> None:
    config = LossConfig(purity=2, cluster=3, separation=0, diversity=5, l1=0.5)
    similarities = SIMILARITIES[1:]
    last_weight = torch.tensor([[1.0, -2.0]])
    terms = prototype_losses(config, DISTANCES, similarities, LABEL, IDENTITY, last_weight)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {
            "purity": 2 * purity_loss(similarities, LABEL, IDENTITY).item(),
            "cluster": 3 * 0.15,
            "diversity": 0,  # one voxel is no map
            "l1": 0.5 * 3,
        }
    )


# -- levels ----------------------------------------------------------------------------------------------------------


def test_coarser_levels_weigh_a_half_and_a_quarter_of_the_finest():
    config = LossConfig(region_dice=0, deep_supervision=(0.5, 0.25))
    right = torch.tensor([9.0, 0, 0, 0])[None, :, None, None, None]
    truth, wrong = right / 9, right.roll(1, 1)
    clean, dirty = (float(cross_entropy_loss(logits, truth)) for logits in (right, wrong))
    terms = level_losses(config, (right, wrong, right), truth)
    assert set(terms) == {"cross_entropy"}
    assert float(terms["cross_entropy"]) == pytest.approx((clean + 0.5 * dirty + 0.25 * clean) / 1.75)


def thin_rim() -> torch.Tensor:
    """(1, 16, 16, 16): a core of NCR in a rim of ET that is one voxel thick."""
    distance = torch.cdist(torch.cartesian_prod(*[torch.arange(16.0)] * 3), torch.tensor([[7.5, 7.5, 7.5]]))
    distance = distance.reshape(1, 16, 16, 16)
    return (distance < 5).long() + 2 * ((distance > 4) & (distance < 5))


def test_a_rim_thinner_than_a_voxel_of_the_prototypes_can_be_learned():
    label = thin_rim()
    shares, truth = class_shares(label, 2), class_shares(label, 1)
    logits = shares.clamp(min=0.02).log().requires_grad_()
    assert dice_of_rim(logits, label) < 0.7, "the best that the shares of the classes can teach"
    optimiser = torch.optim.Adam([logits], 0.3)
    for _ in range(40):
        optimiser.zero_grad()
        sum(level_losses(LossConfig(), [logits], truth).values()).backward()
        optimiser.step()
    assert dice_of_rim(logits, label) > 0.9


def dice_of_rim(logits: torch.Tensor, label: torch.Tensor) -> float:
    found = upsample(logits, label.shape[1:]).argmax(dim=1)
    return dice((found == 3).numpy(), (label == 3).numpy())
