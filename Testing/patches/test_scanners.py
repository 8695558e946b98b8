"""Each change that a scanner or a protocol makes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_up_patch import drawn, only

from ProtoSegBrainLib.patches.scanners import truncate, under_tone_curve


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
