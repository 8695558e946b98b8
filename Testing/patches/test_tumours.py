"""Tumours put into another brain, without enhancement, or faint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_up_patch import ED, ET, NCR, T1C, T1N, a_patch, drawn, only
from torch import Tensor

from ProtoSegBrainLib.patches.tumours import remove_enhancement, transplant, weaken_enhancement, weaken_oedema

# -- transplant ------------------------------------------------------------------------------------------------------


def another_brain(size: int = 24) -> tuple[Tensor, Tensor]:
    """A uniform brain that begins later and ends earlier along x than that of ``a_patch``, with a tumour of its own."""
    images, label = torch.zeros(4, size, size, size), torch.zeros(size, size, size, dtype=torch.long)
    images[:, 4:19, 1:, 1:] = -1.0
    label[17:19, 20:, 20:] = ED
    return images, label


@pytest.mark.parametrize("seed", [11, 21, 1, 12, 3, 0])  # they draw the margins 2 to 7
def test_a_transplanted_tumour_is_whole_and_the_rest_is_the_other_brain(seed: int) -> None:
    (images, label), (other, other_label) = a_patch(24), another_brain()
    mixed, mixed_label = transplant(images, label, other, other_label, np.random.default_rng(seed))
    shared = (images != 0).all(0) & (other != 0).all(0)
    tumour = (label > 0) & shared
    assert tumour.any()
    assert ((label > 0) & ~shared).any(), "some of it lies outside the other brain"
    assert torch.equal(mixed[:, tumour], images[:, tumour])
    assert torch.equal(mixed_label[tumour], label[tumour])
    assert torch.equal(mixed[:, ~shared], other[:, ~shared])
    assert torch.equal(mixed_label[~shared], other_label[~shared])
    far = torch.ones_like(label, dtype=torch.bool)
    far[:20, :21, :21] = False  # 7 voxels of margin and 2 in which it fades, about a tumour that ends at 11 and 12
    assert torch.equal(mixed[:, far], other[:, far])
    assert torch.equal(mixed_label[far], other_label[far])
    assert (mixed_label[17:19, 20:, 20:] == ED).all(), "the other's own tumour stays"
    # Between them the images fade from one brain to the other.
    low, high = torch.minimum(images, other), torch.maximum(images, other)
    assert ((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all()


def test_the_margin_of_a_transplant_varies_and_brings_healthy_tissue_along() -> None:
    (images, label), (other, other_label) = a_patch(24), another_brain()
    results = [transplant(images, label, other, other_label, np.random.default_rng(seed))[0] for seed in range(60)]
    healthy = (label == 0) & (images != 0).all(0)
    carried = {int((((mixed - images).abs() < 1e-5).all(0) & healthy).sum()) for mixed in results}
    assert len(carried) == 6
    assert max(carried) > 1000


def test_without_a_tumour_a_transplant_is_the_other_patch() -> None:
    (images, label), (other, other_label) = a_patch(24), another_brain()
    mixed, mixed_label = transplant(images, torch.zeros_like(label), other, other_label, np.random.default_rng(0))
    assert torch.equal(mixed, other)
    assert torch.equal(mixed_label, other_label)


# -- enhancement -----------------------------------------------------------------------------------------------------


def test_remove_enhancement_makes_et_ncr_and_t1ce_almost_t1_there() -> None:
    images, label = a_patch()
    wholly, partly = 0, 0
    for seed in range(12):
        changed, changed_label = remove_enhancement(images, label, np.random.default_rng(seed))
        removed = (label == ET) & (changed_label != ET)
        assert (changed_label[removed] == NCR).all()
        assert torch.equal(changed_label[~removed], label[~removed])
        others = [index for index in range(4) if index != T1C]
        assert torch.equal(changed[others], images[others])
        deep = removed & (torch.nn.functional.max_pool3d((~removed)[None].float(), 3, 1, 1)[0] == 0)
        left = (changed - images)[T1C][deep] / (images[T1N] - images[T1C])[deep]
        assert ((left > 0.79) & (left < 1.01)).all()
        assert torch.allclose(left, left.mean(), atol=1e-3), "one share of all of it"
        far = torch.nn.functional.max_pool3d(removed[None].float(), 5, 1, 2)[0] == 0
        assert torch.equal(changed[T1C][far], images[T1C][far])
        wholly += bool((changed_label != ET).all())
        partly += bool((changed_label == ET).any() and removed.any())
    assert wholly >= 2
    assert partly >= 2


def test_without_enhancement_there_is_nothing_to_remove() -> None:
    images, label = a_patch()
    label[label == ET] = ED
    changed, changed_label = drawn(only(enhancement_removal=1.0), 0, (images, label))
    assert torch.equal(changed, images)
    assert torch.equal(changed_label, label)


def test_weakened_enhancement_lies_between_t1_and_t1ce_and_stays_et() -> None:
    images, label = a_patch()
    images[:, label == ET] = torch.tensor([0.0, 2.0, 1.0, 1.0])[:, None]
    shares = []
    for seed in range(50):
        changed = weaken_enhancement(images, np.random.default_rng(seed))
        shares.append(1 - changed[T1C][label == ET].mean().item() / 2)
        assert torch.allclose(changed[T1C], torch.lerp(images[T1C], images[T1N], shares[-1]), atol=1e-6)
        others = [index for index in range(4) if index != T1C]
        assert torch.equal(changed[others], images[others])
    assert 0.1 <= min(shares) < 0.15
    assert 0.55 < max(shares) <= 0.6
    _, changed_label = drawn(only(faint_enhancement=1.0), 0, (images, label))
    assert torch.equal(changed_label, label)


@pytest.mark.parametrize("missing", [T1N, T1C])
def test_a_missing_modality_weakens_nothing(missing: int) -> None:
    images, _ = a_patch()
    images[missing] = 0
    assert torch.equal(weaken_enhancement(images, np.random.default_rng(0)), images)


# -- oedema ----------------------------------------------------------------------------------------------------------


def a_brain_with_oedema() -> tuple[Tensor, Tensor]:
    """Healthy brain of .5, oedema of 2.5 around a core of 4 in all modalities, a rim of air."""
    label = torch.zeros(32, 32, 32, dtype=torch.long)
    label[6:26, 6:26, 6:26] = ED
    label[13:19, 13:19, 13:19] = ET
    images = torch.full((4, 32, 32, 32), 0.5)
    images[:, label == ED] = 2.5
    images[:, label == ET] = 4.0
    images[:, :2] = 0
    return images, label


def test_weakened_oedema_lies_between_healthy_brain_and_what_it_was_and_the_rest_stays() -> None:
    images, label = a_brain_with_oedema()
    inside = torch.zeros_like(label, dtype=torch.bool)
    inside[10:22, 10:22, 10:22] = True
    inside &= label == ED
    far = torch.ones_like(label, dtype=torch.bool)
    far[3:29, 3:29, 3:29] = False
    lost = []
    for seed in range(60):
        changed = weaken_oedema(images, label, np.random.default_rng(seed))
        assert (changed[:, label == ED] <= 2.5).all()
        assert (changed[:, label == ED] > 0.5).all()
        assert torch.equal(changed[:, label == ET], images[:, label == ET])
        assert torch.equal(changed[:, far], images[:, far])
        lost += [1 - (values.mean().item() - 0.5) / 2 for values in changed[:, inside]]
    assert min(lost) < 0.02
    assert 0.65 < max(lost) <= 0.7
    assert abs(np.corrcoef(lost[:-1], lost[1:])[0, 1]) < 0.2, "each modality loses a share of its own"
    _, changed_label = drawn(only(faint_oedema=1.0), 0, (images, label))
    assert torch.equal(changed_label, label)


def test_weakened_oedema_keeps_its_noise() -> None:
    images, label = a_brain_with_oedema()
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * (images != 0)
    inside = torch.zeros_like(label, dtype=torch.bool)
    inside[8:12, 8:24, 8:24] = True
    for seed in range(20):
        changed = weaken_oedema(images + noise, label, np.random.default_rng(seed))[:, inside]
        assert (changed.std(dim=1) > 0.8).all()
        assert np.corrcoef(changed[0], noise[0, inside])[0, 1] > 0.9


@pytest.mark.parametrize("case", ["no oedema", "no healthy brain", "no brain"])
def test_without_oedema_or_healthy_brain_nothing_is_weakened(case: str) -> None:
    images, label = a_brain_with_oedema()
    if case == "no oedema":
        label[label == ED] = 0
    elif case == "no healthy brain":
        images[:, label == 0] = 0
    else:
        images[:] = 0
    assert torch.equal(weaken_oedema(images, label, np.random.default_rng(0)), images)


def test_a_missing_modality_stays_missing_when_oedema_is_weakened() -> None:
    images, label = a_brain_with_oedema()
    images[1] = 0
    changed = weaken_oedema(images, label, np.random.default_rng(0))
    assert (changed[1] == 0).all()
    assert not torch.equal(changed[0], images[0])
