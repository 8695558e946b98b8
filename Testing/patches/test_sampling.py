"""Patches cut from cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import INTENSITY, SHAPE, training_case

from ProtoSegBrainLib.patches.augmentation import UNCHANGED, AugmentationConfig
from ProtoSegBrainLib.patches.cases import TrainingCase
from ProtoSegBrainLib.patches.sampling import PatchSampler, SamplingConfig, cut


def sampler(cases: list[TrainingCase], *, seed: int = 0, augmentation: AugmentationConfig = UNCHANGED, **sampling):
    settings = SamplingConfig(**{"patch_size": 16} | sampling)
    return PatchSampler(cases, settings, augmentation, size_multiple=4, seed=seed)


def numbered_case() -> TrainingCase:
    """Every voxel of the first image holds its own flat index; the label is that index modulo 4."""
    index = torch.arange(6 * 20 * 5, dtype=torch.float32).reshape(6, 20, 5)
    return TrainingCase("numbered", torch.stack([index + 1] * 4), (index % 4).to(torch.uint8), np.eye(4), {})


def test_a_patch_depends_on_seed_and_number_alone():
    cases = [training_case(n) for n in range(3)]
    first, second = sampler(cases, augmentation=AugmentationConfig()), sampler(cases, augmentation=AugmentationConfig())
    for number in (0, 1, 7):
        first.patch(number)
    for ours, other in zip(first.patch(11), second.patch(11), strict=True):
        assert torch.equal(ours, other)
    assert not torch.equal(first.patch(11)[0], first.patch(12)[0])
    assert not torch.equal(first.patch(11)[0], sampler(cases, seed=1).patch(11)[0])


def test_a_batch_is_its_patches():
    patches = sampler([training_case(n) for n in range(3)])
    batch = patches.batch([4, 9])
    assert batch.images.shape == (2, 4, 16, 16, 16)
    assert batch.images.dtype == torch.float32
    assert batch.label.shape == (2, 16, 16, 16)
    assert batch.label.dtype == torch.int64
    assert torch.equal(batch.images[1], patches.patch(9)[0])
    assert torch.equal(batch.label[0], patches.patch(4)[1])


def test_every_epoch_visits_every_case_once_in_another_order():
    value = [replace(training_case(0), images=torch.full((4, *SHAPE), float(n + 1))) for n in range(5)]
    patches = sampler(value)
    epochs = [[int(patches.patch(5 * epoch + n)[0].max()) for n in range(5)] for epoch in range(4)]
    assert all(sorted(epoch) == [1, 2, 3, 4, 5] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_tumour_share_decides_where_patches_lie():
    case = training_case(0)
    case = replace(case, label=torch.where(case.label == 1, 1, 0).to(torch.uint8), voxels={1: case.voxels[1]})
    always, never = (sampler([case], tumour_share=share, patch_size=4) for share in (1.0, 0.0))
    tumour = [int((always.patch(n)[1] > 0).any()) for n in range(30)]
    anywhere = [int((never.patch(n)[1] > 0).any()) for n in range(30)]
    assert sum(tumour) == 30
    assert sum(anywhere) < 20
    healthy = training_case(1, classes=())
    assert sampler([healthy], tumour_share=1.0).patch(0)[0].shape == (4, 16, 16, 16)


def test_rare_classes_are_drawn_as_often_as_common_ones():
    case = training_case(0)
    patches = sampler([case], tumour_share=1.0, jitter=0.0, patch_size=4)
    centres = [int(patches.patch(n)[1][2, 2, 2]) for n in range(90)]
    assert all(centres.count(index) > 15 for index in (1, 2, 3))


def test_a_cut_within_the_case_is_a_copy_around_its_centre():
    case = training_case(0)
    images, label = cut(case, np.array([11.0, 10.0, 12.0]), 8)
    assert torch.equal(images, case.images[:, 7:15, 6:14, 8:16].float())
    assert torch.equal(label, case.label[7:15, 6:14, 8:16].long())


def test_a_cut_is_moved_inside_where_the_case_is_large_enough_and_padded_where_it_is_not():
    case = numbered_case()  # 6 x 20 x 5
    images, label = cut(case, np.array([0.0, 19.0, 2.0]), 8)
    expected = torch.zeros(8, 8, 8)
    expected[1:7, :, 2:7] = case.images[0, :, 12:20, :]
    assert torch.equal(images[0], expected)
    # The label went with its image, and the padding is background.
    assert torch.equal(label, torch.where(expected > 0, (expected - 1) % 4, 0).long())


@pytest.mark.parametrize("change", ["flip", "spatial"])
def test_image_and_label_are_changed_together(change):
    patches = sampler([training_case(0)], augmentation=replace(
        UNCHANGED, **{change: 1.0}, rotation_degrees=15.0, scaling=0.1
    ))  # fmt: skip
    unchanged = sampler([training_case(0)])
    moved = 0
    for number in range(3):
        images, label = patches.patch(number)
        moved += int(not torch.equal(label, unchanged.patch(number)[1]))
        means = torch.from_numpy(INTENSITY)  # (K, 4)
        nearest = (images[None] - means[:, :, None, None, None]).square().sum(1).argmin(0)
        inside = (images != 0).any(0)
        assert float((nearest == label)[inside].float().mean()) > 0.9
    assert moved


def test_a_transplant_puts_a_tumour_where_it_lay_into_another_brain():
    case = replace(numbered_case(), voxels={1: np.array([[2, 5, 2]])})  # 6 x 20 x 5
    shape = (12, 40, 10)
    place = torch.arange(12 * 40 * 10, dtype=torch.float32).reshape(shape)
    larger = TrainingCase("larger", torch.stack([-1 - place] * 4), torch.zeros(shape, dtype=torch.uint8), np.eye(4), {})
    patches = sampler([case, larger], patch_size=4)
    images, label = patches._same_place(case, np.array([3.0, 10.0, 2.5]), 4, np.random.default_rng(5))
    assert torch.equal(images[0], larger.images[0, 4:8, 18:22, 3:7])
    assert (label == 0).all()


def test_the_share_of_transplants_is_the_one_asked_for():
    cases = [replace(training_case(number), images=training_case(number).images + number) for number in range(4)]
    settings = {"tumour_share": 1.0, "jitter": 0.0}
    plain = sampler(cases, **settings)
    for share in (0.0, 0.4, 1.0):
        mixed = sampler(cases, augmentation=replace(UNCHANGED, transplant=share), **settings)
        changed = [not torch.equal(mixed.patch(n)[0], plain.patch(n)[0]) for n in range(40)]
        # A case that is drawn to receive its own tumour stays as it is: one in four.
        assert abs(np.mean(changed) - 0.75 * share) < 0.2
        assert share or not any(changed)


@pytest.mark.parametrize("spatial", [0.0, 1.0])
def test_a_transplanted_patch_has_the_size_of_every_other(spatial: float):
    cases = [training_case(0), training_case(1)]
    patches = sampler(cases, augmentation=replace(UNCHANGED, transplant=1.0, spatial=spatial))
    assert patches.batch(range(6)).images.shape == (6, 4, 16, 16, 16)


def test_the_case_itself_is_never_changed():
    cases = [training_case(0), training_case(1)]
    before = [(case.images.clone(), case.label.clone()) for case in cases]
    changes = AugmentationConfig(dropout=1.0, shift=1.0, enhancement_removal=1.0, transplant=1.0)
    sampler(cases, augmentation=changes).batch(range(4))
    for case, (images, label) in zip(cases, before, strict=True):
        assert torch.equal(case.images, images)
        assert torch.equal(case.label, label)


def test_a_patch_size_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="patch_size must be a multiple of 4, not 18"):
        sampler([training_case(0)], patch_size=18)


def test_no_cases_are_refused():
    with pytest.raises(ValueError, match="no case to draw patches from"):
        sampler([])


def test_a_share_of_the_patches_comes_from_healthy_brains() -> None:
    cases = [replace(training_case(0), images=torch.full((4, *SHAPE), 1.0))]
    healthy = [replace(training_case(n), images=torch.full((4, *SHAPE), 2.0 + n)) for n in range(2)]
    settings = SamplingConfig(patch_size=16, healthy_share=0.3)
    drawn = PatchSampler(cases, settings, UNCHANGED, size_multiple=4, seed=0, healthy=healthy)
    values = np.array([float(drawn.patch(number)[0].max()) for number in range(400)])
    assert (values == 1).mean() == pytest.approx(0.7, abs=0.07)
    assert (values == 2).mean() == pytest.approx((values == 3).mean(), abs=0.07)


def test_without_healthy_brains_patches_are_what_they_were() -> None:
    cases = [training_case(n) for n in range(2)]
    with_share = sampler(cases, healthy_share=0.5)
    for number in range(5):
        assert torch.equal(sampler(cases).patch(number)[0], with_share.patch(number)[0])
