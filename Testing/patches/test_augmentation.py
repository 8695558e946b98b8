from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.patches.augmentation import (
    AugmentationConfig,
    augment,
    random_affine,
    remove_enhancement,
    transplant,
    truncate,
    under_tone_curve,
    warp,
    weaken_enhancement,
    weaken_oedema,
)

T1N, T1C = 0, 1
NCR, ED, ET = 1, 2, 3
STRENGTHS = (
    "rotation_degrees",
    "scaling",
    "noise_deviation",
    "gain",
    "offset",
    "bias_field_deviation",
    "tone_curve_deviation",
)
SWITCHES = [f.name for f in fields(AugmentationConfig) if f.name not in STRENGTHS]
OFF = replace(AugmentationConfig(), **dict.fromkeys(SWITCHES, 0.0))


def only(**changes: Any) -> AugmentationConfig:
    return replace(OFF, **changes)


def a_patch(size: int = 16) -> tuple[Tensor, Tensor]:
    """An off-centre brain (a box) with nested, lop-sided tumour classes; z-scores without a zero inside the brain."""
    generator = torch.Generator().manual_seed(0)
    brain = torch.zeros(size, size, size)
    brain[1 : size - 3, 2 : size - 1, 3 : size - 2] = 1
    label = torch.zeros(size, size, size, dtype=torch.long)
    label[3:11, 4:12, 5:12] = ED
    label[4:9, 5:11, 6:11] = ET
    label[5:7, 6:9, 7:9] = NCR
    images = torch.randn(4, size, size, size, generator=generator) * 0.2 + torch.tensor([0.5, 1, 1.5, 2]).view(
        4, 1, 1, 1
    )
    images[T1C][label == ET] += 3
    return images * brain, label


def drawn(config: AugmentationConfig, seed: int, patch: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    return augment(*(patch or a_patch()), config, np.random.default_rng(seed))


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


# -- augment ---------------------------------------------------------------------------------------------------------


def test_identity_when_every_probability_is_zero() -> None:
    images, label = a_patch()
    changed, changed_label = drawn(OFF, 0)
    assert torch.equal(changed, images)
    assert torch.equal(changed_label, label)
    assert random_affine(OFF, np.random.default_rng(0)) is None


@pytest.mark.parametrize("seed", range(6))
def test_a_patch_is_a_function_of_its_seed(seed: int) -> None:
    often = replace(AugmentationConfig(), **dict.fromkeys(SWITCHES, 0.5))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generators must not matter
    first = drawn(often, seed)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    second, other = drawn(often, seed), drawn(often, seed + 100)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("switch", [name for name in SWITCHES if name not in ("spatial", "flip", "transplant")])
def test_every_change_changes_and_leaves_the_background_exactly_zero(switch: str) -> None:
    images, label = a_patch()
    background = (images == 0).all(dim=0)
    before, label_before = images.clone(), label.clone()
    changed, changed_label = drawn(only(**{switch: 1.0}), 3, (images, label))
    assert not torch.equal(changed, images), switch
    assert changed.isfinite().all()
    assert (changed[:, background] == 0).all()
    assert changed.dtype == torch.float32
    assert changed_label.dtype == torch.int64
    assert torch.equal(changed_label, label) or switch == "enhancement_removal"
    assert torch.equal(images, before), "the arguments stay as they were"
    assert torch.equal(label, label_before)


def test_everything_at_once_keeps_the_background_zero_and_the_values_finite() -> None:
    always = replace(AugmentationConfig(), **dict.fromkeys(SWITCHES, 1.0))
    for seed in range(8):
        images, _ = drawn(always, seed)
        background = (a_patch()[0] == 0).all(dim=0).flip(0)
        assert images.isfinite().all()
        assert (images[:, background] == 0).all()


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_constant_patch_stays_finite(fill: float) -> None:
    always = replace(AugmentationConfig(), **dict.fromkeys(SWITCHES, 1.0))
    images, label = drawn(always, 0, (torch.full((4, 8, 8, 8), fill), torch.zeros(8, 8, 8, dtype=torch.long)))
    assert images.isfinite().all()
    assert fill or (images == 0).all()
    assert (label == 0).all()


def test_flip_takes_images_and_label_along() -> None:
    images, label = a_patch()
    flipped, flipped_label = drawn(only(flip=1.0), 0)
    assert torch.equal(flipped, images.flip(1))
    assert torch.equal(flipped_label, label.flip(0))
    assert not torch.equal(label, label.flip(0))


def test_dropout_zeroes_exactly_one_modality_and_each_in_its_turn() -> None:
    images, _ = a_patch()
    missing = set()
    for seed in range(30):
        changed, _ = drawn(only(dropout=1.0), seed)
        gone = [index for index in range(4) if (changed[index] == 0).all()]
        assert len(gone) == 1
        kept = [index for index in range(4) if index not in gone]
        assert torch.equal(changed[kept], images[kept])
        missing.add(gone[0])
    assert missing == {0, 1, 2, 3}


def test_shift_moves_one_modality_by_at_most_two_voxels() -> None:
    images = torch.zeros(4, 16, 16, 16)
    images[:, 2:14, 2:14, 2:14] = 0.5
    images[:, 8, 8, 8] = 9
    offsets = set()
    for seed in range(20):
        changed, _ = drawn(only(shift=1.0), seed, (images, torch.zeros(16, 16, 16, dtype=torch.long)))
        places = [(image == 9).nonzero()[0].sub(8) for image in changed]
        moved = [tuple(place.tolist()) for place in places if place.any()]
        assert len(moved) <= 1
        assert all(abs(n) <= 2 for offset in moved for n in offset)
        offsets.update(moved)
    assert len(offsets) > 5


def test_noise_has_at_most_the_deviation_asked_for_and_a_new_pattern_each_time() -> None:
    images = torch.ones(4, 16, 16, 16)
    label = torch.zeros(16, 16, 16, dtype=torch.long)
    config = only(noise=1.0, noise_deviation=0.5)
    noises = [drawn(config, seed, (images, label))[0] - images for seed in range(10)]
    deviations = [float(noise.std()) for noise in noises]
    assert 0.2 < max(deviations) < 0.52
    assert min(deviations) < max(deviations) / 2, "the strength is drawn, too"
    correlation = torch.corrcoef(torch.stack([noises[0].flatten(), noises[1].flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.1


def test_blur_and_thick_slices_keep_the_mean_and_lose_detail() -> None:
    images = torch.randn(4, 16, 16, 16, generator=torch.Generator().manual_seed(0)) + 5
    label = torch.zeros(16, 16, 16, dtype=torch.long)
    for switch in ("blur", "thick_slices"):
        changed, _ = drawn(only(**{switch: 1.0}), 1, (images, label))
        inside = (slice(None), *[slice(3, -3)] * 3)
        assert changed[inside].mean().item() == pytest.approx(images[inside].mean().item(), abs=0.1)
        assert (changed[inside].std(dim=(1, 2, 3)) < images[inside].std(dim=(1, 2, 3))).all()


def test_bias_field_is_smooth_and_as_strong_as_asked_for() -> None:
    images, label = torch.ones(4, 24, 24, 24), torch.zeros(24, 24, 24, dtype=torch.long)
    config = only(bias_field=1.0, bias_field_deviation=0.4)
    changed = torch.stack([drawn(config, seed, (images, label))[0] for seed in range(40)]).flatten(0, 1)
    gains = ((changed + 3) / 4).log()
    at_knots = gains[:, ::23, ::23, ::23].flatten(1).std(dim=1)  # the corners are knots, whatever their number
    assert at_knots.max().item() < 0.9
    assert at_knots.mean().item() == pytest.approx(0.2, rel=0.15), "deviations are uniform up to the largest"
    steps = torch.stack([gains.diff(dim=axis).abs().amax((1, 2, 3)) for axis in (1, 2, 3)]).amax(0)
    assert (steps < at_knots.clamp(min=0.01) * 1.5).all(), "no jump between neighbours"
    still = only(bias_field=1.0, bias_field_deviation=0.0)
    assert torch.allclose(drawn(still, 0, (images, label))[0], images, atol=1e-6)


def test_gamma_keeps_the_range_and_the_order() -> None:
    images = torch.linspace(-2, 3, 512).reshape(1, 8, 8, 8).repeat(4, 1, 1, 1)
    label = torch.zeros(8, 8, 8, dtype=torch.long)
    changed, _ = drawn(only(gamma=1.0), 0, (images, label))
    for image in changed:
        assert image.min().item() == pytest.approx(-2)
        assert image.max().item() == pytest.approx(3)
        assert (image.flatten().diff() > 0).all()
    assert not torch.allclose(changed[0], changed[1]), "each modality has its own curve"


def test_a_tone_curve_keeps_order_mean_and_deviation_of_the_brain() -> None:
    image = torch.zeros(10, 8, 8)
    image[1:9] = torch.linspace(-2, 3, 512).reshape(8, 8, 8)
    brain, slopes = image[1:9].flatten(), []
    for seed in range(20):
        changed = under_tone_curve(image, 0.8, np.random.default_rng(seed))
        assert (changed[[0, 9]] == 0).all(), "outside stays 0"
        values = changed[1:9].flatten()
        assert (values.diff() > 0).all()
        assert values.mean().item() == pytest.approx(brain.mean().item(), abs=1e-5)
        assert values.std().item() == pytest.approx(brain.std().item(), rel=1e-4)
        slopes.append(values.diff() / brain.diff())
    drawn_slopes = torch.stack(slopes)[:, 40::85]  # one place between each two of the seven knots
    relative = (drawn_slopes / drawn_slopes.mean(dim=1, keepdim=True)).log()
    assert 0.5 < relative.std().item() < 0.9
    still = under_tone_curve(image, 0.0, np.random.default_rng(0))
    assert torch.allclose(still, image, atol=1e-5)


@pytest.mark.parametrize("fill", [0.0, 2.0])
def test_what_has_no_tones_has_no_curve(fill: float) -> None:
    image = torch.full((4, 4, 4), fill)
    assert torch.equal(under_tone_curve(image, 0.5, np.random.default_rng(0)), image)


def test_truncation_takes_the_end_of_exactly_one_modality_and_each_in_its_turn() -> None:
    images = torch.ones(4, 20, 20, 20)
    cuts = []
    for seed in range(60):
        changed = truncate(images, np.random.default_rng(seed))
        (index,) = (k for k in range(4) if not torch.equal(changed[k], images[k]))
        profiles = [changed[index].amax(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        (axis,) = (a for a in range(3) if not profiles[a].all())
        steps = profiles[axis].diff()
        assert steps.abs().sum() == 1, "one plane, nothing beyond it, all before it"
        kept = profiles[axis].mean().item()
        assert 0.3 <= kept <= 0.95
        assert changed[index].mean().item() == pytest.approx(kept)
        cuts.append((index, axis, bool(steps.sum() > 0)))
    assert {index for index, _, _ in cuts} == {0, 1, 2, 3}
    assert {(axis, side) for _, axis, side in cuts} == {(a, s) for a in range(3) for s in (True, False)}


def test_contrast_draws_each_modality_its_gain_and_offset_as_widely_as_asked_for() -> None:
    images, label = torch.zeros(4, 4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.long)
    images[:, 0], images[:, 1:] = 1.0, 2.0
    config = only(contrast=1.0, gain=0.5, offset=0.3)
    changed = torch.stack([drawn(config, seed, (images, label))[0] for seed in range(300)]).flatten(0, 1)
    gains = changed[:, 1, 0, 0] - changed[:, 0, 0, 0]
    offsets = changed[:, 0, 0, 0] - gains
    assert 2 / 3 <= gains.min().item() < 0.7
    assert 1.47 < gains.max().item() <= 1.5
    assert offsets.std().item() == pytest.approx(0.3, rel=0.1)
    still = only(contrast=1.0, gain=0.0, offset=0.0)
    assert torch.allclose(drawn(still, 0, (images, label))[0], images)


# -- enhancement removal ---------------------------------------------------------------------------------------------


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


# -- warp ------------------------------------------------------------------------------------------------------------


def test_warp_by_the_identity_cuts_the_middle() -> None:
    images, label = a_patch()
    warped, warped_label = warp(images, label, np.eye(3), 12)
    torch.testing.assert_close(warped, images[:, 2:14, 2:14, 2:14], rtol=0, atol=1e-5)
    assert torch.equal(warped_label, label[2:14, 2:14, 2:14])


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], lambda a: a.rot90(-1, (-3, -2))),
        ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], lambda a: a.rot90(-1, (-2, -1))),
        ([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], lambda a: a.rot90(-1, (-1, -3))),
        ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], lambda a: a.flip(-3)),
    ],
)
def test_warp_by_a_quarter_turn_moves_whole_voxels(matrix: list[list[int]], turned: Any) -> None:
    """Output voxel v shows what lies at matrix @ v (about the centre): the turn itself, backwards."""
    images, label = a_patch()
    warped, warped_label = warp(images, label, np.array(matrix, float), 16)
    torch.testing.assert_close(warped, turned(images), rtol=0, atol=1e-4)
    assert torch.equal(warped_label, turned(label))


def test_warp_reads_an_oblong_patch_at_matrix_times_offset() -> None:
    size, shape, matrix = 10, (20, 24, 28), np.array([[1.1, 0.2, 0], [-0.1, 0.9, 0.1], [0, -0.2, 1.05]])
    index = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij"))  # a ramp per axis
    ramps = torch.cat([index, index[:1]])
    warped, _ = warp(ramps, torch.zeros(shape, dtype=torch.long), matrix, size)
    offset = np.stack(np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij"))
    expected = np.einsum("ij,jxyz->ixyz", matrix, offset) + (np.array(shape) - 1).reshape(3, 1, 1, 1) / 2
    assert np.abs(warped[:3].numpy() - expected).max() < 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_an_image_made_from_the_label_stays_on_it(seed: int) -> None:
    """Linear image and nearest label agree to half a voxel wherever flip, turn and scaling take them."""
    _, label = a_patch(24)
    image = (label > 0).float().expand(4, -1, -1, -1)
    rng = np.random.default_rng(seed)
    config = only(spatial=1.0, flip=0.5)
    matrix = random_affine(config, rng)
    assert matrix is not None
    warped, warped_label = augment(*warp(image, label, matrix, 20), config, rng)
    whole = warped_label > 0
    assert whole.sum() > 100
    assert (warped[0][whole] > 0.12).all(), "half a voxel off along three axes leaves one eighth"
    assert (warped[0][~whole] < 0.88).all()
    agreement = ((warped[0] > 0.5) == whole).float().mean()
    assert agreement > 0.98
    assert set(warped_label.unique().tolist()) <= set(range(len(CLASSES)))


def test_random_affine_turns_and_scales_within_its_bounds() -> None:
    config = only(spatial=1.0, rotation_degrees=10.0, scaling=0.0)
    for seed in range(20):
        matrix = random_affine(config, np.random.default_rng(seed))
        assert matrix is not None
        assert np.allclose(matrix @ matrix.T, np.eye(3)), "a rotation"
        assert np.linalg.det(matrix) == pytest.approx(1)
        angle = np.degrees(np.arccos((np.trace(matrix) - 1) / 2))
        assert 0 < angle <= 10 * np.sqrt(3) + 1
    scaled = random_affine(only(spatial=1.0, rotation_degrees=0.0, scaling=0.2), np.random.default_rng(0))
    assert scaled is not None
    assert np.allclose(scaled, np.diag(np.diag(scaled)))
    assert (np.abs(np.diag(scaled) - 1) <= 0.2).all()
