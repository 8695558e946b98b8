"""Which changes are made to a patch, and those of its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_up_patch import OFF, SWITCHES, a_patch, drawn, only

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.patches.augmentation import AugmentationConfig, augment, random_affine, warp

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


@pytest.mark.parametrize("seed", range(8))
def test_an_absent_modality_stays_absent(seed: int) -> None:
    images, label = a_patch()
    images[[0, 2]] = 0
    always = replace(AugmentationConfig(), **{name: 1.0 for name in SWITCHES if name != "dropout"})
    changed, _ = drawn(replace(always, dropout=0.0), seed, (images, label))
    assert not changed[[0, 2]].any()
    assert changed[1].any()
    assert changed[3].any()


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
